/* SPDX-License-Identifier: BSD-3-Clause */
/* Accepts on all listeners.  The owner of the connections decides how many there may be; beyond
 * that, new ones wait in the kernel's queue. */
#include "net/listeners.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"

/* Unsent bytes in the kernel above which a socket counts as full (TCP_NOTSENT_LOWAT): some four
 * events of a stream, which a newer update can no longer replace. */
#define NOTSENT_LOWAT 512

/* A connection is accepted once it has sent something, or after so long (TCP_DEFER_ACCEPT): who
 * only connects takes no place. */
#define DEFER_S 1

#define ACCEPTS_PER_TURN 64 /* then others of the loop have theirs */
#define PAUSE_US         (100 * US_PER_MS)

struct listeners {
	sd_event *event;
	struct listeners_operations operations;
	void *userdata;
	struct listener *first;
	bool closed;
	bool accepting;        /* the listeners' sources are enabled */
	bool paused;           /* no descriptor or memory left for now */
	bool out_of_resources; /* ... and this has been logged */
	sd_event_source *pause_timer;
};

/* ---- When ---- */

static bool may_accept(const struct listeners *listeners)
{
	return !listeners->closed && !listeners->paused &&
	       listeners->operations.has_room(listeners->userdata);
}

static int listener_switch(struct listener *listener)
{
	return sd_event_source_set_enabled(
		listener->source, listener->listeners->accepting ? SD_EVENT_ON : SD_EVENT_OFF);
}

void listeners_update(struct listeners *listeners)
{
	bool accepting = may_accept(listeners);

	if (accepting == listeners->accepting)
		return;
	listeners->accepting = accepting;
	for (struct listener *listener = listeners->first; listener; listener = listener->next)
		(void)listener_switch(listener);
}

static int pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct listeners *listeners = userdata;

	(void)source;
	(void)usec;
	listeners->paused = false;
	listeners->operations.after(listeners->userdata);
	return 0;
}

static void listeners_pause(struct listeners *listeners, int error)
{
	static const struct log_fields fields = {.message_id = MESSAGE_OUT_OF_FILES};

	if (!listeners->out_of_resources)
		log_with(LOG_ERR, &fields,
			"Cannot accept connections for now: %s. New ones wait until some are free; "
			"to allow more, raise the limit of open files (LimitNOFILE= of the unit).",
			strerror(error));
	listeners->out_of_resources = true;
	listeners->paused = true;
	sd_event_source_set_time_relative(listeners->pause_timer, PAUSE_US);
	sd_event_source_set_enabled(listeners->pause_timer, SD_EVENT_ONESHOT);
}

/* ---- Accepting ---- */

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
static bool accept_one(const struct listener *listener)
{
	struct listeners *listeners = listener->listeners;
	struct origin origin = {.peer.length = sizeof(origin.peer.address), .listener = listener};
	int r, fd = accept4(listener->fd, (struct sockaddr *)&origin.peer.address,
		       &origin.peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno != EAGAIN && !is_of_connection(errno))
			listeners_pause(listeners, errno);
		return errno != EAGAIN && !listeners->paused;
	}
	if (listeners->out_of_resources)
		log_notice("Accepting connections again.");
	listeners->out_of_resources = false;
	r = listeners->operations.take(fd, &origin, listeners->userdata);
	if (r < 0)
		listeners_pause(listeners, -r);
	return !listeners->paused;
}

static void accept_some(const struct listener *listener, unsigned max)
{
	for (unsigned n = 0; n < max && may_accept(listener->listeners); n++)
		if (!accept_one(listener))
			break;
}

void listeners_accept_rest(struct listeners *listeners, unsigned max)
{
	for (struct listener *listener = listeners->first; listener; listener = listener->next)
		accept_some(listener, max);
}

static int listener_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct listener *listener = userdata;
	struct listeners *listeners = listener->listeners;

	(void)source;
	(void)fd;
	(void)events;
	accept_some(listener, ACCEPTS_PER_TURN);
	listeners->operations.after(listeners->userdata);
	return 0;
}

/* ---- Their life ---- */

/* What is accepted inherits it: cheaper than to set it on each of very many streams.  Failures are
 * of no consequence: a unix socket has none of these. */
static void listener_tune(int fd)
{
	int one = 1, lowat = NOTSENT_LOWAT, defer = DEFER_S;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof(defer));
}

static void listener_close(struct listener *listener)
{
	listener->source = sd_event_source_disable_unref(listener->source);
	if (listener->fd >= 0)
		close(listener->fd);
	listener->fd = -1;
}

static struct listener *listener_free(struct listener *listener)
{
	if (!listener)
		return NULL;
	listener_close(listener);
	free(listener);
	return NULL;
}
DEFINE_CLEANUP(struct listener *, listener_free)

int listeners_add(struct listeners *listeners, int fd)
{
	_cleanup_(listener_freep) struct listener *listener = calloc(1, sizeof(*listener));
	int r;

	if (!listener) {
		close(fd);
		return -ENOMEM;
	}
	listener->listeners = listeners;
	listener->fd = fd;
	listen_name(fd, listener->name);
	listener_tune(fd);
	r = sd_event_add_io(
		listeners->event, &listener->source, fd, EPOLLIN, listener_readable, listener);
	if (r >= 0)
		r = listener_switch(listener);
	if (r < 0)
		return r;
	listener->next = listeners->first;
	listeners->first = TAKE_PTR(listener);
	return 0;
}

int listeners_new(sd_event *event, const struct listeners_operations *operations, void *userdata,
	struct listeners **ret)
{
	_cleanup_(listeners_freep) struct listeners *listeners = calloc(1, sizeof(*listeners));
	int r;

	if (!listeners)
		return -ENOMEM;
	listeners->event = sd_event_ref(event);
	listeners->operations = *operations;
	listeners->userdata = userdata;
	listeners->accepting = true;
	r = sd_event_add_time(
		event, &listeners->pause_timer, CLOCK_MONOTONIC, 0, 0, pause_over, listeners);
	if (r >= 0)
		r = sd_event_source_set_enabled(listeners->pause_timer, SD_EVENT_OFF);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(listeners);
	return 0;
}

void listeners_close(struct listeners *listeners)
{
	listeners->closed = true;
	for (struct listener *listener = listeners->first; listener; listener = listener->next)
		listener_close(listener);
}

struct listeners *listeners_free(struct listeners *listeners)
{
	struct listener *listener;

	if (!listeners)
		return NULL;
	while ((listener = listeners->first)) {
		listeners->first = listener->next;
		listener_free(listener);
	}
	sd_event_source_disable_unref(listeners->pause_timer);
	sd_event_unref(listeners->event);
	free(listeners);
	return NULL;
}
