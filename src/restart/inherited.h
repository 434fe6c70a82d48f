/* SPDX-License-Identifier: BSD-3-Clause */
/* What systemd has passed: listening sockets, and what the former process has handed over.
 * Main thread. */
#pragma once

#include <stddef.h>

#include "restart/stash.h"

struct inherited {
	int *listeners; /* of the socket unit; n_listeners of them */
	size_t n_listeners;
	struct stash stash;
};

/* Takes them, once; it is no error if there are none.  Logs and closes descriptors that are
 * neither.  0 or -errno. */
int inherited_take(struct inherited *ret);

/* Closes what has not been taken out. */
void inherited_deinit(struct inherited *inherited);
