/* SPDX-License-Identifier: BSD-3-Clause */
/* The server: connects HTTP, hub, registry and bus in one event loop.  Main thread. */
#pragma once

#include "base/cleanup.h"
#include "config/config.h"
#include "restart/inherited.h"

struct server;

/* Reads the configuration again, for a reload.  0 and *ret; or -errno, after logging what is wrong
 * with it. */
typedef int server_read_config(void *userdata, struct config **ret);

/* Opens sockets, takes up the inherited streams, and starts threads and the bus; server_run() then
 * serves.  Logs what goes wrong.  0: the configuration is the server's.  -errno: either everything
 * inherited but the listeners is still in `inherited`, or its streams have been ended cleanly. */
int server_new(struct config *config, struct inherited *inherited, server_read_config *read_config,
	void *userdata, struct server **ret);

/* Serves until SIGTERM or SIGINT, then ends or hands over all streams.  On SIGHUP it reads the
 * configuration again.  0; EXIT_FAILURE: it has ended by itself, because a thread hangs; or -errno.
 */
int server_run(struct server *server);

struct server *server_free(struct server *server); /* takes NULL; returns NULL */
DEFINE_CLEANUP(struct server *, server_free)
