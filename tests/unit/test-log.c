/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: what reaches standard error and what the journal, that nothing in a message forges a
 * line, and that threads do not mix their lines. */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>

#include "log.h"

static FILE *capture; /* in place of standard error */
static char text[1 << 20];

static char journal[8192]; /* what the journal was sent, a line a field */
static int journal_result;

/* Takes the place of libsystemd's. */
int sd_journal_sendv(const struct iovec *iov, int n)
{
	size_t used = 0;

	for (int i = 0; i < n; i++)
		used += (size_t)snprintf(journal + used, sizeof(journal) - used, "%.*s\n",
			(int)iov[i].iov_len, (const char *)iov[i].iov_base);
	return journal_result;
}

static void set_up(void)
{
	capture = tmpfile();
	ck_assert_ptr_nonnull(capture);
	ck_assert_int_eq(dup2(fileno(capture), STDERR_FILENO), STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	journal[0] = '\0';
	journal_result = 0;
	log_open();
	log_set_level(LOG_INFO);
}

static void tear_down(void)
{
	fclose(capture);
}

static const char *captured(void)
{
	ssize_t n = pread(fileno(capture), text, sizeof(text) - 1, 0);

	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	return text;
}

/* As the service manager says that standard error leads to the journal. */
static void connect_to_journal(unsigned long inode_error)
{
	struct stat status;
	char value[64];

	ck_assert_int_eq(fstat(STDERR_FILENO, &status), 0);
	snprintf(value, sizeof(value), "%lu:%lu", (unsigned long)status.st_dev,
		(unsigned long)status.st_ino + inode_error);
	setenv("JOURNAL_STREAM", value, 1);
	log_open();
}

START_TEST(test_levels)
{
	log_debug("not shown");
	log_info("one %d", 1);
	log_notice("two");
	log_warning("three");
	log_error("four");
	log_set_level(LOG_DEBUG);
	log_debug("five");
	log_set_level(LOG_ERR);
	log_warning("not shown");
	ck_assert(log_enabled(LOG_ERR));
	ck_assert(!log_enabled(LOG_WARNING));
	ck_assert_str_eq(captured(), "info: one 1\nnotice: two\nwarning: three\nerror: four\n"
				     "debug: five\n");
}
END_TEST

START_TEST(test_level_names)
{
	ck_assert_int_eq(log_level_parse("debug"), LOG_DEBUG);
	ck_assert_int_eq(log_level_parse("info"), LOG_INFO);
	ck_assert_int_eq(log_level_parse("notice"), LOG_NOTICE);
	ck_assert_int_eq(log_level_parse("warning"), LOG_WARNING);
	ck_assert_int_eq(log_level_parse("error"), LOG_ERR);
	ck_assert_int_eq(log_level_parse("critical"), -EINVAL);
	ck_assert_int_eq(log_level_parse("INFO"), -EINVAL);
	ck_assert_int_eq(log_level_parse(""), -EINVAL);
}
END_TEST

START_TEST(test_errno)
{
	errno = ENOENT;
	log_info("%m");
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_str_eq(captured(), "info: No such file or directory\n");
}
END_TEST

START_TEST(test_nothing_is_forged)
{
	log_info("%s", "a\nerror: b\r\t\033[2J\177c\302\205d \303\244");
	ck_assert_str_eq(captured(), "info: a?error: b???[2J?c??d \303\244\n");
}
END_TEST

START_TEST(test_long_message)
{
	char message[10000];
	const char *line;

	memset(message, 'x', sizeof(message) - 1);
	message[sizeof(message) - 1] = '\0';
	log_info("%s", message);
	line = captured();
	ck_assert_uint_lt(strlen(line), 4096);
	ck_assert_uint_gt(strlen(line), 2048);
	ck_assert_str_eq(line + strlen(line) - 5, "x...\n");
}
END_TEST

START_TEST(test_journal)
{
	const struct log_fields fields = {.environment = "abc\nPRIORITY=0", .client = "::1"};
	char expected[1024];
	int line;

	connect_to_journal(0);
	line = __LINE__ + 1;
	log_with(LOG_WARNING, &fields, "a\nb");
	snprintf(expected, sizeof(expected),
		"MESSAGE=a?b\nPRIORITY=4\nCODE_FILE=%s\nCODE_LINE=%d\nCODE_FUNC=%s\n"
		"FLAGSSE_ENVIRONMENT=abc?PRIORITY=0\nFLAGSSE_CLIENT=::1\n",
		__FILE__, line, __func__);
	ck_assert_str_eq(journal, expected);
	ck_assert_str_eq(captured(), "");

	log_with(LOG_ERR, (&(struct log_fields){.message_id = "0123"}), "x");
	ck_assert_ptr_nonnull(strstr(journal, "\nMESSAGE_ID=0123\n"));
	ck_assert_ptr_null(strstr(journal, "FLAGSSE_"));
}
END_TEST

START_TEST(test_journal_fails)
{
	connect_to_journal(0);
	journal_result = -ENOBUFS;
	log_warning("a");
	log_info("b");
	ck_assert_str_eq(captured(), "<4>a\n<6>b\n");
}
END_TEST

/* $JOURNAL_STREAM is inherited by whoever redirects standard error, too. */
START_TEST(test_other_stream)
{
	static const char *const bad[] = {"", "1", "1:", ":1", "x:y", "1:2x"};

	connect_to_journal(1);
	log_info("a");
	ck_assert_str_eq(captured(), "info: a\n");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setenv("JOURNAL_STREAM", bad[i], 1);
		log_open();
		log_info("a");
	}
	ck_assert_str_eq(journal, "");
}
END_TEST

static void *write_many(void *argument)
{
	for (int i = 0; i < 500; i++)
		log_info("%s", (const char *)argument);
	return NULL;
}

START_TEST(test_threads)
{
	static const char *const words[] = {"aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbb"};
	pthread_t threads[2];
	int counts[2] = {0, 0};
	int flags;

	/* Else two writes go to one offset of the file. */
	flags = fcntl(STDERR_FILENO, F_GETFL);
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_SETFL, flags | O_APPEND), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, write_many, (void *)words[i]), 0);
	log_set_level(LOG_INFO);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);

	captured();
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		ck_assert_int_eq(strncmp(line, "info: ", 6), 0);
		if (strcmp(line + 6, words[0]) == 0)
			counts[0]++;
		else if (strcmp(line + 6, words[1]) == 0)
			counts[1]++;
	}
	ck_assert_int_eq(counts[0], 500);
	ck_assert_int_eq(counts[1], 500);
}
END_TEST

int main(void)
{
	Suite *all = suite_create("log");
	TCase *cases = tcase_create("log");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(cases, set_up, tear_down);
	tcase_add_test(cases, test_levels);
	tcase_add_test(cases, test_level_names);
	tcase_add_test(cases, test_errno);
	tcase_add_test(cases, test_nothing_is_forged);
	tcase_add_test(cases, test_long_message);
	tcase_add_test(cases, test_journal);
	tcase_add_test(cases, test_journal_fails);
	tcase_add_test(cases, test_other_stream);
	tcase_add_test(cases, test_threads);
	suite_add_tcase(all, cases);
	runner = srunner_create(all);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
