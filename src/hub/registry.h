/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry: the latest update of each environment, as far as this node knows.  Only the
 * registry decides what is newer; shards and streams never compare.  Main thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "update/frame.h"
#include "update/update.h"

struct registry;

int registry_new(struct registry **ret);
struct registry *registry_free(struct registry *registry);
DEFINE_CLEANUP(struct registry *, registry_free)

enum registry_verdict {
	REGISTRY_NEWER,     /* it is the latest now; send it on */
	REGISTRY_SAME,      /* it is the one we have */
	REGISTRY_OLDER,     /* it was stored before ours, which the bus lacks: write ours back */
	REGISTRY_OVERTAKEN, /* it was stored after ours, but its time is not above ours: publish it
			       again above ours, as the times on a stream only ever grow */
};

/* `now_us` is always by the bus's clock, as the times of storing are.  Before anything is compared
 * with an entry, a copy of it is settled (update_settle()). */

/* Offers an update that the bus has told; or, with sequence 0, one that the outbox holds, or that
 * the bus has acknowledged and lost.  Returns a verdict; or -ENOMEM: nothing has changed.
 * *ret_latest is the environment's latest update after the call and *ret_frame its frame; they
 * belong to the registry and are valid until the next call that changes it.  A former update that
 * had expired when `update` was stored counts as none, as it does on every node. */
int registry_offer(struct registry *registry, const struct update *update, int64_t now_us,
	const struct update **ret_latest, struct frame **ret_frame);

/* The latest update of the environment, settled, and its frame, which is the registry's and valid
 * until the next call that changes it; false: none, or expired at `now_us`.  `ret_frame` may be
 * NULL. */
bool registry_latest(const struct registry *registry, const struct key *key, int64_t now_us,
	struct update *ret_update, struct frame **ret_frame);

/* Between these two calls the bus tells all that it has.  registry_sync_end() calls `missing` for
 * each unexpired update that the bus has lost: nothing, or only an older update of its environment,
 * was offered meanwhile. */
void registry_sync_begin(struct registry *registry);
void registry_sync_end(struct registry *registry, int64_t now_us,
	void (*missing)(const struct update *update, void *userdata), void *userdata);

/* Restores an update that the former process knew, with sequence 0.  If the environment has an
 * update already, that one stays.  0 or -ENOMEM. */
int registry_restore(struct registry *registry, const struct update *update);

/* Calls `each` for every unexpired update.  Stops at the first result that is not 0, and returns
 * it. */
int registry_each(const struct registry *registry, int64_t now_us,
	int (*each)(const struct update *update, void *userdata), void *userdata);

/* Forgets what the bus has forgotten by `now_us`. */
void registry_expire(struct registry *registry, int64_t now_us);

/* Environments with an update. */
size_t registry_size(const struct registry *registry);
