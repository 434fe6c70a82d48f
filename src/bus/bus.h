/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus: where updates come from and where they are published.  One interface, two kinds: NATS
 * JetStream (nats.c) and the embedded store (local.c).
 *
 * A bus works in a thread of its own.  It posts whatever it has to tell into the mailbox that its
 * user gave it, as struct bus_event.  Call these functions from one thread.  None of them waits,
 * except bus_new_local() and bus_free(). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/mailbox.h"
#include "bus/bus-clock.h"
#include "update/update.h"

struct bus;
struct store;

/* What the bus posts, in the order in which it happened. */
enum bus_event_type {
	BUS_UPDATE,     /* an update was stored (by any node), or is read again because messages may
			   have been missed */
	BUS_CLOCK,      /* the bus has a clock of its own; `clock` says what time it is there */
	BUS_SYNC_BEGIN, /* the last values of all environments follow, as BUS_UPDATE */
	BUS_SYNC_END,   /* that was all of them; what comes now is new */
	BUS_UP,         /* connected, last values read: updates come and can be published */
	BUS_DOWN,    /* until BUS_UP no updates come, and none can be published; `text` says why and
			what to do, `open_text` says it to everybody */
	BUS_LOST,    /* `update` was acknowledged, but the bus has lost it before telling it; its
			stored_us is when it was accepted.  Comes before BUS_SYNC_END */
	BUS_SKIPPED, /* a message that is no update; `text` says what is wrong with it */
	BUS_FAULT,   /* connected, but set up so that it acknowledges nothing; `text` says why and
			what to do.  An empty `text`: it acknowledges again */
	BUS_ANSWER,  /* `publication` comes back, its outcome filled in */

	/* From the outbox (outbox.h), which is not a bus, but posts the same kind of event: */
	BUS_OUTBOX_BEGIN,  /* all that it holds follows, as BUS_OUTBOX_ROW */
	BUS_OUTBOX_ROW,    /* `update`; sequence as in outbox_item.kept */
	BUS_OUTBOX_END,    /* that was all */
	BUS_OUTBOX_UP,     /* it can be written */
	BUS_OUTBOX_DOWN,   /* it cannot, until BUS_OUTBOX_UP; `text` says why and what to do */
	BUS_OUTBOX_ANSWER, /* `item` comes back, its outcome filled in */
};

#define BUS_TEXT_SIZE 256

struct bus_event {
	struct mail mail;
	enum bus_event_type type;
	int64_t posted_us;               /* CLOCK_MONOTONIC */
	struct update update;            /* BUS_UPDATE; complete, with sequence and stored_us */
	struct bus_clock clock;          /* BUS_CLOCK */
	struct publication *publication; /* BUS_ANSWER; now the receiver's */
	struct outbox_item *item;        /* BUS_OUTBOX_ANSWER; likewise */
	char text[BUS_TEXT_SIZE];        /* BUS_DOWN, BUS_SKIPPED, BUS_FAULT, BUS_OUTBOX_DOWN */
	char open_text[BUS_TEXT_SIZE];   /* BUS_DOWN; names no host: for answers over HTTP */
};

enum publish_outcome {
	PUBLISH_STORED,      /* durable on the bus, under `sequence` */
	PUBLISH_STALE,       /* not stored: the bus has it, or an update that makes it no news */
	PUBLISH_UNAVAILABLE, /* the bus has not taken it, or has not said in time that it has */
	PUBLISH_REFUSED,     /* the bus refuses it, for a reason that may hold for every update */
	PUBLISH_REFUSED_ONE, /* likewise, for a reason that concerns only this environment */
};

/* An update on its way to the bus and back. */
struct publication {
	struct mail mail;     /* the bus's, while it has the publication */
	struct update update; /* in: key, time_us, and when it was accepted as stored_us */
	bool has_waited; /* in: see update_follow(), which decides from the update as it is here at
			    which time it is written */
	enum publish_outcome outcome; /* out */
	uint64_t sequence;            /* out, with PUBLISH_STORED */
	struct update stored;         /* out, with PUBLISH_STORED by the local bus; for itself */
	char problem[BUS_TEXT_SIZE];  /* out, with PUBLISH_UNAVAILABLE: why; sentences for the
					 client.  With PUBLISH_REFUSED and _ONE: the reason in the
					 bus's own words, without a full stop */
};

static inline bool publication_is_refused(const struct publication *publication)
{
	return publication->outcome == PUBLISH_REFUSED ||
	       publication->outcome == PUBLISH_REFUSED_ONE;
}

/* The NATS bus.  `urls`: nats:// or tls:// URLs with commas between. */
struct nats_settings {
	const char *urls;
	int64_t connect_timeout_ms;
	int replicas; /* of the stream, where it has to be created */
};

/* Starts the thread.  `inbox` gets the events; it outlives the bus.  The settings are copied.
 * 0, or -errno; being unable to reach NATS is no error but BUS_DOWN. */
int bus_new_nats(const struct nats_settings *settings, struct mailbox *inbox, struct bus **ret);

/* The embedded store in `state_dir`, which exists.  Opens it before returning: 0, or -errno
 * (logged: -EBUSY where another process has it).  If its disk does not answer within 5 s that is no
 * error: the bus is not up until it does. */
int bus_new_local(const char *state_dir, struct mailbox *inbox, struct bus **ret);

/* Ends the thread and waits for it.  Each publication still with the bus comes back as
 * PUBLISH_UNAVAILABLE before this returns NULL; unless the thread is in a call that does not
 * return: then it is left behind after THREAD_END_MS, and the publications that it has, and the
 * mailbox, must stay.  Takes NULL. */
struct bus *bus_free(struct bus *bus);
DEFINE_CLEANUP(struct bus *, bus_free)

/* Hands the publication to the bus.  It always comes back by BUS_ANSWER, but perhaps late: mind
 * your own deadline. */
void bus_publish(struct bus *bus, struct publication *publication);

/* bus_ping() asks the thread to show that it is alive; bus_silence_ms() returns for how long it has
 * not done so (0: it has). */
void bus_ping(struct bus *bus);
int64_t bus_silence_ms(const struct bus *bus);

/* How long a healthy NATS bus may be silent.  With a million environments a request of its
 * thread may take 14 s (nats/patience.c), and there may be two in a row. */
#define BUS_NATS_SILENCE_MS 30000

/* The thread of a NATS bus hangs: leaves it behind, with the bus.  The publications that it has may
 * still come back, so the mailbox must stay, and be read: ignore everything in it but BUS_ANSWER.
 */
void bus_leave(struct bus *bus);

/* nats.c's version, for --version. */
const char *bus_library_version(void);
