/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the log goes: to journald with its fields, or to standard error, one write(2) a message.
 * Both can take for ever, if nobody reads. */
#define SD_JOURNAL_SUPPRESS_LOCATION /* we pass our callers' location, not our own */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/log-internal.h"
#include "base/log.h"
#include "base/text.h"

#define MAX_FIELDS    8
#define JOURNAL_FIELD "MESSAGE="

static bool to_journal; /* written by log_sink_open() only */
static atomic_bool is_lasting;

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

void log_sink_open(void)
{
	to_journal = stderr_is_journal();
	atomic_store(&is_lasting, false);
}

void log_sink_stay(void)
{
	atomic_store(&is_lasting, true);
}

bool log_sink_is_journal(void)
{
	return to_journal;
}

/* One field of a journal entry, in a buffer of its own. */
static void add_field(struct iovec *fields, int *n_fields, char buffer[static LOG_FIELD_SIZE],
	const char *name, const char *value)
{
	size_t length;

	if (!value)
		return;
	snprintf(buffer, LOG_FIELD_SIZE, "%s=%s", name, value);
	text_clean(buffer);
	length = strlen(buffer);
	fields[(*n_fields)++] = (struct iovec){buffer, length};
}

/* 0, or -errno of the journal. */
static int write_journal(const struct log_record *record)
{
	char message[sizeof(JOURNAL_FIELD) + LOG_TEXT_SIZE];
	char buffers[MAX_FIELDS][LOG_FIELD_SIZE];
	char number[2][16];
	struct iovec iov[MAX_FIELDS];
	int n = 0;

	snprintf(number[0], sizeof(number[0]), "%d", record->level);
	snprintf(number[1], sizeof(number[1]), "%d", record->line);
	snprintf(message, sizeof(message), JOURNAL_FIELD "%s", record->text);
	text_clean(message);

	iov[n++] = (struct iovec){message, strlen(message)};
	add_field(iov, &n, buffers[1], "PRIORITY", number[0]);
	add_field(iov, &n, buffers[2], "CODE_FILE", record->file);
	add_field(iov, &n, buffers[3], "CODE_LINE", number[1]);
	add_field(iov, &n, buffers[4], "CODE_FUNC", record->function);
	add_field(iov, &n, buffers[5], "FLAGSSE_ENVIRONMENT", record->environment);
	add_field(iov, &n, buffers[6], "FLAGSSE_CLIENT", record->client);
	add_field(iov, &n, buffers[7], "MESSAGE_ID", record->message_id);
	return sd_journal_sendv(iov, n);
}

/* Waits for room: a program that shares standard error with us may have made it non-blocking. */
static int write_all(const char *text, size_t length)
{
	while (length > 0) {
		struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
		ssize_t written = write(STDERR_FILENO, text, length);

		if (written >= 0) {
			text += written;
			length -= (size_t)written;
		} else if (errno == EAGAIN) {
			(void)poll(&fd, 1, -1);
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* The level: "<6>" before a message for the journal and syslog, "info: " for people. */
static int write_stderr(const struct log_record *record)
{
	char line[LOG_TEXT_SIZE + 32];
	size_t length;

	if (to_journal)
		snprintf(line, sizeof(line) - 1, "<%d>%s", record->level, record->text);
	else
		snprintf(line, sizeof(line) - 1, "%s: %s", log_level_word(record->level),
			record->text);
	text_clean(line);
	length = strlen(line);
	line[length++] = '\n';
	return write_all(line, length);
}

/* journald looks up the sender of a datagram when it reads it.  If that process has ended by then,
 * journald does not know its unit, and `journalctl -u` does not show the message.  It knows the
 * unit of standard error by the connection, whoever writes to it, but standard error carries no
 * fields. */
static bool goes_by_datagram(const struct log_record *record)
{
	return to_journal && (atomic_load(&is_lasting) || record->message_id);
}

int log_sink_write(const struct log_record *record)
{
	if (goes_by_datagram(record) && write_journal(record) >= 0)
		return 0;
	return write_stderr(record);
}
