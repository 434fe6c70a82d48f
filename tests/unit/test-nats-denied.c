/* SPDX-License-Identifier: BSD-3-Clause */
/* What NATS says of its permissions, in its own words. */
#include <check.h>
#include <string.h>

#include "bus/nats/nats-internal.h"
#include "runner.h"

#define PUBLISH   "Permissions Violation for Publish to "
#define SUBSCRIBE "Permissions Violation for Subscription to "

static const struct {
	const char *text;
	enum nats_denied what;
	const char *key, *told;
} cases[] = {
	{PUBLISH "\"flagsmith.environment.env-1\"", NATS_DENIED_ENVIRONMENT, "env-1",
		PUBLISH "\"flagsmith.environment.env-1\"; grant publish "
			"\"flagsmith.environment.*\", see flagsse(8)"},
	/* Without the last mark, if it was cut short. */
	{PUBLISH "\"flagsmith.environment.env-1", NATS_DENIED_ENVIRONMENT, "env-1",
		"; grant publish \"flagsmith.environment.*\""},
	{PUBLISH "\"flagsmith.environment.no.key\"", NATS_DENIED_OTHER, "", "grant publish"},
	{PUBLISH "\"$JS.API.STREAM.INFO.environments-stream\"", NATS_DENIED_REQUEST, "",
		"grant publish \"$JS.API.STREAM.INFO.environments-stream\""},
	{PUBLISH "\"$JS.API.STREAM.CREATE.environments-stream\"", NATS_DENIED_REQUEST, "",
		"grant publish \"$JS.API.STREAM.CREATE.environments-stream\""},
	{PUBLISH "\"$JS.API.CONSUMER.CREATE.environments-stream\"", NATS_DENIED_REQUEST, "",
		"grant publish \"$JS.API.CONSUMER.CREATE.environments-stream\""},
	/* What is another each time is told as what is to be granted. */
	{PUBLISH "\"$JS.API.CONSUMER.INFO.environments-stream.Yv3kQ1aB\"", NATS_DENIED_REQUEST, "",
		PUBLISH "\"$JS.API.CONSUMER.INFO.environments-stream.*\"; grant publish"},
	{SUBSCRIBE "\"_INBOX.0aAbBcCdDeEfFgGhHiIjJk.>\"", NATS_DENIED_READING, "",
		SUBSCRIBE "\"_INBOX.>\"; grant subscribe \"_INBOX.>\", see flagsse(8)"},
	{PUBLISH "\"$JS.FC.environments-stream.Yv3kQ1aB.x7\"", NATS_DENIED_READING, "",
		"grant publish \"$JS.FC.environments-stream.>\""},
	{PUBLISH "\"$JS.API.STREAM.MSG.GET.environments-stream\"", NATS_DENIED_OTHER, "",
		"grant publish \"$JS.API.STREAM.MSG.GET.environments-stream\""},
	{PUBLISH "\"of.no.interest\"", NATS_DENIED_OTHER, "", "\"of.no.interest\""},
	{SUBSCRIBE "\"of.no.interest\" using queue \"q\"", NATS_DENIED_OTHER, "",
		"grant subscribe \"of.no.interest\""},
	{PUBLISH "\"\"", NATS_DENIED_OTHER, "", "grant publish"},
};

START_TEST(denied)
{
	struct nats_denial denial;

	ck_assert(nats_denied_parse(cases[_i].text, &denial));
	ck_assert_msg(
		denial.what == cases[_i].what, "%s is taken as %d", cases[_i].text, denial.what);
	ck_assert_str_eq(denial.key.text, cases[_i].key);
	ck_assert_msg(strstr(denial.text, cases[_i].told) != NULL, "%s is told as %s",
		cases[_i].text, denial.text);
}
END_TEST

static const char *const others[] = {
	"",
	"Permissions Violation",
	"Permissions Violation for Publish to flagsmith.environment.env-1",
	"Authorization Violation",
	"Slow Consumer",
};

START_TEST(something_else)
{
	struct nats_denial denial;

	ck_assert(!nats_denied_parse(others[_i], &denial));
}
END_TEST

START_TEST(longest)
{
	char text[1000] = PUBLISH "\"" NATS_SUBJECT_PREFIX;
	size_t length = strlen(text);
	struct nats_denial denial;

	/* A key of the greatest length is told whole, with all that follows. */
	memset(text + length, 'k', KEY_MAX_LENGTH);
	strcat(text, "\"");
	ck_assert(nats_denied_parse(text, &denial));
	ck_assert_uint_eq(denial.key.length, KEY_MAX_LENGTH);
	ck_assert(strstr(denial.text, denial.key.text) != NULL);
	ck_assert(strstr(denial.text, "see flagsse(8)") != NULL);
	/* And what is no key is cut short. */
	memset(text + length, 'k', sizeof(text) - length - 1);
	ck_assert(nats_denied_parse(text, &denial));
	ck_assert_uint_lt(strlen(denial.text), sizeof(denial.text));
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	TCase *tests = tcase_create("nats-denied");
	Suite *suite = suite_create("nats-denied");

	tcase_add_loop_test(tests, denied, 0, N_OF(cases));
	tcase_add_loop_test(tests, something_else, 0, N_OF(others));
	tcase_add_test(tests, longest);
	suite_add_tcase(suite, tests);
	return suite;
}
