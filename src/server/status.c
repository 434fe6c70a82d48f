/* SPDX-License-Identifier: BSD-3-Clause */
/* The state of things: metrics for Prometheus, a line for systemd, a reason for /readyz. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
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

static void write_ends(FILE *file, const struct hub_counters *hub)
{
	fputs("# HELP flagsse_streams_ended_total Streams whose end has begun, by its reason.\n"
	      "# TYPE flagsse_streams_ended_total counter\n",
		file);
	for (unsigned i = 0; i < END_REASONS; i++)
		fprintf(file, "flagsse_streams_ended_total{reason=\"%s\"} %" PRIu64 "\n",
			end_word(i), hub->streams_ended[i]);
}

static void write_hub_metrics(FILE *file, const struct server *server)
{
	struct relay_counters relay;
	struct hub_counters hub;

	relay_count(server->relay, &relay);
	hub_count(server->hub, &hub);
	write_metric(
		file, "flagsse_streams", "gauge", "Streams open now.", hub_streams(server->hub));
	write_metric(file, "flagsse_subscribed_environments", "gauge",
		"Environments with streams, counted once for each thread that serves some.",
		hub_environments(server->hub));
	write_metric(file, "flagsse_streams_max", "gauge", "Streams allowed.",
		relay_streams_max(server->relay));
	write_metric(file, "flagsse_streams_opened_total", "counter", "Streams begun.",
		hub.streams_opened);
	write_metric(file, "flagsse_streams_closed_total", "counter",
		"Streams ended, by whichever side.", hub.streams_closed);
	write_ends(file, &hub);
	write_metric(file, "flagsse_streams_refused_total", "counter",
		"Subscribers refused, as there were too many streams.", relay.full);
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
	struct relay_counters relay;

	relay_count(server->relay, &relay);
	write_metric(file, "flagsse_bus_up", "gauge", "1 while the bus is connected.",
		relay_bus_is_up(server->relay));
	write_metric(file, "flagsse_bus_refuses_all", "gauge",
		"1 while NATS refuses every update, or acknowledges none.",
		relay_bus_refuses_all(server->relay));
	write_metric(file, "flagsse_environments_refused", "gauge",
		"Environments whose latest update NATS has refused; it is tried again.",
		relay_refused_environments(server->relay));
	write_metric(file, "flagsse_refusals_total", "counter",
		"Times that NATS has refused an update.", relay.refused);
	write_metric(file, "flagsse_environments", "gauge", "Environments with a known update.",
		registry_size(server->registry));
	write_metric(file, "flagsse_updates_total", "counter",
		"Updates from bus or outbox that were newer than what was known.", relay.updates);
	write_metric(file, "flagsse_updates_repaired_total", "counter",
		"Updates written back, as the bus had lost them.", relay.repaired);
	write_metric(file, "flagsse_messages_skipped_total", "counter",
		"Messages on the bus that are no update.", relay.skipped);
	fprintf(file,
		"# HELP flagsse_publishes_total Answers to publishers.\n"
		"# TYPE flagsse_publishes_total counter\n"
		"flagsse_publishes_total{status=\"published\"} %" PRIu64 "\n"
		"flagsse_publishes_total{status=\"stale\"} %" PRIu64 "\n"
		"flagsse_publishes_total{status=\"queued\"} %" PRIu64 "\n"
		"flagsse_publishes_total{status=\"unavailable\"} %" PRIu64 "\n",
		relay.published, relay.stale, relay.queued, relay.unavailable);
}

static void write_outbox_metrics(FILE *file, const struct server *server)
{
	struct relay_counters relay;

	relay_count(server->relay, &relay);
	write_metric(file, "flagsse_outbox_up", "gauge",
		"1 while there is an outbox that can be written.",
		relay_outbox_is_up(server->relay));
	write_metric(file, "flagsse_outbox_updates", "gauge",
		"Updates in the outbox, which wait for NATS.", relay_outbox_size(server->relay));
	write_metric(file, "flagsse_outbox_published_total", "counter",
		"Updates of the outbox that NATS has taken.", relay.outbox_published);
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
	const char *names;

	write_metric(file, "flagsse_settings_pending", "gauge",
		"Settings with a new value that needs a restart.",
		reload_pending(server->reload, &names));
}

static void write_log_metrics(FILE *file)
{
	write_metric(file, "flagsse_log_lost_total", "counter",
		"Log messages lost, as the log could not be written.", log_lost());
}

void status_write_metrics(FILE *file, struct status *status)
{
	const struct server *server = status->server;

	write_build_info(file);
	write_hub_metrics(file, server);
	write_update_metrics(file, server);
	write_outbox_metrics(file, server);
	write_http_metrics(file, server);
	thread_watch_write_metrics(file, server->thread_watch);
	write_settings_metrics(file, server);
	write_log_metrics(file);
}

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
