/* SPDX-License-Identifier: BSD-3-Clause */
/* Looks after the threads: each is asked, every few seconds, to show that it is alive.  One that
 * hangs is told of (log, status, /readyz, metrics), and what can be done about it is done:
 *
 *   the bus thread, in NATS's library    it is left behind, and another bus takes its place; only
 *                                        so often, then it is as with a shard
 *   the store's thread, in its disk      nothing: no other thread or process would fare better.
 *                                        Publishers are refused at once, or served by NATS alone
 *   a shard                              the watchdog is not fed, so systemd would kill the
 * process; before that main ends it by itself, and hands over the streams of the other shards main
 * it is main that feeds the watchdog: systemd kills the process
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "base/thread.h"
#include "server/server-internal.h"

/* How often the threads are asked.  It need not be exact: it goes with what else is due. */
#define INTERVAL_US (5 * US_PER_S)
#define ACCURACY_US US_PER_S

/* How long a thread may be silent.  A shard never waits for anything; a transaction of the store
 * may take a moment on a slow disk; and calls of nats.c have time-outs. */
#define SHARD_SILENCE_MS (10 * MS_PER_S)
#define STORE_SILENCE_MS (5 * MS_PER_S)

/* So many buses are replaced.  Each costs a thread, its memory and a socket. */
#define BUSES_LEFT_MAX 3

/* ---- Shards ---- */

static int64_t shards_silence_ms(const struct server *server)
{
	int64_t longest = 0;

	for (unsigned i = 0; i < hub_shards(server->hub); i++)
		if (hub_silence_ms(server->hub, i) > longest)
			longest = hub_silence_ms(server->hub, i);
	return longest;
}

static void tell_of_shards(struct server *server, bool hang)
{
	static const struct log_fields fields = {.message_id = MESSAGE_HANGS};

	if (hang && !server->watch.shards_told)
		log_with(LOG_ERR, &fields,
			"A thread that serves streams does not answer. The watchdog is not fed: if "
			"that goes on, systemd replaces this process.");
	else if (!hang && server->watch.shards_told)
		log_notice("The thread that serves streams answers again.");
	server->watch.shards_told = hang;
}

static void check_shards(struct server *server)
{
	int64_t silence_ms = shards_silence_ms(server);

	server->watch.shards_hang = silence_ms > SHARD_SILENCE_MS;
	if (server->watch.shards_hang || silence_ms == 0)
		tell_of_shards(server, server->watch.shards_hang);
}

/* ---- The store ---- */

static int64_t store_silence_ms(const struct server *server)
{
	return server->outbox ? outbox_silence_ms(server->outbox) : bus_silence_ms(server->bus);
}

static void check_store(struct server *server)
{
	static const struct log_fields fields = {.message_id = MESSAGE_HANGS};
	bool hangs = store_silence_ms(server) > STORE_SILENCE_MS;

	if (hangs == server->watch.store_hangs)
		return;
	server->watch.store_hangs = hangs;
	server->disk_stalled = hangs;
	if (hangs)
		log_with(LOG_ERR, &fields,
			"The disk of the store does not answer. %s until it does. Look for errors "
			"of the disk in the kernel's log; flagsse goes on by itself.",
			server->outbox ? "There is no outbox" : "Updates are refused");
	else
		log_notice("The disk of the store answers again.");
}

/* ---- The NATS bus ---- */

static void tell_of_bus(struct server *server)
{
	static const struct log_fields fields = {.message_id = MESSAGE_HANGS};

	log_with(LOG_ERR, &fields,
		"The thread of the NATS bus does not answer, and %u others before it did not. The "
		"watchdog is not fed: if that goes on, systemd replaces this process.",
		server->watch.n_buses_left);
}

static void replace_bus(struct server *server)
{
	static const struct log_fields fields = {.message_id = MESSAGE_HANGS};
	static const char hung[] = "the thread of the NATS bus has hung. Another has begun.";
	int r = updates_replace_inbox(server);

	if (r < 0) {
		log_error("The bus cannot be replaced: %s.", strerror(-r));
		return;
	}
	log_with(LOG_ERR, &fields,
		"The thread of the NATS bus does not answer. It is left behind, and another takes its "
		"place.");
	bus_leave(server->bus);
	server->watch.n_buses_left++;
	queue_on_bus_left(server);
	updates_on_bus_down(server, hung, hung);
	server->bus = NULL;
	r = server_start_bus(server, server->config);
	if (r < 0)
		log_error("Another bus cannot be begun: %s.", strerror(-r));
}

static void check_bus(struct server *server)
{
	bool hangs;

	if (!server->outbox)
		return; /* the bus is the store */
	if (!server->bus) {
		/* For want of memory, the last time. */
		(void)server_start_bus(server, server->config);
		return;
	}
	hangs = bus_silence_ms(server->bus) > BUS_NATS_SILENCE_MS;
	if (hangs && server->watch.n_buses_left < BUSES_LEFT_MAX) {
		replace_bus(server);
		return;
	}
	if (hangs && !server->watch.bus_hangs)
		tell_of_bus(server);
	server->watch.bus_hangs = hangs;
}

/* ---- All of them ---- */

static void ask(struct server *server)
{
	hub_ping(server->hub);
	if (server->bus)
		bus_ping(server->bus);
	if (server->outbox)
		outbox_ping(server->outbox);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;

	(void)usec;
	/* At the end threads are waited for, each for its own time. */
	if (server->stopping)
		return 0;
	check_shards(server);
	check_store(server);
	check_bus(server);
	if ((server->watch.shards_hang || server->watch.bus_hangs) &&
		notify_has_watchdog(server->notify)) {
		stop_on_hang(server);
		return 0;
	}
	ask(server);
	notify_status(server->notify);
	return sd_event_source_set_time_relative(source, INTERVAL_US);
}

bool watch_is_alive(void *userdata)
{
	struct server *server = userdata;
	int64_t now_ms = clock_monotonic_ms(), silence_ms = shards_silence_ms(server);
	/* What was asked before the last time has to have been answered. */
	bool alive = silence_ms == 0 || silence_ms < now_ms - server->watch.fed_ms;

	if (server->stop.own_accord)
		return true; /* it is main that makes an end now, and that takes its time */
	if (!alive || silence_ms == 0)
		tell_of_shards(server, !alive);
	hub_ping(server->hub);
	server->watch.fed_ms = now_ms;
	return alive && !server->watch.bus_hangs;
}

const char *watch_problem(const struct server *server)
{
	if (server->watch.shards_hang)
		return "A thread that serves streams does not answer.";
	return NULL;
}

static void write_thread(FILE *file, const char *name, bool alive)
{
	fprintf(file, "flagsse_thread_alive{thread=\"%s\"} %d\n", name, alive);
}

void watch_write_metrics(FILE *file, const struct server *server)
{
	char name[sizeof("shard-4294967295")];

	fputs("# HELP flagsse_thread_alive 1 while the thread answers when it is asked.\n"
	      "# TYPE flagsse_thread_alive gauge\n",
		file);
	for (unsigned i = 0; i < hub_shards(server->hub); i++) {
		snprintf(name, sizeof(name), "shard-%u", i);
		write_thread(file, name, hub_silence_ms(server->hub, i) <= SHARD_SILENCE_MS);
	}
	write_thread(file, "flagsse-store", !server->watch.store_hangs);
	if (server->outbox)
		write_thread(file, "nats",
			server->bus && bus_silence_ms(server->bus) <= BUS_NATS_SILENCE_MS);
	fprintf(file,
		"# HELP flagsse_threads_left_behind_total Threads that hung, and were given up.\n"
		"# TYPE flagsse_threads_left_behind_total counter\n"
		"flagsse_threads_left_behind_total %u\n",
		threads_left_behind());
}

int watch_init(struct server *server)
{
	int r = sd_event_add_time_relative(server->event, &server->watch.timer, CLOCK_MONOTONIC,
		INTERVAL_US, ACCURACY_US, on_timer, server);

	return r < 0 ? r : sd_event_source_set_enabled(server->watch.timer, SD_EVENT_ON);
}

void watch_deinit(struct server *server)
{
	server->watch.timer = sd_event_source_disable_unref(server->watch.timer);
}
