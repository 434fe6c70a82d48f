/* SPDX-License-Identifier: BSD-3-Clause */
/* What the bus tells goes to the streams, if it is new; what it has lost is written back. */
#include <check.h>

#include "base/clock.h"
#include "relay-fixture.h"
#include "runner.h"

static const struct relay_case cases[] = {
	/* New ones only. */
	{"up update:a=1", "ready, streams a=1"},
	{"up update:a=1 update:a=1", "ready, streams a=1"},
	{"up update:a=1 update:a=2 update:b=1", "ready, streams a=1, streams a=2, streams b=1"},

	/* Stored after ours under a time that is not above it: published again, above ours. */
	{"up update:a=5 update:a=1", "ready, streams a=5, bus a=6"},

	/* Stored before ours, which the bus does not have: ours is written back. */
	{"up update:a=5 old:a=1", "ready, streams a=5, bus a=5"},

	/* The first sync. */
	{"sync update:a=1 update:b=2 synced up", "streams a=1, streams b=2, ready"},
	/* A later one that lacks what is known. */
	{"sync update:a=1 synced up down sync synced up", "streams a=1, ready, ready"},
	{"up sync update:a=1 synced sync synced", "ready, streams a=1, bus a=1"},
	{"up sync update:a=1 synced sync update:a=2 synced", "ready, streams a=1, streams a=2"},
	/* What is in the outbox goes from there. */
	{"begin row:a=1 end sync synced up", "streams a=1, ready, bus a=1"},
	{"begin row:a=1 end up sync synced", "streams a=1, ready, bus a=1"},

	/* Acknowledged, and gone before it was told. */
	{"up sync lost:a=1 synced", "ready, streams a=1, bus a=1"},
	{"up update:a=5 sync lost:a=1 synced", "ready, streams a=5, bus a=6, bus a=5"},
	{"up update:a=5 sync lost-early:a=1 synced", "ready, streams a=5, bus a=5"},
	/* Another node has written back the one before meanwhile: that was stored later. */
	{"up update:a=1 sync again:a=1 lost:a=2 synced",
		"ready, streams a=1, streams a=2, bus a=2"},
	/* Accepted before the latest, by clocks that may differ; but no stream has a time above it.
	 */
	{"up update:a=1 sync again:a=1 lost-early:a=2 synced", "ready, streams a=1, bus a=2"},

	/* Twice the same state is no news. */
	{"up up", "ready"},
	{"up down down up", "ready, ready"},

	/* No memory: it waits, and so does what comes after it. */
	{"up full update:a=1 update:b=2 room", "ready, streams a=1, streams b=2"},
	{"full update:a=1 up room", "streams a=1, ready"},

	/* Of a bus that was left behind nothing counts. */
	{"up left update:a=1", "ready, streams a=1"},
	{"up left up update:a=1", "ready, ready, streams a=1"},

	/* What the bus had told when it was ended still counts. */
	{"update:a=1 end-bus", "streams a=1"},
};

START_TEST(test_case)
{
	relay_check(cases[_i].script, cases[_i].expected);
}
END_TEST

/* The time that the hub gets is when the bus told the update, not when the relay got round to it.
 */
START_TEST(test_told_us)
{
	int64_t before_us = clock_monotonic_us(), after_us;

	relay_check("full up update:a=1", "ready");
	after_us = clock_monotonic_us();
	relay_check("room", "streams a=1");
	ck_assert_int_ge(relay_told_us, before_us);
	ck_assert_int_le(relay_told_us, after_us);
	ck_assert_int_ne(relay_told_us, HUB_UNTIMED);
	relay_check("down publish:b=1 kept:b", "outbox b=1, streams b=1, queued b");
	ck_assert_int_ge(relay_told_us, after_us);
}
END_TEST

START_TEST(test_problems)
{
	ck_assert_str_eq(relay_problem(relay, RELAY_FOR_ALL),
		"The bus is being connected to; try again. Updates are kept in the outbox, which "
		"holds 0 updates.");
	relay_check("down", "");
	ck_assert_str_eq(relay_problem(relay, RELAY_FOR_OPERATORS),
		"It is away. Updates are kept in the outbox, which holds 0 updates.");
	relay_check("outbox-down", "");
	ck_assert_str_eq(relay_problem(relay, RELAY_FOR_ALL),
		"It is away. There is no outbox either: Its disk is full.");
	ck_assert(!relay_keeps_updates(relay));
	relay_check("up", "ready");
	ck_assert_ptr_null(relay_problem(relay, RELAY_FOR_ALL));
	ck_assert_str_eq(relay_warning(relay), "There is no outbox: Its disk is full.");
	relay_check("outbox-up", "");
	ck_assert_ptr_null(relay_warning(relay));
	relay_check("stalls", "");
	ck_assert_str_eq(relay_warning(relay), "There is no outbox: Its disk does not answer.");
	relay_check("answers fault", "");
	ck_assert_str_eq(relay_problem(relay, RELAY_FOR_ALL),
		"It acknowledges nothing. Updates are kept in the outbox, which holds 0 updates.");
	ck_assert(relay_bus_refuses_all(relay));
	relay_check("well publish:a=1 refused-one:a kept:a", "bus a=1, outbox a=1, streams a=1, "
							     "queued a");
	ck_assert_ptr_null(relay_problem(relay, RELAY_FOR_ALL));
	ck_assert_str_eq(
		relay_warning(relay), "NATS refuses the updates of 1 environment, a the last: no.");
	relay_check("publish:b=1 refused:b kept:b", "bus b=1, outbox b=1, streams b=1, queued b");
	ck_assert_str_eq(relay_problem(relay, RELAY_FOR_ALL),
		"NATS refuses every update: no. Updates are kept in the outbox, which holds 2 "
		"updates.");
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("relay-intake");
	TCase *nats = tcase_create("intake");

	tcase_add_checked_fixture(nats, relay_set_up, relay_tear_down);
	tcase_add_loop_test(nats, test_case, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(nats, test_told_us);
	tcase_add_test(nats, test_problems);
	suite_add_tcase(all, nats);
	return all;
}
