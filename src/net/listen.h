/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening sockets: from a list of addresses, or from systemd. */
#pragma once

#include <stddef.h>

/* Checks the form of an address, for the configuration; opens nothing.  The forms are "HOST:PORT",
 * "[IPv6]:PORT", ":PORT" (all of IPv4 and IPv6), and "unix:/PATH".  0; -EINVAL: it is none of them.
 */
int listen_check(const char *address);

/* Opens all addresses of a list separated by commas: non-blocking, close-on-exec, listening.  Of a
 * name it opens each address that this machine has, once; there must be at least one.  0 and a
 * malloc'ed array of descriptors, or -errno with *ret_problem set to a text that names the address
 * (the caller frees it); then none is open. */
int listen_open(const char *addresses, int **ret_fds, size_t *ret_n_fds, char **ret_problem);

/* Whether listen_open() would succeed once the addresses in `own` (as listen_name() gives them,
 * separated by commas) are free.  Binds each other address for a moment, and leaves no trace.  0,
 * or -errno with *ret_problem as above. */
int listen_try(const char *addresses, const char *own, char **ret_problem);

/* Checks that we can accept on these descriptors, which systemd has passed, and makes them
 * non-blocking.  0, or -errno with *ret_problem as above; they stay the caller's. */
int listen_check_all(const int fds[], size_t n_fds, char **ret_problem);

/* The address a socket is bound to, for people: "127.0.0.1:8088", "unix:/run/x.sock". */
#define LISTEN_NAME_SIZE 128
void listen_name(int fd, char ret_name[static LISTEN_NAME_SIZE]);
