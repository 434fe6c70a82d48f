/* SPDX-License-Identifier: BSD-3-Clause */
/* The descriptors that systemd has passed, told apart by their names. */
#include "restart/inherited.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "base/log.h"

#define VALUE_SIZE 32 /* of a variable, to be shown */

static void free_names(char **names)
{
	for (char **name = names; name && *name; name++)
		free(*name);
	free(names);
}

static bool is_connected(int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);

	return getpeername(fd, (struct sockaddr *)&address, &length) == 0;
}

/* 0; -ENOMEM: it has been closed; -EPROTOTYPE, which has been logged: it is a client's
 * connection. */
static int add(struct inherited *inherited, int fd, const char *name)
{
	int r = stash_add(&inherited->stash, fd, name);

	if (r != 0)
		return r < 0 ? r : 0;
	if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0) {
		inherited->listeners[inherited->n_listeners++] = fd;
		return 0;
	}
	if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 0) > 0 && is_connected(fd)) {
		log_error("Descriptor %d from systemd is a client's connection: the socket unit "
			  "has Accept=yes, which starts a process for each. Set Accept=no.",
			fd);
		return -EPROTOTYPE;
	}
	log_warning("Descriptor %d from systemd, by the name of \"%s\", is not flagsse's: it is "
		    "neither a listening stream socket (ListenStream= in a socket unit) nor "
		    "something that a former process has handed over. It is left alone.",
		fd, name);
	close(fd);
	return 0;
}

static void copy_variable(const char *variable, char ret[static VALUE_SIZE])
{
	const char *value = getenv(variable);

	snprintf(ret, VALUE_SIZE, "%s", value ? value : "");
}

int inherited_take(struct inherited *ret)
{
	_cleanup_(inherited_deinit) struct inherited inherited = {.stash.state = -1};
	char fds[VALUE_SIZE], pid[VALUE_SIZE], **names = NULL;
	int n, r = 0;

	copy_variable("LISTEN_FDS", fds);
	copy_variable("LISTEN_PID", pid);
	n = sd_listen_fds_with_names(1, &names); /* which unsets them */
	if (n < 0) {
		log_error("Cannot read what systemd has passed: the variables LISTEN_FDS=%s and "
			  "LISTEN_PID=%s are not understood (%s). They are systemd's: set them "
			  "nowhere else.",
			fds, pid, strerror(-n));
		return n;
	}
	inherited.listeners = calloc((size_t)n + 1, sizeof(inherited.listeners[0]));
	if (!inherited.listeners) {
		free_names(names);
		return -ENOMEM;
	}
	/* A part of them would be of no use, and systemd still has all of them. */
	for (int i = 0; i < n && r >= 0; i++)
		r = add(&inherited, SD_LISTEN_FDS_START + i, names[i]);
	free_names(names);
	if (r < 0)
		return r;
	*ret = inherited;
	inherited = (struct inherited){.stash.state = -1};
	return 0;
}

void inherited_deinit(struct inherited *inherited)
{
	for (size_t i = 0; i < inherited->n_listeners; i++)
		close(inherited->listeners[i]);
	free(TAKE_PTR(inherited->listeners));
	inherited->n_listeners = 0;
	stash_deinit(&inherited->stash);
}
