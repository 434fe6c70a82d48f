/* SPDX-License-Identifier: BSD-3-Clause */
/* At the start: takes up the streams that the former process has handed over.  Until then systemd
 * has them, and gives them to the next process if this one ends.  Main thread. */
#pragma once

#include <stddef.h>

#include "hub/hub.h"
#include "hub/registry.h"
#include "restart/stash.h"

/* Call it when nothing is left to do that is likely to fail, and before hub_start().  Moves
 * everything from the stash, which may be empty, into hub and registry; at most `max_streams`
 * streams go on.  Streams that have another latest update than the registry get the registry's.  A
 * state that cannot be read is no error: its streams are ended cleanly, and the log says why.
 * Afterwards systemd's store and the stash are empty. */
void takeup(struct stash *stash, struct hub *hub, struct registry *registry, size_t max_streams);

/* Call it before anything that can fail.  Ends the streams cleanly if they have waited for a
 * process for more than a minute, which takes 10 s at most. */
void takeup_end_if_late(struct stash *stash);

/* The start has failed.  If takeup() has not been called, leaves the streams to the next attempt,
 * and logs that; or, if their state cannot be read, ends them as takeup_end_if_late() does.
 */
void takeup_postpone(struct stash *stash);
