/* SPDX-License-Identifier: BSD-3-Clause */
/* The adapter for libmicrohttpd: HTTP/1 over a socket, as exchanges.  src/http/mhd/ has it, and
 * nobody else knows that library; here is what http.c asks of it.  It calls back where its places
 * change (http-internal.h), as http.c accepts by them.  Main thread. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "http/http.h"
#include "net/listeners.h"

struct mhd;

/* Sets up libmicrohttpd in the event loop, for the settings that `http` has by now.  0 or -errno.
 */
int mhd_new(struct http *http, sd_event *event, struct mhd **ret);

/* Closes its connections; all publishes have been answered.  Takes NULL; returns NULL. */
struct mhd *mhd_free(struct mhd *mhd);
DEFINE_CLEANUP(struct mhd *, mhd_free)

/* `http` has other settings than `before`: what libmicrohttpd cannot change is set back in them,
 * and deadlines move. */
void mhd_configure(struct mhd *mhd, const struct http_settings *before);

/* Whether one more connection may be accepted. */
bool mhd_has_room(const struct mhd *mhd);

/* Where hardly any place is left, ends some of those that make no progress. */
void mhd_make_room(struct mhd *mhd);

/* Takes a connection that has been accepted; its descriptor, on failure too.  0 or -errno. */
int mhd_take(struct mhd *mhd, int fd, const struct origin *origin);

/* Runs libmicrohttpd once more, soon: something was given to it from outside, or it asks for that.
 */
void mhd_kick(struct mhd *mhd);

/* Ends those that wait for a next request.  One that is there by now is answered, and the last. */
void mhd_end_idle(struct mhd *mhd);

/* How many connections it has. */
unsigned mhd_connections(const struct mhd *mhd);

/* libmicrohttpd's version. */
const char *mhd_version(void);
