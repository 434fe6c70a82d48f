/* SPDX-License-Identifier: BSD-3-Clause */
/* Accepting, on all listeners.  "Full" is decided by counting; beyond that, new connections wait in
 * the kernel's queue. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "http/http-internal.h"

/* Unsent bytes in the kernel above which a socket counts as full (TCP_NOTSENT_LOWAT): some four
 * events of a stream, which a newer update can no longer replace. */
#define NOTSENT_LOWAT 512

/* A connection is accepted once it has sent something, or after so long (TCP_DEFER_ACCEPT): who
 * only connects takes no place. */
#define DEFER_S 1

#define ACCEPTS_PER_TURN 64 /* then others of the loop have theirs */
#define PAUSE_US         (100 * US_PER_MS)

static struct listener *listener_free(struct listener *listener)
{
	if (!listener)
		return NULL;
	sd_event_source_disable_unref(listener->source);
	if (listener->fd >= 0)
		close(listener->fd);
	free(listener);
	return NULL;
}
DEFINE_CLEANUP(struct listener *, listener_free)

static bool may_accept(const struct http *http)
{
	return !http->stopping && !http->paused && room_is_there(http);
}

void accept_update(struct http *http)
{
	bool accepting;
	struct listener *listener;

	room_update(http);
	accepting = may_accept(http);
	if (accepting == http->accepting)
		return;
	http->accepting = accepting;
	SLIST_FOREACH(listener, &http->listeners, link)
	sd_event_source_set_enabled(listener->source, accepting ? SD_EVENT_ON : SD_EVENT_OFF);
}

static int pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http *http = userdata;

	(void)source;
	(void)usec;
	http->paused = false;
	accept_update(http);
	return 0;
}

static void accept_pause(struct http *http, int error)
{
	static const struct log_fields fields = {.message_id = MESSAGE_OUT_OF_FILES};

	if (!http->out_of_resources)
		log_with(LOG_ERR, &fields,
			"Cannot accept connections for now: %s. New ones wait until some are free; "
			"to allow more, raise the limit of open files (LimitNOFILE= of the unit).",
			strerror(error));
	http->out_of_resources = true;
	http->paused = true;
	sd_event_source_set_time_relative(http->pause_timer, PAUSE_US);
	sd_event_source_set_enabled(http->pause_timer, SD_EVENT_ONESHOT);
}

/* Errors of one connection only, which accept(2) reports for it. */
static bool is_of_connection(int error)
{
	switch (error) {
	case ECONNABORTED:
	case EINTR:
	case EPERM:
	case EPROTO:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
		return true;
	default:
		return false;
	}
}

/* Returns whether there may be more. */
static bool accept_one(struct http *http, int listener)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	int fd = accept4(
		listener, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno != EAGAIN && !is_of_connection(errno))
			accept_pause(http, errno);
		return errno != EAGAIN && !http->paused;
	}
	if (http->out_of_resources)
		log_notice("Accepting connections again.");
	http->out_of_resources = false;
	http->counters.accepted++;
	/* It closes the descriptor if it fails. */
	if (MHD_add_connection(http->daemon, fd, (struct sockaddr *)&address, length) != MHD_YES)
		accept_pause(http, errno);
	return !http->paused;
}

void http_accept_rest(struct http *http)
{
	const struct listener *listener;

	SLIST_FOREACH(listener, &http->listeners, link)
	for (unsigned n = 0; n < http->library_limit && may_accept(http); n++)
		if (!accept_one(http, listener->fd))
			break;
	http_kick(http);
}

static int listener_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct listener *listener = userdata;
	struct http *http = listener->http;

	(void)source;
	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN && may_accept(http); i++)
		if (!accept_one(http, fd))
			break;
	http_kick(http);
	accept_update(http);
	return 0;
}

/* What is accepted inherits it: cheaper than to set it on each of very many streams.  Failures are
 * of no consequence: a unix socket has none of these. */
static void listener_tune(int fd)
{
	int one = 1, lowat = NOTSENT_LOWAT, defer = DEFER_S;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof(defer));
}

int http_add_listener(struct http *http, int fd)
{
	_cleanup_(listener_freep) struct listener *listener = calloc(1, sizeof(*listener));
	int r;

	if (!listener) {
		close(fd);
		return -ENOMEM;
	}
	listener->http = http;
	listener->fd = fd;
	listener_tune(fd);
	r = sd_event_add_io(
		http->event, &listener->source, fd, EPOLLIN, listener_readable, listener);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(
		listener->source, http->accepting ? SD_EVENT_ON : SD_EVENT_OFF);
	if (r < 0)
		return r;
	SLIST_INSERT_HEAD(&http->listeners, listener, link);
	TAKE_PTR(listener);
	return 0;
}

int accept_init(struct http *http)
{
	int r;

	SLIST_INIT(&http->listeners);
	r = sd_event_add_time(
		http->event, &http->pause_timer, CLOCK_MONOTONIC, 0, 0, pause_over, http);
	if (r < 0)
		return r;
	http->accepting = true;
	return sd_event_source_set_enabled(http->pause_timer, SD_EVENT_OFF);
}

void accept_deinit(struct http *http)
{
	struct listener *listener;

	while ((listener = SLIST_FIRST(&http->listeners))) {
		SLIST_REMOVE_HEAD(&http->listeners, link);
		listener_free(listener);
	}
}
