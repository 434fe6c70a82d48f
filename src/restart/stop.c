/* SPDX-License-Identifier: BSD-3-Clause */
/* The end.  On SIGTERM systemd is asked why.  For a restart the streams are handed over to the next
 * process; else, or where that cannot be, they are drained: ended cleanly, one after another. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "base/text.h"
#include "restart/stash.h"
#include "server/server-internal.h"

/* How often to look how far it is. */
#define INTERVAL_US (20 * US_PER_MS)

/* systemd is told so often that it takes longer, and by how much. */
#define EXTEND_INTERVAL_MS 1000
#define EXTEND_US          (15 * US_PER_S)

/* How long to wait: for requests that are not whole yet; at the very end, for clients that have to
 * read and to close; the same after a second signal. */
#define REQUESTS_TIMEOUT_MS 2000
#define LAST_TIMEOUT_MS     10000
#define HURRIED_TIMEOUT_MS  2000

/* A drain ends at least so many streams in a second: few take no time. */
#define DRAIN_RATE_MIN 1000

static void set_phase(struct stop *stop, enum stop_phase phase, int64_t for_ms)
{
	stop->phase = phase;
	stop->begun_ms = clock_monotonic_ms();
	stop->until_ms = stop->begun_ms + for_ms;
}

/* A fault shows in the exit status, too; and who starts it again only after a failure does so. */
static void finish(struct server *server)
{
	(void)sd_event_exit(server->event, server->stop.own_accord ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- Drain ---- */

/* Those that wait to be accepted are systemd's, for the next process, if the sockets are. */
static void stop_accepting(struct server *server)
{
	if (server->addresses)
		http_accept_rest(server->http);
	http_stop_accepting(server->http);
}

static void drain_last(struct server *server, int64_t for_ms)
{
	set_phase(&server->stop, STOP_LAST, for_ms);
	/* First: who comes back at once would be taken, and ended again. */
	stop_accepting(server);
	hub_drain(server->hub, 0);
}

static void drain(struct server *server)
{
	int64_t n = (int64_t)hub_streams(server->hub);
	int64_t over_ms = n * MS_PER_S / DRAIN_RATE_MIN;

	if (over_ms > server->config->streams_drain_time_ms)
		over_ms = server->config->streams_drain_time_ms;
	if (over_ms == 0) {
		drain_last(server, LAST_TIMEOUT_MS);
		return;
	}
	hub_drain(server->hub, over_ms);
	log_info("Ending %" PRId64 " stream%s over %.1f s.", n, text_s((size_t)n),
		(double)over_ms / MS_PER_S);
	set_phase(&server->stop, STOP_DRAINING, over_ms);
}

static void begin_drain(struct server *server)
{
	if (server->config->streams_drain_delay_ms == 0) {
		drain(server);
		return;
	}
	log_info("The streams stay for %.1f s yet.",
		(double)server->config->streams_drain_delay_ms / MS_PER_S);
	set_phase(&server->stop, STOP_DELAYING, server->config->streams_drain_delay_ms);
}

static void drain_instead(struct server *server, const char *why)
{
	log_notice("The streams are not handed over: %s.", why);
	begin_drain(server);
}

/* ---- Hand-over ---- */

static int add_update(const struct update *update, void *userdata)
{
	return handover_add_update(userdata, update);
}

/* All that is handed over, as bytes, and the descriptors beside it. */
static int save(
	struct server *server, struct handover_writer *writer, void **ret_state, size_t *ret_size)
{
	int r = hub_save(server->hub, writer);

	if (r >= 0)
		r = registry_each(server->registry, updates_now_us(server), add_update, writer);
	return r < 0 ? r : handover_finish(writer, clock_monotonic_ms(), ret_state, ret_size);
}

/* Once it has returned 0 the streams are systemd's, until the next process takes them. */
static int hand_over(struct server *server)
{
	_cleanup_(handover_writer_freep) struct handover_writer *writer = NULL;
	_cleanup_(stash_deinit) struct stash stash = {.state = -1};
	_cleanup_(freep) void *state = NULL;
	const struct handover_item *items;
	size_t size, n_items;
	int r;

	r = handover_writer_new(&writer);
	if (r < 0)
		return r;
	r = save(server, writer, &state, &size);
	if (r < 0)
		return r;
	items = handover_items(writer, &n_items);
	r = stash_make(state, size, items, n_items, &stash);
	if (r < 0)
		return r;
	if (stash.n_pairs + 1 > server->stop.store_max) {
		log_error("FileDescriptorStoreMax= of the unit is %zu, but %zu are needed.",
			server->stop.store_max, stash.n_pairs + 1);
		return -ENOSPC;
	}
	r = stash_store(&stash);
	if (r < 0)
		return r;
	log_with(LOG_NOTICE, (&(struct log_fields){.message_id = MESSAGE_HANDED_OVER}),
		"Handed over %zu stream%s of %zu environment%s (%zu bytes) in %" PRId64 " ms.",
		n_items, text_s(n_items), handover_environments(writer),
		text_s(handover_environments(writer)), size,
		clock_monotonic_ms() - server->stop.signal_ms);
	return 0;
}

/* From here on nothing new can come. */
static void end_bus(struct server *server)
{
	server->bus = bus_free(server->bus);
	updates_deliver(server);
}

static void on_requests_answered(struct server *server)
{
	unsigned n_left;
	int r;

	end_bus(server);
	n_left = hub_halt(server->hub);
	if (n_left > 0)
		log_error("%u of the threads that serve streams hang%s. Their streams are lost, "
			  "the others are handed over.",
			n_left, n_left == 1 ? "s" : "");
	r = hand_over(server);
	if (r >= 0) {
		finish(server);
		return;
	}
	/* They are ours still: none has been closed. */
	log_with(LOG_ERR, (&(struct log_fields){.message_id = MESSAGE_HANDOVER_FAILED}),
		"The streams cannot be handed over: %s. They are ended cleanly.", strerror(-r));
	r = hub_start(server->hub);
	if (r < 0)
		log_error("Cannot start the shards again: %s.", strerror(-r));
	drain(server);
}

static void begin_hand_over(struct server *server)
{
	stop_accepting(server);
	set_phase(&server->stop, STOP_ANSWERING, REQUESTS_TIMEOUT_MS);
}

static void on_next_answer(const char *problem, void *userdata)
{
	struct server *server = userdata;

	if (server->stop.phase != STOP_CHECKING)
		return;
	if (problem)
		drain_instead(server, problem);
	else
		begin_hand_over(server);
}

/* Whether a next process comes.  Without a job, systemd starts it as this one has failed. */
static bool is_restart(const struct server *server, const char *job)
{
	return strcmp(job, "restart") == 0 || strcmp(job, "try-restart") == 0 ||
	       (server->stop.own_accord && strcmp(job, "") == 0);
}

static void on_job_answer(const struct job_answer *answer, void *userdata)
{
	struct server *server = userdata;
	int r;

	if (server->stop.phase != STOP_ASKING)
		return;
	if (answer->problem) {
		drain_instead(server, answer->problem);
	} else if (!is_restart(server, answer->type)) {
		begin_drain(server);
	} else if (answer->store_max == 0) {
		drain_instead(server, "FileDescriptorStoreMax= of the unit is 0");
	} else {
		server->stop.store_max = answer->store_max;
		set_phase(&server->stop, STOP_CHECKING, INT32_MAX);
		notify_status(server->notify);
		r = next_check(server->event, server->addresses, on_next_answer, server,
			&server->stop.next);
		if (r < 0)
			drain_instead(server,
				"the program of the next process cannot be run to check what it "
				"needs");
	}
}

static void ask_systemd(struct server *server)
{
	int r;

	set_phase(&server->stop, STOP_ASKING, INT32_MAX);
	r = job_ask(server->event, on_job_answer, server, &server->stop.job);
	if (r < 0) {
		log_debug("Asking systemd fails: %s", strerror(-r));
		drain_instead(server,
			"systemd cannot be asked for the reason of the end; is there a "
			"system bus (dbus)?");
	}
}

/* ---- The sequence ---- */

/* What a disk that hangs has been given is not waited for: its publishers have been refused. */
static bool are_requests_answered(const struct server *server)
{
	return http_connections(server->http) == 0 &&
	       (server->n_publications == 0 || server->disk_stalled);
}

static bool is_all_over(const struct server *server, int64_t now_ms)
{
	bool answered = are_requests_answered(server) ||
			now_ms - server->stop.begun_ms >= REQUESTS_TIMEOUT_MS;

	return hub_streams(server->hub) == 0 && answered;
}

static void go_on(struct server *server, int64_t now_ms)
{
	bool late = now_ms >= server->stop.until_ms;

	switch (server->stop.phase) {
	case STOP_ANSWERING:
		if (late || are_requests_answered(server))
			on_requests_answered(server);
		break;
	case STOP_DELAYING:
		if (late)
			drain(server);
		break;
	case STOP_DRAINING:
		if (late)
			drain_last(server, LAST_TIMEOUT_MS);
		break;
	case STOP_LAST:
		if (late && hub_streams(server->hub) > 0)
			log_warning("Not ended in time, and cut off: %zu stream%s.",
				hub_streams(server->hub), text_s(hub_streams(server->hub)));
		if (late || is_all_over(server, now_ms))
			finish(server);
		break;
	default:
		break;
	}
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;
	int64_t now_ms = clock_monotonic_ms();

	(void)usec;
	if (now_ms >= server->stop.extend_ms) {
		notify_extend(server->notify, EXTEND_US);
		server->stop.extend_ms = now_ms + EXTEND_INTERVAL_MS;
	}
	go_on(server, now_ms);
	return sd_event_source_set_time_relative(source, INTERVAL_US);
}

/* A second signal: no more asking or waiting. */
static void hurry(struct server *server)
{
	if (server->stop.hurried)
		return;
	server->stop.hurried = true;
	drain_last(server, HURRIED_TIMEOUT_MS);
}

static void begin(struct server *server)
{
	struct stop *stop = &server->stop;

	server->stopping = true;
	stop->signal_ms = stop->extend_ms = clock_monotonic_ms();
	notify_stopping(server->notify);
	(void)sd_event_source_set_enabled(stop->timer, SD_EVENT_ON);
}

bool stop_hands_over(const struct server *server)
{
	return server->stop.phase == STOP_CHECKING || server->stop.phase == STOP_ANSWERING;
}

void stop_on_signal(struct server *server, int number)
{
	if (server->stop.own_accord && !server->stop.signalled) {
		server->stop.signalled = true;
		return; /* it does already what is asked */
	}
	if (server->stopping) {
		log_notice("%s again: all streams are ended at once.", strsignal(number));
		hurry(server);
		return;
	}
	log_notice("%s: stopping, with %zu stream%s.", strsignal(number), hub_streams(server->hub),
		text_s(hub_streams(server->hub)));
	begin(server);
	/* Only a service of systemd can have a next process that takes the streams up. */
	if (number == SIGTERM && getenv("NOTIFY_SOCKET"))
		ask_systemd(server);
	else
		begin_drain(server);
}

void stop_on_hang(struct server *server)
{
	log_notice("Stopping, with %zu stream%s, before the watchdog kills this process.",
		hub_streams(server->hub), text_s(hub_streams(server->hub)));
	server->stop.own_accord = true;
	begin(server);
	ask_systemd(server);
}

int stop_init(struct server *server)
{
	int r = sd_event_add_time_relative(server->event, &server->stop.timer, CLOCK_MONOTONIC, 0,
		US_PER_MS, on_timer, server);

	return r < 0 ? r : sd_event_source_set_enabled(server->stop.timer, SD_EVENT_OFF);
}

void stop_deinit(struct server *server)
{
	server->stop.job = job_free(server->stop.job);
	server->stop.next = next_free(server->stop.next);
	server->stop.timer = sd_event_source_disable_unref(server->stop.timer);
}
