/* SPDX-License-Identifier: BSD-3-Clause */
/* The last bytes to a client: at once, or after a while.  Then the connection ends in good order
 * (RFC 9112, section 9.6): our side first, then what the client still sends is read and thrown away
 * for a moment, so that no reset overtakes the bytes.  Main thread.
 *
 * libmicrohttpd cannot do this: it would close with unread input, and so reset; it would not notice
 * that a suspended client has left; and each of its connections costs more. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

struct farewell;
TAILQ_HEAD(farewell_queue, farewell);

/* The most connections that are held.  Beyond that, those due next get their answer early. */
#define FAREWELL_HELD_MAX 4096

/* Held connections are in the slots of a wheel, by the time at which they are due. */
#define FAREWELL_SLOTS   64
#define FAREWELL_SLOT_MS 100

struct farewells {
	sd_event *event;
	int epoll;                       /* watches all of them; -1: farewells_init() has failed */
	sd_event_source *epoll_readable; /* ... in the event loop */
	sd_event_source *tick;
	bool ticking; /* `tick` is on: there are some */
	struct farewell_queue held[FAREWELL_SLOTS];
	int64_t slot;                 /* the last one that was due, counted from the clock's zero */
	struct farewell_queue ending; /* the rest, earliest deadline first */
	unsigned n_held, n_ending;
};

/* 0 or -errno.  Call farewells_deinit() in either case; it takes zeroed memory, too. */
int farewells_init(struct farewells *farewells, sd_event *event);

/* Cuts off the connections that are left. */
void farewells_deinit(struct farewells *farewells);

/* Sends `text` over the connection in `hold_ms` (less than FAREWELL_SLOTS * FAREWELL_SLOT_MS; 0: at
 * once), and ends it.  Takes the descriptor over.  If somebody else has another descriptor of the
 * socket, close that one without shutdown(2).  If the client leaves while it is held, its
 * connection is closed at once.  0; or -errno: nothing has happened. */
int farewell_give(
	struct farewells *farewells, int fd, const char *text, size_t length, int64_t hold_ms);

/* Others need the descriptors: ends up to `n` connections.  First those that have been sent their
 * answer or are being sent it, then the held ones that are due next, which get their answer now.
 * Returns how many it has ended. */
unsigned farewells_make_room(struct farewells *farewells, unsigned n);

/* Stops holding: all held connections get their answer now. */
void farewells_release(struct farewells *farewells);

/* Descriptors in use. */
unsigned farewells_count(const struct farewells *farewells);
