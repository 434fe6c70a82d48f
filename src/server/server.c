/* SPDX-License-Identifier: BSD-3-Clause */
/* The server: makes the parts, connects them, runs the loop, and ends it all in good order. */
#include "server/server.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "bus/store/store.h"
#include "bus/store/thread.h"
#include "restart/take-up.h"
#include "server/server-internal.h"
#include "server/settings.h"

/* systemd is told READY after this even if the bus is away: streams can be served.  Where they have
 * been taken up from the former process they are served already, and who restarts need not wait:
 * only long enough for a bus that is well to be there, too. */
#define READY_WITHOUT_BUS_US (5 * US_PER_S)
#define READY_TAKEN_UP_US    (500 * US_PER_MS)

#define EXPIRY_INTERVAL_US (60 * US_PER_S)

/* Where the process cannot go on: how long the clients of its streams are waited for. */
#define END_TIMEOUT_MS (10 * MS_PER_S)

/* ---- Timers and signals ---- */

static int on_ready_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;

	(void)source;
	(void)usec;
	notify_ready(server->notify);
	return 0;
}

static int on_expiry_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;

	(void)usec;
	registry_expire(server->registry, relay_now_us(server->relay));
	return sd_event_source_set_time_relative(source, EXPIRY_INTERVAL_US);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	const struct server *server = userdata;

	(void)source;
	restart_on_signal(server->restart, (int)info->ssi_signo);
	return 0;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct server *server = userdata;

	(void)source;
	(void)info;
	if (!restart_has_begun(server->restart))
		reload_all(server->reload);
	return 0;
}

static int add_timer(struct server *server, uint64_t delay_us, sd_event_time_handler_t handler,
	int enabled, sd_event_source **ret)
{
	int r = sd_event_add_time_relative(
		server->event, ret, CLOCK_MONOTONIC, delay_us, 0, handler, server);

	return r < 0 ? r : sd_event_source_set_enabled(*ret, enabled);
}

static const struct {
	int signal;
	sd_event_signal_handler_t handler;
} handled[SIGNALS_MAX] = {
	{SIGTERM, on_signal},
	{SIGINT, on_signal},
	{SIGHUP, on_hangup},
};

static int add_sources(struct server *server)
{
	int r;

	for (size_t i = 0; i < SIGNALS_MAX; i++) {
		r = sd_event_add_signal(server->event, &server->signals[i], handled[i].signal,
			handled[i].handler, server);
		if (r < 0)
			return r;
	}
	return add_timer(
		server, EXPIRY_INTERVAL_US, on_expiry_timer, SD_EVENT_ON, &server->expiry_timer);
}

/* ---- Making the parts ---- */

static int make_hub(struct server *server, const struct config *config)
{
	struct hub_settings settings = settings_of_hub(config);

	return hub_new(&settings, &server->hub);
}

/* ---- The relay ---- */

static void on_bus_up(void *userdata)
{
	const struct server *server = userdata;

	notify_ready(server->notify);
}

static void on_relay_change(void *userdata)
{
	const struct server *server = userdata;

	notify_status(server->notify);
}

static int make_relay(
	struct server *server, const struct config *config, const struct descriptor_shares *shares)
{
	static const struct relay_operations operations = {
		.on_up = on_bus_up,
		.on_change = on_relay_change,
	};
	struct relay_streams streams;
	int r;

	r = relay_new(
		server->event, server->hub, server->registry, &operations, server, &server->relay);
	if (r >= 0)
		r = settings_of_streams(config, shares, &streams);
	if (r >= 0)
		relay_set_streams(server->relay, &streams);
	return r;
}

int server_start_bus(struct server *server, const struct config *config)
{
	struct nats_settings nats;
	struct relay_bus_settings settings = settings_of_bus(config, &nats);

	return relay_start_bus(server->relay, &settings);
}

/* ---- HTTP ---- */

static int subscribe(const struct http_subscription *subscription, void *userdata)
{
	return relay_subscribe(((struct server *)userdata)->relay, subscription);
}

static void publish(
	struct http_publish *publish, const struct key *key, int64_t time_us, void *userdata)
{
	relay_publish(((struct server *)userdata)->relay, publish, key, time_us);
}

static const char *not_ready(void *userdata)
{
	return status_not_ready(((struct server *)userdata)->status);
}

static const char *warning(void *userdata)
{
	return status_warning(((struct server *)userdata)->status);
}

static void write_metrics(FILE *file, void *userdata)
{
	readings_write(file, userdata);
}

static size_t count_streams(void *userdata)
{
	return hub_streams(((struct server *)userdata)->hub);
}

static int make_http(
	struct server *server, const struct config *config, const struct descriptor_shares *shares)
{
	static const struct http_operations operations = {
		.subscribe = subscribe,
		.publish = publish,
		.not_ready = not_ready,
		.write_metrics = write_metrics,
		.warning = warning,
		.streams = count_streams,
	};
	struct http_settings settings = settings_of_http(config, shares);

	return http_new(server->event, &settings, &operations, server, &server->http);
}

/* ---- systemd ---- */

static bool write_status(char *text, size_t size, void *userdata)
{
	return status_write_line(text, size, ((struct server *)userdata)->status);
}

static bool is_alive(void *userdata)
{
	return thread_watch_is_alive(((struct server *)userdata)->thread_watch);
}

static int make_notify(struct server *server)
{
	static const struct notify_operations operations = {
		.write_status = write_status,
		.is_alive = is_alive,
	};

	return notify_new(server->event, &operations, server, &server->notify);
}

/* ---- The end ---- */

static void stop_relay(void *userdata)
{
	relay_stop(((struct server *)userdata)->relay);
}

static void end_subscriptions(void *userdata)
{
	relay_end_subscriptions(((struct server *)userdata)->relay);
}

static bool has_answered(void *userdata)
{
	return relay_has_answered(((struct server *)userdata)->relay);
}

static void end_bus(void *userdata)
{
	relay_end_bus(((struct server *)userdata)->relay);
}

static int64_t now_us(void *userdata)
{
	return relay_now_us(((struct server *)userdata)->relay);
}

static int make_restart(struct server *server, const struct config *config)
{
	static const struct restart_operations operations = {
		.stop = stop_relay,
		.end_subscriptions = end_subscriptions,
		.has_answered = has_answered,
		.end_bus = end_bus,
		.now_us = now_us,
	};
	struct restart_parts parts = {
		.event = server->event,
		.hub = server->hub,
		.registry = server->registry,
		.http = server->http,
		.notify = server->notify,
		.addresses = server->addresses,
	};
	int r = restart_new(&parts, &operations, server, &server->restart);

	if (r >= 0)
		restart_configure(server->restart, config->streams_drain_delay_ms,
			config->streams_drain_time_ms);
	return r;
}

/* ---- The start ---- */

/* In case the bus is not there before. */
static int start_ready_timer(struct server *server)
{
	bool taken_up = hub_streams(server->hub) > 0;

	return add_timer(server, taken_up ? READY_TAKEN_UP_US : READY_WITHOUT_BUS_US,
		on_ready_timer, SD_EVENT_ONESHOT, &server->ready_timer);
}

/* From the ground up: each knows those before it. */
static int make_parts(struct server *server, const struct config *config)
{
	const struct descriptor_shares *shares = reload_share(server->reload, config);
	int r;

	if ((r = registry_new(&server->registry)) < 0 || (r = make_hub(server, config)) < 0 ||
		(r = make_http(server, config, shares)) < 0 ||
		(r = thread_watch_new(server, &server->thread_watch)) < 0 ||
		(r = make_notify(server)) < 0 || (r = make_relay(server, config, shares)) < 0 ||
		(r = status_new(server, &server->status)) < 0)
		return r;
	return add_sources(server);
}

/* All that can fail for a reason that somebody else can give. */
static int open_parts(
	struct server *server, const struct config *config, struct inherited *inherited)
{
	int r;

	if ((r = make_parts(server, config)) < 0 ||
		(r = listening_open(server, config, inherited)) < 0 ||
		(r = make_restart(server, config)) < 0)
		return r;
	/* It tells main nothing before the loop runs. */
	return config->bus_type == BUS_TYPE_LOCAL ? server_start_bus(server, config) : 0;
}

/* The streams of the former process are systemd's until all is open, so that another process can
 * have them if this one fails.  Then they are taken, before anybody else comes, and before the bus
 * tells what the registry is to compare with what they have. */
static int server_start(
	struct server *server, const struct config *config, struct inherited *inherited)
{
	int r = open_parts(server, config, inherited);

	if (r < 0)
		return r;
	takeup(&inherited->stash, server->hub, server->registry, relay_streams_max(server->relay));
	if ((r = hub_start(server->hub)) < 0 || (r = start_ready_timer(server)) < 0 ||
		(r = listening_begin(server, inherited)) < 0)
		return r;
	return relay_has_bus(server->relay) ? 0 : server_start_bus(server, config);
}

/* For want of memory or threads: there is no other process that could go on with them. */
static void end_streams(struct server *server)
{
	size_t n = server->hub ? hub_streams(server->hub) : 0;

	if (n == 0)
		return;
	log_error("The %zu stream%s %s ended cleanly.", n, text_s(n), text_are(n));
	hub_halt(server->hub);
	(void)hub_end_all(server->hub, END_TIMEOUT_MS);
}

/* So that main's loop gets them by sd-event, and no thread does; SIGCHLD for next-check.c. */
static int block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < SIGNALS_MAX; i++)
		sigaddset(&set, handled[i].signal);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	return 0;
}

static void seed_random(void)
{
	unsigned seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = (unsigned)clock_wall_us() ^ (unsigned)getpid();
	srandom(seed);
}

int server_new(struct config *config, struct inherited *inherited, server_read_config *read_config,
	void *userdata, struct server **ret)
{
	_cleanup_(server_freep) struct server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	seed_random();
	r = block_signals();
	if (r >= 0)
		r = sd_event_new(&server->event);
	if (r >= 0)
		r = reload_new(server, read_config, userdata, &server->reload);
	if (r >= 0)
		r = server_start(server, config, inherited);
	if (r < 0) {
		log_error("Cannot start: %s.", strerror(-r));
		end_streams(server);
		return r;
	}
	reload_begin(server->reload, config);
	notify_status(server->notify);
	*ret = TAKE_PTR(server);
	return 0;
}

int server_run(struct server *server)
{
	int r = sd_event_loop(server->event);

	if (r < 0) {
		log_error("The event loop has failed: %s.", strerror(-r));
		end_streams(server);
	}
	return r;
}

struct server *server_free(struct server *server)
{
	if (!server)
		return NULL;
	if (server->relay)
		relay_end(server->relay);
	/* They may still post to the relay, and have publications of it: all stays as it is for
	 * the moment that the process still has. */
	if (threads_left_behind() > 0)
		return NULL;
	relay_free(server->relay);
	http_free(server->http);
	status_free(server->status);
	hub_free(server->hub);
	notify_free(server->notify);
	thread_watch_free(server->thread_watch);
	registry_free(server->registry);
	for (size_t i = 0; i < SIGNALS_MAX; i++)
		sd_event_source_disable_unref(server->signals[i]);
	sd_event_source_disable_unref(server->ready_timer);
	sd_event_source_disable_unref(server->expiry_timer);
	restart_free(server->restart);
	reload_free(server->reload);
	sd_event_unref(server->event);
	free(server->addresses);
	free(server);
	return NULL;
}
