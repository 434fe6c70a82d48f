/* SPDX-License-Identifier: BSD-3-Clause */
/* A wire: how bytes reach the client of a stream, and all else that a shard does to the connection.
 * Nothing else in this room touches a stream's descriptor.
 *
 * There is one kind, the socket: TCP or a unix socket, and TLS where the kernel does it, which is
 * the same to us.  For another kind (TLS in this process, a stream of HTTP/2), add a member here
 * that tells it from a socket, and a case to each function of wire.c; the files that use this
 * header stay as they are.  Calls are direct, as the fan-out makes one for each stream.
 *
 * No function waits.  All are for the thread of the shard that has the stream. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "update/frame.h"

/* Part of each stream: see struct stream before you add to it. */
struct wire {
	int fd; /* connected, non-blocking; the wire's, until wire_free() or wire_dismiss() */
};

/* What a wire tells of. */
enum wire_event {
	WIRE_INPUT = 1 << 0, /* something has come, or nothing more will: wire_discard() says */
	WIRE_ROOM = 1 << 1,  /* wire_send() would take something */
};

/* The descriptor becomes the wire's. */
static inline struct wire wire_of_socket(int fd)
{
	return (struct wire){.fd = fd};
}

/* How many milliseconds the client may leave bytes unacknowledged before it counts as gone; 0: as
 * many as the system allows.  Without effect if the socket is not TCP. */
void wire_set_user_timeout(const struct wire *wire, int64_t timeout_ms);

/* Makes the shard's epoll tell of these events (of enum wire_event), with `data`, until the wire is
 * freed or dismissed.  0; -errno: epoll has no room for one more. */
int wire_watch(const struct wire *wire, int epoll_fd, unsigned events, void *data);

/* Makes it tell of these events instead, from now on; none: only of the end of the connection.  0
 * or -errno. */
int wire_await(const struct wire *wire, int epoll_fd, unsigned events, void *data);

/* The events, of enum wire_event, that epoll has told of. */
unsigned wire_events(uint32_t epoll_events);

/* Sends in one piece, as the client's library may take each piece for an event.  Returns how many
 * bytes are on their way; 0: none, there is no room; -errno: the client is gone.  If some are left,
 * the caller keeps them, and awaits WIRE_ROOM. */
ssize_t wire_send(const struct wire *wire, struct span span);

/* Reads some of what has come, a few KiB at most, and forgets it.  Returns how many bytes; 0:
 * nothing is there; -EPIPE: the client has ended its side; another -errno: it is gone. */
ssize_t wire_discard(const struct wire *wire);

/* Ends our side, after all that was sent: the client sees a clean end if what was sent is whole
 * (see frame_last()).  What it still sends can be read until it ends its own side, and should be: a
 * wire that is freed with unread input resets the connection.  0; -errno: it is gone. */
int wire_end(const struct wire *wire);

/* For the hand-over: the descriptor, of which the next process makes a wire by wire_of_socket().
 * It stays this wire's, too, which can go on.  -errno: the connection cannot leave this process. */
int wire_save(const struct wire *wire);

/* Closes the connection, in whatever state it is, and ends the watch. */
void wire_free(const struct wire *wire, int epoll_fd);

/* For a connection that cannot be served for want of memory: sends as much of `span` as there is
 * room for, ends our side, and frees the wire. */
void wire_dismiss(const struct wire *wire, int epoll_fd, struct span span);
