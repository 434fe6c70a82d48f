/* SPDX-License-Identifier: BSD-3-Clause */
/* The state of things: metrics for Prometheus, a line for systemd, a reason for /readyz. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "server/server-internal.h"

/* A reason of the bus, and some words before it. */
#define BUS_PROBLEM_SIZE (BUS_TEXT_SIZE + 64)

static void write_metric(
	FILE *file, const char *name, const char *type, const char *help, uint64_t value)
{
	fprintf(file, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, help, name, type, name,
		value);
}

/* Always 1: the version is in the label, as Prometheus has it. */
static void write_build_info(FILE *file)
{
	fprintf(file,
		"# HELP flagsse_build_info The version that runs.\n"
		"# TYPE flagsse_build_info gauge\n"
		"flagsse_build_info{version=\"%s\"} 1\n",
		flagsse_version);
}

static void write_hub_metrics(FILE *file, const struct server *server)
{
	struct hub_counters hub;

	hub_count(server->hub, &hub);
	write_metric(
		file, "flagsse_streams", "gauge", "Streams open now.", hub_streams(server->hub));
	write_metric(file, "flagsse_subscribed_environments", "gauge",
		"Environments with streams, counted once for each thread that serves some.",
		hub_environments(server->hub));
	write_metric(
		file, "flagsse_streams_max", "gauge", "Streams allowed.", server->shares.streams);
	write_metric(file, "flagsse_streams_opened_total", "counter", "Streams begun.",
		hub.streams_opened);
	write_metric(file, "flagsse_streams_closed_total", "counter",
		"Streams ended, by whichever side.", hub.streams_closed);
	write_metric(file, "flagsse_streams_refused_total", "counter",
		"Subscribers refused, as there were too many streams.", server->counters.full);
	write_metric(file, "flagsse_events_sent_total", "counter",
		"Updates written to a stream, those on connecting included.", hub.events_sent);
	write_metric(file, "flagsse_events_replaced_total", "counter",
		"Updates that a newer one replaced before a slow stream had them.",
		hub.events_replaced);
	write_metric(file, "flagsse_keepalives_sent_total", "counter",
		"Comments sent to keep streams alive.", hub.keepalives_sent);
	write_metric(file, "flagsse_sent_bytes_total", "counter", "Bytes written to streams.",
		hub.bytes_sent);
}

static void write_update_metrics(FILE *file, const struct server *server)
{
	write_metric(
		file, "flagsse_bus_up", "gauge", "1 while the bus is connected.", server->bus_up);
	write_metric(file, "flagsse_bus_refuses_all", "gauge",
		"1 while NATS refuses every update, or acknowledges none.", refused_all(server));
	write_metric(file, "flagsse_environments_refused", "gauge",
		"Environments whose latest update NATS has refused; it is tried again.",
		refused_environments(server));
	write_metric(file, "flagsse_refusals_total", "counter",
		"Times that NATS has refused an update.", server->counters.refused);
	write_metric(file, "flagsse_environments", "gauge", "Environments with a known update.",
		registry_size(server->registry));
	write_metric(file, "flagsse_updates_total", "counter",
		"Updates from bus or outbox that were newer than what was known.",
		server->counters.updates);
	write_metric(file, "flagsse_updates_repaired_total", "counter",
		"Updates written back, as the bus had lost them.", server->counters.repaired);
	write_metric(file, "flagsse_messages_skipped_total", "counter",
		"Messages on the bus that are no update.", server->counters.skipped);
	fprintf(file,
		"# HELP flagsse_publishes_total Answers to publishers.\n"
		"# TYPE flagsse_publishes_total counter\n"
		"flagsse_publishes_total{status=\"published\"} %" PRIu64 "\n"
		"flagsse_publishes_total{status=\"stale\"} %" PRIu64 "\n"
		"flagsse_publishes_total{status=\"queued\"} %" PRIu64 "\n"
		"flagsse_publishes_total{status=\"unavailable\"} %" PRIu64 "\n",
		server->counters.published, server->counters.stale, server->counters.queued,
		server->counters.unavailable);
}

static void write_outbox_metrics(FILE *file, const struct server *server)
{
	write_metric(file, "flagsse_outbox_up", "gauge",
		"1 while there is an outbox that can be written.", server->outbox_up);
	write_metric(file, "flagsse_outbox_updates", "gauge",
		"Updates in the outbox, which wait for NATS.", queue_size(server));
	write_metric(file, "flagsse_outbox_published_total", "counter",
		"Updates of the outbox that NATS has taken.", server->counters.outbox_published);
}

static void write_http_metrics(FILE *file, const struct server *server)
{
	struct http_counters http;

	http_count(server->http, &http);
	write_metric(file, "flagsse_http_connections", "gauge",
		"Connections in the hands of HTTP: streams do not count.",
		http_connections(server->http));
	write_metric(file, "flagsse_http_accepted_total", "counter", "Connections accepted.",
		http.accepted);
	write_metric(file, "flagsse_http_ended_for_others_total", "counter",
		"Connections without progress that were ended, as places for requests ran out.",
		http.ended_for_others);
	write_metric(file, "flagsse_refusals_held", "gauge",
		"Subscribers that are refused, and wait for that answer.", http_held(server->http));
	fputs("# HELP flagsse_http_responses_total Responses by class of status.\n"
	      "# TYPE flagsse_http_responses_total counter\n",
		file);
	for (unsigned i = 2; i <= 5; i++)
		fprintf(file, "flagsse_http_responses_total{class=\"%uxx\"} %" PRIu64 "\n", i,
			http.responses[i]);
}

static void write_settings_metrics(FILE *file, const struct server *server)
{
	write_metric(file, "flagsse_settings_pending", "gauge",
		"Settings with a new value that needs a restart.", server->at_restart.n);
}

static void write_log_metrics(FILE *file)
{
	write_metric(file, "flagsse_log_lost_total", "counter",
		"Log messages lost, as the log could not be written.", log_lost());
}

void status_write_metrics(FILE *file, void *userdata)
{
	const struct server *server = userdata;

	write_build_info(file);
	write_hub_metrics(file, server);
	write_update_metrics(file, server);
	write_outbox_metrics(file, server);
	write_http_metrics(file, server);
	watch_write_metrics(file, server);
	write_settings_metrics(file, server);
	write_log_metrics(file);
}

/* What is wrong with the outbox; NULL: nothing, or there has to be none. */
static const char *outbox_problem(const struct server *server)
{
	if (!server->outbox)
		return NULL;
	if (server->disk_stalled)
		return "Its disk does not answer.";
	/* While it is being opened, at the start, what comes waits for that, and is kept then. */
	return server->outbox_problem[0] ? server->outbox_problem : NULL;
}

bool status_keeps_updates(const struct server *server)
{
	return server->outbox && !outbox_problem(server);
}

/* Why the bus takes no updates; NULL: it does, as far as is known.  `down`: what to say if it is
 * down.  `text` has BUS_PROBLEM_SIZE bytes. */
static const char *bus_problem(const struct server *server, const char *down, char *text)
{
	if (!server->bus_up)
		return down;
	if (server->bus_fault[0])
		return server->bus_fault;
	if (server->refusal.state != REFUSAL_ALL)
		return NULL;
	snprintf(text, BUS_PROBLEM_SIZE, "NATS refuses every update: %s.", server->refused_text);
	return text;
}

static const char *not_ready(struct server *server, const char *down)
{
	const char *outbox = outbox_problem(server), *bus;
	char text[BUS_PROBLEM_SIZE];

	refused_look(server);
	bus = bus_problem(server, down, text);
	if (server->stopping)
		return "The service is stopping.";
	if (watch_problem(server))
		return watch_problem(server);
	if (!server->outbox && server->disk_stalled)
		return "The disk of the store does not answer.";
	if (!bus)
		return NULL;
	if (!server->outbox)
		return down;
	if (outbox)
		snprintf(server->state_text, sizeof(server->state_text),
			"%s There is no outbox either: %s", bus, outbox);
	else
		snprintf(server->state_text, sizeof(server->state_text),
			"%s Updates are kept in the outbox, which holds %zu update%s.", bus,
			queue_size(server), text_s(queue_size(server)));
	return server->state_text;
}

const char *status_not_ready(void *userdata)
{
	struct server *server = userdata;

	return not_ready(server, server->bus_open_problem);
}

/* A sentence more in server->state_text, which has `*length` characters. */
static void add_text(struct server *server, size_t *length, const char *format, ...) _printf_(3, 4);

static void add_text(struct server *server, size_t *length, const char *format, ...)
{
	const size_t size = sizeof(server->state_text);
	va_list arguments;
	int n;

	if (*length > 0 && *length + 1 < size)
		server->state_text[(*length)++] = ' ';
	va_start(arguments, format);
	n = vsnprintf(server->state_text + *length, size - *length, format, arguments);
	va_end(arguments);
	*length += n > 0 ? (size_t)n : 0;
	if (*length >= size)
		*length = size - 1;
}

/* What is amiss though updates are taken. */
static void add_faults(struct server *server, size_t *length)
{
	const char *problem = outbox_problem(server);

	if (problem)
		add_text(server, length, "There is no outbox: %s", problem);
	if (server->refusal.state == REFUSAL_SOME)
		add_text(server, length,
			"NATS refuses the updates of %zu environment%s, %s the last: %s.",
			refused_environments(server), text_s(refused_environments(server)),
			server->refused_key.text, server->refused_text);
}

static void add_pending(struct server *server, size_t *length)
{
	if (server->at_restart.n > 0)
		add_text(server, length, "Changed settings that need a restart: %s.",
			server->at_restart.names);
}

const char *status_warning(void *userdata)
{
	struct server *server = userdata;
	size_t length = 0;

	add_faults(server, &length);
	add_pending(server, &length);
	return length > 0 ? server->state_text : NULL;
}

static struct status_numbers count(const struct server *server)
{
	return (struct status_numbers){
		.streams = hub_streams(server->hub),
		.updates = registry_size(server->registry),
		.queued = queue_size(server),
	};
}

bool status_write_line(char *text, size_t size, void *userdata)
{
	struct server *server = userdata;
	struct status_numbers n = server->numbers = count(server);
	const char *problem;
	size_t length = 0;

	if (server->stopping) {
		snprintf(text, size, "%s: %zu stream%s left.",
			stop_hands_over(server) ? "Restarting" : "Stopping", n.streams,
			text_s(n.streams));
		return true;
	}
	problem = not_ready(server, server->bus_problem);
	if (problem == server->state_text)
		length = strlen(problem);
	else if (problem)
		add_text(server, &length, "%s", problem);
	else
		add_faults(server, &length);
	if (length == 0)
		add_text(server, &length, "bus connected.");
	add_pending(server, &length);
	snprintf(text, size, "%zu stream%s, %zu environment%s with an update, %zu queued; %s",
		n.streams, text_s(n.streams), n.updates, text_s(n.updates), n.queued,
		server->state_text);
	/* Shards end them, and do not wake this thread for that. */
	return n.streams > 0;
}

/* Many things change the numbers: so they are compared after each turn of the loop. */
static int on_look(sd_event_source *source, void *userdata)
{
	struct server *server = userdata;
	struct status_numbers now = count(server), told = server->numbers;

	(void)source;
	if (now.streams != told.streams || now.updates != told.updates || now.queued != told.queued)
		notify_changed(server->notify);
	return 0;
}

int status_init(struct server *server)
{
	if (!getenv("NOTIFY_SOCKET"))
		return 0; /* nobody is told */
	return sd_event_add_post(server->event, &server->status_look, on_look, server);
}

void status_deinit(struct server *server)
{
	server->status_look = sd_event_source_disable_unref(server->status_look);
}
