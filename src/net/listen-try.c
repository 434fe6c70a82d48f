/* SPDX-License-Identifier: BSD-3-Clause */
/* Finds out whether an address can be had, without taking it from anybody. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/listen-internal.h"

/* Where the host of "HOST:PORT" ends. */
static size_t host_length(const char *name, size_t length)
{
	while (length > 0 && name[length - 1] != ':')
		length--;
	return length > 0 ? length - 1 : 0;
}

static bool is_everywhere(const char *host, size_t length)
{
	return (length == 4 && memcmp(host, "[::]", 4) == 0) ||
	       (length == 7 && memcmp(host, "0.0.0.0", 7) == 0);
}

/* Whether who has the one is in the way of the other: the same, or one of them has the port
 * everywhere. */
static bool is_same_place(const char *own, size_t own_length, const char *name)
{
	size_t length = strlen(name), host = host_length(name, length);
	size_t own_host = host_length(own, own_length);

	if (length == own_length && memcmp(own, name, length) == 0)
		return true;
	if (length - host != own_length - own_host ||
		memcmp(name + host, own + own_host, length - host) != 0)
		return false;
	return is_everywhere(name, host) || is_everywhere(own, own_host);
}

bool listen_is_own(const char *own, const char *name)
{
	while (*own) {
		size_t length = strcspn(own, ",");

		if (is_same_place(own, length, name))
			return true;
		own += length + (own[length] == ',');
	}
	return false;
}

int listen_try_bind(int fd, const struct sockaddr *address, socklen_t length, const char *own)
{
	struct sockaddr_storage storage = {0};
	char name[LISTEN_NAME_SIZE] = "";

	if (bind(fd, address, length) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	memcpy(&storage, address, length);
	listen_format(&storage, length, name);
	return listen_is_own(own, name) ? 0 : -EADDRINUSE;
}

/* Whether nobody listens on what is there. */
static bool is_stale(const struct sockaddr_un *address)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat status;

	return fd >= 0 && lstat(address->sun_path, &status) == 0 && S_ISSOCK(status.st_mode) &&
	       connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
	       errno == ECONNREFUSED;
}

int listen_try_unix(const struct sockaddr_un *address, const char *own)
{
	char name[LISTEN_NAME_SIZE], directory[sizeof(address->sun_path)];
	struct stat status;
	char *slash;

	snprintf(name, sizeof(name), "unix:%s", address->sun_path);
	if (listen_is_own(own, name))
		return 0;
	memcpy(directory, address->sun_path, sizeof(directory));
	slash = strrchr(directory, '/'); /* there is one at its beginning */
	slash[slash == directory] = '\0';
	if (access(directory, W_OK | X_OK) < 0)
		return -errno;
	if (lstat(address->sun_path, &status) == 0 && !is_stale(address))
		return -EADDRINUSE;
	return 0;
}
