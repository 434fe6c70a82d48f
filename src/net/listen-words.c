/* SPDX-License-Identifier: BSD-3-Clause */
/* Why nobody can listen on an address, and what to do about it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "net/listen-internal.h"

static const char *words_of_unix(const char *path, int error)
{
	struct stat status;

	switch (error) {
	case -EADDRINUSE:
		if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
			return "a file is there that is no socket; move it away";
		return "another program listens there; end it, or take another path";
	case -ENOENT:
		return "its directory does not exist; make it";
	case -EACCES:
		return "this user may not make a socket in that directory";
	default:
		return strerror(-error);
	}
}

static const char *words_of_tcp(const char *port, int error)
{
	switch (error) {
	case -EADDRINUSE:
		return "another program listens there (`ss -ltnp` shows it); end it, or take "
		       "another port";
	case -EADDRNOTAVAIL:
		return "this machine has no such address (`ip address` shows those it has)";
	case -EACCES:
		if (strtol(port, NULL, 10) < 1024)
			return "a port below 1024 is not for this user; take another one, or let "
			       "systemd open it (flagsse.socket)";
		return strerror(-error);
	default:
		return strerror(-error);
	}
}

const char *listen_words(const char *path, const char *port, int error)
{
	return path ? words_of_unix(path, error) : words_of_tcp(port, error);
}

/* As listen_name() would have it, but for the host, which may be a name. */
static void normalize(const char *text, char name[static LISTEN_NAME_SIZE])
{
	snprintf(name, LISTEN_NAME_SIZE, "%s%.100s", text[0] == ':' ? "[::]" : "", text);
}

bool listen_is_among(const int fds[], size_t n_fds, const char *text)
{
	char name[LISTEN_NAME_SIZE], own[LISTEN_NAME_SIZE];

	normalize(text, name);
	for (size_t i = 0; i < n_fds; i++) {
		listen_name(fds[i], own);
		if (listen_is_own(own, name))
			return true;
	}
	return false;
}
