/* SPDX-License-Identifier: BSD-3-Clause */
/* What systemd has passed: listening sockets, and what the process before us has handed over.
 * Main thread. */
#pragma once

#include <stddef.h>

#include "restart/stash.h"

struct inherited {
	int *listeners; /* of the socket unit; n_listeners of them */
	size_t n_listeners;
	struct stash stash;
};

/* Takes them, once; none is no error.  What is neither is none of ours: that is said in the log,
 * and it is closed.  0 or -errno. */
int inherited_take(struct inherited *ret);

/* Closes what has not been taken out. */
void inherited_deinit(struct inherited *inherited);
