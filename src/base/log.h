/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: journald with its fields where standard error leads there (sd_journal_sendv(3)),
 * else one line a message on standard error, its level before it.  Any thread.
 *
 * Whoever reads the log may stop reading it: then writing takes for ever.  So a thread of its own
 * writes, and nobody else waits: to log is to format the message and to copy it into a queue of
 * LOG_QUEUE_SIZE bytes.  What that has no room for, or what cannot be written, is lost: it is
 * counted, and told in the log as soon as that can be written again. */
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

/* Of all messages that wait, with their texts and fields: some thousands, or some hundreds of the
 * longest. */
#define LOG_QUEUE_SIZE (1024 * 1024)

/* How long the end of a process waits for its last messages to be written. */
#define LOG_LAST_MS 200

/* Finds out where to log.  To be called once, before any thread starts.  Until log_start() each
 * message is written at once, by the thread that logs it. */
void log_open(void);

/* Whether that is journald. */
bool log_is_journal(void);

/* The process is going to last: from now on all messages go to journald with their fields.  Before,
 * only those with a message id do, as journald may not read them before the process has ended, and
 * then does not know their unit; the others go to it by standard error.  Main thread. */
void log_stay(void);

/* From now on a thread writes.  Main thread, once.  0 or -errno: it is as before.  (A child that is
 * to log has to be a program of its own, as next-check.c starts it: after a mere fork(2) it has no
 * such thread.) */
int log_start(void);

/* Ends the thread.  Waits until all is written, but no longer than `ms`: a thread that still waits
 * in write(2) then is left behind, and neither it nor anybody else writes any more; nothing is to
 * follow but the end of the process.  Main thread; does nothing if there is no thread. */
void log_stop(int64_t ms);

/* Ends the process by abort(3), once its messages are written, within LOG_LAST_MS.  Any thread. */
_Noreturn void log_abort(void);

/* How many messages were lost since the start. */
uint64_t log_lost(void);

/* Messages less important than `level` (LOG_DEBUG ... LOG_ERR of syslog(3)) are dropped. */
void log_set_level(int level);

/* Whether a message of this level would be written: to spare the work of making it. */
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
