/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the log share: log.c makes records of messages, log-queue.c keeps them for its
 * thread, log-sink.c writes them.  thread.c starts that thread, and logs a failure to do so: these
 * files call each other in a circle, but not for ever, since a message is written at once while
 * there is no thread. */
#pragma once

#include <stdbool.h>

/* With its prefix a message still fits into PIPE_BUF, and so is written whole or not at all. */
#define LOG_TEXT_SIZE 3072

/* Of a journal field, its name included; what is longer is cut. */
#define LOG_FIELD_SIZE 256

/* A message.  Its texts are not clean yet (text.h). */
struct log_record {
	int level, line;
	const char *file, *function;                   /* static */
	const char *text;                              /* shorter than LOG_TEXT_SIZE */
	const char *environment, *client, *message_id; /* NULL: none */
};

/* log-sink.c */

/* Finds out where to write.  Before any thread starts. */
void log_sink_open(void);
bool log_sink_is_journal(void);

/* As log_stay(). */
void log_sink_stay(void);

/* Writes the message, and waits for as long as the other side does not take it.  0, or -errno: it
 * is lost. */
int log_sink_write(const struct log_record *record);

/* log-queue.c */

/* Keeps a copy of the message for the thread, or counts it as lost.  False: there is no thread; the
 * caller is to write the message. */
bool log_queue_put(const struct log_record *record);
