/* SPDX-License-Identifier: BSD-3-Clause */
/* At the start: goes on with the streams that the process before us has handed over.  Until then
 * they are systemd's, which gives them to the next process if this one ends.  Main thread. */
#pragma once

#include <stddef.h>

#include "hub/hub.h"
#include "hub/registry.h"
#include "restart/stash.h"

/* To be called once nothing is left that is likely to fail.  Takes all out of the stash, which may
 * be empty, into hub and registry, before hub_start(); at most `max_streams` go on.  A stream that
 * has another latest update than the registry gets that.  What cannot be read is no error: its
 * streams are ended cleanly, and the log says why.  Afterwards systemd's store and the stash are
 * empty. */
void takeup(struct stash *stash, struct hub *hub, struct registry *registry, size_t max_streams);

/* To be called before anything that can fail.  If the streams have waited for a process for more
 * than a minute, ends them cleanly, which takes 10 s at most. */
void takeup_end_if_late(struct stash *stash);

/* The start has failed.  If takeup() has not been called, the streams wait for the next attempt,
 * and the log says so; those of a state that nobody could read are ended, as takeup_end_if_late()
 * does.
 */
void takeup_postpone(struct stash *stash);
