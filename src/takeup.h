/* SPDX-License-Identifier: BSD-3-Clause */
/* At the start: goes on with the streams that the process before us has handed over.  Main thread.
 */
#pragma once

#include <stddef.h>

#include "hub/hub.h"
#include "hub/registry.h"
#include "stash.h"

/* Takes all out of the stash, which may be empty, into hub and registry, before hub_start(); at
 * most `max_streams` go on.  What cannot be read is no error: its streams are ended cleanly, and
 * the log says why.  Afterwards systemd's store and the stash are empty. */
void takeup(struct stash *stash, struct hub *hub, struct registry *registry, size_t max_streams);
