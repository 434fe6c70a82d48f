/* SPDX-License-Identifier: BSD-3-Clause */
/* For listen.c, which opens sockets, listen-try.c, which tries whether they could be opened, and
 * listen-words.c, which says why not.  They call each other in a circle, because to find out why a
 * socket could not be opened takes trying. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/listen.h"

/* Formats an address as listen_name() does; leaves `ret_name` alone if it is of another family. */
void listen_format(const struct sockaddr_storage *address, socklen_t length,
	char ret_name[static LISTEN_NAME_SIZE]);

/* Whether the address can be had once `own` are free, as for listen_try().  The socket may be bound
 * afterwards: close it.  0 or -errno. */
int listen_try_bind(int fd, const struct sockaddr *address, socklen_t length, const char *own);

/* Whether one of the addresses in `own`, separated by commas, occupies `name`. */
bool listen_is_own(const char *own, const char *name);

/* Why nobody can listen there, in words that say what to do.  `path`: of a unix socket; NULL: TCP,
 * at `port`.  Valid until the next call, or strerror(3). */
const char *listen_words(const char *path, const char *port, int error);

/* Whether one of these sockets has this address already, which is written as in http.listen. */
bool listen_is_among(const int fds[], size_t n_fds, const char *text);

/* As listen_try_bind(), for a unix socket, whose file is not made. */
int listen_try_unix(const struct sockaddr_un *address, const char *own);
