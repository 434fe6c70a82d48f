/* SPDX-License-Identifier: BSD-3-Clause */
/* Mail that has piled up is read in slices, in order. */
#include <check.h>
#include <stdlib.h>

#include "bus/nats/nats-internal.h"
#include "runner.h"

#define N_LETTERS (4 * NATS_SLICE + 1)

static struct nats_bus *bus;
static struct mail letters[N_LETTERS];
static size_t n_read;

static void set_up(void)
{
	bus = calloc(1, sizeof(*bus));
	ck_assert_int_eq(nats_inlet_init(&bus->messages), 0);
	n_read = 0;
}

static void tear_down(void)
{
	nats_inlet_deinit(&bus->messages);
	free(bus);
}

static void post(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		mailbox_post(&bus->messages.mailbox, &letters[i]);
}

static void on_mail(struct nats_bus *reader, struct mail *mail)
{
	ck_assert_ptr_eq(reader, bus);
	ck_assert_ptr_eq(mail, &letters[n_read]);
	n_read++;
}

static bool read_slice(void)
{
	return nats_mail_read(bus, &bus->messages, on_mail);
}

START_TEST(nothing)
{
	ck_assert(!read_slice());
	ck_assert_uint_eq(n_read, 0);
}
END_TEST

START_TEST(exactly_one_slice)
{
	post(0, NATS_SLICE);
	ck_assert(!read_slice());
	ck_assert_uint_eq(n_read, NATS_SLICE);
}
END_TEST

START_TEST(a_pile)
{
	post(0, N_LETTERS);
	for (size_t i = 1; i <= 4; i++) {
		ck_assert(read_slice());
		ck_assert_uint_eq(n_read, i * NATS_SLICE);
	}
	ck_assert(!read_slice());
	ck_assert_uint_eq(n_read, N_LETTERS);
}
END_TEST

START_TEST(what_comes_meanwhile_stands_behind)
{
	post(0, 2 * NATS_SLICE);
	ck_assert(read_slice());
	post(2 * NATS_SLICE, N_LETTERS);
	while (read_slice())
		;
	ck_assert_uint_eq(n_read, N_LETTERS);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tests = tcase_create("nats-mail");
	Suite *suite = suite_create("nats-mail");

	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, nothing);
	tcase_add_test(tests, exactly_one_slice);
	tcase_add_test(tests, a_pile);
	tcase_add_test(tests, what_comes_meanwhile_stands_behind);
	suite_add_tcase(suite, tests);
	return suite;
}
