/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys: what is one, as it stands and in a URL. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "update/key.h"

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define TEN         "0123456789"
#define HUNDRED     TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

/* clang-format off */
static const struct {
	const char *text;
	int result;
} keys[] = {
	{"a", 0},
	{"7", 0},
	{"-", 0},
	{"_", 0},
	{"AyZz09-_", 0},
	{"load_test", 0},
	{"4vfqhypYjcPoGGu8ByrBaj", 0},
	{HUNDRED, 0},
	{HUNDRED "x", -EINVAL},
	{HUNDRED HUNDRED, -EINVAL},
	{"", -EINVAL},
	{" ", -EINVAL},
	{" a", -EINVAL},
	{"a ", -EINVAL},
	{"a\n", -EINVAL},
	{"a.b", -EINVAL},
	{".", -EINVAL},
	{"..", -EINVAL},
	{"*", -EINVAL},
	{">", -EINVAL},
	{"a.*", -EINVAL},
	{"a.>", -EINVAL},
	{"$SYS", -EINVAL},
	{"a/b", -EINVAL},
	{"a%41", -EINVAL},
	{"a+b", -EINVAL},
	{"\xc3\xa4", -EINVAL},
	{"ser", 0},
	{"service", 0},
	{"SER.abc", -EINVAL},
	{"aser.abc", -EINVAL},
	{"ser.", -EPERM},
	{"ser.UtaeHRVeK", -EPERM},
	{"ser.a b", -EPERM},
	{"ser." HUNDRED HUNDRED, -EPERM},
};

static const struct {
	const char *segment;
	int result;
	const char *key;
} segments[] = {
	{"load_test", 0, "load_test"},
	{"%41", 0, "A"},
	{"%61%62c", 0, "abc"},
	{"a%2Db%5fc", 0, "a-b_c"},
	{"a%2db%5Fc", 0, "a-b_c"},
	{"%6c%6f%61%64", 0, "load"},
	{HUNDRED, 0, HUNDRED},
	{HUNDRED "x", -EINVAL, NULL},
	{HUNDRED "%41", -EINVAL, NULL},
	{HUNDRED "%", -EINVAL, NULL},
	{"%30123456789" TEN TEN TEN TEN TEN TEN TEN TEN "0123456789%39", -EINVAL, NULL},
	{"%30123456789" TEN TEN TEN TEN TEN TEN TEN TEN "012345678%39", 0,
		"0123456789" TEN TEN TEN TEN TEN TEN TEN TEN "0123456789"},
	{"", -EINVAL, NULL},
	{"%", -EINVAL, NULL},
	{"%4", -EINVAL, NULL},
	{"a%", -EINVAL, NULL},
	{"a%4", -EINVAL, NULL},
	{"%4g", -EINVAL, NULL},
	{"%g4", -EINVAL, NULL},
	{"%%41", -EINVAL, NULL},
	{"% 1", -EINVAL, NULL},
	{"%+1", -EINVAL, NULL},
	{"%0x41", -EINVAL, NULL},
	{"%00", -EINVAL, NULL},
	{"a%00", -EINVAL, NULL},
	{"a%00b", -EINVAL, NULL},
	{"a%0a", -EINVAL, NULL},
	{"a%0d%0ab", -EINVAL, NULL},
	{"%2e", -EINVAL, NULL},
	{"%2e%2e", -EINVAL, NULL},
	{"a%2Eb", -EINVAL, NULL},
	{"%2a", -EINVAL, NULL},
	{"%3E", -EINVAL, NULL},
	{"%20", -EINVAL, NULL},
	{"%7f", -EINVAL, NULL},
	{"%ff", -EINVAL, NULL},
	{"%c3%a4", -EINVAL, NULL},
	{"a%2fb", -EINVAL, NULL},
	{"%2541", -EINVAL, NULL}, /* decoded once, not twice */
	{"ser.abc", -EPERM, NULL},
	{"ser%2Eabc", -EPERM, NULL},
	{"%73%65%72%2e", -EPERM, NULL},
	{"ser.%zz", -EPERM, NULL},
	{"ser%2", -EINVAL, NULL},
};
/* clang-format on */

/* From memory of exactly that length, so that a sanitizer sees whoever reads beyond it. */
static int parse(int (*function)(const char *text, size_t length, struct key *ret),
	const char *text, size_t length, struct key *ret)
{
	char *copy = malloc(length > 0 ? length : 1);
	struct key untouched;
	int r;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, text, length);
	memset(ret, 'x', sizeof(*ret));
	memset(&untouched, 'x', sizeof(untouched));
	r = function(copy, length, ret);
	free(copy);
	if (r < 0)
		ck_assert_mem_eq(ret, &untouched, sizeof(untouched));
	return r;
}

START_TEST(test_keys)
{
	const char *text = keys[_i].text;
	struct key key;

	ck_assert_msg(
		parse(key_parse, text, strlen(text), &key) == keys[_i].result, "\"%s\"", text);
	if (keys[_i].result < 0)
		return;
	ck_assert_uint_eq(key.length, strlen(text));
	ck_assert_str_eq(key.text, text);
}
END_TEST

/* Each byte by itself. */
START_TEST(test_characters)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	struct key key;

	for (int c = 0; c < 256; c++) {
		char text[3] = {'a', (char)c, 'b'};
		bool is_allowed = c != '\0' && strchr(allowed, c);

		ck_assert_msg(parse(key_parse, text, 3, &key) == (is_allowed ? 0 : -EINVAL),
			"byte %d", c);
	}
}
END_TEST

START_TEST(test_segments)
{
	const char *segment = segments[_i].segment;
	struct key key;
	int r = parse(key_parse_segment, segment, strlen(segment), &key);

	ck_assert_msg(r == segments[_i].result, "\"%s\": %d", segment, r);
	if (r == 0)
		ck_assert_str_eq(key.text, segments[_i].key);
}
END_TEST

/* Keys are compared and copied as whole values: nothing of the stack may be in them. */
START_TEST(test_whole_value)
{
	struct key a, b;

	memset(&a, 0xaa, sizeof(a));
	memset(&b, 0x55, sizeof(b));
	ck_assert_int_eq(key_parse("abc", 3, &a), 0);
	ck_assert_int_eq(key_parse_segment("%61bc", 5, &b), 0);
	ck_assert_mem_eq(&a, &b, sizeof(a));
}
END_TEST

START_TEST(test_problems)
{
	ck_assert_ptr_nonnull(strstr(key_problem(-EPERM), "server-side"));
	ck_assert_ptr_nonnull(strstr(key_problem(-EINVAL), "1 to 100"));
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("key");
	TCase *cases = tcase_create("key");

	tcase_add_loop_test(cases, test_keys, 0, N_OF(keys));
	tcase_add_test(cases, test_characters);
	tcase_add_loop_test(cases, test_segments, 0, N_OF(segments));
	tcase_add_test(cases, test_whole_value);
	tcase_add_test(cases, test_problems);
	suite_add_tcase(all, cases);
	return all;
}
