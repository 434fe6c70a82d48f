/* SPDX-License-Identifier: BSD-3-Clause */
/* A table holds what is put into it, and is as large as that, whatever the keys are. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../jenkins.h"
#include "base/table.h"
#include "runner.h"

#define BUCKETS_MIN 16

/* Instead of the C library's: fails on demand. */
static bool no_memory;

void *reallocarray(void *memory, size_t n, size_t size)
{
	if (no_memory) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(memory, n * size);
}

struct item {
	int number; /* so that the node is not the first member */
	struct table_node node;
	char key[24];
};

static struct item *item_new(const char *key)
{
	struct item *item = calloc(1, sizeof(*item));

	ck_assert_ptr_nonnull(item);
	snprintf(item->key, sizeof(item->key), "%s", key);
	return item;
}

static struct item *find(const struct table *table, const char *key)
{
	return TABLE_ITEM(table_find(table, key, strlen(key)), struct item, node);
}

static struct item *add(struct table *table, const char *key)
{
	struct item *item = item_new(key);

	ck_assert_ptr_null(find(table, key));
	ck_assert_int_eq(table_add(table, &item->node, item->key, strlen(item->key)), 0);
	return item;
}

static void drop(struct table *table, struct item *item)
{
	table_remove(table, &item->node);
	free(item);
}

static void drop_all(struct table *table)
{
	struct item *item, *next;

	TABLE_FOREACH (item, next, table, node)
		drop(table, item);
	ck_assert_uint_eq(table_count(table), 0);
	ck_assert_ptr_null(table->buckets);
}

/* The longest chain, after a look at the whole table. */
static size_t check(const struct table *table)
{
	size_t n = table_count(table), found = 0, longest = 0;

	if (n == 0) {
		ck_assert_ptr_null(table->buckets);
		return 0;
	}
	ck_assert_uint_eq(table->n_buckets, n > BUCKETS_MIN ? n : BUCKETS_MIN);
	ck_assert_uint_le(table->n_buckets, table->capacity);
	ck_assert(table->capacity == BUCKETS_MIN || table->capacity < 4 * table->n_buckets);
	for (size_t i = 0; i < table->n_buckets; i++) {
		size_t length = 0;

		for (struct table_node *node = table->buckets[i]; node; node = node->next) {
			ck_assert_ptr_eq(table_find(table, node->key, node->length), node);
			length++;
		}
		found += length;
		longest = length > longest ? length : longest;
	}
	ck_assert_uint_eq(found, n);
	return longest;
}

static const char *number_key(unsigned number)
{
	static char key[24];

	snprintf(key, sizeof(key), "env-%u", number);
	return key;
}

START_TEST(finds_what_was_added)
{
	struct table table;
	struct item *a, *ab;

	table_init(&table);
	ck_assert_ptr_null(find(&table, "a"));
	a = add(&table, "a");
	ab = add(&table, "ab");
	ck_assert_ptr_eq(find(&table, "a"), a);
	ck_assert_ptr_eq(find(&table, "ab"), ab);
	ck_assert_ptr_null(find(&table, "A"));
	ck_assert_ptr_null(find(&table, "abc"));
	ck_assert_ptr_null(find(&table, ""));
	ck_assert_uint_eq(a->node.hash, table_hash("a", 1));
	drop(&table, a);
	ck_assert_ptr_null(find(&table, "a"));
	ck_assert_ptr_eq(find(&table, "ab"), ab);
	ck_assert_uint_eq(table_count(&table), 1);
	drop_all(&table);
}
END_TEST

/* Up and down, many times, with a look at all of it at each step. */
START_TEST(follows_the_number_of_items)
{
	static const unsigned turns[] = {1, 16, 15, 17, 0, 100, 30, 33, 31, 300, 7, 64, 65, 16, 0};
	struct table table;
	unsigned first = 0, end = 0; /* those from first to before end are there */

	table_init(&table);
	for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
		for (; end - first < turns[i]; end++, check(&table))
			add(&table, number_key(end));
		for (; end - first > turns[i]; first++, check(&table))
			drop(&table, find(&table, number_key(first)));
		for (unsigned number = 0; number < end; number++)
			ck_assert((number >= first) == !!find(&table, number_key(number)));
	}
}
END_TEST

START_TEST(keeps_the_order_of_adding)
{
	struct item *item, *next;
	struct table table;
	unsigned expected = 0, n = 0;

	table_init(&table);
	for (unsigned number = 0; number < 100; number++)
		add(&table, number_key(number))->number = (int)number;
	/* Removing meanwhile is allowed. */
	TABLE_FOREACH (item, next, &table, node) {
		ck_assert_int_eq(item->number, (int)expected++);
		if (item->number % 2 == 0)
			drop(&table, item);
	}
	ck_assert_uint_eq(expected, 100);
	add(&table, number_key(0))->number = 101;
	TABLE_FOREACH (item, next, &table, node)
		ck_assert_int_eq(item->number, (int)(2 * n++ + 1));
	ck_assert_uint_eq(n, 51);
	drop_all(&table);
}
END_TEST

/* Not one table in a million has more in one bucket, by a good hash. */
#define LONGEST 14

/* In a table by their own hash all of them were in one chain. */
START_TEST(does_not_care_for_keys_that_collide_elsewhere)
{
	char key[JENKINS_KEY_LENGTH + 1];
	uint32_t number = 0;
	struct table table;

	table_init(&table);
	for (unsigned i = 0; i < 1000; i++) {
		jenkins_next_colliding(11, &number, key);
		ck_assert_uint_eq(jenkins_hash(key) % 2048, 0);
		add(&table, key);
	}
	ck_assert_uint_le(check(&table), LONGEST);
	drop_all(&table);
}
END_TEST

/* Even with the secret known, a long chain does not make more buckets. */
START_TEST(has_no_more_buckets_for_a_long_chain)
{
	struct siphash_key secret = {{0}};
	struct table table;
	size_t longest = 0;

	table_set_secret(&secret);
	table_init(&table);
	for (unsigned number = 0; table_count(&table) < 100; number++)
		if (table_hash(number_key(number), strlen(number_key(number))) % 128 == 0)
			add(&table, number_key(number));
	longest = check(&table);
	ck_assert_uint_eq(table.n_buckets, 100);
	ck_assert_uint_eq(longest, 100);
	drop_all(&table);
}
END_TEST

static void list_buckets(uint8_t secret_byte, size_t ret[], size_t n)
{
	struct siphash_key secret = {{secret_byte}};

	table_set_secret(&secret);
	for (unsigned i = 0; i < n; i++)
		ret[i] = table_hash(number_key(i), strlen(number_key(i))) % n;
}

START_TEST(another_secret_makes_another_order)
{
	size_t one[64], two[64], again[64];

	list_buckets(1, one, 64);
	list_buckets(2, two, 64);
	list_buckets(1, again, 64);
	ck_assert_mem_eq(one, again, sizeof(one));
	ck_assert_mem_ne(one, two, sizeof(one));
}
END_TEST

/* The one that is there from the start is not the one of an array never written to. */
START_TEST(has_a_secret)
{
	struct siphash_key none = {{0}};
	struct table table;

	table_init(&table);
	ck_assert_uint_ne(table_hash("env", 3), (uint32_t)siphash(&none, "env", 3));
}
END_TEST

START_TEST(nothing_happens_without_memory)
{
	struct item *item = item_new("late");
	struct table table;

	table_init(&table);
	no_memory = true;
	ck_assert_int_eq(table_add(&table, &item->node, item->key, 4), -ENOMEM);
	no_memory = false;
	check(&table);
	for (unsigned number = 0; number < BUCKETS_MIN; number++)
		add(&table, number_key(number));
	no_memory = true;
	ck_assert_int_eq(table_add(&table, &item->node, item->key, 4), -ENOMEM);
	ck_assert_ptr_null(find(&table, "late"));
	ck_assert_uint_eq(table_count(&table), BUCKETS_MIN);
	check(&table);
	no_memory = false;
	ck_assert_int_eq(table_add(&table, &item->node, item->key, 4), 0);
	check(&table);
	/* Removing needs none. */
	for (unsigned number = BUCKETS_MIN; number < 100; number++)
		add(&table, number_key(number));
	no_memory = true;
	drop_all(&table);
	no_memory = false;
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("table");
	TCase *tests = tcase_create("table");

	/* First, as others choose one. */
	tcase_add_test(tests, has_a_secret);
	tcase_add_test(tests, does_not_care_for_keys_that_collide_elsewhere);
	tcase_add_test(tests, finds_what_was_added);
	tcase_add_test(tests, follows_the_number_of_items);
	tcase_add_test(tests, keeps_the_order_of_adding);
	tcase_add_test(tests, has_no_more_buckets_for_a_long_chain);
	tcase_add_test(tests, another_secret_makes_another_order);
	tcase_add_test(tests, nothing_happens_without_memory);
	suite_add_tcase(suite, tests);
	return suite;
}
