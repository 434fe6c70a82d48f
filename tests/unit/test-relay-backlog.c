/* SPDX-License-Identifier: BSD-3-Clause */
/* What the outbox holds goes to the bus, in the order of its acceptance, until the bus has it. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "relay-fixture.h"
#include "runner.h"

static const struct relay_case cases[] = {
	/* What it held at the start: streams have it at once, the bus once it is up. */
	{"begin row:a=1 row:b=2 end", "streams a=1, streams b=2"},
	{"begin row:a=1 row:b=2 end up", "streams a=1, streams b=2, ready, bus a=1, bus b=2"},
	{"up begin row:a=1 end", "ready, streams a=1, bus a=1"},

	/* It is dropped once the bus has it, or one that makes it no news. */
	{"up begin row:a=1 end stored:a", "ready, streams a=1, bus a=1, drop a"},
	{"up begin row:a=1 end stale:a", "ready, streams a=1, bus a=1, drop a"},

	/* Not before; and the bus is not asked at once again. */
	{"up begin row:a=1 end unavailable:a", "ready, streams a=1, bus a=1"},
	{"up begin row:a=1 end unavailable:a wake stored:a",
		"ready, streams a=1, bus a=1, bus a=1, drop a"},
	{"up begin row:a=1 row:b=2 end unavailable:a stored:b wake",
		"ready, streams a=1, streams b=2, bus a=1, bus b=2, drop b, bus a=1"},
	{"begin row:a=1 end up unavailable:a down up",
		"streams a=1, ready, bus a=1, ready, bus a=1"},

	/* While it is on its way another takes its place. */
	{"begin row:a=1 end up publish:a=5 unavailable:a unavailable:a kept:a wake stored:a",
		"streams a=1, ready, bus a=1, bus a=5, outbox a=5, streams a=5, queued a, bus a=5, "
		"drop a"},

	{"begin row:a=1 end up publish:a=5 1s kept:a stored:a",
		"streams a=1, ready, bus a=1, bus a=5, outbox a=5, streams a=5, queued a, bus a=5"},
	{"begin row:a=1 end up publish:a=5 1s kept:a stored:a stored:a stored:a",
		"streams a=1, ready, bus a=1, bus a=5, outbox a=5, streams a=5, queued a, bus a=5, "
		"drop a"},

	/* Refused ones stand behind the others. */
	{"begin row:a=1 row:b=2 end up refused-one:a stored:b wake",
		"streams a=1, streams b=2, ready, bus a=1, bus b=2, drop b, bus a=1"},
	{"begin row:a=1 end up refused:a wake refused:a wake stored:a",
		"streams a=1, ready, bus a=1, bus a=1, bus a=1, drop a"},
	{"begin row:a=1 end up refused-one:a up", "streams a=1, ready, bus a=1"},
	{"begin row:a=1 end up refused-one:a down up",
		"streams a=1, ready, bus a=1, ready, bus a=1"},

	/* The outbox has lost its file: what it had is written again. */
	{"begin row:a=1 end outbox-up begin end", "streams a=1, outbox a=1"},
	{"begin row:a=1 end outbox-up stalls begin end answers outbox-up",
		"streams a=1, outbox a=1"},
	{"begin row:a=1 end outbox-up begin end failed:a outbox-down outbox-up",
		"streams a=1, outbox a=1, outbox a=1"},
	{"begin row:a=1 end outbox-up begin end kept:a outbox-down outbox-up",
		"streams a=1, outbox a=1"},

	/* A bus that hangs keeps what it has, and the next gets it, too. */
	{"begin row:a=1 end up left up", "streams a=1, ready, bus a=1, ready, bus a=1"},
	{"begin row:a=1 end up left stored:a up stored:a",
		"streams a=1, ready, bus a=1, ready, bus a=1, drop a"},

	/* The end: nothing more goes out. */
	{"begin row:a=1 end stop up", "streams a=1, ready"},
	{"begin row:a=1 end up stop unavailable:a wake", "streams a=1, ready, bus a=1"},

	/* No memory: it waits, and nothing after it comes first. */
	{"begin full row:a=1 row:b=2 end up room",
		"streams a=1, streams b=2, ready, bus a=1, bus b=2"},
};

START_TEST(test_case)
{
	relay_check(cases[_i].script, cases[_i].expected);
}
END_TEST

/* So many are with the bus at a time; the next one goes when one has arrived.  What a bus had that
 * was left behind does not count. */
START_TEST(test_many)
{
	enum {
		N = 300,
		AT_A_TIME = 256
	};
	static char script[N * 16], expected[N * 32];
	size_t at = 0, length = 0;

	at += (size_t)snprintf(script, sizeof(script), "begin");
	for (int i = 0; i < N; i++) {
		at += (size_t)snprintf(script + at, sizeof(script) - at, " row:e%d=%d", i, i);
		length += (size_t)snprintf(expected + length, sizeof(expected) - length,
			"%sstreams e%d=%d", i > 0 ? ", " : "", i, i);
	}
	snprintf(script + at, sizeof(script) - at, " end");
	relay_check(script, expected);

	length = (size_t)snprintf(expected, sizeof(expected), "ready");
	for (int i = 0; i < AT_A_TIME; i++)
		length += (size_t)snprintf(
			expected + length, sizeof(expected) - length, ", bus e%d=%d", i, i);
	relay_check("up", expected);
	relay_check("stored:e5", "drop e5, bus e256=256");

	length = (size_t)snprintf(expected, sizeof(expected), "ready");
	for (int i = 0; i <= AT_A_TIME; i++)
		if (i != 5)
			length += (size_t)snprintf(
				expected + length, sizeof(expected) - length, ", bus e%d=%d", i, i);
	relay_check("left up", expected);
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("relay-backlog");
	TCase *nats = tcase_create("backlog");

	tcase_add_checked_fixture(nats, relay_set_up, relay_tear_down);
	tcase_add_loop_test(nats, test_case, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(nats, test_many);
	suite_add_tcase(all, nats);
	return all;
}
