/* SPDX-License-Identifier: BSD-3-Clause */
/* The streams while one process ends and the next starts: a sealed memfd with their state
 * (handover.h), and socket pairs that hold their descriptors as messages.  systemd keeps these few
 * descriptors in its store.  Main thread. */
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

/* Makes a stash of a state and its descriptors, which also stay the caller's.  0 or
 * -errno. */
int stash_make(const void *state, size_t size, const struct handover_item items[], size_t n_items,
	struct stash *ret);

/* Puts it into systemd's store, and waits until systemd has it.  0; -errno: systemd may have it or
 * not. */
int stash_store(const struct stash *stash);

/* Takes a descriptor that systemd has passed under this name.  1: it belongs to a stash, and has
 * been added to *stash.  0: it is not ours.  -ENOMEM: it was, and has been closed. */
int stash_add(struct stash *stash, int fd, const char *name);

/* Makes systemd forget the stash, so that no other process gets it.  Returns when systemd has done
 * so. */
int stash_forget(void);

/* Reads only the head of the state, and takes nothing out.  0; -ENOENT: there is no state;
 * -EBADMSG: it cannot be read. */
int stash_read_head(const struct stash *stash, struct handover_head *ret);

/* What came out of a stash's pairs: */
struct stash_content {
	struct handover_item *items; /* in the state's order; the descriptors are the owner's */
	size_t n_items;
	size_t n_cut_short;  /* how many were ended on the spot, as the limit of open files is too
				low: fd is -1 */
	const char *problem; /* why this cannot be a stash's content: the order is not known then */
};

/* Takes everything out of the pairs.  0; -ENOMEM: all its streams have been ended. */
int stash_read(const struct stash *stash, struct stash_content *ret);

/* Closes the descriptors that have not been taken (set to -1). */
void stash_content_deinit(struct stash_content *content);

/* Maps the state's bytes; unmap them with munmap(2).  0 or -errno. */
int stash_map(const struct stash *stash, const void **ret_state, size_t *ret_size);
