/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: makes records of messages, for the thread that writes them. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/log-internal.h"

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

void log_open(void)
{
	log_sink_open();
}

void log_stay(void)
{
	log_sink_stay();
}

bool log_is_journal(void)
{
	return log_sink_is_journal();
}

const char *log_level_word(int level)
{
	return level_words[level];
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

void log_write(int level, const struct log_fields *fields, const char *file, int line,
	const char *function, const char *format, ...)
{
	static const struct log_fields none;
	char text[LOG_TEXT_SIZE];
	int saved_errno = errno; /* for %m in the format, and for our caller */
	struct log_record record;
	va_list arguments;
	int length;

	if (level < LOG_EMERG || level > LOG_DEBUG)
		level = LOG_ERR;
	if (!log_enabled(level))
		return;

	va_start(arguments, format);
	length = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (length < 0)
		snprintf(
			text, sizeof(text), "(a message that cannot be formatted: \"%s\")", format);
	else if ((size_t)length >= sizeof(text))
		memcpy(text + sizeof(text) - sizeof("..."), "...", sizeof("..."));

	if (!fields)
		fields = &none;
	record = (struct log_record){
		.level = level,
		.line = line,
		.file = file,
		.function = function,
		.text = text,
		.environment = fields->environment,
		.client = fields->client,
		.message_id = fields->message_id,
	};
	if (!log_queue_put(&record))
		(void)log_sink_write(&record); /* there is nobody to tell of a failure */
	errno = saved_errno;
}
