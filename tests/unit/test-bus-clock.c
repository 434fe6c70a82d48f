/* SPDX-License-Identifier: BSD-3-Clause */
/* What the bus's messages tell of its clock. */
#include <check.h>

#include "base/clock.h"
#include "bus/bus-clock.h"
#include "runner.h"

#define WALL  (INT64_C(1700000000) * US_PER_S)
#define AHEAD (WALL - 1000 * US_PER_S)
#define S     US_PER_S

static struct bus_clock bus;

static void start(void)
{
	bus = (struct bus_clock){0};
}

START_TEST(nothing_told)
{
	ck_assert_int_eq(bus_clock_us(&bus, WALL, 1000 * S), WALL);
}
END_TEST

START_TEST(wall_is_behind)
{
	bus_clock_note(&bus, AHEAD + 1000 * S, 1000 * S);
	ck_assert_int_eq(bus_clock_us(&bus, WALL - 5 * S, 1000 * S), WALL);
	ck_assert_int_eq(bus_clock_us(&bus, WALL - 5 * S, 1010 * S), WALL + 10 * S);
}
END_TEST

START_TEST(wall_is_ahead)
{
	bus_clock_note(&bus, AHEAD + 1000 * S, 1000 * S);
	ck_assert_int_eq(bus_clock_us(&bus, WALL + 5 * S, 1000 * S), WALL);
	ck_assert_int_eq(bus_clock_us(&bus, WALL + 3600 * S, 1010 * S), WALL + 10 * S);
}
END_TEST

/* What the bus has told was late: a wall clock that is ahead by no more may be right. */
START_TEST(what_was_told_was_late)
{
	bus_clock_set(&bus, WALL, 1000 * S);
	ck_assert_int_eq(bus_clock_us(&bus, WALL + 10 * S + 500, 1010 * S), WALL + 10 * S + 500);
	ck_assert_int_eq(bus_clock_us(&bus, WALL + 12 * S, 1010 * S), WALL + 12 * S);
	ck_assert_int_eq(bus_clock_us(&bus, WALL + 12 * S + 1, 1010 * S), WALL + 10 * S);
	ck_assert_int_eq(bus_clock_us(&bus, WALL + 10 * S - 1, 1010 * S), WALL + 10 * S);
}
END_TEST

/* However long ago that was. */
START_TEST(it_goes_on_while_the_bus_is_away)
{
	bus_clock_set(&bus, WALL, 1000 * S);
	ck_assert_int_eq(bus_clock_us(&bus, 0, 90000 * S), WALL + 89000 * S);
}
END_TEST

START_TEST(the_promptest_counts)
{
	ck_assert(bus_clock_note(&bus, AHEAD + 1000 * S, 1003 * S));
	ck_assert(bus_clock_note(&bus, AHEAD + 1004 * S, 1004 * S));
	ck_assert(!bus_clock_note(&bus, AHEAD + 1005 * S, 1007 * S));
	ck_assert_int_eq(bus_clock_us(&bus, 0, 1010 * S), AHEAD + 1010 * S);
}
END_TEST

/* The bus's clock is set back by an hour. */
START_TEST(it_does_not_count_for_ever)
{
	int64_t back = AHEAD - 3600 * S;

	bus_clock_note(&bus, AHEAD + 1000 * S, 1000 * S);
	bus_clock_note(&bus, back + 1059 * S, 1059 * S);
	ck_assert_int_eq(bus_clock_us(&bus, 0, 1059 * S), AHEAD + 1059 * S);
	bus_clock_note(&bus, back + 1060 * S, 1060 * S);
	ck_assert_int_eq(bus_clock_us(&bus, 0, 1060 * S), back + 1060 * S);
}
END_TEST

/* What it says of itself counts at once, in either direction: it may be another server. */
START_TEST(its_own_word_counts)
{
	bus_clock_note(&bus, AHEAD + 1000 * S, 1000 * S);
	bus_clock_set(&bus, AHEAD - 90 * S + 1001 * S, 1001 * S);
	ck_assert_int_eq(bus_clock_us(&bus, 0, 1001 * S), AHEAD - 90 * S + 1001 * S);
	bus_clock_set(&bus, AHEAD + 1002 * S, 1002 * S);
	ck_assert_int_eq(bus_clock_us(&bus, 0, 1002 * S), AHEAD + 1002 * S);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tests = tcase_create("bus-clock");
	Suite *suite = suite_create("bus-clock");

	tcase_add_checked_fixture(tests, start, NULL);
	tcase_add_test(tests, nothing_told);
	tcase_add_test(tests, wall_is_behind);
	tcase_add_test(tests, wall_is_ahead);
	tcase_add_test(tests, what_was_told_was_late);
	tcase_add_test(tests, it_goes_on_while_the_bus_is_away);
	tcase_add_test(tests, the_promptest_counts);
	tcase_add_test(tests, it_does_not_count_for_ever);
	tcase_add_test(tests, its_own_word_counts);
	suite_add_tcase(suite, tests);
	return suite;
}
