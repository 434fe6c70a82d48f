/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration as text: the effective settings and that they read back the same, the sample,
 * the manual page, the help. */
#include <check.h>
#include <string.h>

#include "config-fixture.h"
#include "runner.h"

#define X50  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X200 X50 X50 X50 X50

/* Takes out the comments. */
static void strip_comments(char *text)
{
	char *to = text;

	for (char *line = text, *next; *line; line = next) {
		next = strchrnul(line, '\n');
		next += *next == '\n';
		if (*line == '#')
			continue;
		memmove(to, line, (size_t)(next - line));
		to += next - line;
	}
	*to = '\0';
}

START_TEST(test_print)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *first = NULL;
	_cleanup_(freep) char *second = NULL;
	static const char *const options[] = {"streams.keepalive=1.5", "bus.type=local", NULL};
	char *const environment[] = {(char *)TOKEN_VARIABLE,
		(char *)"NATS_URL=nats://u:hidden@h:1,tls://hidden@[::1],nats://h", NULL};
	static const char *const expected[] = {
		"# default\nlisten = :8088\n",
		"# environment SSE_AUTHENTICATION_TOKEN\ntoken = ***\n",
		"# default\ntoken_file =\n",
		"# option\nkeepalive = 1500 ms\n",
		"main.conf:2\nmax_age = 120 s\n",
		"# option\ntype = local\n",
		"# environment NATS_URL\nurl = nats://***@h:1,tls://***@[::1],nats://h\n",
		"[profile a]\n",
		"# default\nuser_agent = Faraday\n# default\naccept =\n# default\nmax_age = 120 s\n",
		"# default\nclose_after_update = yes\n",
	};

	write_file("main.conf",
		"[streams]\nmax_age = 2 min\nspread=7\n[profile z]\nuser_agent = Z\n"
		"[profile a]\nuser_agent = A b/\nmax_age = 0.5\n");
	ck_assert_int_eq(load(options, environment, &config), 0);
	first = printed(config);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		ck_assert_msg(strstr(first, expected[i]), "no\n%s\nin\n%s", expected[i], first);
	ck_assert_ptr_null(strstr(first, "hidden"));
	ck_assert_ptr_null(strstr(first, "from-environment"));
	ck_assert_ptr_null(strstr(first, " \n"));

	/* Read back, it says the same. */
	config_free(config);
	config = load_text(first);
	second = printed(config);
	strip_comments(first);
	strip_comments(second);
	ck_assert_str_eq(first, second);
	ck_assert_int_eq(config->streams_keepalive_ms, 1500);
	ck_assert_int_eq(config_profile(config, 0)->max_age_ms, 500);
}
END_TEST

/* What a file cannot hold is printed as a comment. */
START_TEST(test_print_long_value)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *text = NULL;
	static const char *const options[] = {"service.state_dir=/" X200, NULL};

	write_file("main.conf", "");
	ck_assert_int_eq(load(options, token_only, &config), 0);
	text = printed(config);
	ck_assert_ptr_nonnull(strstr(text, "\n#state_dir = /" X200 "\n"));
	config_free(config);
	config = load_text(text);
}
END_TEST

/* The sample is the defaults, commented out or not. */
START_TEST(test_sample)
{
	_cleanup_(config_freep) struct config *config = load_text("");
	_cleanup_(freep) char *defaults = printed(config);
	_cleanup_(freep) char *text = print_to_string(config_print_sample);
	_cleanup_(freep) char *file = read_source("etc/flagsse/flagsse.conf");
	_cleanup_(freep) char *from_sample = NULL;
	_cleanup_(freep) char *from_active = NULL;

	ck_assert_msg(strcmp(text, file) == 0,
		"etc/flagsse/flagsse.conf is not what flagsse --print-sample-config prints: run "
		"make update-settings");
	config_free(config);
	config = load_text(text);
	from_sample = printed(config);
	ck_assert_str_eq(from_sample, defaults);

	for (char *at = text; (at = strstr(at, "\n#")); at++)
		if (at[2] != ' ' && at[2] != '\n')
			at[1] = ' ';
	config_free(config);
	config = load_text(text);
	from_active = printed(config);
	strip_comments(from_active);
	strip_comments(defaults);
	ck_assert_str_eq(from_active, defaults);
}
END_TEST

START_TEST(test_manual)
{
	static const char begin[] = "that test compares.\n", end[] = ".\\\" End of the settings.";
	_cleanup_(freep) char *text = print_to_string(config_print_man);
	_cleanup_(freep) char *page = read_source("man/flagsse.conf.5");
	char *part = strstr(page, begin);
	char *part_end = strstr(page, end);

	ck_assert(part && part_end);
	part += strlen(begin);
	*part_end = '\0';
	ck_assert_msg(strcmp(part, text) == 0,
		"the settings in man/flagsse.conf.5 are not what flagsse --print-man prints: run "
		"make update-settings");
}
END_TEST

START_TEST(test_help)
{
	_cleanup_(freep) char *text = print_to_string(config_print_help);
	static const char keepalive[] =
		"streams.keepalive\n"
		"    A comment is sent so long after the last byte of a stream; up to a fifth\n"
		"    sooner where very many are due at the same time.\n"
		"    Default: 15 s. Allowed: 1 s to 3600 s. Environment: FLAGSSE_KEEPALIVE.\n\n";

	ck_assert_ptr_nonnull(strstr(text, keepalive));
	ck_assert_ptr_nonnull(strstr(text, "\nprofile NAME.max_age\n"));
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		ck_assert_msg(strlen(line) <= 80, "%s", line);
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("config-print");
	TCase *cases = tcase_create("config-print");

	tcase_add_checked_fixture(cases, config_set_up, config_tear_down);
	tcase_add_test(cases, test_print);
	tcase_add_test(cases, test_print_long_value);
	tcase_add_test(cases, test_sample);
	tcase_add_test(cases, test_manual);
	tcase_add_test(cases, test_help);
	suite_add_tcase(all, cases);
	return all;
}
