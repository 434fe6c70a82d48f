/* SPDX-License-Identifier: BSD-3-Clause */
/* The outbox of the NATS bus: updates that were accepted while NATS could not acknowledge them.  It
 * keeps the newest one of each environment, durably, in the store.  It is not part of the bus: the
 * owner of both moves updates from one to the other.
 *
 * It works in the store's thread, and posts its events into its user's mailbox.  Call the functions
 * from one thread.  No call waits, except outbox_free(). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/mailbox.h"
#include "update/update.h"

struct outbox;

enum outbox_outcome {
	OUTBOX_KEPT,   /* durable, in place of the environment's former one */
	OUTBOX_STALE,  /* it is there already, durably */
	OUTBOX_FAILED, /* it cannot be written; `problem` says why */
};

/* An update on its way into the outbox. */
struct outbox_item {
	struct mail mail;            /* the outbox's, while it has the item */
	bool is_removal;             /* the outbox's own */
	struct update update;        /* in: key, time_us, is_raised, and when it was accepted as
					stored_us */
	int64_t now_us;              /* in: the time by the clock that stored_us is of */
	enum outbox_outcome outcome; /* out */
	struct update kept; /* out, with OUTBOX_KEPT: the row.  Its times may be later than those of
			       `update`, its sequence is the row's number */
	char problem[160];  /* out, with OUTBOX_FAILED; for the client */
};

/* Starts the thread, which opens (and makes) the store in `state_dir`, and tries as often as it
 * takes.  A store that cannot be opened is no error here: BUS_OUTBOX_DOWN tells of it.  `inbox`
 * gets the events; it outlives the outbox.  0 or -errno. */
int outbox_new(const char *state_dir, struct mailbox *inbox, struct outbox **ret);

/* Ends the thread and waits for it.  Each item still with the outbox comes back as OUTBOX_FAILED
 * before this returns NULL.  If the disk hangs, the thread is left behind after THREAD_END_MS; then
 * the items that it has, and the mailbox, must stay.  Takes NULL. */
struct outbox *outbox_free(struct outbox *outbox);
DEFINE_CLEANUP(struct outbox *, outbox_free)

/* Hands the item over.  It always comes back by BUS_OUTBOX_ANSWER, but perhaps late.
 */
void outbox_keep(struct outbox *outbox, struct outbox_item *item);

/* The update, as it was kept, is on the bus now: deletes its row, unless a newer update has
 * replaced it.  A deletion that fails does no harm: the bus will find the update stale.  0 or
 * -ENOMEM. */
int outbox_drop(struct outbox *outbox, const struct update *update);

/* outbox_ping() asks the thread to show that it is alive; outbox_silence_ms() returns for how long
 * it has not done so (0: it has). */
void outbox_ping(struct outbox *outbox);
int64_t outbox_silence_ms(const struct outbox *outbox);
