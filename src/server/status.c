/* SPDX-License-Identifier: BSD-3-Clause */
/* The state of things: a line for systemd, a reason for /readyz. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "server/server-internal.h"

/* What systemd was last told. */
struct numbers {
	size_t streams, updates, queued;
};

struct status {
	struct server *server;
	struct numbers told;
	char text[RELAY_TEXT_SIZE];
	sd_event_source *look; /* after whatever main does */
};

/* Why not, whoever asks; NULL: ready. */
static const char *not_ready(const struct server *server, enum relay_audience audience)
{
	const char *problem = thread_watch_problem(server->thread_watch);

	if (restart_has_begun(server->restart))
		return "The service is stopping.";
	return problem ? problem : relay_problem(server->relay, audience);
}

const char *status_not_ready(struct status *status)
{
	return not_ready(status->server, RELAY_FOR_ALL);
}

/* A sentence more in status->text, which has `*length` characters. */
static void add_text(struct status *status, size_t *length, const char *format, ...) _printf_(3, 4);

static void add_text(struct status *status, size_t *length, const char *format, ...)
{
	const size_t size = sizeof(status->text);
	va_list arguments;
	int n;

	if (*length > 0 && *length + 1 < size)
		status->text[(*length)++] = ' ';
	va_start(arguments, format);
	n = vsnprintf(status->text + *length, size - *length, format, arguments);
	va_end(arguments);
	*length += n > 0 ? (size_t)n : 0;
	if (*length >= size)
		*length = size - 1;
}

static void add_pending(struct status *status, size_t *length)
{
	const char *names;

	if (reload_pending(status->server->reload, &names) > 0)
		add_text(status, length, "Changed settings that need a restart: %s.", names);
}

const char *status_warning(struct status *status)
{
	const char *warning = relay_warning(status->server->relay);
	size_t length = 0;

	if (warning)
		add_text(status, &length, "%s", warning);
	add_pending(status, &length);
	return length > 0 ? status->text : NULL;
}

static struct numbers count(const struct server *server)
{
	return (struct numbers){
		.streams = hub_streams(server->hub),
		.updates = registry_size(server->registry),
		.queued = relay_outbox_size(server->relay),
	};
}

bool status_write_line(char *text, size_t size, struct status *status)
{
	const struct server *server = status->server;
	struct numbers n = status->told = count(server);
	const char *problem;
	size_t length = 0;

	if (restart_has_begun(server->restart)) {
		snprintf(text, size, "%s: %zu stream%s left.",
			restart_hands_over(server->restart) ? "Restarting" : "Stopping", n.streams,
			text_s(n.streams));
		return true;
	}
	problem = not_ready(server, RELAY_FOR_OPERATORS);
	if (!problem)
		problem = relay_warning(server->relay);
	add_text(status, &length, "%s", problem ? problem : "bus connected.");
	add_pending(status, &length);
	snprintf(text, size, "%zu stream%s, %zu environment%s with an update, %zu queued; %s",
		n.streams, text_s(n.streams), n.updates, text_s(n.updates), n.queued, status->text);
	/* Shards end them, and do not wake this thread for that. */
	return n.streams > 0;
}

/* Many things change the numbers: so they are compared after each turn of the loop. */
static int on_look(sd_event_source *source, void *userdata)
{
	struct status *status = userdata;
	struct numbers now = count(status->server), told = status->told;

	(void)source;
	if (now.streams != told.streams || now.updates != told.updates || now.queued != told.queued)
		notify_changed(status->server->notify);
	return 0;
}

int status_new(struct server *server, struct status **ret)
{
	_cleanup_(status_freep) struct status *status = calloc(1, sizeof(*status));
	int r;

	if (!status)
		return -ENOMEM;
	status->server = server;
	if (getenv("NOTIFY_SOCKET")) { /* else nobody is told */
		r = sd_event_add_post(server->event, &status->look, on_look, status);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(status);
	return 0;
}

struct status *status_free(struct status *status)
{
	if (!status)
		return NULL;
	sd_event_source_disable_unref(status->look);
	free(status);
	return NULL;
}
