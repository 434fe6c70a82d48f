/* SPDX-License-Identifier: BSD-3-Clause */
/* Client profiles: the longest prefix wins. */
#include <check.h>

#include "hub/profile.h"
#include "runner.h"

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const struct profile fallback = {.max_age_ms = 1};

static const struct profile profiles[] = {
	{.user_agent = "Dart/", .accept = "a/json , b"},
	{.user_agent = "Faraday", .accept = ""},
	{.user_agent = "Faraday v2", .accept = ""},
	{.user_agent = "Fara", .accept = "a/"},
	{.user_agent = "", .accept = "only/this"},
};

static const struct {
	const struct profile *table;
	size_t n;
	const char *user_agent, *accept;
	const struct profile *expected;
} cases_of_find[] = {
	{profiles, 5, "Dart/3.1 (dart:io)", NULL, &profiles[0]},
	{profiles, 5, "Dart/", NULL, &profiles[0]}, {profiles, 5, "Dart", NULL, &fallback},
	{profiles, 5, "dart/3.1", NULL, &fallback}, {profiles, 5, "x Dart/3.1", NULL, &fallback},
	{profiles, 5, "Faraday v1.10.3", "", &profiles[1]},
	{profiles, 5, "Faraday v2.7.4", "x/y", &profiles[2]},
	{profiles, 5, "Farad", NULL, &profiles[3]}, {profiles, 5, "Far", NULL, &fallback},
	{profiles, 5, "", "", &fallback}, {profiles, 5, NULL, NULL, &fallback},
	{profiles, 0, "Dart/3.1", NULL, &fallback}, {NULL, 0, "Dart/3.1", NULL, &fallback},
	{profiles, 5, "Mozilla/5.0", "a/json , b", &profiles[0]},
	{profiles, 5, "Mozilla/5.0", "a/json , b;q=1", &profiles[0]},
	{profiles, 5, "Mozilla/5.0", "a/json, b", &profiles[3]}, /* the longest that fits */
	{profiles, 5, NULL, "only/this", &profiles[4]},
	{profiles, 5, "Mozilla/5.0", "only/", &fallback},
	{profiles, 5, "Faraday v1", "a/json , b", &profiles[1]}, /* the User-Agent counts first */
};
/* clang-format on */

START_TEST(test_find)
{
	ck_assert_ptr_eq(profile_find(cases_of_find[_i].table, cases_of_find[_i].n,
				 cases_of_find[_i].user_agent, cases_of_find[_i].accept, &fallback),
		cases_of_find[_i].expected);
}
END_TEST

START_TEST(test_no_fallback)
{
	ck_assert_ptr_null(profile_find(profiles, 5, "curl/8", "*/*", NULL));
	ck_assert_ptr_eq(profile_find(profiles, 5, "Dart/3", NULL, NULL), &profiles[0]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("profile");
	TCase *cases = tcase_create("profile");

	tcase_add_loop_test(cases, test_find, 0, N_OF(cases_of_find));
	tcase_add_test(cases, test_no_fallback);
	suite_add_tcase(all, cases);
	return all;
}
