/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that owns a store for the local bus or the outbox, because a disk may stall.  It puts
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
	/* Somebody waits for the first opening, by store_thread_await_open(), which returns its
	 * outcome.  If it fails, that is logged, and down() is not called. */
	bool must_open;

	/* The store is open.  Called before any write(); and again if the store was corrupt and a
	 * new one was begun, or if its files were deleted and their content was moved to new
	 * ones. */
	void (*opened)(struct store *store, void *userdata);

	/* Puts a piece of work into the open transaction; once more if the transaction has failed.
	 * 1: something was written; 0: nothing had to be; -errno. */
	int (*write)(struct store *store, struct mail *work, void *userdata);

	/* The transaction is durable, or (-errno) all of it is undone and `problem` says why.  The
	 * work does not belong to the thread any more. */
	void (*done)(struct mail *work, int error, const char *problem, void *userdata);

	/* The store can be written; or it cannot, and `text` says why and what to do.  Called when
	 * that changes. */
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

/* store_thread_ping() asks the thread to show that it is alive; store_thread_silence_ms() returns
 * for how long it has not done so (0: it has).  While the disk hangs the thread cannot; when the
 * disk is well again, it goes on. */
void store_thread_ping(struct store_thread *thread);
int64_t store_thread_silence_ms(const struct store_thread *thread);

/* Ends the thread and frees it; for work that has not been written, done() is called with
 * -ESHUTDOWN.  False: the disk does not answer within THREAD_END_MS, and the thread is left behind.
 * Then everything that it may reach has to stay: this struct, the userdata, and the work that it
 * has. */
bool store_thread_end(struct store_thread *thread);
