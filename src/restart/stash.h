/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the streams are while one process ends and the next begins: a sealed memfd with their state
 * (handover.h), and socket pairs in which their descriptors lie as messages.  systemd keeps those
 * few descriptors in its store.  Main thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "hub/handover.h"

struct stash {
	int state;  /* the memfd; -1: none */
	int *pairs; /* an end of each socket pair: the one to read from */
	size_t n_pairs;
};

/* Closes what it has. */
void stash_deinit(struct stash *stash);

/* Makes one of a state and the descriptors that belong to it, which stay the caller's too.  0 or
 * -errno. */
int stash_make(const void *state, size_t size, const struct handover_item items[], size_t n_items,
	struct stash *ret);

/* Into systemd's store; waits until it has them.  0 or -errno: then they may be there or not. */
int stash_store(const struct stash *stash);

/* Takes a descriptor that systemd has passed under this name.  1: it is one of a stash, and added
 * to *stash.  0: it is not ours.  -ENOMEM: it was, and is closed. */
int stash_add(struct stash *stash, int fd, const char *name);

/* Has systemd forget them, so that no other process gets them.  Returns when it has. */
int stash_forget(void);

/* What its state says of itself, without the rest of it being looked at, and nothing taken out.  0;
 * -ENOENT: it has no state; -EBADMSG: none that can be read. */
int stash_read_head(const struct stash *stash, struct handover_head *ret);

/* What came out of a stash's pairs: */
struct stash_content {
	struct handover_item *items; /* in the state's order; the descriptors are the owner's */
	size_t n_items;
	size_t n_cut_short; /* ended on the spot, as the limit of open files is too low: fd is -1 */
	const char *problem; /* why it is not what a stash can be: then the order is not known */
};

/* Reads all of it.  0; -ENOMEM: then all of its streams have been ended. */
int stash_read(const struct stash *stash, struct stash_content *ret);

/* Closes the descriptors that have not been taken (set to -1). */
void stash_content_deinit(struct stash_content *content);

/* The state's bytes, mapped; to be unmapped by munmap(2).  0 or -errno. */
int stash_map(const struct stash *stash, const void **ret_state, size_t *ret_size);
