/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the server listens: on systemd's sockets, or on its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/listen.h"
#include "server/server-internal.h"

/* Accepts on it from now on.  The descriptor is consumed. */
static int add_listener(struct server *server, int fd)
{
	char name[LISTEN_NAME_SIZE];
	int r;

	listen_name(fd, name);
	r = http_add_listener(server->http, fd);
	if (r < 0)
		log_error("Cannot accept on %s: %s.", name, strerror(-r));
	else
		log_info("Listening on %s.", name);
	return r;
}

/* The names of those that are ours, for the check before a hand-over. */
static int note_addresses(struct server *server, const int fds[], size_t n)
{
	const size_t size = (n + 1) * LISTEN_NAME_SIZE;
	size_t length = 0;

	server->addresses = calloc(1, size);
	if (!server->addresses)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		char name[LISTEN_NAME_SIZE];

		listen_name(fds[i], name);
		length += (size_t)snprintf(
			server->addresses + length, size - length, "%s%s", i > 0 ? "," : "", name);
	}
	return 0;
}

int listening_open(struct server *server, const struct config *config, struct inherited *inherited)
{
	_cleanup_(freep) char *problem = NULL;
	int r;

	if (inherited->n_listeners > 0)
		r = listen_check_all(inherited->listeners, inherited->n_listeners, &problem);
	else {
		free(TAKE_PTR(inherited->listeners));
		r = listen_open(config->http_listen, &inherited->listeners, &inherited->n_listeners,
			&problem);
		if (r >= 0)
			return note_addresses(server, inherited->listeners, inherited->n_listeners);
	}
	if (r < 0)
		log_error("%s", problem ? problem : "Out of memory for the listening sockets.");
	return r;
}

int listening_begin(struct server *server, struct inherited *inherited)
{
	int r;

	while (inherited->n_listeners > 0) {
		r = add_listener(server, inherited->listeners[--inherited->n_listeners]);
		if (r < 0)
			return r;
	}
	return 0;
}
