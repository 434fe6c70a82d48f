/* SPDX-License-Identifier: BSD-3-Clause */
/* Before a hand-over: whether the next process could start. */
#pragma once

#include "config/config.h"

/* To be called in a child of the process that is about to end.  Looks at what server_new() will
 * need, and takes nothing: the addresses, of which `own` (as next_check() has it) will be free by
 * then, and the store.  0, or -errno: what is missing is logged.  It may wait for the resolver and
 * the disk; next_check() waits for 2 s. */
int preflight(const struct config *config, const char *own);
