/* SPDX-License-Identifier: BSD-3-Clause */
/* Listeners: sockets on which connections are accepted, in the caller's event loop.  Who gets them
 * decides how many there may be; where the system has no more to give, nobody is accepted for a
 * moment.  Main thread. */
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

/* What the owner of the listeners does.  All are called from within the event loop, or from
 * listeners_accept_rest(). */
struct listeners_operations {
	/* Whether one more connection may be accepted now. */
	bool (*has_room)(void *userdata);

	/* Takes a connection, non-blocking and close-on-exec; its descriptor, on failure too.  0,
	 * or -errno: memory or descriptors have run out. */
	int (*take)(int fd, const struct origin *origin, void *userdata);

	/* Connections have been accepted, or may be again after a pause: the owner looks whether
	 * there is still room, and calls listeners_update(). */
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

/* Accepts, or leaves new connections waiting in the kernel, by what has_room() says now. */
void listeners_update(struct listeners *listeners);

/* Accepts those that wait in the kernel, as long as there is room; at most so many of each
 * listener.
 */
void listeners_accept_rest(struct listeners *listeners, unsigned max);

/* Closes the sockets: nobody is accepted any more. */
void listeners_close(struct listeners *listeners);
