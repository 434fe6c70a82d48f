/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a thread is alive, and ending one that is not. */
#include <check.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/pulse.h"
#include "base/thread.h"
#include "runner.h"

/* ---- The pulse ---- */

START_TEST(never_asked)
{
	struct pulse pulse = {0};

	ck_assert(pulse_is_answered(&pulse));
	ck_assert_int_eq(pulse_silence_ms(&pulse, 1000), 0);
}
END_TEST

START_TEST(asks_once_until_answered)
{
	struct pulse pulse = {0};

	ck_assert(pulse_ask(&pulse, 1000));
	ck_assert(!pulse_is_answered(&pulse));
	ck_assert_msg(!pulse_ask(&pulse, 6000), "the mail is under way still");
	ck_assert_int_eq(pulse_silence_ms(&pulse, 7000), 6000);
	pulse_answer(&pulse);
	ck_assert(pulse_is_answered(&pulse));
	ck_assert_int_eq(pulse_silence_ms(&pulse, 8000), 0);
}
END_TEST

START_TEST(silence_begins_anew)
{
	struct pulse pulse = {0};

	ck_assert(pulse_ask(&pulse, 1000));
	pulse_answer(&pulse);
	ck_assert(pulse_ask(&pulse, 9000));
	ck_assert_int_eq(pulse_silence_ms(&pulse, 9500), 500);
}
END_TEST

/* ---- Ending a thread ---- */

static sem_t returns;
static _Atomic pid_t waiting; /* the thread that runs the next function */

static void *wait_for_it(void *userdata)
{
	(void)userdata;
	atomic_store(&waiting, gettid());
	sem_wait(&returns);
	return NULL;
}

/* Until the thread that nobody can join any more is gone, by proc(5): one that still runs when the
 * process ends looks like lost memory to valgrind. */
static void wait_for_its_end(void)
{
	char task[64];

	snprintf(task, sizeof(task), "/proc/self/task/%d", (int)atomic_load(&waiting));
	while (access(task, F_OK) == 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

START_TEST(ends)
{
	pthread_t thread;

	sem_init(&returns, 0, 0);
	ck_assert_int_eq(thread_start(&thread, "test", wait_for_it, NULL), 0);
	sem_post(&returns);
	ck_assert(thread_end(thread, "test"));
	ck_assert_uint_eq(threads_left_behind(), 0);
}
END_TEST

START_TEST(is_left_behind)
{
	pthread_t thread;
	int64_t begun_ms = clock_monotonic_ms(), took_ms;

	sem_init(&returns, 0, 0);
	ck_assert_int_eq(thread_start(&thread, "test", wait_for_it, NULL), 0);
	ck_assert(!thread_end(thread, "test"));
	took_ms = clock_monotonic_ms() - begun_ms;
	ck_assert_int_ge(took_ms, THREAD_END_MS);
	ck_assert_int_lt(took_ms, 5 * THREAD_END_MS);
	ck_assert_uint_eq(threads_left_behind(), 1);
	sem_post(&returns);
	wait_for_its_end();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("pulse");
	TCase *tests = tcase_create("pulse");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, never_asked);
	tcase_add_test(tests, asks_once_until_answered);
	tcase_add_test(tests, silence_begins_anew);
	tcase_add_test(tests, ends);
	tcase_add_test(tests, is_left_behind);
	suite_add_tcase(suite, tests);
	return suite;
}
