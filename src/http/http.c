/* SPDX-License-Identifier: BSD-3-Clause */
/* libmicrohttpd, without threads of its own, inside an sd-event loop. */
#include "http/http.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/http-internal.h"
#include "net/listeners.h"

#define LOG_LINE_SIZE 256

/* What a connection needs in libmicrohttpd's memory besides the request's header: a record for each
 * header field (64 bytes; this is enough for some sixty), a piece of the body, the answer's header.
 */
#define POOL_BESIDES_HEADER 8192

/* libmicrohttpd 0.9.75 hangs itself when it finds its limit reached by surprise: ours comes first.
 */
#define CONNECTION_LIMIT_MARGIN 16

static void log_library(void *userdata, const char *format, va_list arguments) _printf_(2, 0);

static void log_library(void *userdata, const char *format, va_list arguments)
{
	const struct http *http = userdata;
	char line[LOG_LINE_SIZE];

	/* Of clients; and that our last call was an "internal error" where a socket has left it, as
	 * it does by design. */
	if (!log_enabled(LOG_DEBUG) || http->gone_in_call == http->n_calls)
		return;
	vsnprintf(line, sizeof(line), format, arguments);
	line[strcspn(line, "\n")] = '\0';
	log_debug("libmicrohttpd: %s", line);
}

/* In place of libmicrohttpd's: targets stay as they came, so that an encoded slash or NUL is seen.
 */
static size_t unescape_nothing(void *userdata, struct MHD_Connection *mhd, char *text)
{
	(void)userdata;
	(void)mhd;
	return strlen(text);
}

/* So often it runs without that the loop looks at its other sources: then these have their turn. */
#define RUNS_IN_A_ROW 4

/* If it asks to run again, so often in a row, and nothing comes of it, it has to wait longer from
 * time to time: up to this. */
#define IDLE_RUNS      16
#define IDLE_MAX_MS    32
#define IDLE_SHIFT_MAX 5

static void run_later(struct http *http, int64_t ms)
{
	sd_event_source_set_time_relative(http->daemon_timer, (uint64_t)(ms * US_PER_MS));
	sd_event_source_set_enabled(http->daemon_timer, SD_EVENT_ONESHOT);
}

/* A deferred source runs before all that the loop would have to poll for: timers, signals, other
 * sockets.  libmicrohttpd may ask to run again for ever: before 1.0 it does so for an unfinished
 * line of a chunk that fills its buffer. */
static void run_again(struct http *http)
{
	if (http->n_idle_runs >= IDLE_RUNS) {
		unsigned shift = http->n_idle_runs - IDLE_RUNS;

		run_later(http, shift < IDLE_SHIFT_MAX ? 1 << shift : IDLE_MAX_MS);
	} else if (http->n_runs >= RUNS_IN_A_ROW) {
		run_later(http, 0);
	} else {
		sd_event_source_set_enabled(http->daemon_again, SD_EVENT_ONESHOT);
	}
}

void http_kick(struct http *http)
{
	http->n_idle_runs = 0;
	run_again(http);
}

/* Its epoll set is edge-triggered inside: what it has left over shows in MHD_get_timeout() only. */
static void http_run(struct http *http)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;
	uint64_t n_calls = http->n_calls;

	MHD_run(http->daemon);
	http->n_runs++;
	if (http->n_calls != n_calls)
		http->n_idle_runs = 0;
	if (MHD_get_timeout(http->daemon, &timeout_ms) == MHD_YES) {
		if (timeout_ms == 0)
			run_again(http);
		else
			run_later(http, (int64_t)timeout_ms);
	}
	accept_update(http);
}

static int daemon_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct http *http = userdata;

	(void)source;
	(void)fd;
	(void)events;
	http->n_runs = 0;
	http_run(http);
	return 0;
}

static int daemon_again(sd_event_source *source, void *userdata)
{
	struct http *http = userdata;

	(void)source;
	http->n_idle_runs++;
	http_run(http);
	return 0;
}

static int daemon_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http *http = userdata;

	(void)source;
	(void)usec;
	http->n_runs = 0;
	http->n_idle_runs++;
	http_run(http);
	return 0;
}

bool http_library_is_1_0(void)
{
	return strncmp(MHD_get_version(), "0.", 2) != 0;
}

/* 1.0 answers a target with a blank in it by a redirect, unless it is strict; before, strictness
 * means to close without a word. */
static int strictness(void)
{
	return http_library_is_1_0() ? 1 : 0;
}

static int daemon_start(struct http *http)
{
	unsigned flags = MHD_USE_EPOLL | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO |
			 MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG;
	size_t pool = http->settings.max_header_size + POOL_BESIDES_HEADER;

	/* The logger must come first, to be there for what the others have to complain. */
	http->daemon = MHD_start_daemon(flags, 0, NULL, NULL, request_handle, http,
		MHD_OPTION_EXTERNAL_LOGGER, log_library, http, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		pool, MHD_OPTION_CONNECTION_LIMIT, http->library_limit,
		MHD_OPTION_CONNECTION_TIMEOUT, 0U, MHD_OPTION_NOTIFY_CONNECTION, connection_notify,
		http, MHD_OPTION_NOTIFY_COMPLETED, request_end, http, MHD_OPTION_URI_LOG_CALLBACK,
		request_start, http, MHD_OPTION_UNESCAPE_CALLBACK, unescape_nothing, NULL,
		MHD_OPTION_STRICT_FOR_CLIENT, strictness(), MHD_OPTION_END);
	return http->daemon ? 0 : -EIO;
}

static int daemon_watch(struct http *http)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int r;

	if (!info)
		return -EIO;
	r = sd_event_add_io(http->event, &http->daemon_readable, info->epoll_fd, EPOLLIN,
		daemon_readable, http);
	if (r < 0)
		return r;
	r = sd_event_add_defer(http->event, &http->daemon_again, daemon_again, http);
	if (r < 0)
		return r;
	r = sd_event_add_time(
		http->event, &http->daemon_timer, CLOCK_MONOTONIC, 0, 1, daemon_timer, http);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(http->daemon_timer, SD_EVENT_OFF);
}

/* ---- Accepting ---- */

static bool has_room(void *userdata)
{
	return room_is_there(userdata);
}

static int take(int fd, const struct origin *origin, void *userdata)
{
	struct http *http = userdata;

	http->counters.accepted++;
	return connection_take(http, fd, origin);
}

void accept_update(struct http *http)
{
	room_update(http);
	listeners_update(http->listeners);
}

static void after_accepting(void *userdata)
{
	http_kick(userdata);
	accept_update(userdata);
}

static const struct listeners_operations listeners_operations = {
	.has_room = has_room,
	.take = take,
	.after = after_accepting,
};

int http_add_listener(struct http *http, int fd)
{
	return listeners_add(http->listeners, fd);
}

void http_accept_rest(struct http *http)
{
	listeners_accept_rest(http->listeners, http->library_limit);
	http_kick(http);
}

/* ---- The whole ---- */

int http_new(sd_event *event, const struct http_settings *settings,
	const struct http_operations *operations, void *userdata, struct http **ret)
{
	_cleanup_(http_freep) struct http *http = calloc(1, sizeof(*http));
	int r;

	if (!http)
		return -ENOMEM;
	http->event = sd_event_ref(event);
	http->settings = *settings;
	http->operations = *operations;
	http->userdata = userdata;
	http->gone_in_call = UINT64_MAX;
	http->most_connections = settings->max_connections;
	http->library_limit = settings->max_connections + CONNECTION_LIMIT_MARGIN;
	if ((r = connection_timers_init(http)) < 0 || (r = room_init(http)) < 0 ||
		(r = farewells_init(&http->farewells, event)) < 0 ||
		(r = listeners_new(event, &listeners_operations, http, &http->listeners)) < 0 ||
		(r = daemon_start(http)) < 0 || (r = daemon_watch(http)) < 0)
		return r;
	*ret = TAKE_PTR(http);
	return 0;
}

void http_configure(struct http *http, const struct http_settings *settings)
{
	struct http_settings before = http->settings;

	http->settings = *settings;
	http->settings.max_header_size = before.max_header_size;
	if (http->settings.max_connections > http->most_connections)
		http->settings.max_connections = http->most_connections;
	connections_extend(
		http, WAITING_REQUEST, settings->request_timeout_ms - before.request_timeout_ms);
	connections_extend(http, WAITING_IDLE, settings->idle_timeout_ms - before.idle_timeout_ms);
	accept_update(http);
}

struct http *http_free(struct http *http)
{
	if (!http)
		return NULL;
	/* Before the daemon closes the descriptor that it watches. */
	sd_event_source_disable_unref(http->daemon_readable);
	if (http->daemon)
		MHD_stop_daemon(http->daemon); /* ends each connection by connection_notify() */
	connections_deinit(http);
	listeners_free(http->listeners);
	farewells_deinit(&http->farewells);
	room_deinit(http);
	sd_event_source_disable_unref(http->daemon_again);
	sd_event_source_disable_unref(http->daemon_timer);
	sd_event_source_disable_unref(http->deadline_timer);
	sd_event_source_disable_unref(http->trim_timer);
	sd_event_source_disable_unref(http->hang_up_timer);
	sd_event_unref(http->event);
	free(http);
	return NULL;
}

void http_stop_accepting(struct http *http)
{
	http->stopping = true;
	listeners_close(http->listeners);
	connections_end_idle(http);
	farewells_release(&http->farewells);
}

unsigned http_connections(const struct http *http)
{
	return http->n_connections;
}

unsigned http_held(const struct http *http)
{
	return http->farewells.n_held;
}

void http_count(const struct http *http, struct http_counters *ret)
{
	*ret = http->counters;
}

const char *http_library_version(void)
{
	return MHD_get_version();
}
