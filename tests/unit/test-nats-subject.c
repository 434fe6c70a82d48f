/* SPDX-License-Identifier: BSD-3-Clause */
/* What the NATS bus knows of an environment, and what it sends by that: compared with the latest,
 * several as one message; and what JetStream has acknowledged and not told yet. */
#include <check.h>
#include <string.h>

#include "base/clock.h"
#include "nats-publishing.h"
#include "runner.h"

/* ---- What is sent ---- */

START_TEST(says_what_must_be_last_and_when_it_was_accepted)
{
	const struct key key = fixture_key("k");
	const struct sent *sent;

	nats_subject_seen(bus, &key, 41, NULL, 0);
	publish(-3 * S, -5 * S);
	sent = fixture_sent();
	ck_assert_str_eq(sent->last, "41");
	ck_assert_str_eq(sent->accepted, "1699999997000000");
	ck_assert_str_eq(sent->body, "{\"updated_at\": 1699999995.000000}");
	ck_assert_str_eq(sent->reply, FIXTURE_INBOX ".1.k");
}
END_TEST

static const struct {
	int64_t accepted_us, time_us;
	bool has_waited;
	int64_t told_us; /* streams of another node have had the latest since then; 0: nobody says
			  */
	int64_t sent_us; /* 0: it is stale */
} beside_the_latest[] = {
	{-1 * S, -5 * S, false, 0, -5 * S},
	{-1 * S, -20 * S, false, 0, -11 * S + 1}, /* raised */
	{-1 * S, -11 * S, false, 0, 0},
	{-1 * S, -20 * S, true, 0, -11 * S + 1},
	{-20 * S, -21 * S, true, 0, 0}, /* it was before the latest */
	{-20 * S, -21 * S, true, -25 * S, -11 * S + 1},
	{-20 * S, -21 * S, true, -5 * S, 0},
	{-20 * S, -11 * S, true, 0, 0},
};

/* Which was stored 10 s ago, with a time of 11 s ago. */
START_TEST(compares_with_the_latest)
{
	const int64_t sent_us = beside_the_latest[_i].sent_us;
	const int64_t told_us = beside_the_latest[_i].told_us;
	struct publication *publication = fixture_publication(
		"k", beside_the_latest[_i].accepted_us, beside_the_latest[_i].time_us);
	const struct update latest = {
		.key = fixture_key("k"),
		.time_us = FIXTURE_NOW_US - 11 * S,
		.stored_us = FIXTURE_NOW_US - 10 * S,
		.sequence = 41,
	};

	nats_subject_seen(bus, &latest.key, latest.sequence, &latest,
		told_us != 0 ? FIXTURE_NOW_US + told_us : 0);
	publication->has_waited = beside_the_latest[_i].has_waited;
	nats_publish(bus, publication);
	if (sent_us != 0) {
		expect_update(41, sent_us);
		ck_assert(!fixture_is_answered(publication));
	} else {
		expect_nothing_sent();
		expect_answer(publication, PUBLISH_STALE, 0, "");
	}
}
END_TEST

/* A stream that is not ours may keep what has expired. */
START_TEST(what_has_expired_makes_nothing_stale)
{
	const struct update old = {
		.key = fixture_key("k"),
		.time_us = FIXTURE_NOW_US - 3601 * S,
		.stored_us = FIXTURE_NOW_US - 3601 * S,
		.sequence = 41,
	};

	nats_subject_seen(bus, &old.key, old.sequence, &old, 0);
	publish(0, -3601 * S);
	expect_update(41, -3601 * S);
}
END_TEST

START_TEST(several_that_wait_are_one_message)
{
	const struct publication *first = publish(0, -9 * S), *earlier, *latest, *same, *between;
	const struct sent *sent;
	uint64_t flight = expect_update(0, -9 * S);

	latest = publish(2 * S, -3 * S);
	earlier = publish(1 * S, -4 * S);
	same = publish(3 * S, -9 * S); /* as what flies */
	between = publish(3 * S / 2, -5 * S);
	acknowledge(flight, NATS_ACK_STORED, 5);
	expect_answer(first, PUBLISH_STORED, 5, "");
	expect_answer(same, PUBLISH_STALE, 0, "");
	ck_assert(!fixture_is_answered(latest) && !fixture_is_answered(earlier));
	sent = fixture_sent();
	ck_assert_str_eq(sent->last, "5");
	ck_assert_str_eq(sent->accepted, "1700000001000000 1700000002000000");
	ck_assert_str_eq(sent->body, "{\"updated_at\": 1699999997.000000}");
	expect_nothing_sent();
	acknowledge(bus->flights, NATS_ACK_STORED, 6);
	expect_answer(latest, PUBLISH_STORED, 6, "");
	expect_answer(earlier, PUBLISH_STORED, 6, "");
	expect_answer(between, PUBLISH_STORED, 6, "");
	ck_assert_int_eq(nats_publish_deadline_ms(bus), INT64_MAX);
}
END_TEST

/* Streams of this node have had what waited under its own time: with that they would not hear of
 * what was accepted after it. */
static const struct {
	bool has_waited;
	int64_t accepted_us, time_us; /* of the other one */
	int64_t sent_us;
} beside_a_row[] = {
	{true, -1 * S, -9 * S, -5 * S + 1},
	{true, -9 * S, -9 * S, -5 * S}, /* accepted before it */
	{true, -1 * S, -5 * S, -5 * S}, /* about the same */
	{true, -1 * S, -4 * S, -4 * S}, /* above it anyway */
	{false, -1 * S, -9 * S, -5 * S},
};

START_TEST(is_not_hidden_by_what_waited)
{
	struct publication *row = fixture_publication("k", -5 * S, -5 * S);
	uint64_t flight;

	publish(-10 * S, -10 * S);
	flight = expect_update(0, -10 * S);
	row->has_waited = beside_a_row[_i].has_waited;
	nats_publish(bus, row);
	publish(beside_a_row[_i].accepted_us, beside_a_row[_i].time_us);
	acknowledge(flight, NATS_ACK_REFUSED, 0);
	expect_update(0, beside_a_row[_i].sent_us);
}
END_TEST

START_TEST(environments_do_not_wait_for_each_other)
{
	struct publication *other = fixture_publication("other", 0, 0);

	publish(0, 0);
	expect_update(0, 0);
	nats_publish(bus, other);
	ck_assert_str_eq(fixture_sent()->subject, "flagsmith.environment.other");
}
END_TEST

/* ---- Acknowledged, and not told yet ---- */

static void tell(uint64_t sequence, int64_t time_us)
{
	const struct update update = {
		.key = fixture_key("k"), .time_us = FIXTURE_NOW_US + time_us, .sequence = sequence};

	nats_subject_told(bus, &update);
}

static const struct {
	uint64_t sequence; /* told; 0: nothing */
	int64_t time_us;
	bool is_before; /* the acknowledgement */
	bool is_lost;
} tellings[] = {
	{0, 0, false, true},
	{17, 0, false, false},
	{17, 0, true, false},
	{18, 1, false, false}, /* written over by a newer one */
	{18, 1, true, false},
	{16, -1, false, true}, /* an older one */
	{18, -1, false, true}, /* of a stream that was made anew, and has only this */
	{3, 1, false, true},
};

START_TEST(what_was_acknowledged_and_never_told_is_lost)
{
	uint64_t flight;

	publish(-2 * S, 0);
	flight = expect_update(0, 0);
	if (tellings[_i].sequence > 0 && tellings[_i].is_before)
		tell(tellings[_i].sequence, tellings[_i].time_us);
	acknowledge(flight, NATS_ACK_STORED, 17);
	if (tellings[_i].sequence > 0 && !tellings[_i].is_before)
		tell(tellings[_i].sequence, tellings[_i].time_us);
	nats_subjects_find_lost(bus);
	if (tellings[_i].is_lost) {
		struct bus_event event = fixture_expect(BUS_LOST);

		ck_assert_str_eq(event.update.key.text, "k");
		ck_assert_int_eq(event.update.time_us, FIXTURE_NOW_US);
		ck_assert_int_eq(event.update.stored_us, FIXTURE_NOW_US - 2 * S);
		ck_assert_uint_eq(event.update.sequence, 0);
	}
	fixture_expect_no_event();
	nats_subjects_find_lost(bus); /* it is told once */
	fixture_expect_no_event();
}
END_TEST

/* It is remembered while all is read anew, but not that the stream has it. */
START_TEST(what_is_not_told_yet_outlasts_the_end_of_a_session)
{
	publish(0, 0);
	acknowledge(expect_update(0, 0), NATS_ACK_STORED, 17);
	nats_subjects_forget(bus, INT64_MAX);
	publish(0, 1 * S);
	expect_update(0, 1 * S);
	nats_subjects_find_lost(bus);
	fixture_expect(BUS_LOST);
}
END_TEST

/* From one check to the next but one. */
START_TEST(is_missed_after_two_checks)
{
	bus->checks = 7;
	publish(0, 0);
	acknowledge(expect_update(0, 0), NATS_ACK_STORED, 17);
	ck_assert(!nats_subjects_unseen(bus));
	bus->checks++;
	ck_assert(!nats_subjects_unseen(bus));
	bus->checks++;
	ck_assert(nats_subjects_unseen(bus));
	tell(17, 0);
	ck_assert(!nats_subjects_unseen(bus));
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	Suite *suite = suite_create("nats-subject");
	TCase *tests = tcase_create("nats-subject");

	tcase_add_checked_fixture(tests, publishing_set_up, fixture_tear_down);
	tcase_add_test(tests, says_what_must_be_last_and_when_it_was_accepted);
	tcase_add_loop_test(tests, compares_with_the_latest, 0, N_OF(beside_the_latest));
	tcase_add_test(tests, what_has_expired_makes_nothing_stale);
	tcase_add_test(tests, several_that_wait_are_one_message);
	tcase_add_loop_test(tests, is_not_hidden_by_what_waited, 0, N_OF(beside_a_row));
	tcase_add_test(tests, environments_do_not_wait_for_each_other);
	tcase_add_loop_test(tests, what_was_acknowledged_and_never_told_is_lost, 0, N_OF(tellings));
	tcase_add_test(tests, what_is_not_told_yet_outlasts_the_end_of_a_session);
	tcase_add_test(tests, is_missed_after_two_checks);
	suite_add_tcase(suite, tests);
	return suite;
}
