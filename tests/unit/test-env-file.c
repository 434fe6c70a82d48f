/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of variables, as systemd reads them. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "program/unit-surroundings.h"
#include "runner.h"

static const struct {
	const char *text, *variables; /* with '|' between */
} files[] = {
	{"", ""},
	{"A=1\nB=2", "A=1|B=2"},
	{"# A=1\n; B=2\n\nC=3\n", "C=3"},
	{"A=1\nA=2\n", "A=2"},
	{"A=1\nAB=2\n", "A=1|AB=2"},

	{"A=  a b  \n", "A=a b"},
	{"A=\"a b \" \n", "A=a b "},
	{"A='a\\b'\n", "A=a\\b"},
	{"A=a\\ b\n", "A=a b"},
	{"A=a\\\nb\nC=1\n", "A=ab|C=1"},
	{"nonsense\n=x\nA=1=2\n", "A=1=2"},
	{"A=\n", "A="},
};

START_TEST(test_file)
{
	char path[] = "/tmp/flagsse-env-XXXXXX", text[256] = "";
	int fd = mkstemp(path);
	char **variables = NULL;

	ck_assert_int_eq(
		write(fd, files[_i].text, strlen(files[_i].text)), (ssize_t)strlen(files[_i].text));
	close(fd);
	ck_assert_int_eq(env_file_read(path, &variables), 0);
	unlink(path);
	for (char **variable = variables; variable && *variable; variable++) {
		strcat(text, variable == variables ? "" : "|");
		strcat(text, *variable);
		free(*variable);
	}
	free(variables);
	ck_assert_str_eq(text, files[_i].variables);
}
END_TEST

START_TEST(test_no_file)
{
	char **variables = NULL;

	ck_assert_int_eq(env_file_read("/nonexistent/file", &variables), -ENOENT);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("env-file");
	TCase *cases = tcase_create("all");

	tcase_add_loop_test(cases, test_file, 0, sizeof(files) / sizeof(files[0]));
	tcase_add_test(cases, test_no_file);
	suite_add_tcase(suite, cases);
	return suite;
}
