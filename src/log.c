/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: to journald with its fields, or to standard error, one write(2) a message.  Nothing is
 * allocated, and no lock is held. */
#define SD_JOURNAL_SUPPRESS_LOCATION /* we pass our callers' location, not our own */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "log.h"

/* With its prefix a message still fits into PIPE_BUF, and so is written whole or not at all. */
#define TEXT_SIZE     3072
#define FIELD_SIZE    256
#define MAX_FIELDS    8
#define JOURNAL_FIELD "MESSAGE="

static const char *const level_words[] = {
	[LOG_EMERG] = "emergency",
	[LOG_ALERT] = "alert",
	[LOG_CRIT] = "critical",
	[LOG_ERR] = "error",
	[LOG_WARNING] = "warning",
	[LOG_NOTICE] = "notice",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

static atomic_int max_level = LOG_INFO;
static bool to_journal; /* written by log_open() only */

/* $JOURNAL_STREAM is "DEVICE:INODE" of the stream that the service manager connected to the
 * journal; it is inherited, so only the comparison tells whether it is still standard error. */
static bool stderr_is_journal(void)
{
	const char *value = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat status;
	char *end;

	if (!value || fstat(STDERR_FILENO, &status) < 0)
		return false;

	errno = 0;
	device = strtoumax(value, &end, 10);
	if (errno || end == value || *end != ':')
		return false;
	value = end + 1;
	inode = strtoumax(value, &end, 10);
	if (errno || end == value || *end)
		return false;

	return device == status.st_dev && inode == status.st_ino;
}

void log_open(void)
{
	to_journal = stderr_is_journal();
}

void log_set_level(int level)
{
	atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

bool log_enabled(int level)
{
	return level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

int log_level_parse(const char *name)
{
	for (int level = LOG_ERR; level <= LOG_DEBUG; level++)
		if (strcmp(name, level_words[level]) == 0)
			return level;
	return -EINVAL;
}

/* Replaces what could end a line or steer a terminal: C0, DEL, and C1 as UTF-8 has it (C2 80 to
 * C2 9F).  Whoever's text ends in our log forges no line of it. */
static void replace_control_characters(char *text)
{
	for (unsigned char *at = (unsigned char *)text; *at; at++) {
		if (*at < 0x20 || *at == 0x7f)
			*at = '?';
		else if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f)
			at[0] = at[1] = '?';
	}
}

/* One field of a journal entry, in a buffer of its own. */
static void add_field(struct iovec *fields, int *n_fields, char buffer[static FIELD_SIZE],
	const char *name, const char *value)
{
	size_t length;

	if (!value)
		return;
	snprintf(buffer, FIELD_SIZE, "%s=%s", name, value);
	replace_control_characters(buffer);
	length = strlen(buffer);
	fields[(*n_fields)++] = (struct iovec){buffer, length};
}

/* `message` begins with "MESSAGE=".  0, or -errno of the journal. */
static int write_journal(int level, const struct log_fields *fields, const char *file, int line,
	const char *function, char *message)
{
	static const struct log_fields none;
	char buffers[MAX_FIELDS][FIELD_SIZE];
	char number[2][16];
	struct iovec iov[MAX_FIELDS];
	int n = 0;

	if (!fields)
		fields = &none;
	snprintf(number[0], sizeof(number[0]), "%d", level);
	snprintf(number[1], sizeof(number[1]), "%d", line);

	iov[n++] = (struct iovec){message, strlen(message)};
	add_field(iov, &n, buffers[1], "PRIORITY", number[0]);
	add_field(iov, &n, buffers[2], "CODE_FILE", file);
	add_field(iov, &n, buffers[3], "CODE_LINE", number[1]);
	add_field(iov, &n, buffers[4], "CODE_FUNC", function);
	add_field(iov, &n, buffers[5], "FLAGSSE_ENVIRONMENT", fields->environment);
	add_field(iov, &n, buffers[6], "FLAGSSE_CLIENT", fields->client);
	add_field(iov, &n, buffers[7], "MESSAGE_ID", fields->message_id);
	return sd_journal_sendv(iov, n);
}

/* Behind "<6>" the journal and syslog understand the level, behind "info: " people do. */
static void write_stderr(int level, bool for_journal, const char *text)
{
	char line[TEXT_SIZE + 32];
	int length;
	ssize_t written;

	if (for_journal)
		length = snprintf(line, sizeof(line), "<%d>%s\n", level, text);
	else
		length = snprintf(line, sizeof(line), "%s: %s\n", level_words[level], text);

	/* There is nobody to tell of a failure. */
	do
		written = write(STDERR_FILENO, line, (size_t)length);
	while (written < 0 && errno == EINTR);
}

void log_write(int level, const struct log_fields *fields, const char *file, int line,
	const char *function, const char *format, ...)
{
	char message[sizeof(JOURNAL_FIELD) + TEXT_SIZE] = JOURNAL_FIELD;
	char *text = message + sizeof(JOURNAL_FIELD) - 1;
	int saved_errno = errno; /* for %m in the format, and for our caller */
	va_list arguments;
	int length;

	if (level < LOG_EMERG || level > LOG_DEBUG)
		level = LOG_ERR;
	if (!log_enabled(level))
		return;

	va_start(arguments, format);
	length = vsnprintf(text, TEXT_SIZE, format, arguments);
	va_end(arguments);
	if (length < 0)
		snprintf(text, TEXT_SIZE, "(a message that cannot be formatted: \"%s\")", format);
	else if (length >= TEXT_SIZE)
		memcpy(text + TEXT_SIZE - sizeof("..."), "...", sizeof("..."));
	replace_control_characters(text);

	if (!to_journal)
		write_stderr(level, false, text);
	else if (write_journal(level, fields, file, line, function, message) < 0)
		write_stderr(level, true, text);
	errno = saved_errno;
}
