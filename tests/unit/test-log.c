/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: what reaches standard error and what the journal, that nothing in a message forges a
 * line, that threads do not mix their lines, and that nobody waits for who does not read. */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "runner.h"

static FILE *capture; /* in place of standard error */
static char text[1 << 20];

static char journal[8192]; /* what the journal was sent, a line a field */
static int journal_result;

static uint64_t lost_before; /* by the tests before this one, where they are one process */

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
	lost_before = log_lost();
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
	log_stay();
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
	log_info("\377\300\212 \303");
	ck_assert_str_eq(captured(), "info: a?error: b???[2J?c??d \303\244\ninfo: ??? ?\n");
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

/* What may have ended before journald asks whose message it is. */
START_TEST(test_journal_of_a_short_process)
{
	static const struct log_fields fields = {.message_id = "0123"};

	connect_to_journal(0);
	log_open();
	log_error("a");
	ck_assert_str_eq(journal, "");
	ck_assert_str_eq(captured(), "<3>a\n");
	log_with(LOG_ERR, &fields, "b");
	ck_assert_ptr_nonnull(strstr(journal, "MESSAGE=b\n"));
	ck_assert_str_eq(captured(), "<3>a\n");
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

/* ---- With the thread ---- */

#define TIMEOUT_MS 10000 /* only matters where something has failed */
#define N_NUMBERS  2000

static uint64_t lost(void)
{
	return log_lost() - lost_before;
}

/* A pipe in place of standard error; what it takes is soon full.  The other end is the test's. */
static FILE *open_pipe(void)
{
	FILE *file;
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	file = fdopen(ends[0], "r");
	ck_assert_ptr_nonnull(file);
	return file;
}

static const char *read_line(FILE *pipe)
{
	static char line[4096];

	ck_assert_ptr_nonnull(fgets(line, sizeof(line), pipe));
	return line;
}

static int64_t elapsed_ms(int64_t begun_ms)
{
	return clock_monotonic_ms() - begun_ms;
}

/* What the thread writes is what was written without it. */
START_TEST(test_thread_writes_the_same)
{
	const struct log_fields fields = {.environment = "abc\nPRIORITY=0", .message_id = "01"};
	char expected[1024];
	int line;

	connect_to_journal(0);
	ck_assert_int_eq(log_start(), 0);
	errno = ENOENT;
	line = __LINE__ + 1;
	log_with(LOG_WARNING, &fields, "a\nb: %m");
	ck_assert_int_eq(errno, ENOENT);
	log_debug("not shown");
	log_stop(TIMEOUT_MS);
	snprintf(expected, sizeof(expected),
		"MESSAGE=a?b: No such file or directory\nPRIORITY=4\nCODE_FILE=%s\nCODE_LINE=%d\n"
		"CODE_FUNC=%s\nFLAGSSE_ENVIRONMENT=abc?PRIORITY=0\nMESSAGE_ID=01\n",
		__FILE__, line, __func__);
	ck_assert_str_eq(journal, expected);
	ck_assert_uint_eq(lost(), 0);
}
END_TEST

/* After its end they are written at once again. */
START_TEST(test_stop_and_start)
{
	log_stop(0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(log_start(), 0);
		log_info("queued");
		log_stop(TIMEOUT_MS);
		log_info("direct");
	}
	ck_assert_str_eq(captured(), "info: queued\ninfo: direct\ninfo: queued\ninfo: direct\n"
				     "info: queued\ninfo: direct\n");
}
END_TEST

static void *log_numbers(void *prefix)
{
	for (int i = 0; i < N_NUMBERS; i++)
		log_info("%s %d", (const char *)prefix, i);
	return NULL;
}

/* Each thread's messages keep their order, and none is lost, while somebody reads. */
START_TEST(test_order)
{
	static const char *const names[] = {"a", "b", "c"};
	FILE *pipe = open_pipe();
	int next[3] = {0, 0, 0};
	pthread_t threads[3];

	ck_assert_int_eq(log_start(), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, log_numbers, (void *)names[i]), 0);
	for (int lines = 0; lines < 3 * N_NUMBERS; lines++) {
		int number;
		char name;

		ck_assert_int_eq(sscanf(read_line(pipe), "info: %c %d\n", &name, &number), 2);
		ck_assert_int_eq(number, next[name - 'a']++);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(lost(), 0);
	log_stop(TIMEOUT_MS);
	fclose(pipe);
}
END_TEST

/* Logs until so many are lost; gives how many there were. */
static int log_until_lost(uint64_t n)
{
	int n_logged = 0;

	while (lost() < n) {
		log_info("%06d %0100d", n_logged++, 0);
		ck_assert_int_lt(n_logged, LOG_QUEUE_SIZE / 100 + 1000); /* it has a limit */
	}
	return n_logged;
}

/* Reads what became of `n_logged` messages, in order: each is there, or is counted by the line that
 * tells at its place how many are not.  Those are `n_lost` in all.  There is one such line, or one
 * more where the thread began to write only after the first loss. */
static void check_loss(FILE *pipe, int n_logged, int n_lost)
{
	int next = 0, number, n_told = 0;
	char expected[128];
	const char *line;

	while (next < n_logged) {
		line = read_line(pipe);
		if (sscanf(line, "info: %d", &number) == 1) {
			ck_assert_int_eq(number, next++);
			continue;
		}
		ck_assert_msg(sscanf(line, "warning: %d message", &number) == 1, "%s", line);
		snprintf(expected, sizeof(expected),
			"warning: %d message%s lost, as the log could not be written.\n", number,
			number == 1 ? " was" : "s were");
		ck_assert_str_eq(line, expected);
		n_told += number;
		next += number;
	}
	ck_assert_int_eq(next, n_logged);
	ck_assert_int_eq(n_told, n_lost);
}

/* Nobody reads, and nobody waits.  What there is room for is kept; what comes after the first that
 * was lost is lost, too, though it may be shorter, so that all that is missing is missing at one
 * place. */
START_TEST(test_nobody_reads)
{
	FILE *pipe = open_pipe();
	int n_logged;

	ck_assert_int_eq(log_start(), 0);
	n_logged = log_until_lost(100);
	log_info("%d", n_logged++); /* there is room for one so short, before that place */
	log_set_level(LOG_ERR);     /* the loss is told at any level */
	check_loss(pipe, n_logged, (int)lost());
	log_error("goes on");
	ck_assert_str_eq(read_line(pipe), "error: goes on\n");

	log_set_level(LOG_INFO);
	n_logged = log_until_lost(lost() + 1);
	check_loss(pipe, n_logged, 1);
	log_stop(TIMEOUT_MS);
	fclose(pipe);
}
END_TEST

/* The end waits so long for a thread that hangs in a call, and then leaves it behind. */
START_TEST(test_end_while_nobody_reads)
{
	FILE *pipe = open_pipe();
	int64_t begun_ms;
	uint64_t before;

	ck_assert_int_eq(log_start(), 0);
	log_until_lost(1);
	before = lost();
	begun_ms = clock_monotonic_ms();
	log_stop(LOG_LAST_MS);
	ck_assert_int_ge(elapsed_ms(begun_ms), LOG_LAST_MS);
	ck_assert_int_lt(elapsed_ms(begun_ms), TIMEOUT_MS);
	log_info("nor does this one wait");
	ck_assert_uint_eq(lost(), before + 1);
	log_stop(TIMEOUT_MS);
	ck_assert_int_lt(elapsed_ms(begun_ms), TIMEOUT_MS);
	fclose(pipe);
}
END_TEST

/* A disk that is full, and has room again. */
START_TEST(test_writing_fails)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(full, 0);
	ck_assert_int_eq(dup2(full, STDERR_FILENO), STDERR_FILENO);
	ck_assert_int_eq(log_start(), 0);
	for (int i = 0; i < 3; i++)
		log_info("lost");
	for (int i = 0; lost() < 3 && i < TIMEOUT_MS; i++)
		usleep(1000);
	ck_assert_uint_eq(lost(), 3);
	ck_assert_int_eq(dup2(fileno(capture), STDERR_FILENO), STDERR_FILENO);
	log_info("written");
	log_stop(TIMEOUT_MS);
	ck_assert_str_eq(captured(),
		"warning: 3 messages were lost, as the log could not be written.\n"
		"info: written\n");
	close(full);
}
END_TEST

/* Who shares standard error has made it non-blocking: no message is lost or cut for that. */
START_TEST(test_non_blocking)
{
	FILE *pipe = open_pipe();

	ck_assert_int_eq(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(log_start(), 0);
	for (int i = 0; i < 1000; i++)
		log_info("%d", i);
	for (int i = 0; i < 1000; i++) {
		int number;

		ck_assert_int_eq(sscanf(read_line(pipe), "info: %d\n", &number), 1);
		ck_assert_int_eq(number, i);
	}
	ck_assert_uint_eq(lost(), 0);
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	log_stop(TIMEOUT_MS);
	fclose(pipe);
}
END_TEST

/* A thread that gives up says why first. */
START_TEST(test_abort)
{
	int status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		if (log_start() == 0) {
			for (int i = 0; i < 100; i++)
				log_info("%d", i);
			log_error("Giving up.");
			log_abort();
		}
		_exit(1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert_ptr_nonnull(strstr(captured(), "info: 98\ninfo: 99\nerror: Giving up.\n"));
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("log");
	TCase *cases = tcase_create("log");
	TCase *end = tcase_create("end");

	tcase_add_checked_fixture(cases, set_up, tear_down);
	tcase_add_test(cases, test_levels);
	tcase_add_test(cases, test_level_names);
	tcase_add_test(cases, test_errno);
	tcase_add_test(cases, test_nothing_is_forged);
	tcase_add_test(cases, test_long_message);
	tcase_add_test(cases, test_journal);
	tcase_add_test(cases, test_journal_of_a_short_process);
	tcase_add_test(cases, test_journal_fails);
	tcase_add_test(cases, test_other_stream);
	tcase_add_test(cases, test_threads);
	tcase_add_test(cases, test_thread_writes_the_same);
	tcase_add_test(cases, test_stop_and_start);
	tcase_add_test(cases, test_order);
	tcase_add_test(cases, test_nobody_reads);
	tcase_add_test(cases, test_writing_fails);
	tcase_add_test(cases, test_non_blocking);
	tcase_add_test(cases, test_abort);
	suite_add_tcase(all, cases);

	/* Where all are in one process, those after it would have no log. */
	tcase_add_checked_fixture(end, set_up, tear_down);
	tcase_set_tags(end, "not-in-valgrind");
	tcase_add_test(end, test_end_while_nobody_reads);
	suite_add_tcase(all, end);
	return all;
}
