/* SPDX-License-Identifier: BSD-3-Clause */
/* Before a hand-over: whether the next process could start. */
#pragma once

#include "config/config.h"

/* Call it in a child of the process that is about to end.  Checks what server_new() will need,
 * without taking it: the store, and the addresses, of which `own` (see next_check()) will be free
 * when it starts.  0, or -errno after logging what is missing.  It may wait for the resolver and
 * the disk; next_check() waits for 2 s. */
int preflight(const struct config *config, const char *own);
