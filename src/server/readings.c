/* SPDX-License-Identifier: BSD-3-Clause */
/* The metrics: those that are counted are added up from the blocks of all parts, and those that are
 * READ have a function here, read_FUNCTION(). */
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "base/version.h"
#include "server/server-internal.h"

/* ---- Streams ---- */

static uint64_t read_streams(const struct server *server)
{
	return hub_streams(server->hub);
}

static uint64_t read_subscribed_environments(const struct server *server)
{
	return hub_environments(server->hub);
}

static uint64_t read_streams_max(const struct server *server)
{
	return relay_streams_max(server->relay);
}

static void read_streams_ended(FILE *file, enum metric metric, const struct server *server)
{
	for (enum end_reason reason = 0; reason < END_REASONS; reason++)
		metrics_write_value(file, metric, end_word(reason), hub_ended(server->hub, reason));
}

/* ---- Updates ---- */

static uint64_t read_bus_up(const struct server *server)
{
	return relay_bus_is_up(server->relay);
}

static uint64_t read_bus_refuses_all(const struct server *server)
{
	return relay_bus_refuses_all(server->relay);
}

static uint64_t read_environments_refused(const struct server *server)
{
	return relay_refused_environments(server->relay);
}

static uint64_t read_environments(const struct server *server)
{
	return registry_size(server->registry);
}

static uint64_t read_outbox_up(const struct server *server)
{
	return relay_outbox_is_up(server->relay);
}

static uint64_t read_outbox_updates(const struct server *server)
{
	return relay_outbox_size(server->relay);
}

/* ---- HTTP ---- */

static uint64_t read_http_connections(const struct server *server)
{
	return http_connections(server->http);
}

static uint64_t read_refusals_held(const struct server *server)
{
	return http_held(server->http);
}

/* ---- The process ---- */

/* Always 1: the version is in the label, as Prometheus has it. */
static void read_build_info(FILE *file, enum metric metric, const struct server *server)
{
	(void)server;
	metrics_write_value(file, metric, flagsse_version, 1);
}

static void read_thread_alive(FILE *file, enum metric metric, const struct server *server)
{
	thread_watch_write_alive(file, metric, server->thread_watch);
}

static uint64_t read_threads_left_behind(const struct server *server)
{
	(void)server;
	return threads_left_behind();
}

static uint64_t read_settings_pending(const struct server *server)
{
	const char *names;

	return reload_pending(server->reload, &names);
}

static uint64_t read_log_lost(const struct server *server)
{
	(void)server;
	return log_lost();
}

/* ---- All of them ---- */

/* One of both, for a metric that is READ, or READ_BY. */
static const struct reading {
	uint64_t (*value)(const struct server *server);
	void (*values)(FILE *file, enum metric metric, const struct server *server);
} readings[METRICS] = {
#define READ(id, function, ...)    [METRIC_##id] = {.value = read_##function},
#define READ_BY(id, function, ...) [METRIC_##id] = {.values = read_##function},
#include "base/metrics.def"
};

static void write_reading(FILE *file, enum metric metric, const void *userdata)
{
	const struct server *server = userdata;
	const struct reading *reading = &readings[metric];

	if (reading->values)
		reading->values(file, metric, server);
	else
		metrics_write_value(file, metric, NULL, reading->value(server));
}

void readings_write(FILE *file, const struct server *server)
{
	struct metrics total = {.counts = {0}};

	hub_count(server->hub, &total);
	metrics_sum(&total, relay_metrics(server->relay));
	metrics_sum(&total, http_metrics(server->http));
	metrics_write(file, &total, write_reading, server);
}
