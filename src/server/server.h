/* SPDX-License-Identifier: BSD-3-Clause */
/* The server: connects HTTP, hub, registry and bus in one event loop.  Main thread. */
#pragma once

#include "base/cleanup.h"
#include "config/config.h"
#include "restart/inherited.h"

struct server;

/* Reads the configuration anew, for a reload.  What is wrong with it has been logged then.  0 and
 * *ret, or -errno. */
typedef int server_read_config(void *userdata, struct config **ret);

/* Opens sockets, takes up the streams that are inherited, starts threads and the bus; serves once
 * server_run() is called.  What goes wrong is logged.  0, and the configuration is the server's; or
 * -errno: then what is inherited either is in `inherited` still, all of it but the listeners, or
 * its streams have been ended cleanly. */
int server_new(struct config *config, struct inherited *inherited, server_read_config *read_config,
	void *userdata, struct server **ret);

/* Serves until SIGTERM or SIGINT, then ends all streams cleanly.  SIGHUP reads the configuration
 * anew.  0; EXIT_FAILURE: it has ended by itself, as a thread hangs; or -errno. */
int server_run(struct server *server);

struct server *server_free(struct server *server); /* takes NULL; returns NULL */
DEFINE_CLEANUP(struct server *, server_free)
