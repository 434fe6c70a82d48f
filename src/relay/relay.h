/* SPDX-License-Identifier: BSD-3-Clause */
/* The relay: takes updates from their publishers to the bus or the outbox, and from there to the
 * registry and the streams; and gives subscribers their streams.  It owns bus and outbox.  Main
 * thread.  No call waits, except relay_end_bus() and relay_end(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "bus/bus.h"
#include "http/http.h"
#include "hub/hub.h"
#include "hub/profile.h"
#include "hub/registry.h"

struct relay;

/* What the relay tells its owner. */
struct relay_operations {
	/* The bus is up, and all that it had is with the streams. */
	void (*on_up)(void *userdata);

	/* What relay_problem(), relay_warning() or their like say has changed. */
	void (*on_change)(void *userdata);
};

/* Begins with neither bus nor outbox.  Hub and registry outlive the relay.  0 or -errno. */
int relay_new(sd_event *event, struct hub *hub, struct registry *registry,
	const struct relay_operations *operations, void *userdata, struct relay **ret);

/* Call it when bus and outbox have been ended, and only if none of their threads was left behind:
 * such a thread might still post.  Refuses publishers that still wait.  Takes NULL; returns
 * NULL. */
struct relay *relay_free(struct relay *relay);
DEFINE_CLEANUP(struct relay *, relay_free)

/* Now, by the bus's clock.  Compare times of storing and of acceptance with nothing else.  The
 * local bus's clock is the wall clock.  NATS has its own; until NATS has told it, it is the wall
 * clock, too. */
int64_t relay_now_us(const struct relay *relay);

/* ---- Bus and outbox ---- */

struct relay_bus_settings {
	const char *state_dir;            /* of the local bus, or of the outbox beside NATS */
	const struct nats_settings *nats; /* NULL: the local bus */
};

/* Starts a bus of this kind; with NATS also an outbox, unless there is one already.  0 or
 * -errno. */
int relay_start_bus(struct relay *relay, const struct relay_bus_settings *settings);

/* The thread of the NATS bus hangs.  Leaves it behind; there is no bus until relay_start_bus(). 0;
 * -errno: nothing has changed (-EAGAIN: there is much left to read from it). */
int relay_leave_bus(struct relay *relay);

bool relay_has_bus(const struct relay *relay);
bool relay_has_outbox(const struct relay *relay);

/* relay_ping() asks the threads of bus and outbox to show that they are alive.  The others return
 * for how long one has not answered (0: it has, or there is none).  The local bus's thread is the
 * store's. */
void relay_ping(struct relay *relay);
int64_t relay_bus_silence_ms(const struct relay *relay);
int64_t relay_store_silence_ms(const struct relay *relay);

/* While the store's disk does not answer (`is_stalled`), whatever needs it is refused at once. */
void relay_set_stalled(struct relay *relay, bool is_stalled);

/* ---- The end ---- */

/* The outbox gives nothing more to the bus. */
void relay_stop(struct relay *relay);

/* From now on subscribers get -ESHUTDOWN: their streams would be ended at once. */
void relay_end_subscriptions(struct relay *relay);

/* Whether no publisher waits for an answer any more.  Updates that were given to a disk that hangs
 * do not count: their publishers have been refused. */
bool relay_has_answered(const struct relay *relay);

/* Ends the bus, and acts on all that it has told.  Nothing new can come after that. */
void relay_end_bus(struct relay *relay);

/* Ends bus and outbox, at the very end.  Ignores what they still tell. */
void relay_end(struct relay *relay);

/* ---- Publishers and subscribers ---- */

/* Publishes a valid, authorised update.  Answers it exactly once, now or later, whatever bus and
 * disk do. */
void relay_publish(
	struct relay *relay, struct http_publish *publish, const struct key *key, int64_t time_us);

/* What new streams are given. */
struct relay_streams {
	struct profile *profiles; /* the relay's from then on; free() */
	size_t n_profiles;
	struct profile standard; /* for clients that no profile fits; its texts are static */
	unsigned retry_min_ms, retry_max_ms;
	size_t max; /* streams that may be open */
};
void relay_set_streams(struct relay *relay, const struct relay_streams *streams);

/* Begins a stream with what is known, without waiting for the bus.  See http_operations.subscribe.
 */
int relay_subscribe(struct relay *relay, const struct http_subscription *subscription);

/* ---- The state of things ---- */

enum relay_audience {
	RELAY_FOR_ALL,       /* names no host */
	RELAY_FOR_OPERATORS, /* says all that is known */
};

#define RELAY_TEXT_SIZE (4 * BUS_TEXT_SIZE)

/* Why updates are not taken, or not by the bus, in sentences; NULL: they are.  Valid until the next
 * call. */
const char *relay_problem(struct relay *relay, enum relay_audience audience);

/* What is amiss though updates are taken; NULL: nothing.  Valid until the next call. */
const char *relay_warning(struct relay *relay);

/* Whether the outbox keeps updates that the bus does not take, as far as is known. */
bool relay_keeps_updates(const struct relay *relay);

/* What it has counted, for reading. */
const struct metrics *relay_metrics(const struct relay *relay);

bool relay_bus_is_up(const struct relay *relay);
bool relay_bus_refuses_all(const struct relay *relay); /* or acknowledges none */
size_t relay_refused_environments(const struct relay *relay);
bool relay_outbox_is_up(const struct relay *relay);
size_t relay_outbox_size(const struct relay *relay); /* updates that wait for the bus */
size_t relay_streams_max(const struct relay *relay);
