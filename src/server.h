/* SPDX-License-Identifier: BSD-3-Clause */
/* The server: connects HTTP, hub, registry and bus in one event loop.  Main thread. */
#pragma once

#include "cleanup.h"
#include "config.h"

struct server;

/* Opens sockets, starts threads and the bus; serves once server_run() is called.  What goes wrong
 * is logged.  0 or -errno. */
int server_new(const struct config *config, struct server **ret);

/* Serves until SIGTERM or SIGINT, then ends all streams cleanly.  0 or -errno. */
int server_run(struct server *server);

struct server *server_free(struct server *server); /* takes NULL; returns NULL */
DEFINE_CLEANUP(struct server *, server_free)
