/* SPDX-License-Identifier: BSD-3-Clause */
/* How long requests may take, and how often all is read again. */
#include <check.h>

#include "bus/nats/patience.h"
#include "runner.h"

#define MAX_MS 60000

START_TEST(grows_up_to_its_bound)
{
	static const int64_t expected[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
	struct nats_patience patience = {.max_ms = MAX_MS};

	for (int i = 0; i < (int)(sizeof(expected) / sizeof(expected[0])); i++) {
		ck_assert_int_eq(nats_patience_ms(&patience), expected[i]);
		nats_patience_lost(&patience);
	}
}
END_TEST

/* After an answer that took so long, the next may take so long. */
static const struct {
	int64_t took_ms, wait_ms;
} answers[] = {{0, 1000}, {1, 1000}, {250, 1000}, {300, 1200}, {1500, 6000}, {15000, 60000},
	{59999, 60000}, {1000000, 60000}};

START_TEST(learns_from_answers)
{
	struct nats_patience patience = {.max_ms = MAX_MS};

	nats_patience_lost(&patience);
	nats_patience_lost(&patience);
	nats_patience_rewarded(&patience, answers[_i].took_ms);
	ck_assert_int_eq(nats_patience_ms(&patience), answers[_i].wait_ms);
	nats_patience_rewarded(&patience, 0);
	ck_assert_int_eq(nats_patience_ms(&patience), 1000);
}
END_TEST

#define BEGIN INT64_C(500000)

START_TEST(first_is_at_once)
{
	struct nats_reread reread = {0};

	ck_assert_int_eq(nats_reread_due_ms(&reread), INT64_MAX);
	ck_assert(nats_reread_begin(&reread, 1));
	ck_assert_int_eq(nats_reread_due_ms(&reread), INT64_MAX);
}
END_TEST

/* Asked for all the time: how many there are in an hour. */
START_TEST(less_and_less_often)
{
	struct nats_reread reread = {0};
	int64_t last = 0, least = 0;
	int n = 0;

	for (int64_t now = BEGIN; now < BEGIN + 3600000; now += 100) {
		if (!nats_reread_begin(&reread, now)) {
			ck_assert_int_gt(nats_reread_due_ms(&reread), now);
			ck_assert_int_le(nats_reread_due_ms(&reread), now + 60000);
			continue;
		}
		ck_assert_int_eq(nats_reread_due_ms(&reread), INT64_MAX);
		ck_assert_int_ge(now - last, least);
		least = n > 0 && least < 32000 ? now - last : least;
		last = now;
		n++;
	}
	ck_assert_int_ge(n, 60);
	ck_assert_int_le(n, 70);
}
END_TEST

START_TEST(at_once_again_after_a_quiet_time)
{
	struct nats_reread reread = {0};
	int64_t now = BEGIN;

	for (int i = 0; i < 20; i++, now += 60000)
		nats_reread_begin(&reread, now);
	ck_assert(!nats_reread_begin(&reread, now - 50000));
	ck_assert(nats_reread_begin(&reread, now + 120000));
	ck_assert(!nats_reread_begin(&reread, now + 120999));
	ck_assert(nats_reread_begin(&reread, now + 121000));
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	TCase *tests = tcase_create("nats-patience");
	Suite *suite = suite_create("nats-patience");

	tcase_add_test(tests, grows_up_to_its_bound);
	tcase_add_loop_test(tests, learns_from_answers, 0, N_OF(answers));
	tcase_add_test(tests, first_is_at_once);
	tcase_add_test(tests, less_and_less_often);
	tcase_add_test(tests, at_once_again_after_a_quiet_time);
	suite_add_tcase(suite, tests);
	return suite;
}
