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
#include "net/listen.h"
#include "restart/take-up.h"
#include "server/server-internal.h"

/* systemd is told READY after this even if the bus is away: streams can be served.  Where they have
 * been taken up from the former process they are served already, and who restarts need not wait:
 * only long enough for a bus that is well to be there, too. */
#define READY_WITHOUT_BUS_US (5 * US_PER_S)
#define READY_TAKEN_UP_US    (500 * US_PER_MS)

#define EXPIRY_INTERVAL_US (60 * US_PER_S)

/* Of a client that reads nothing of its answer. */
#define ANSWER_TIMEOUT_MS (5 * MS_PER_S)

/* A subscriber that is refused has its answer after a random time between these: several SDKs come
 * back at once, hundreds of times a second. */
#define HOLD_MIN_MS (1 * MS_PER_S)
#define HOLD_MAX_MS (5 * MS_PER_S)
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
	registry_expire(server->registry, updates_now_us(server));
	return sd_event_source_set_time_relative(source, EXPIRY_INTERVAL_US);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)source;
	stop_on_signal(userdata, (int)info->ssi_signo);
	return 0;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct server *server = userdata;

	(void)source;
	(void)info;
	if (!server->stopping)
		reload(server);
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
		r = sd_event_add_signal(server->event, &server->signal_sources[i],
			handled[i].signal, handled[i].handler, server);
		if (r < 0)
			return r;
	}
	r = add_timer(
		server, EXPIRY_INTERVAL_US, on_expiry_timer, SD_EVENT_ON, &server->expiry_timer);
	return r < 0 ? r : stop_init(server);
}

/* ---- Making the parts ---- */

struct profile *server_make_profiles(const struct config *config)
{
	struct profile *profiles = calloc(config->n_profiles + 1, sizeof(profiles[0]));

	for (size_t i = 0; profiles && i < config->n_profiles; i++)
		profiles[i] = (struct profile){
			.user_agent = config->profiles[i].user_agent,
			.accept = config->profiles[i].accept,
			.max_age_ms = config->profiles[i].max_age_ms,
			.close_after_update = config->profiles[i].close_after_update,
		};
	return profiles;
}

void server_set_streams(
	struct server *server, const struct config *config, struct profile *profiles)
{
	free(server->profiles);
	server->profiles = profiles;
	server->n_profiles = config->n_profiles;
	server->standard = (struct profile){
		.user_agent = "",
		.accept = "",
		.max_age_ms = config->streams_max_age_ms,
	};
	server->retry_min_ms = (unsigned)config->streams_retry_min_ms;
	server->retry_max_ms = (unsigned)config->streams_retry_max_ms;
}

struct hub_settings server_hub_settings(const struct config *config)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct hub_settings settings = {
		.shards = (unsigned)config->streams_shards,
		.keepalive_ms = config->streams_keepalive_ms,
		.user_timeout_ms = config->streams_user_timeout_ms,
		.spread_ms = config->streams_spread_ms,
	};

	if (settings.shards == 0)
		settings.shards = cores > 0 ? (unsigned)cores : 1;
	return settings;
}

struct http_settings server_http_settings(
	const struct config *config, const struct descriptor_shares *shares)
{
	return (struct http_settings){
		.token = config->token,
		.request_timeout_ms = config->http_request_timeout_ms,
		.idle_timeout_ms = config->http_idle_timeout_ms,
		.answer_timeout_ms = ANSWER_TIMEOUT_MS,
		.hold_min_ms = HOLD_MIN_MS,
		.hold_max_ms = HOLD_MAX_MS,
		.max_header_size = (size_t)config->http_max_header_size,
		.max_connections = shares->http,
		.max_descriptors = shares->clients,
	};
}

static int make_hub(struct server *server, const struct config *config)
{
	struct hub_settings settings = server_hub_settings(config);

	return hub_new(&settings, &server->hub);
}

int server_start_bus(struct server *server, const struct config *config)
{
	static const char connecting[] = "The bus is being connected to; try again.";
	struct nats_settings nats = {
		.urls = config->nats_url,
		.connect_timeout_ms = config->nats_connect_timeout_ms,
		.replicas = (int)config->nats_replicas,
	};
	int r;

	server->bus_down_since_ms = clock_monotonic_ms();
	updates_set_problem(server, connecting, connecting);
	if (config->bus_type != BUS_TYPE_NATS)
		return bus_new_local(config->state_dir, &server->bus_inbox->mailbox, &server->bus);
	if (!server->outbox) {
		r = outbox_new(config->state_dir, &server->outbox_inbox->mailbox, &server->outbox);
		if (r < 0)
			return r;
	}
	return bus_new_nats(&nats, &server->bus_inbox->mailbox, &server->bus);
}

static size_t count_streams(void *userdata)
{
	const struct server *server = userdata;

	return hub_streams(server->hub);
}

static int start_http(struct server *server, const struct config *config)
{
	static const struct http_operations operations = {
		.subscribe = subscribe,
		.publish = publish_request,
		.not_ready = status_not_ready,
		.write_metrics = status_write_metrics,
		.warning = status_warning,
		.streams = count_streams,
	};
	struct http_settings settings = server_http_settings(config, &server->shares);

	return http_new(server->event, &settings, &operations, server, &server->http);
}

/* Accepts on it from now on.  The descriptor is consumed. */
static int add_listener(struct server *server, int fd)
{
	char name[LISTEN_NAME_SIZE];
	int r;

	listen_name(fd, name);
	r = http_add_listener(server->http, fd);
	if (r < 0)
		log_error("Cannot accept on %s: %s.", name, strerror(-r));
	else
		log_info("Listening on %s.", name);
	return r;
}

/* The names of those that are ours, for the check before a hand-over. */
static int note_addresses(struct server *server, const int fds[], size_t n)
{
	const size_t size = (n + 1) * LISTEN_NAME_SIZE;
	size_t length = 0;

	server->addresses = calloc(1, size);
	if (!server->addresses)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		char name[LISTEN_NAME_SIZE];

		listen_name(fds[i], name);
		length += (size_t)snprintf(
			server->addresses + length, size - length, "%s%s", i > 0 ? "," : "", name);
	}
	return 0;
}

/* From systemd where there are any, else as configured.  Nobody is accepted yet. */
static int open_listeners(
	struct server *server, const struct config *config, struct inherited *inherited)
{
	_cleanup_(freep) char *problem = NULL;
	int r;

	if (inherited->n_listeners > 0)
		r = listen_check_all(inherited->listeners, inherited->n_listeners, &problem);
	else {
		free(TAKE_PTR(inherited->listeners));
		r = listen_open(config->http_listen, &inherited->listeners, &inherited->n_listeners,
			&problem);
		if (r >= 0)
			return note_addresses(server, inherited->listeners, inherited->n_listeners);
	}
	if (r < 0)
		log_error("%s", problem ? problem : "Out of memory for the listening sockets.");
	return r;
}

static int accept_on_all(struct server *server, struct inherited *inherited)
{
	int r;

	while (inherited->n_listeners > 0) {
		r = add_listener(server, inherited->listeners[--inherited->n_listeners]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int start_notify(struct server *server)
{
	static const struct notify_operations operations = {
		.write_status = status_write_line,
		.is_alive = watch_is_alive,
	};

	int r = notify_new(server->event, &operations, server, &server->notify);

	return r < 0 ? r : status_init(server);
}

/* In case the bus is not there before. */
static int start_ready_timer(struct server *server)
{
	bool taken_up = hub_streams(server->hub) > 0;

	return add_timer(server, taken_up ? READY_TAKEN_UP_US : READY_WITHOUT_BUS_US,
		on_ready_timer, SD_EVENT_ONESHOT, &server->ready_timer);
}

/* All that can fail for a reason that somebody else can give. */
static int open_parts(
	struct server *server, const struct config *config, struct inherited *inherited)
{
	struct profile *profiles = server_make_profiles(config);
	int r;

	if (!profiles)
		return -ENOMEM;
	server_set_streams(server, config, profiles);
	descriptors_share((size_t)config->streams_max_streams, &server->shares);
	if ((r = registry_new(&server->registry)) < 0 || (r = add_sources(server)) < 0 ||
		(r = updates_init(server)) < 0 || (r = publish_init(server)) < 0 ||
		(r = queue_init(server)) < 0 || (r = make_hub(server, config)) < 0 ||
		(r = start_http(server, config)) < 0 || (r = watch_init(server)) < 0 ||
		(r = start_notify(server)) < 0 ||
		(r = open_listeners(server, config, inherited)) < 0)
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
	takeup(&inherited->stash, server->hub, server->registry, server->shares.streams);
	if ((r = hub_start(server->hub)) < 0 || (r = start_ready_timer(server)) < 0 ||
		(r = accept_on_all(server, inherited)) < 0)
		return r;
	return server->bus ? 0 : server_start_bus(server, config);
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

/* So that main's loop gets them by sd-event, and no thread does; SIGCHLD for next.c. */
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
	server->running = -1;
	updates_prepare(server);
	r = block_signals();
	if (r >= 0)
		r = sd_event_new(&server->event);
	if (r >= 0)
		r = server_start(server, config, inherited);
	if (r < 0) {
		log_error("Cannot start: %s.", strerror(-r));
		end_streams(server);
		return r;
	}
	server->config = config;
	server->read_config = read_config;
	server->read_config_userdata = userdata;
	reload_init(server);
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
	server->stopping = true;
	bus_free(server->bus);
	server->outbox = outbox_free(server->outbox);
	/* They may still post to the server, and have publications of it: all stays as it is for
	 * the moment that the process still has. */
	if (threads_left_behind() > 0)
		return NULL;
	publish_deinit(server);
	updates_deinit(server);
	queue_deinit(server);
	http_free(server->http);
	status_deinit(server);
	hub_free(server->hub);
	notify_free(server->notify);
	watch_deinit(server);
	registry_free(server->registry);
	for (size_t i = 0; i < SIGNALS_MAX; i++)
		sd_event_source_disable_unref(server->signal_sources[i]);
	sd_event_source_disable_unref(server->ready_timer);
	sd_event_source_disable_unref(server->expiry_timer);
	stop_deinit(server);
	sd_event_unref(server->event);
	free(server->addresses);
	free(server->profiles);
	reload_deinit(server);
	config_free(server->config);
	free(server);
	return NULL;
}
