/* SPDX-License-Identifier: BSD-3-Clause */
/* The log.  If standard error leads to journald, messages go there with their fields
 * (sd_journal_sendv(3)); else each is a line on standard error that begins with its level.  Any
 * thread.
 *
 * Whoever reads the log may stop reading, and then a write does not return.  So the log has a
 * thread of its own that writes, and nobody else waits: to log a message is to format it and to
 * copy it into a queue of LOG_QUEUE_SIZE bytes.  A message that finds no room there, or cannot be
 * written, is lost.  Lost messages are counted, and the log says how many as soon as it can be
 * written again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

#include "base/cleanup.h"

/* Journal fields of a message; NULL members are left out.  Shown as text on a terminal only where
 * the message itself names them. */
struct log_fields {
	const char *environment; /* FLAGSSE_ENVIRONMENT= */
	const char *client;      /* FLAGSSE_CLIENT=: address of the peer */
	const char *message_id;  /* MESSAGE_ID=: 32 hexadecimal digits */
};

/* Bytes of all waiting messages with their texts and fields: room for some thousands, or for some
 * hundreds of the longest. */
#define LOG_QUEUE_SIZE (1024 * 1024)

/* How long the end of a process waits for its last messages to be written. */
#define LOG_LAST_MS 200

/* Finds out where to log.  To be called once, before any thread starts.  Until log_start() each
 * message is written at once, by the thread that logs it. */
void log_open(void);

/* Whether the log goes to journald. */
bool log_is_journal(void);

/* The process is going to stay: from now on all messages go to journald with their fields.  Until
 * then only those with a message id do, and the others go there by standard error: journald may
 * read a message with fields only after the process has ended, and then does not know its unit.
 * Main thread. */
void log_stay(void);

/* Starts the thread that writes from now on.  Main thread, once.  0 or -errno: messages are written
 * as before.  (A child that logs must execute a program, as that of next-check.c does: after a mere
 * fork(2) it lacks the thread.) */
int log_start(void);

/* Ends the thread when everything is written, or after `ms`.  If it still waits in write(2) then,
 * it is left behind, nobody writes to the log any more, and the process has to end next.  Main
 * thread; does nothing if there is no thread. */
void log_stop(int64_t ms);

/* Ends the process by abort(3) when its messages are written, or after LOG_LAST_MS.  Any thread. */
_Noreturn void log_abort(void);

/* How many messages were lost since the start. */
uint64_t log_lost(void);

/* Messages less important than `level` (LOG_DEBUG ... LOG_ERR of syslog(3)) are dropped. */
void log_set_level(int level);

/* Whether a message of this level would be written; if not, the caller need not make it. */
bool log_enabled(int level);

/* "debug", "info", "notice", "warning", "error" to LOG_*; -EINVAL for any other word. */
int log_level_parse(const char *name);

/* The other way round, for LOG_EMERG to LOG_DEBUG; for people. */
const char *log_level_word(int level);

/* Use the macros below.  `fields` may be NULL. */
void log_write(int level, const struct log_fields *fields, const char *file, int line,
	const char *function, const char *format, ...) _printf_(6, 7);

#define log_with(level, fields, ...)                                                               \
	log_write(level, fields, __FILE__, __LINE__, __func__, __VA_ARGS__)
#define log_at(level, ...) log_with(level, NULL, __VA_ARGS__)
#define log_debug(...)     log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)      log_at(LOG_INFO, __VA_ARGS__)
#define log_notice(...)    log_at(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...)   log_at(LOG_WARNING, __VA_ARGS__)
#define log_error(...)     log_at(LOG_ERR, __VA_ARGS__)
