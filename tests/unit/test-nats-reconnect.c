/* SPDX-License-Identifier: BSD-3-Clause */
/* To which server the NATS bus connects when, what it says if it cannot, and lame duck mode. */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "nats-fixture.h"
#include "runner.h"

/* Begins the attempt that is due, and ends it. */
static void attempt(bool well)
{
	nats_bus_do_what_is_due(bus, bus->next_attempt_ms);
	fixture_connect_ends(well);
}

/* It fails; expects the next so much later. */
static void fail_and_pause(int64_t pause_ms)
{
	int64_t before_ms = clock_monotonic_ms();

	attempt(false);
	ck_assert_int_ge(bus->next_attempt_ms, before_ms + pause_ms);
	ck_assert_int_le(bus->next_attempt_ms, clock_monotonic_ms() + pause_ms);
}

/* ---- Servers and pauses ---- */

static const int64_t pauses_ms[] = {100, 200, 400, 800, 1600, 2000, 2000, 2000};

START_TEST(pauses_after_each_round)
{
	for (size_t i = 0; i < sizeof(pauses_ms) / sizeof(pauses_ms[0]); i++) {
		ck_assert_int_eq(bus->server, 0);
		fail_and_pause(0);
		ck_assert_int_eq(bus->server, 1);
		fail_and_pause(pauses_ms[i]);
	}
}
END_TEST

START_TEST(begins_anew_once_it_was_connected)
{
	for (int i = 0; i < 6; i++)
		attempt(false);
	fixture_come_up(0);
	fixture_about_session(NATS_MAIL_CLOSED, bus->session, "");
	ck_assert_int_le(bus->next_attempt_ms, clock_monotonic_ms()); /* at once */
	fail_and_pause(0);
	fail_and_pause(100);
}
END_TEST

START_TEST(none_before_it_is_due)
{
	bus->next_attempt_ms = 5000;
	ck_assert_int_eq(nats_bus_do_what_is_due(bus, 4999), 5000);
	ck_assert_uint_eq(made_up.n_begin, 0);
	nats_bus_do_what_is_due(bus, 5000);
	ck_assert_uint_eq(made_up.n_begin, 1);
	nats_bus_do_what_is_due(bus, 6000); /* nor another beside it */
	ck_assert_uint_eq(made_up.n_begin, 1);
}
END_TEST

START_TEST(gives_up_an_attempt_that_takes_too_long)
{
	nats_bus_do_what_is_due(bus, bus->next_attempt_ms);
	nats_bus_do_what_is_due(bus, bus->attempt_until_ms - 1);
	ck_assert_uint_eq(made_up.n_give_up, 0);
	bus->attempt_until_ms = 0; /* long ago */
	nats_bus_do_what_is_due(bus, 0);
	ck_assert_uint_eq(made_up.n_give_up, 1);
	ck_assert_str_eq(fixture_expect(BUS_DOWN).text,
		"cannot connect to NATS at one:4222, two:4222; one:4222: Timeout.");
	ck_assert_int_eq(bus->server, 1);
}
END_TEST

START_TEST(an_attempt_may_not_even_begin)
{
	made_up.begin = -ENOMEM;
	nats_bus_do_what_is_due(bus, bus->next_attempt_ms);
	ck_assert_str_eq(fixture_expect(BUS_DOWN).text,
		"cannot connect to NATS at one:4222, two:4222; one:4222: it does not even begin.");
	ck_assert_int_eq(bus->server, 1);
}
END_TEST

/* At the start what is published waits for the first attempt, and for no other. */
START_TEST(is_starting_during_the_first_attempt)
{
	ck_assert(!nats_bus_is_starting(bus));
	nats_bus_do_what_is_due(bus, bus->next_attempt_ms);
	ck_assert(nats_bus_is_starting(bus));
	fixture_connect_ends(false);
	ck_assert(!nats_bus_is_starting(bus));
	nats_bus_do_what_is_due(bus, bus->next_attempt_ms);
	ck_assert(!nats_bus_is_starting(bus));
}
END_TEST

/* ---- What it says ---- */

/* Where there are several servers, each may have a reason of its own; nobody is told a password,
 * and not everybody the names. */
START_TEST(says_why_it_cannot_connect)
{
	struct bus_event event;

	attempt(false);
	event = fixture_expect(BUS_DOWN);
	ck_assert_str_eq(event.text,
		"cannot connect to NATS at one:4222, two:4222; one:4222: it is made of paper.");
	ck_assert_str_eq(event.open_text, "cannot connect to NATS: it is made of paper.");
	attempt(false);
	event = fixture_expect(BUS_DOWN);
	ck_assert_str_eq(event.text,
		"cannot connect to NATS at one:4222, two:4222; two:4222: it is made of paper.");
	bus->n_servers = 1;
	bus->server = 0;
	attempt(false);
	event = fixture_expect(BUS_DOWN);
	ck_assert_str_eq(event.text, "cannot connect to NATS at one:4222: it is made of paper.");
	fixture_expect_no_event();
}
END_TEST

/* ---- A session that does not come about ---- */

#define DENIED "Permissions Violation for Publish to \"$JS.API.STREAM.INFO.environments-stream\""

/* The next server has its turn at once; after the round somebody has to grant it first. */
START_TEST(pauses_longer_where_something_is_denied)
{
	int64_t before_ms;

	made_up.get_stream = -ETIMEDOUT;
	made_up.denied = DENIED;
	attempt(true);
	ck_assert_ptr_null(bus->wire);
	ck_assert_int_le(bus->next_attempt_ms, clock_monotonic_ms());
	ck_assert_int_eq(bus->server, 1);
	before_ms = clock_monotonic_ms();
	attempt(true);
	ck_assert_int_ge(bus->next_attempt_ms, before_ms + NATS_DENIED_PAUSE_MS);
	/* And if it is only unreachable after that, it does not. */
	fail_and_pause(0);
	fail_and_pause(200);
}
END_TEST

START_TEST(pauses_as_for_an_attempt_that_fails)
{
	int64_t before_ms;

	made_up.get_stream = -EIO;
	attempt(true);
	ck_assert_int_eq(bus->server, 1);
	before_ms = clock_monotonic_ms();
	attempt(true);
	ck_assert_int_ge(bus->next_attempt_ms, before_ms + 100);
	ck_assert_int_le(bus->next_attempt_ms, clock_monotonic_ms() + 100);
	ck_assert_int_eq(bus->server, 0);
}
END_TEST

/* ---- Lame duck mode ---- */

static void set_up_lame_duck(void)
{
	fixture_set_up();
	fixture_come_up(0);
	ck_assert_int_eq(bus->server, 0);
	fixture_about_session(NATS_MAIL_LAME_DUCK, bus->session, "");
}

START_TEST(looks_for_another_server_at_once)
{
	ck_assert_int_eq(bus->server, 1);
	ck_assert_int_le(bus->next_attempt_ms, clock_monotonic_ms());
	nats_bus_do_what_is_due(bus, bus->next_attempt_ms);
	ck_assert_ptr_nonnull(bus->attempt);
	/* It may say so again. */
	fixture_about_session(NATS_MAIL_LAME_DUCK, bus->session, "");
	ck_assert_int_eq(bus->server, 1);
}
END_TEST

START_TEST(stays_until_another_is_found)
{
	const struct nats_wire *wire = bus->wire;

	for (int i = 0; i < 3; i++) {
		attempt(false);
		ck_assert_ptr_eq(bus->wire, wire);
	}
	fixture_expect_no_event();
	nats_publish(bus, fixture_publication("k", 0, 0));
	ck_assert_uint_eq(fixture_count_sent(), 1);
}
END_TEST

START_TEST(goes_over_when_another_is_found)
{
	struct publication *publication = fixture_publication("k", 0, 0);
	unsigned session = bus->session;

	nats_publish(bus, publication);
	attempt(true);
	ck_assert_uint_eq(made_up.n_wires, 1);
	ck_assert_uint_ne(bus->session, session);
	ck_assert(!bus->is_lame_duck);
	ck_assert(fixture_is_answered(publication));
	ck_assert_str_eq(
		publication->problem, "The NATS server is in lame duck mode. Another one is used.");
	ck_assert_str_eq(fixture_expect(BUS_DOWN).text, publication->problem);
	fixture_expect(BUS_SYNC_BEGIN);
	fixture_expect_no_event();
	/* What the old one's end posts is of no interest. */
	fixture_about_session(NATS_MAIL_CLOSED, session, "");
	ck_assert_ptr_nonnull(bus->wire);
	/* And no more is looked for. */
	nats_bus_do_what_is_due(bus, bus->next_attempt_ms);
	ck_assert_ptr_null(bus->attempt);
}
END_TEST

START_TEST(may_end_before_another_is_found)
{
	nats_bus_do_what_is_due(bus, bus->next_attempt_ms);
	fixture_about_session(NATS_MAIL_CLOSED, bus->session, "");
	ck_assert_str_eq(fixture_expect(BUS_DOWN).text, "The connection to NATS is lost.");
	ck_assert_ptr_nonnull(bus->attempt);
	fixture_connect_ends(true);
	fixture_expect(BUS_SYNC_BEGIN);
	fixture_expect_no_event();
}
END_TEST

static TCase *new_case(const char *name, void (*set_up)(void))
{
	TCase *tests = tcase_create(name);

	tcase_add_checked_fixture(tests, set_up, fixture_tear_down);
	return tests;
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("nats-reconnect");
	TCase *attempts = new_case("attempts", fixture_set_up);
	TCase *lame_duck = new_case("lame duck", set_up_lame_duck);

	tcase_add_test(attempts, pauses_after_each_round);
	tcase_add_test(attempts, begins_anew_once_it_was_connected);
	tcase_add_test(attempts, none_before_it_is_due);
	tcase_add_test(attempts, gives_up_an_attempt_that_takes_too_long);
	tcase_add_test(attempts, an_attempt_may_not_even_begin);
	tcase_add_test(attempts, is_starting_during_the_first_attempt);
	tcase_add_test(attempts, says_why_it_cannot_connect);
	tcase_add_test(attempts, pauses_longer_where_something_is_denied);
	tcase_add_test(attempts, pauses_as_for_an_attempt_that_fails);
	tcase_add_test(lame_duck, looks_for_another_server_at_once);
	tcase_add_test(lame_duck, stays_until_another_is_found);
	tcase_add_test(lame_duck, goes_over_when_another_is_found);
	tcase_add_test(lame_duck, may_end_before_another_is_found);
	suite_add_tcase(suite, attempts);
	suite_add_tcase(suite, lame_duck);
	return suite;
}
