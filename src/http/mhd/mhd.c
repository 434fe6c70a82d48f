/* SPDX-License-Identifier: BSD-3-Clause */
/* libmicrohttpd, without threads of its own, inside an sd-event loop. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/mhd/mhd-internal.h"

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
	const struct mhd *mhd = userdata;
	char line[LOG_LINE_SIZE];

	/* Of clients; and that our last call was an "internal error" where a socket has left it, as
	 * it does by design. */
	if (!log_enabled(LOG_DEBUG) || mhd->gone_in_call == mhd->n_calls)
		return;
	vsnprintf(line, sizeof(line), format, arguments);
	line[strcspn(line, "\n")] = '\0';
	log_debug("libmicrohttpd: %s", line);
}

/* In place of libmicrohttpd's: targets stay as they came, so that an encoded slash or NUL is seen.
 */
static size_t unescape_nothing(void *userdata, struct MHD_Connection *library, char *text)
{
	(void)userdata;
	(void)library;
	return strlen(text);
}

/* So often it runs without that the loop looks at its other sources: then these have their turn. */
#define RUNS_IN_A_ROW 4

/* If it asks to run again, so often in a row, and nothing comes of it, it has to wait longer from
 * time to time: up to this. */
#define IDLE_RUNS      16
#define IDLE_MAX_MS    32
#define IDLE_SHIFT_MAX 5

static void run_later(struct mhd *mhd, int64_t ms)
{
	sd_event_source_set_time_relative(mhd->daemon_timer, (uint64_t)(ms * US_PER_MS));
	sd_event_source_set_enabled(mhd->daemon_timer, SD_EVENT_ONESHOT);
}

/* A deferred source runs before all that the loop would have to poll for: timers, signals, other
 * sockets.  libmicrohttpd may ask to run again for ever: before 1.0 it does so for an unfinished
 * line of a chunk that fills its buffer. */
static void run_again(struct mhd *mhd)
{
	if (mhd->n_idle_runs >= IDLE_RUNS) {
		unsigned shift = mhd->n_idle_runs - IDLE_RUNS;

		run_later(mhd, shift < IDLE_SHIFT_MAX ? 1 << shift : IDLE_MAX_MS);
	} else if (mhd->n_runs >= RUNS_IN_A_ROW) {
		run_later(mhd, 0);
	} else {
		sd_event_source_set_enabled(mhd->daemon_again, SD_EVENT_ONESHOT);
	}
}

void mhd_kick(struct mhd *mhd)
{
	mhd->n_idle_runs = 0;
	run_again(mhd);
}

/* Its epoll set is edge-triggered inside: what it has left over shows in MHD_get_timeout() only. */
static void mhd_run(struct mhd *mhd)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;
	uint64_t n_calls = mhd->n_calls;

	MHD_run(mhd->daemon);
	arrivals_forget(mhd);
	mhd->n_runs++;
	if (mhd->n_calls != n_calls)
		mhd->n_idle_runs = 0;
	if (MHD_get_timeout(mhd->daemon, &timeout_ms) == MHD_YES) {
		if (timeout_ms == 0)
			run_again(mhd);
		else
			run_later(mhd, (int64_t)timeout_ms);
	}
	http_update_room(mhd->http);
}

static int daemon_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct mhd *mhd = userdata;

	(void)source;
	(void)fd;
	(void)events;
	mhd->n_runs = 0;
	mhd_run(mhd);
	return 0;
}

static int daemon_again(sd_event_source *source, void *userdata)
{
	struct mhd *mhd = userdata;

	(void)source;
	mhd->n_idle_runs++;
	mhd_run(mhd);
	return 0;
}

static int daemon_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct mhd *mhd = userdata;

	(void)source;
	(void)usec;
	mhd->n_runs = 0;
	mhd->n_idle_runs++;
	mhd_run(mhd);
	return 0;
}

bool mhd_is_1_0(void)
{
	return strncmp(MHD_get_version(), "0.", 2) != 0;
}

/* 1.0 answers a target with a blank in it by a redirect, unless it is strict; before, strictness
 * means to close without a word. */
static int strictness(void)
{
	return mhd_is_1_0() ? 1 : 0;
}

static int daemon_start(struct mhd *mhd)
{
	unsigned flags = MHD_USE_EPOLL | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO |
			 MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG;
	size_t pool = mhd->http->settings.max_header_size + POOL_BESIDES_HEADER;

	/* The logger must come first, to be there for what the others have to complain. */
	mhd->daemon = MHD_start_daemon(flags, 0, NULL, NULL, request_handle, mhd,
		MHD_OPTION_EXTERNAL_LOGGER, log_library, mhd, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		pool, MHD_OPTION_CONNECTION_LIMIT, mhd->library_limit,
		MHD_OPTION_CONNECTION_TIMEOUT, 0U, MHD_OPTION_NOTIFY_CONNECTION, connection_notify,
		mhd, MHD_OPTION_NOTIFY_COMPLETED, request_end, mhd, MHD_OPTION_URI_LOG_CALLBACK,
		request_start, mhd, MHD_OPTION_UNESCAPE_CALLBACK, unescape_nothing, NULL,
		MHD_OPTION_STRICT_FOR_CLIENT, strictness(), MHD_OPTION_END);
	return mhd->daemon ? 0 : -EIO;
}

static int daemon_watch(struct mhd *mhd)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(mhd->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int r;

	if (!info)
		return -EIO;
	r = sd_event_add_io(
		mhd->event, &mhd->daemon_readable, info->epoll_fd, EPOLLIN, daemon_readable, mhd);
	if (r < 0)
		return r;
	r = sd_event_add_defer(mhd->event, &mhd->daemon_again, daemon_again, mhd);
	if (r < 0)
		return r;
	r = sd_event_add_time(
		mhd->event, &mhd->daemon_timer, CLOCK_MONOTONIC, 0, 1, daemon_timer, mhd);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(mhd->daemon_timer, SD_EVENT_OFF);
}

int mhd_new(struct http *http, sd_event *event, struct mhd **ret)
{
	_cleanup_(mhd_freep) struct mhd *mhd = calloc(1, sizeof(*mhd));
	int r;

	if (!mhd)
		return -ENOMEM;
	mhd->http = http;
	mhd->event = sd_event_ref(event);
	mhd->gone_in_call = UINT64_MAX;
	arrivals_init(mhd);
	mhd->most_connections = http->settings.max_connections;
	mhd->library_limit = mhd->most_connections + CONNECTION_LIMIT_MARGIN;
	if ((r = connection_timers_init(mhd)) < 0 || (r = room_init(mhd)) < 0 ||
		(r = daemon_start(mhd)) < 0 || (r = daemon_watch(mhd)) < 0)
		return r;
	*ret = TAKE_PTR(mhd);
	return 0;
}

void mhd_configure(struct mhd *mhd, const struct http_settings *before)
{
	struct http_settings *settings = &mhd->http->settings;

	settings->max_header_size = before->max_header_size;
	if (settings->max_connections > mhd->most_connections)
		settings->max_connections = mhd->most_connections;
	connections_extend(
		mhd, WAITING_REQUEST, settings->request_timeout_ms - before->request_timeout_ms);
	connections_extend(mhd, WAITING_IDLE, settings->idle_timeout_ms - before->idle_timeout_ms);
}

struct mhd *mhd_free(struct mhd *mhd)
{
	if (!mhd)
		return NULL;
	/* Before the daemon closes the descriptor that it watches. */
	sd_event_source_disable_unref(mhd->daemon_readable);
	if (mhd->daemon)
		MHD_stop_daemon(mhd->daemon); /* ends each connection by connection_notify() */
	arrivals_forget(mhd);
	room_deinit(mhd);
	sd_event_source_disable_unref(mhd->daemon_again);
	sd_event_source_disable_unref(mhd->daemon_timer);
	sd_event_source_disable_unref(mhd->deadline_timer);
	sd_event_source_disable_unref(mhd->trim_timer);
	sd_event_source_disable_unref(mhd->hang_up_timer);
	sd_event_unref(mhd->event);
	free(mhd);
	return NULL;
}

unsigned mhd_connections(const struct mhd *mhd)
{
	return mhd->n_connections;
}

const char *mhd_version(void)
{
	return MHD_get_version();
}
