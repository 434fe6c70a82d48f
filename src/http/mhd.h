/* SPDX-License-Identifier: BSD-3-Clause */
/* The adapter for libmicrohttpd, in src/http/mhd/: turns HTTP/1 over a socket into exchanges.
 * Nothing else knows that library; this is what http.c asks of it.  It calls back (http-internal.h)
 * when the number of its places changes: http.c accepts as many connections as there are places.
 * Main thread. */
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

/* The settings of `http` have changed from `before`.  Sets back those that libmicrohttpd cannot
 * change, and moves deadlines. */
void mhd_configure(struct mhd *mhd, const struct http_settings *before);

/* Whether one more connection may be accepted. */
bool mhd_has_room(const struct mhd *mhd);

/* If hardly any place is left, ends some connections that make no progress. */
void mhd_make_room(struct mhd *mhd);

/* Takes over a connection that has been accepted; its descriptor on failure, too.  0 or -errno. */
int mhd_take(struct mhd *mhd, int fd, const struct origin *origin);

/* Makes libmicrohttpd run once more, soon: because it was given something from outside, or asks for
 * it.
 */
void mhd_kick(struct mhd *mhd);

/* Ends connections that wait for a next request.  If one has arrived by now it is answered, as the
 * last. */
void mhd_end_idle(struct mhd *mhd);

/* The number of its connections. */
unsigned mhd_connections(const struct mhd *mhd);

/* libmicrohttpd's version. */
const char *mhd_version(void);
