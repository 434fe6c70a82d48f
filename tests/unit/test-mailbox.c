/* SPDX-License-Identifier: BSD-3-Clause */
/* Mailboxes: order, the descriptor, and many threads that post. */
#include <check.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mailbox.h"
#include "runner.h"

#define N_THREADS 4
#define N_LETTERS 5000

struct letter {
	struct mail mail;
	int sender;
	int number;
};

static struct mailbox mailbox;

static void set_up(void)
{
	ck_assert_int_eq(mailbox_init(&mailbox), 0);
}

static void tear_down(void)
{
	mailbox_deinit(&mailbox);
}

static bool is_readable(int timeout_ms)
{
	struct pollfd pollfd = {.fd = mailbox_fd(&mailbox), .events = POLLIN};
	int n = poll(&pollfd, 1, timeout_ms);

	ck_assert_int_ge(n, 0);
	return n == 1;
}

START_TEST(test_empty)
{
	struct mail_list list;

	ck_assert(!is_readable(0));
	mailbox_take(&mailbox, &list);
	ck_assert(STAILQ_EMPTY(&list));
	ck_assert(!is_readable(0));
}
END_TEST

START_TEST(test_order)
{
	struct letter letters[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
	struct mail_list list;
	struct mail *mail;
	int n = 0;

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++)
			mailbox_post(&mailbox, &letters[i].mail);
		ck_assert(is_readable(0));
		mailbox_take(&mailbox, &list);
		ck_assert(!is_readable(0));
		STAILQ_FOREACH (mail, &list, link)
			ck_assert_int_eq(container_of(mail, struct letter, mail)->number, n++ % 3);
		ck_assert_int_eq(n, 3 * (round + 1));
	}
}
END_TEST

/* What is posted after a take waits for the next one. */
START_TEST(test_separate)
{
	struct letter first = {.number = 1}, second = {.number = 2};
	struct mail_list list, later;

	mailbox_post(&mailbox, &first.mail);
	mailbox_take(&mailbox, &list);
	mailbox_post(&mailbox, &second.mail);
	ck_assert_ptr_eq(STAILQ_FIRST(&list), &first.mail);
	ck_assert_ptr_null(STAILQ_NEXT(&first.mail, link));
	ck_assert(is_readable(0));
	mailbox_take(&mailbox, &later);
	ck_assert_ptr_eq(STAILQ_FIRST(&later), &second.mail);
}
END_TEST

/* The counter of the descriptor is 1, however much there is: only the first of them wrote it. */
START_TEST(test_one_write)
{
	struct letter letters[3];
	uint64_t count;

	for (int i = 0; i < 3; i++)
		mailbox_post(&mailbox, &letters[i].mail);
	ck_assert_int_eq(read(mailbox_fd(&mailbox), &count, sizeof(count)), sizeof(count));
	ck_assert_uint_eq(count, 1);
}
END_TEST

static void *post_letters(void *userdata)
{
	struct letter *letters = userdata;

	for (int i = 0; i < N_LETTERS; i++)
		mailbox_post(&mailbox, &letters[i].mail);
	return NULL;
}

/* All arrive, each sender's in their order, and the reader never misses that there is mail. */
START_TEST(test_threads)
{
	struct letter *letters = calloc(N_THREADS * N_LETTERS, sizeof(*letters));
	int next[N_THREADS] = {0};
	pthread_t threads[N_THREADS];
	int n = 0;

	ck_assert_ptr_nonnull(letters);
	for (int i = 0; i < N_THREADS * N_LETTERS; i++) {
		letters[i].sender = i / N_LETTERS;
		letters[i].number = i % N_LETTERS;
	}
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, post_letters,
					 letters + (size_t)i * N_LETTERS),
			0);

	while (n < N_THREADS * N_LETTERS) {
		struct mail_list list;
		struct mail *mail;

		ck_assert_msg(is_readable(10000), "mail that the descriptor does not tell of");
		mailbox_take(&mailbox, &list);
		ck_assert_msg(!STAILQ_EMPTY(&list), "woken for nothing");
		STAILQ_FOREACH (mail, &list, link) {
			struct letter *letter = container_of(mail, struct letter, mail);

			ck_assert_int_eq(letter->number, next[letter->sender]++);
			n++;
		}
	}

	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert(!is_readable(0));
	free(letters);
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("mailbox");
	TCase *cases = tcase_create("mailbox");

	tcase_add_checked_fixture(cases, set_up, tear_down);
	tcase_add_test(cases, test_empty);
	tcase_add_test(cases, test_order);
	tcase_add_test(cases, test_separate);
	tcase_add_test(cases, test_one_write);
	tcase_add_test(cases, test_threads);
	suite_add_tcase(all, cases);
	return all;
}
