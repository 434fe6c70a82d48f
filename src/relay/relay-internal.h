/* SPDX-License-Identifier: BSD-3-Clause */
/* The relay's state, for its own files.  They call each other: an update goes from one to the next,
 * and its outcome comes back.  Each file has a part of the state, which the others leave alone,
 * except the flags that say how bus and disk are. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/mailbox.h"
#include "base/table.h"
#include "bus/bus-clock.h"
#include "bus/outbox.h"
#include "relay/refusal-state.h"
#include "relay/relay.h"

/* An update that is with the bus, with the outbox, or with both: what the bus has not acknowledged
 * in time goes into the outbox, though the bus may still store it. */
struct pending {
	struct publication publication; /* the bus's until it comes back */
	struct outbox_item item;        /* likewise the outbox's */
	bool with_bus, with_outbox;
	bool is_row;                  /* one of the outbox's, on its way to the bus */
	bool is_repair;               /* written back, as the bus has lost it */
	bool is_refused;              /* by the bus; in refusals.n_pending */
	TAILQ_ENTRY(pending) link;    /* in publishing.awaited while `publish` is set */
	struct http_publish *publish; /* who waits; NULL: nobody (any more) */
	int64_t begun_ms, deadline_ms;
	int64_t lag_us; /* from its updated_at until the relay got it; with a publisher only */
};

TAILQ_HEAD(pending_queue, pending);

/* publish.c's: updates on their way. */
struct publishing {
	struct pending_queue awaited; /* those for which somebody waits; earliest deadline first */
	size_t n_pending;             /* with bus or outbox, whether somebody waits or not */
	sd_event_source *timer;
};

TAILQ_HEAD(row_list, row);

/* backlog.c's: what the outbox holds, durable there, and waits for the bus. */
struct backlog {
	struct table rows;       /* of struct row */
	struct row_list list;    /* in the order of acceptance */
	struct row_list resting; /* the bus has refused them: they join the others at `timer` */
	size_t n_refused;        /* rows that the bus has refused when they were last tried */
	unsigned n_flying;       /* with the bus */
	unsigned generation;     /* counts how often the outbox was opened */
	bool has_lost;           /* the outbox may lack rows, which are to be written again */
	int64_t rest_us;         /* until the next `timer`, while some are resting */
	bool pausing;            /* until `timer` */
	bool timer_on;
	sd_event_source *timer;
};

/* Where a bus, or the outbox, posts what it has to tell. */
struct inbox {
	struct mailbox mailbox;
	struct relay *relay;
	sd_event_source *source;
	bool is_former; /* of a bus that was left behind: only publications that come back count */
	struct inbox *next_former;
};

/* intake.c's: what bus and outbox tell. */
struct intake {
	struct inbox *bus_inbox, *outbox_inbox;
	struct inbox *former;    /* all that are */
	struct mail_list mail;   /* taken from them, not yet acted upon */
	int64_t told_us;         /* CLOCK_MONOTONIC: when the event that is acted upon was posted */
	sd_event_source *source; /* on while there is some */
	bool undelivered; /* its first is in the registry, but the hub had no memory for it */
};

#define PROBLEMS_TOLD_MAX 4

/* Likewise: the bus. */
struct bus_state {
	bool is_up;
	bool was_up;
	struct bus_clock clock; /* as the bus has told it; the local one has none but the wall's */
	int64_t down_since_ms;
	char problem[BUS_TEXT_SIZE];                 /* while it is down */
	char open_problem[BUS_TEXT_SIZE];            /* the same, and names no host */
	char told[PROBLEMS_TOLD_MAX][BUS_TEXT_SIZE]; /* of this outage, in the log */
	size_t n_told;
};

struct outbox_state {
	bool is_up;
	char problem[BUS_TEXT_SIZE]; /* while it is down; "": it is being opened */
};

/* refusals.c's: what the bus refuses. */
struct refusals {
	struct refusal refusal;
	size_t n_pending;          /* refused, and on the way to the outbox */
	char text[BUS_TEXT_SIZE];  /* the last reason */
	struct key key;            /* of the last one */
	char fault[BUS_TEXT_SIZE]; /* why it acknowledges none; "": it does */
	bool all_told, some_told;  /* in the log */
};

/* subscribe.c's. */
struct subscribing {
	struct relay_streams streams;
	bool is_over;         /* relay_end_subscriptions() */
	int64_t full_told_ms; /* in the log, that subscribers are refused; 0: never */
};

struct relay {
	sd_event *event;
	struct hub *hub;
	struct registry *registry;
	const struct relay_operations *operations;
	void *userdata;

	struct bus *bus;       /* NULL: there is none, at the end or for want of memory */
	struct outbox *outbox; /* NULL: there is none, as the bus is local */
	struct bus_state bus_state;
	struct outbox_state outbox_state;
	bool disk_stalled; /* the store has not answered in time, nor since */
	bool stopping;     /* relay_stop() */

	struct publishing publishing;
	struct backlog backlog;
	struct intake intake;
	struct refusals refusals;
	struct subscribing subscribing;
	struct metrics metrics;     /* main counts */
	char text[RELAY_TEXT_SIZE]; /* state.c's */
};

static inline void relay_changed(struct relay *relay)
{
	relay->operations->on_change(relay->userdata);
}

/* publish.c: takes updates from HTTP to the bus or the outbox, and answers back.  Functions that
 * return an int fail only with -ENOMEM; then nothing has happened. */
int publish_init(struct relay *relay);
void publish_deinit(struct relay *relay);
void publish_write_back(struct relay *relay, const struct update *update);
/* The bus has stored the update with a time that is not above `time_us`, which streams have had, or
 * has lost it.  Publishes it once more, above that, so that they hear of it.  Each node does so;
 * the first one does it for all. */
void publish_again_above(struct relay *relay, const struct update *update, int64_t time_us);
int publish_row(struct relay *relay, const struct update *row);
int publish_keep_again(struct relay *relay, const struct update *row);
void publish_on_answer(struct relay *relay, struct publication *publication);
void publish_on_late_answer(struct relay *relay, struct publication *publication);
int publish_on_outbox_answer(struct relay *relay, struct outbox_item *item);
void publish_forget_item(struct relay *relay, struct outbox_item *item);
/* Moves updates that have waited long enough by now (CLOCK_MONOTONIC) to the outbox, or refuses
 * them. */
void publish_expire(struct relay *relay, int64_t now_ms);

/* backlog.c: what the outbox holds, to the bus. */
int backlog_init(struct relay *relay);
void backlog_deinit(struct relay *relay);
int backlog_take_up(struct relay *relay, const struct update *update); /* -ENOMEM: again, please */
bool backlog_has(const struct relay *relay, const struct update *update);
size_t backlog_size(const struct relay *relay);
void backlog_run(struct relay *relay);
void backlog_wake(struct relay *relay); /* tries those again that rest */
void backlog_on_answer(struct relay *relay, const struct publication *publication);
void backlog_on_bus_up(struct relay *relay);
void backlog_on_bus_left(struct relay *relay); /* what it had of the backlog is awaited no longer */
void backlog_note_refused(
	struct relay *relay, const struct update *update); /* before it came here */
void backlog_on_begin(struct relay *relay);
int backlog_on_end(struct relay *relay);       /* as backlog_take_up() */
int backlog_on_outbox_up(struct relay *relay); /* likewise */

/* When the outbox's disk answers, gives the outbox again those rows that it has lost because its
 * file was corrupt.  Returns as backlog_take_up() does. */
int backlog_write_again(struct relay *relay);

/* The outbox could not write this update.  If it is such a row, gives it again when the outbox can
 * write. */
void backlog_on_not_kept(struct relay *relay, const struct update *update);

/* refusals.c: what the bus refuses. */
void refusals_on_answer(struct relay *relay, const struct publication *publication);
void refusals_on_stored(struct relay *relay);                  /* the bus has taken one */
void refusals_look(struct relay *relay);                       /* whether any is left */
void refusals_on_fault(struct relay *relay, const char *text); /* "": it is over */
bool refusals_all(const struct relay *relay);                  /* every update */
bool refusals_told(const struct relay *relay);                 /* all or some: why is known */
size_t refusals_environments(const struct relay *relay);

/* intake.c: what bus and outbox tell, to registry and streams. */
int intake_init(struct relay *relay);
void intake_deinit(struct relay *relay);
int intake_offer(struct relay *relay, const struct update *update); /* as backlog_take_up() */
void intake_on_bus_down(struct relay *relay, const char *text, const char *open_text);

/* Why the bus is down: `text` for the log and the status, `open_text` for everybody, without names
 * of hosts.
 */
void intake_set_problem(struct relay *relay, const char *text, const char *open_text);

/* The bus is left behind.  Of what it still posts, only the publications that it gives back count,
 * and the next bus gets an inbox of its own.  0; -errno: nothing has happened (-EAGAIN: there is
 * much left to read). */
int intake_replace_inbox(struct relay *relay);

/* After the end of the bus: acts on all that it has told, and notes that it is gone. */
void intake_deliver(struct relay *relay);
