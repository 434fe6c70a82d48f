/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that owns a store, as a disk may stall: for the local bus and for the outbox.  It puts
 * all work that has gathered into one transaction, so that a burst shares one sync of the disk. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/mailbox.h"

struct store;
struct store_thread;

/* All functions are called in the thread. */
struct store_thread_operations {
	/* The first opening is waited for, by store_thread_await_open(), which tells the outcome.
	 * It is logged, and no matter for down(). */
	bool must_open;

	/* The store is open: before any write(), and again after it was corrupt and begun anew, or
	 * its files were deleted and what was in them moved to new ones. */
	void (*opened)(struct store *store, void *userdata);

	/* Puts a piece of work into the open transaction; once more if the transaction has failed.
	 * 1: something was written; 0: nothing had to be; -errno. */
	int (*write)(struct store *store, struct mail *work, void *userdata);

	/* The transaction is durable, or (-errno) all of it is undone and `problem` says why.  The
	 * work is not the thread's any more. */
	void (*done)(struct mail *work, int error, const char *problem, void *userdata);

	/* The store can be written; or it cannot, and `text` says why and what to do.  Told when it
	 * changes. */
	void (*up)(void *userdata);
	void (*down)(const char *text, void *userdata);
};

/* The thread opens the store in `directory`, as often as it takes.  The name is copied.  0 or
 * -errno.
 */
int store_thread_new(const char *directory, const struct store_thread_operations *operations,
	void *userdata, struct store_thread **ret);

/* Waits until the store has been opened for the first time, 5 s at most.  0; -errno: it cannot be
 * opened; -ETIMEDOUT: its disk does not answer, and the thread waits for that. */
int store_thread_await_open(struct store_thread *thread);

/* Hands a piece of work over; it comes back by done(). */
void store_thread_post(struct store_thread *thread, struct mail *work);

/* Asks the thread to show that it is alive; and for how long it has not done so.  (0: it has.)  A
 * disk that hangs keeps it from that, and a mended one lets it go on. */
void store_thread_ping(struct store_thread *thread);
int64_t store_thread_silence_ms(const struct store_thread *thread);

/* Ends the thread and frees all of this; what has not been written is done with -ESHUTDOWN.  False:
 * the disk does not answer within THREAD_END_MS, and the thread is left behind.  Then what it may
 * reach stays: this, the userdata, and the work that it has. */
bool store_thread_end(struct store_thread *thread);
