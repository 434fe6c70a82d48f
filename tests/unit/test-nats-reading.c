/* SPDX-License-Identifier: BSD-3-Clause */
/* How the NATS bus reads: the consumer that it asks for, what that sends, and what is done where
 * that is in doubt. */
#include <check.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "nats-fixture.h"
#include "runner.h"

static bool is_reading_again(void)
{
	return nats_consumer_is_awaited(bus);
}

/* ---- From the beginning to BUS_SYNC_END ---- */

static void expect_request(const char *subject, const char *reply)
{
	const struct sent *sent = fixture_sent();

	ck_assert_ptr_nonnull(sent);
	ck_assert_str_eq(sent->subject, subject);
	ck_assert_str_eq(sent->reply, reply);
}

/* It is asked for, then looked for, and then subscribed to. */
START_TEST(asks_for_a_consumer)
{
	const char *body;

	fixture_connect();
	body = fixture_last_sent()->body;
	expect_request("$JS.API.CONSUMER.CREATE.environments-stream", FIXTURE_INBOX ".create.1");
	ck_assert_ptr_nonnull(strstr(body, "\"deliver_policy\":\"last_per_subject\""));
	ck_assert_ptr_nonnull(strstr(body, "\"filter_subject\":\"flagsmith.environment.>\""));
	ck_assert_ptr_nonnull(strstr(body, "\"deliver_subject\":\"" FIXTURE_DELIVERY "1\""));
	ck_assert_ptr_nonnull(strstr(body, "\"flow_control\":true"));
	fixture_consumer(NATS_ACK_STORED, 2, 1);
	expect_request("$JS.API.CONSUMER.INFO.environments-stream.c", FIXTURE_INBOX ".create.2");
	ck_assert(!made_up.is_subscribed);
	fixture_consumer(NATS_ACK_STORED, 2, 2);
	ck_assert(made_up.is_subscribed);
	ck_assert_ptr_null(fixture_sent());
}
END_TEST

START_TEST(tells_main_in_order)
{
	struct update lost = {.key = fixture_key("lost"), .time_us = 7, .sequence = 99};
	struct publication *held = fixture_publication("k", 0, 0);

	fixture_connect();
	fixture_expect(BUS_SYNC_BEGIN);
	/* As if it had been acknowledged in a session before. */
	nats_subject_await(bus, nats_subject_get(bus, &lost.key), &lost);
	fixture_consumer(NATS_ACK_STORED, 2, bus->creations);
	fixture_consumer(NATS_ACK_STORED, 2, bus->creations);
	nats_publish(bus, held);
	fixture_count_sent();
	fixture_message("c", 1, 11);
	ck_assert_str_eq(fixture_expect(BUS_UPDATE).update.key.text, "key-11");
	fixture_expect_no_event();
	ck_assert_uint_eq(fixture_count_sent(), 0);
	fixture_message("c", 2, 12);
	ck_assert_str_eq(fixture_expect(BUS_UPDATE).update.key.text, "key-12");
	fixture_expect(BUS_UP);
	ck_assert_str_eq(fixture_expect(BUS_LOST).update.key.text, "lost");
	fixture_expect(BUS_SYNC_END);
	fixture_expect_no_event();
	/* What was published meanwhile goes out now. */
	ck_assert_str_eq(fixture_sent()->subject, "flagsmith.environment.k");
	fixture_message("c", 3, 13);
	ck_assert_uint_eq(fixture_expect(BUS_UPDATE).update.sequence, 13);
	fixture_expect_no_event();
}
END_TEST

/* Messages that leave the stream before they are delivered never come. */
START_TEST(waits_for_no_more_than_will_come)
{
	fixture_connect();
	fixture_consumer(NATS_ACK_STORED, 9, bus->creations);
	fixture_consumer(NATS_ACK_STORED, 9, bus->creations);
	fixture_message("c", 1, 11);
	made_up.consumer = (struct nats_consumer){.delivered = 1, .n_pending = 0};
	nats_session_check(bus); /* as one has come since the last look */
	ck_assert_uint_eq(made_up.n_get_consumer, 0);
	ck_assert(bus->syncing);
	made_up.consumer.n_pending = 1;
	nats_session_check(bus);
	ck_assert_uint_eq(made_up.n_get_consumer, 1);
	ck_assert(bus->syncing);
	made_up.consumer.n_pending = 0;
	made_up.consumer.delivered = 2; /* and that is still to come */
	nats_session_check(bus);
	ck_assert(bus->syncing);
	fixture_message("c", 2, 12);
	ck_assert(!bus->syncing);
}
END_TEST

/* ---- Messages ---- */

START_TEST(skips_what_is_no_update)
{
	struct nats_mail mail = {
		.type = NATS_MAIL_MESSAGE,
		.update = {.key = fixture_key("k"), .sequence = 11},
		.number = 1,
		.problem = "it is a sonnet",
		.consumer = "c",
	};
	const struct key key = fixture_key("k");

	fixture_come_up(0);
	fixture_mail(&mail);
	ck_assert_str_eq(fixture_expect(BUS_SKIPPED).text, "number 11: it is a sonnet");
	/* But that is what the next update has to be written over. */
	ck_assert_uint_eq(nats_subject_find(bus, &key)->last_sequence, 11);
	ck_assert(!nats_subject_find(bus, &key)->has_latest);
	mail.update.key = (struct key){0};
	mail.number = 2;
	fixture_mail(&mail);
	fixture_expect(BUS_SKIPPED);
	ck_assert_uint_eq(table_count(&bus->subjects), 1);
	fixture_expect_no_event();
}
END_TEST

/* When streams of its node have had a message counts for what is published later. */
START_TEST(notes_since_when_a_message_is_known)
{
	struct nats_mail mail = {
		.type = NATS_MAIL_MESSAGE,
		.update = {.key = fixture_key("k"),
			.time_us = FIXTURE_NOW_US,
			.stored_us = FIXTURE_NOW_US,
			.sequence = 11},
		.told_us = FIXTURE_NOW_US - 7,
		.number = 1,
		.consumer = "c",
	};
	const struct key key = fixture_key("k");

	fixture_come_up(0);
	fixture_mail(&mail);
	ck_assert_int_eq(nats_subject_find(bus, &key)->latest.told_us, FIXTURE_NOW_US - 7);
}
END_TEST

/* ---- NATS's clock ---- */

/* Whatever the node's own says. */
static const int64_t clocks_us[] = {INT64_C(1500000000000000), INT64_C(4000000000000000)};

START_TEST(reads_the_clock_as_the_consumer_is_made)
{
	struct nats_mail mail = {
		.type = NATS_MAIL_CONSUMER,
		.number = 1,
		.consumer = "c",
		.created_us = clocks_us[_i],
	};

	fixture_connect();
	fixture_expect(BUS_SYNC_BEGIN);
	fixture_mail(&mail);
	ck_assert(fixture_expect(BUS_CLOCK).clock.is_known);
	/* It was then, at some moment since it was asked for. */
	ck_assert_int_ge(nats_clock_us(bus), mail.created_us);
	ck_assert_int_le(nats_clock_us(bus), mail.created_us + 60 * US_PER_S);
}
END_TEST

/* What has just been stored says how late it is; the last values, which are old, do not. */
START_TEST(notes_the_clock_by_what_is_new)
{
	bus->clock = (struct bus_clock){0};
	fixture_connect();
	fixture_consumer(NATS_ACK_STORED, 1, bus->creations);
	fixture_consumer(NATS_ACK_STORED, 1, bus->creations);
	fixture_message("c", 1, 11);
	ck_assert_uint_eq(fixture_count_events()[BUS_CLOCK], 0);
	fixture_message("c", 2, 12);
	ck_assert_uint_eq(fixture_count_events()[BUS_CLOCK], 1);
	ck_assert(bus->clock.is_known);
}
END_TEST

/* ---- Flow control ---- */

START_TEST(answers_flow_control)
{
	const struct sent *sent;

	fixture_come_up(0);
	fixture_status(bus->deliver_inbox, NATS_NUMBER_UNTOLD, "$JS.FC.here");
	sent = fixture_sent();
	ck_assert_str_eq(sent->subject, "$JS.FC.here");
	ck_assert_str_eq(sent->reply, "");
	ck_assert_str_eq(sent->body, "");
	/* A heartbeat wants none. */
	fixture_status(bus->deliver_inbox, 0, "");
	ck_assert_ptr_null(fixture_sent());
	ck_assert(!is_reading_again());
}
END_TEST

/* ---- Doubts ---- */

/* The first time at once.  Then less and less often, and what comes meanwhile is taken. */
START_TEST(a_doubt_may_have_to_wait)
{
	fixture_come_up(0);
	fixture_message("c", 2, 12);
	ck_assert(is_reading_again());
	fixture_expect(BUS_SYNC_BEGIN);
	fixture_expect_no_event();
	fixture_consumer(NATS_ACK_STORED, 0, bus->creations);
	fixture_consumer(NATS_ACK_STORED, 0, bus->creations);
	fixture_expect(BUS_SYNC_END);
	bus->reread.pause_ms = 60000; /* so that this machine's pace does not matter */
	fixture_message("c", 2, 14);
	ck_assert(!is_reading_again());
	ck_assert(bus->reread.is_due);
	ck_assert_str_eq(fixture_expect(BUS_UPDATE).update.key.text, "key-14");
	fixture_message("c", 3, 15);
	ck_assert_str_eq(fixture_expect(BUS_UPDATE).update.key.text, "key-15");
	fixture_expect_no_event();
	bus->reread.last_ms -= 60000;
	nats_bus_do_what_is_due(bus, nats_reread_due_ms(&bus->reread));
	ck_assert(is_reading_again());
	ck_assert(!bus->reread.is_due);
}
END_TEST

/* If all is to be read later anyway, and then is for another reason, that was it. */
START_TEST(reading_again_settles_all_doubts)
{
	fixture_come_up(0);
	bus->reread = (struct nats_reread){clock_monotonic_ms(), 60000, false};
	fixture_message("c", 2, 12);
	ck_assert(bus->reread.is_due);
	made_up.stream.created_ns++;
	nats_session_check(bus);
	ck_assert(is_reading_again());
	ck_assert(!bus->reread.is_due);
}
END_TEST

/* Three heartbeats: 15 s after the last that was heard. */
START_TEST(doubts_a_silent_consumer)
{
	_Atomic int64_t *heard_ms;

	fixture_come_up(0);
	heard_ms = &nats_session_origin(bus)->heard_ms;
	ck_assert_int_le(*heard_ms, clock_monotonic_ms());
	*heard_ms = 1000;
	ck_assert_int_eq(nats_consumer_deadline_ms(bus), 16000);
	nats_consumer_expire(bus, 15999);
	ck_assert(!is_reading_again());
	bus->reread = (struct nats_reread){clock_monotonic_ms(), 60000, false};
	nats_consumer_expire(bus, 16000);
	ck_assert(!is_reading_again());
	/* It is not due at once again. */
	ck_assert_int_eq(nats_consumer_deadline_ms(bus), 16000 + 15000);
	bus->reread = (struct nats_reread){0};
	nats_consumer_expire(bus, 16000 + 15000);
	ck_assert(is_reading_again());
}
END_TEST

/* ---- Checks ---- */

/* Another node's consumer may be gone; only if there are fewer, ours is asked for. */
START_TEST(asks_for_the_consumer_if_there_are_fewer)
{
	static const struct {
		int64_t n;
		unsigned n_asked;
	} looks[] = {{3, 1}, {3, 1}, {4, 1}, {3, 2}, {3, 2}};

	fixture_come_up(0);
	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
		made_up.stream.n_consumers = looks[i].n;
		nats_session_check(bus);
		ck_assert_uint_eq(made_up.n_get_consumer, looks[i].n_asked);
		ck_assert(!is_reading_again());
	}
}
END_TEST

/* The stream has at least what was stored within the hour, less what may expire now. */
START_TEST(misses_messages_that_cannot_have_expired)
{
	struct nats_mail mail = {
		.type = NATS_MAIL_MESSAGE,
		.update = {.key = fixture_key("old"), .time_us = 1, .sequence = 11},
		.number = 1,
		.consumer = "c",
	};

	mail.update.stored_us = FIXTURE_NOW_US - 3545 * US_PER_S;
	fixture_come_up(0);
	fixture_mail(&mail);
	fixture_message("c", 2, 12);
	made_up.stream.n_messages = 1;
	nats_session_check(bus);
	ck_assert(!is_reading_again());
	fixture_message("c", 3, 13);
	nats_session_check(bus);
	ck_assert(is_reading_again());
}
END_TEST

/* What has expired on NATS is forgotten here. */
START_TEST(forgets_what_has_expired)
{
	struct nats_mail mail = {
		.type = NATS_MAIL_MESSAGE,
		.update = {.key = fixture_key("old"), .time_us = 1, .sequence = 11},
		.number = 1,
		.consumer = "c",
	};

	mail.update.stored_us = FIXTURE_NOW_US - 3601 * US_PER_S;
	fixture_come_up(0);
	fixture_mail(&mail);
	fixture_message("c", 2, 12);
	ck_assert_uint_eq(table_count(&bus->subjects), 2);
	nats_session_check(bus);
	ck_assert_uint_eq(table_count(&bus->subjects), 1);
	ck_assert_ptr_null(nats_subject_find(bus, &mail.update.key));
}
END_TEST

/* What JetStream has acknowledged, the consumer has to tell from one check to the next but one. */
START_TEST(misses_what_is_acknowledged_and_not_told)
{
	struct nats_mail ack = {
		.type = NATS_MAIL_ACK,
		.update.key = fixture_key("key-7"),
		.number = 1,
		.ack = {NATS_ACK_STORED, 7, ""},
	};

	fixture_come_up(0);
	nats_publish(bus, fixture_publication("key-7", 0, 0));
	fixture_mail(&ack);
	if (_i == 1)
		fixture_message("c", 1, 7);
	nats_session_check(bus);
	ck_assert(!is_reading_again());
	nats_session_check(bus);
	ck_assert_int_eq(is_reading_again(), _i == 0);
}
END_TEST

/* What the stream had before says nothing of what it has now. */
START_TEST(forgets_all_before_it_reads_again)
{
	const struct key key = fixture_key("key-1");

	fixture_come_up(2);
	ck_assert_ptr_nonnull(nats_subject_find(bus, &key));
	made_up.stream.n_messages = 0;
	nats_session_check(bus);
	ck_assert(is_reading_again());
	ck_assert_uint_eq(table_count(&bus->subjects), 0);
}
END_TEST

/* ---- Denials ---- */

#define VIOLATION "Permissions Violation for Publish to "

/* Of each environment one publish is in flight, so that is the one. */
START_TEST(a_denial_may_be_about_one_environment)
{
	struct publication *publication = fixture_publication("k", 0, 0);
	struct publication *other = fixture_publication("other", 0, 0);

	fixture_come_up(0);
	nats_publish(bus, publication);
	nats_publish(bus, other);
	fixture_about_session(
		NATS_MAIL_DENIED, bus->session, VIOLATION "\"flagsmith.environment.k\"");
	ck_assert(fixture_is_answered(publication));
	ck_assert_int_eq(publication->outcome, PUBLISH_REFUSED);
	ck_assert(!fixture_is_answered(other));
	ck_assert_ptr_nonnull(bus->wire);
}
END_TEST

/* Whether updates are stored is seen anew in each session. */
START_TEST(a_denial_is_not_one_environments_alone_in_a_new_session)
{
	struct publication *publication = fixture_publication("k", 0, 0);

	fixture_come_up(0);
	bus->has_stored = true;
	fixture_about_session(NATS_MAIL_CLOSED, bus->session, "");
	fixture_come_up(0);
	nats_publish(bus, publication);
	fixture_about_session(
		NATS_MAIL_DENIED, bus->session, VIOLATION "\"flagsmith.environment.k\"");
	ck_assert(fixture_is_answered(publication));
	ck_assert_int_eq(publication->outcome, PUBLISH_REFUSED);
}
END_TEST

/* The log goes to a file of this test's from now on; returns its descriptor. */
static int log_to_file(void)
{
	int fd = memfd_create("log", 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	return fd;
}

static unsigned count_lines(int fd)
{
	unsigned n = 0;
	char c;

	for (off_t at = 0; pread(fd, &c, 1, at) == 1; at++)
		n += c == '\n';
	return n;
}

/* What a session can do without is told once, and so is each other thing. */
START_TEST(a_denial_may_do_no_harm)
{
	int fd;

	fixture_come_up(0);
	fd = log_to_file();
	for (int i = 0; i < 3; i++)
		fixture_about_session(NATS_MAIL_DENIED, bus->session,
			VIOLATION "\"$JS.API.STREAM.MSG.GET.environments-stream\"");
	ck_assert_uint_eq(count_lines(fd), 1);
	fixture_about_session(NATS_MAIL_DENIED, bus->session, VIOLATION "\"another\"");
	ck_assert_uint_eq(count_lines(fd), 2);
	ck_assert_ptr_nonnull(bus->wire);
	close(fd);
}
END_TEST

/* Somebody has to grant it first. */
START_TEST(a_denial_may_end_the_session)
{
	int64_t before_ms = clock_monotonic_ms();
	struct bus_event event;

	fixture_come_up(0);
	fixture_about_session(
		NATS_MAIL_DENIED, bus->session, VIOLATION "\"$JS.FC.environments-stream.x\"");
	event = fixture_expect(BUS_DOWN);
	ck_assert_str_eq(event.text, VIOLATION
		"\"$JS.FC.environments-stream.>\"; grant publish \"$JS.FC.environments-stream.>\", "
		"see flagsse(8).");
	ck_assert_str_eq(event.open_text, event.text);
	ck_assert_int_ge(bus->next_attempt_ms, before_ms + NATS_DENIED_PAUSE_MS);
	ck_assert(bus->denied);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("nats-reading");
	TCase *tests = tcase_create("nats-reading");

	tcase_add_checked_fixture(tests, fixture_set_up, fixture_tear_down);
	tcase_add_test(tests, asks_for_a_consumer);
	tcase_add_test(tests, tells_main_in_order);
	tcase_add_test(tests, waits_for_no_more_than_will_come);
	tcase_add_test(tests, skips_what_is_no_update);
	tcase_add_test(tests, notes_since_when_a_message_is_known);
	tcase_add_loop_test(tests, reads_the_clock_as_the_consumer_is_made, 0,
		sizeof(clocks_us) / sizeof(clocks_us[0]));
	tcase_add_test(tests, notes_the_clock_by_what_is_new);
	tcase_add_test(tests, answers_flow_control);
	tcase_add_test(tests, a_doubt_may_have_to_wait);
	tcase_add_test(tests, reading_again_settles_all_doubts);
	tcase_add_test(tests, doubts_a_silent_consumer);
	tcase_add_test(tests, asks_for_the_consumer_if_there_are_fewer);
	tcase_add_test(tests, misses_messages_that_cannot_have_expired);
	tcase_add_test(tests, forgets_what_has_expired);
	tcase_add_loop_test(tests, misses_what_is_acknowledged_and_not_told, 0, 2);
	tcase_add_test(tests, forgets_all_before_it_reads_again);
	tcase_add_test(tests, a_denial_is_not_one_environments_alone_in_a_new_session);
	tcase_add_test(tests, a_denial_may_be_about_one_environment);
	tcase_add_test(tests, a_denial_may_do_no_harm);
	tcase_add_test(tests, a_denial_may_end_the_session);
	suite_add_tcase(suite, tests);
	return suite;
}
