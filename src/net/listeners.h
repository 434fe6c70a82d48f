/* SPDX-License-Identifier: BSD-3-Clause */
/* Listeners: sockets on which connections are accepted, in the caller's event loop.  Their receiver
 * decides how many connections there may be; when the system runs out of something, accepting
 * pauses for a moment.  Main thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "net/listen.h"
#include "net/peer.h"

struct listeners;

/* One of them.  It is there until listeners_free(): connections outlive its socket. */
struct listener {
	struct listeners *listeners;
	int fd;                      /* -1: closed */
	char name[LISTEN_NAME_SIZE]; /* its address, as listen_name() gives it */
	sd_event_source *source;
	struct listener *next;
};

/* Where a connection comes from. */
struct origin {
	struct peer peer;
	const struct listener *listener;
};

/* What the owner does.  All are called from within the event loop, or from listeners_accept_rest().
 */
struct listeners_operations {
	/* Whether one more connection may be accepted now. */
	bool (*has_room)(void *userdata);

	/* Takes a connection, non-blocking and close-on-exec; takes its descriptor over, on failure
	 * too.  0, or -errno: memory or descriptors have run out. */
	int (*take)(int fd, const struct origin *origin, void *userdata);

	/* Connections have been accepted, or may be accepted again after a pause: check whether
	 * there is still room, and call listeners_update(). */
	void (*after)(void *userdata);
};

/* 0 or -errno. */
int listeners_new(sd_event *event, const struct listeners_operations *operations, void *userdata,
	struct listeners **ret);

/* Takes NULL; returns NULL. */
struct listeners *listeners_free(struct listeners *listeners);
DEFINE_CLEANUP(struct listeners *, listeners_free)

/* Accepts on this listening socket from now on.  Takes the descriptor over, on failure too.  0 or
 * -errno. */
int listeners_add(struct listeners *listeners, int fd);

/* Accepts new connections, or leaves them waiting in the kernel, as has_room() says now. */
void listeners_update(struct listeners *listeners);

/* Accepts connections that wait in the kernel, as long as there is room; at most `max` of each
 * listener.
 */
void listeners_accept_rest(struct listeners *listeners, unsigned max);

/* Closes the sockets, and so stops accepting. */
void listeners_close(struct listeners *listeners);
