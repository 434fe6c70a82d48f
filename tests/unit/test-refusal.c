/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a bus refuses all updates or some: each row of the table in refusal.h. */
#include <check.h>

#include "relay/refusal-state.h"
#include "runner.h"

enum event {
	REFUSED,
	REFUSED_ALONE,
	STORED,
	LOOK
};

/* Some time in the life of a machine; the last update was stored or refused so long before. */
#define NOW  INT64_C(1000000000)
#define LONG INT64_C(3600000)

static const struct {
	const char *what;
	enum refusal_state state;
	int64_t since_stored_ms, since_refused_ms;
	enum event event;
	size_t left;
	enum refusal_state expected;
} cases[] = {
	{"the first of all", REFUSAL_NONE, NOW, NOW, REFUSED, 1, REFUSAL_ALL},
	{"right after one was stored", REFUSAL_NONE, 0, LONG, REFUSED, 1, REFUSAL_ALL},
	{"for its own reason", REFUSAL_NONE, LONG, LONG, REFUSED_ALONE, 1, REFUSAL_SOME},
	{"nothing happens", REFUSAL_NONE, LONG, LONG, STORED, 0, REFUSAL_NONE},
	{"still nothing", REFUSAL_NONE, LONG, LONG, LOOK, 0, REFUSAL_NONE},

	{"others are stored", REFUSAL_SOME, 9999, 0, REFUSED, 2, REFUSAL_SOME},
	{"none is stored any more", REFUSAL_SOME, 10000, 0, REFUSED, 2, REFUSAL_ALL},
	{"none, but its own reason", REFUSAL_SOME, LONG, 0, REFUSED_ALONE, 2, REFUSAL_SOME},
	{"one of them is stored", REFUSAL_SOME, LONG, 0, STORED, 1, REFUSAL_SOME},
	{"the last of them is stored", REFUSAL_SOME, LONG, 0, STORED, 0, REFUSAL_NONE},
	{"they are there", REFUSAL_SOME, LONG, LONG, LOOK, 1, REFUSAL_SOME},
	{"they have become stale", REFUSAL_SOME, LONG, 0, LOOK, 0, REFUSAL_NONE},

	{"one more", REFUSAL_ALL, 0, 0, REFUSED, 2, REFUSAL_ALL},
	{"one more, for its own reason", REFUSAL_ALL, LONG, 0, REFUSED_ALONE, 2, REFUSAL_ALL},
	{"one is taken", REFUSAL_ALL, LONG, 0, STORED, 1, REFUSAL_SOME},
	{"the only one is taken", REFUSAL_ALL, LONG, 0, STORED, 0, REFUSAL_NONE},
	{"they wait", REFUSAL_ALL, LONG, LONG, LOOK, 1, REFUSAL_ALL},
	{"there is no outbox", REFUSAL_ALL, LONG, 29999, LOOK, 0, REFUSAL_ALL},
	{"and nobody tries", REFUSAL_ALL, LONG, 30000, LOOK, 0, REFUSAL_NONE},
};

START_TEST(next_state)
{
	struct refusal refusal = {.state = cases[_i].state,
		.stored_ms = NOW - cases[_i].since_stored_ms,
		.refused_ms = NOW - cases[_i].since_refused_ms};
	bool changed = false;

	switch (cases[_i].event) {
	case REFUSED:
	case REFUSED_ALONE:
		changed = refusal_refused(&refusal, cases[_i].event == REFUSED_ALONE, NOW);
		ck_assert_int_eq(refusal.refused_ms, NOW);
		break;
	case STORED:
		changed = refusal_stored(&refusal, cases[_i].left, NOW);
		ck_assert_int_eq(refusal.stored_ms, NOW);
		break;
	case LOOK:
		changed = refusal_look(&refusal, cases[_i].left, NOW);
		break;
	}
	ck_assert_msg(refusal.state == cases[_i].expected, "%s: state %d, not %d", cases[_i].what,
		refusal.state, cases[_i].expected);
	ck_assert_int_eq(changed, cases[_i].state != cases[_i].expected);
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	TCase *tests = tcase_create("refusal");
	Suite *suite = suite_create("refusal");

	tcase_add_loop_test(tests, next_state, 0, N_OF(cases));
	suite_add_tcase(suite, tests);
	return suite;
}
