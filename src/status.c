/* SPDX-License-Identifier: BSD-3-Clause */
/* The state of things: metrics for Prometheus, a line for systemd, a reason for /readyz. */
#include <inttypes.h>

#include "log.h"
#include "server-internal.h"
#include "version.h"

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
	write_log_metrics(file);
}

/* What is wrong with the outbox; NULL: nothing, or there has to be none. */
static const char *outbox_problem(const struct server *server)
{
	if (!server->outbox)
		return NULL;
	if (server->disk_stalled)
		return "Its disk does not answer.";
	if (server->outbox_up)
		return NULL;
	return server->outbox_problem[0] ? server->outbox_problem : "It is being opened.";
}

/* Why the bus takes no updates; NULL: it does, as far as is known.  `text` has BUS_PROBLEM_SIZE
 * bytes. */
static const char *bus_problem(const struct server *server, char *text)
{
	if (!server->bus_up)
		return server->bus_problem;
	if (server->bus_fault[0])
		return server->bus_fault;
	if (server->refusal.state != REFUSAL_ALL)
		return NULL;
	snprintf(text, BUS_PROBLEM_SIZE, "NATS refuses every update: %s.", server->refused_text);
	return text;
}

const char *status_not_ready(void *userdata)
{
	struct server *server = userdata;
	const char *outbox = outbox_problem(server), *bus;
	char text[BUS_PROBLEM_SIZE];

	refused_look(server);
	bus = bus_problem(server, text);
	if (server->stopping)
		return "The service is stopping.";
	if (watch_problem(server))
		return watch_problem(server);
	if (!server->outbox && server->disk_stalled)
		return "The disk of the store does not answer.";
	if (!bus)
		return NULL;
	if (!server->outbox)
		return server->bus_problem;
	if (outbox)
		snprintf(server->state_text, sizeof(server->state_text),
			"%s There is no outbox either: %s", bus, outbox);
	else
		snprintf(server->state_text, sizeof(server->state_text),
			"%s Updates are kept in the outbox, which holds %zu.", bus,
			queue_size(server));
	return server->state_text;
}

const char *status_warning(void *userdata)
{
	struct server *server = userdata;
	const char *problem = outbox_problem(server);
	bool refused = server->refusal.state == REFUSAL_SOME;
	size_t n = 0;

	if (problem)
		n = (size_t)snprintf(server->state_text, sizeof(server->state_text),
			"There is no outbox: %s%s", problem, refused ? " " : "");
	if (refused)
		snprintf(server->state_text + n, sizeof(server->state_text) - n,
			"NATS refuses the updates of %zu environments, %s the last: %s.",
			refused_environments(server), server->refused_key.text,
			server->refused_text);
	return problem || refused ? server->state_text : NULL;
}

void status_write_line(char *text, size_t size, void *userdata)
{
	const char *problem = status_not_ready(userdata);
	const struct server *server = userdata;

	if (server->stopping) {
		snprintf(text, size, "Stopping: %zu streams are left.", hub_streams(server->hub));
		return;
	}
	if (!problem)
		problem = status_warning(userdata);
	snprintf(text, size, "%zu streams, %zu environments with an update, %zu queued; %s",
		hub_streams(server->hub), registry_size(server->registry), queue_size(server),
		problem ? problem : "bus connected.");
}
