/* SPDX-License-Identifier: BSD-3-Clause */
/* The descriptors that systemd has passed, told apart by their names. */
#include "inherited.h"

#include <errno.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "log.h"

static void free_names(char **names)
{
	for (char **name = names; name && *name; name++)
		free(*name);
	free(names);
}

/* 0, or -ENOMEM: it is closed. */
static int add(struct inherited *inherited, int fd, const char *name)
{
	int r = stash_add(&inherited->stash, fd, name);

	if (r != 0)
		return r < 0 ? r : 0;
	if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0) {
		inherited->listeners[inherited->n_listeners++] = fd;
		return 0;
	}
	log_warning("Descriptor %d from systemd, by the name of \"%s\", is not flagsse's: it is "
		    "neither a listening stream socket (ListenStream= in a socket unit) nor "
		    "something that a former process has handed over. It is left alone.",
		fd, name);
	close(fd);
	return 0;
}

int inherited_take(struct inherited *ret)
{
	_cleanup_(inherited_deinit) struct inherited inherited = {.stash.state = -1};
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names), r = 0;

	if (n < 0)
		return n;
	inherited.listeners = calloc((size_t)n + 1, sizeof(inherited.listeners[0]));
	if (!inherited.listeners) {
		free_names(names);
		return -ENOMEM;
	}
	/* Some of them alone would be of no use, and all of them are systemd's still. */
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
