/* SPDX-License-Identifier: BSD-3-Clause */
/* Looks after the threads: asks each, every few seconds, to show that it is alive.  If one hangs,
 * that is told (log, status, /readyz, metrics), and this is done about it:
 *
 *   what hangs        | why                | what is done
 *   ------------------+--------------------+------------------------------------------------------
 *   the bus thread    | NATS's library     | it is left behind, and another bus takes its place;
 *                     |                    | after BUSES_LEFT_MAX of them, as with a shard
 *   the store's       | its disk           | nothing: no other thread or process would fare better.
 *   thread            |                    | Publishers are refused at once, or served by NATS
 *                     |                    | alone
 *   a shard           |                    | main stops feeding the watchdog, so systemd would kill
 *                     |                    | the process; before that, main ends it, and hands over
 *                     |                    | the streams of the other shards
 *   main              |                    | it feeds the watchdog: systemd kills the process
 */
#include <errno.h>
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

struct thread_watch {
	struct server *server;
	sd_event_source *timer;
	int64_t fed_ms; /* when the watchdog was last fed, or not */
	bool shards_hang;
	bool shards_told; /* in the log */
	bool store_hangs;
	bool bus_hangs;        /* and there is nothing more to be done about it */
	unsigned n_buses_left; /* left behind, and replaced */
	bool ending;           /* as a thread hangs */
};

/* ---- Shards ---- */

static int64_t shards_silence_ms(const struct thread_watch *watch)
{
	const struct hub *hub = watch->server->hub;
	int64_t longest = 0;

	for (unsigned i = 0; i < hub_shards(hub); i++)
		if (hub_silence_ms(hub, i) > longest)
			longest = hub_silence_ms(hub, i);
	return longest;
}

static void tell_of_shards(struct thread_watch *watch, bool hang)
{
	static const struct log_fields fields = {.message_id = MESSAGE_HANGS};

	if (hang && !watch->shards_told)
		log_with(LOG_ERR, &fields,
			"A thread that serves streams does not answer. The watchdog is not fed: if "
			"that goes on, systemd replaces this process.");
	else if (!hang && watch->shards_told)
		log_notice("The thread that serves streams answers again.");
	watch->shards_told = hang;
}

static void check_shards(struct thread_watch *watch)
{
	int64_t silence_ms = shards_silence_ms(watch);

	watch->shards_hang = silence_ms > SHARD_SILENCE_MS;
	if (watch->shards_hang || silence_ms == 0)
		tell_of_shards(watch, watch->shards_hang);
}

/* ---- The store ---- */

static void check_store(struct thread_watch *watch)
{
	struct relay *relay = watch->server->relay;
	static const struct log_fields fields = {.message_id = MESSAGE_HANGS};
	bool hangs = relay_store_silence_ms(relay) > STORE_SILENCE_MS;

	if (hangs == watch->store_hangs)
		return;
	watch->store_hangs = hangs;
	relay_set_stalled(relay, hangs);
	if (hangs)
		log_with(LOG_ERR, &fields,
			"The disk of the store does not answer. %s until it does. Look for errors "
			"of the disk in the kernel's log; flagsse goes on by itself.",
			relay_has_outbox(relay) ? "There is no outbox" : "Updates are refused");
	else
		log_notice("The disk of the store answers again.");
}

/* ---- The NATS bus ---- */

static void tell_of_bus(const struct thread_watch *watch)
{
	static const struct log_fields fields = {.message_id = MESSAGE_HANGS};

	log_with(LOG_ERR, &fields,
		"The thread of the NATS bus does not answer, and %u others before it did not. The "
		"watchdog is not fed: if that goes on, systemd replaces this process.",
		watch->n_buses_left);
}

static int start_bus(const struct thread_watch *watch)
{
	struct server *server = watch->server;

	return server_start_bus(server, reload_running(server->reload));
}

static void replace_bus(struct thread_watch *watch)
{
	int r = relay_leave_bus(watch->server->relay);

	if (r < 0) {
		log_error("The bus cannot be replaced: %s.", strerror(-r));
		return;
	}
	watch->n_buses_left++;
	r = start_bus(watch);
	if (r < 0)
		log_error("Another bus cannot be begun: %s.", strerror(-r));
}

static void check_bus(struct thread_watch *watch)
{
	const struct relay *relay = watch->server->relay;
	bool hangs;

	if (!relay_has_outbox(relay))
		return; /* the bus is the store */
	if (!relay_has_bus(relay)) {
		(void)start_bus(watch); /* for want of memory, the last time */
		return;
	}
	hangs = relay_bus_silence_ms(relay) > BUS_NATS_SILENCE_MS;
	if (hangs && watch->n_buses_left < BUSES_LEFT_MAX) {
		replace_bus(watch);
		return;
	}
	if (hangs && !watch->bus_hangs)
		tell_of_bus(watch);
	watch->bus_hangs = hangs;
}

/* ---- All of them ---- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct thread_watch *watch = userdata;
	const struct server *server = watch->server;

	(void)usec;
	/* At the end threads are waited for, each for its own time. */
	if (restart_has_begun(server->restart))
		return 0;
	check_shards(watch);
	check_store(watch);
	check_bus(watch);
	if ((watch->shards_hang || watch->bus_hangs) && notify_has_watchdog(server->notify)) {
		watch->ending = true;
		restart_on_hang(server->restart);
		return 0;
	}
	hub_ping(server->hub);
	relay_ping(server->relay);
	notify_status(server->notify);
	return sd_event_source_set_time_relative(source, INTERVAL_US);
}

bool thread_watch_is_alive(struct thread_watch *watch)
{
	const struct server *server = watch->server;
	int64_t now_ms = clock_monotonic_ms(), silence_ms = shards_silence_ms(watch);
	/* What was asked before the last time has to have been answered. */
	bool alive = silence_ms == 0 || silence_ms < now_ms - watch->fed_ms;

	if (watch->ending)
		return true; /* it is main that makes an end now, and that takes its time */
	if (!alive || silence_ms == 0)
		tell_of_shards(watch, !alive);
	hub_ping(server->hub);
	watch->fed_ms = now_ms;
	return alive && !watch->bus_hangs;
}

const char *thread_watch_problem(const struct thread_watch *watch)
{
	if (watch->shards_hang)
		return "A thread that serves streams does not answer.";
	return NULL;
}

void thread_watch_write_alive(FILE *file, enum metric metric, const struct thread_watch *watch)
{
	const struct server *server = watch->server;
	char name[sizeof("shard-4294967295")];

	for (unsigned i = 0; i < hub_shards(server->hub); i++) {
		snprintf(name, sizeof(name), "shard-%u", i);
		metrics_write_value(
			file, metric, name, hub_silence_ms(server->hub, i) <= SHARD_SILENCE_MS);
	}
	metrics_write_value(file, metric, "flagsse-store", !watch->store_hangs);
	if (relay_has_outbox(server->relay))
		metrics_write_value(file, metric, "nats",
			relay_has_bus(server->relay) &&
				relay_bus_silence_ms(server->relay) <= BUS_NATS_SILENCE_MS);
}

int thread_watch_new(struct server *server, struct thread_watch **ret)
{
	_cleanup_(thread_watch_freep) struct thread_watch *watch = calloc(1, sizeof(*watch));
	int r;

	if (!watch)
		return -ENOMEM;
	watch->server = server;
	r = sd_event_add_time_relative(server->event, &watch->timer, CLOCK_MONOTONIC, INTERVAL_US,
		ACCURACY_US, on_timer, watch);
	if (r >= 0)
		r = sd_event_source_set_enabled(watch->timer, SD_EVENT_ON);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(watch);
	return 0;
}

struct thread_watch *thread_watch_free(struct thread_watch *watch)
{
	if (!watch)
		return NULL;
	sd_event_source_disable_unref(watch->timer);
	free(watch);
	return NULL;
}
