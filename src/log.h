/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: journald with its fields where standard error leads there (sd_journal_sendv(3)),
 * else one line a message on standard error, its level before it.  Any thread. */
#pragma once

#include <stdbool.h>
#include <syslog.h>

#include "cleanup.h"

/* Journal fields of a message; NULL members are left out.  Shown as text on a terminal only where
 * the message itself names them. */
struct log_fields {
	const char *environment; /* FLAGSSE_ENVIRONMENT= */
	const char *client;      /* FLAGSSE_CLIENT=: address of the peer */
	const char *message_id;  /* MESSAGE_ID=: 32 hexadecimal digits */
};

/* Finds out where to log.  To be called once, before any thread starts. */
void log_open(void);

/* Messages less important than `level` (LOG_DEBUG ... LOG_ERR of syslog(3)) are dropped. */
void log_set_level(int level);

/* Whether a message of this level would be written: to spare the work of making it. */
bool log_enabled(int level);

/* "debug", "info", "notice", "warning", "error" to LOG_*; -EINVAL for any other word. */
int log_level_parse(const char *name);

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
