/* SPDX-License-Identifier: BSD-3-Clause */
/* Client profiles: the longest prefix wins. */
#include <check.h>
#include <stdlib.h>

#include "hub/profile.h"

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const struct profile fallback = {.max_age_ms = 1};

static const struct profile profiles[] = {
	{.user_agent = "Dart/"},
	{.user_agent = "Faraday"},
	{.user_agent = "Faraday v2"},
	{.user_agent = "Fara"},
};

static const struct profile with_any[] = {
	{.user_agent = ""},
	{.user_agent = "Dart/"},
};

/* clang-format off */
static const struct {
	const struct profile *table;
	size_t n;
	const char *user_agent;
	const struct profile *expected;
} cases_of_find[] = {
	{profiles, 4, "Dart/3.1 (dart:io)", &profiles[0]},
	{profiles, 4, "Dart/", &profiles[0]},
	{profiles, 4, "Dart", &fallback},
	{profiles, 4, "dart/3.1", &fallback},
	{profiles, 4, "x Dart/3.1", &fallback},
	{profiles, 4, "Faraday v1.10.3", &profiles[1]},
	{profiles, 4, "Faraday v2.7.4", &profiles[2]},
	{profiles, 4, "Farad", &profiles[3]},
	{profiles, 4, "Far", &fallback},
	{profiles, 4, "", &fallback},
	{profiles, 4, NULL, &fallback},
	{profiles, 0, "Dart/3.1", &fallback},
	{NULL, 0, "Dart/3.1", &fallback},
	{with_any, 2, "Dart/3.1", &with_any[1]},
	{with_any, 2, "curl/8", &with_any[0]},
	{with_any, 2, "", &with_any[0]},
	{with_any, 2, NULL, &with_any[0]},
};
/* clang-format on */

START_TEST(test_find)
{
	ck_assert_ptr_eq(profile_find(cases_of_find[_i].table, cases_of_find[_i].n,
				 cases_of_find[_i].user_agent, &fallback),
		cases_of_find[_i].expected);
}
END_TEST

START_TEST(test_no_fallback)
{
	ck_assert_ptr_null(profile_find(profiles, 4, "curl/8", NULL));
	ck_assert_ptr_eq(profile_find(profiles, 4, "Dart/3", NULL), &profiles[0]);
	ck_assert_ptr_eq(profile_find(with_any, 2, "curl/8", NULL), &with_any[0]);
}
END_TEST

int main(void)
{
	Suite *all = suite_create("profile");
	TCase *cases = tcase_create("profile");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(cases, test_find, 0, N_OF(cases_of_find));
	tcase_add_test(cases, test_no_fallback);
	suite_add_tcase(all, cases);
	runner = srunner_create(all);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
