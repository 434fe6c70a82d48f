/* SPDX-License-Identifier: BSD-3-Clause */
/* The hub: all streams, on N shards, each a thread of its own.  Knows neither HTTP nor the bus.
 * All functions are for the main thread.  None of them waits, except hub_halt(), hub_end_all() and
 * hub_free(). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "hub/ends.h"
#include "hub/handover.h"
#include "update/frame.h"
#include "update/key.h"

struct hub;

struct hub_settings {
	unsigned shards;      /* threads; at least 1; hub_configure() leaves them as they are */
	int64_t keepalive_ms; /* a comment goes out this long after the last byte, at the latest */
	int64_t user_timeout_ms; /* TCP_USER_TIMEOUT of each stream; 0: the system's */
	int64_t spread_ms;       /* the sends of one update are paced over this; 0: at once */
};

/* A connection on its way from HTTP to a shard. */
struct hub_arrival {
	int fd;         /* connected, non-blocking; nothing sent on it yet; if it is TCP, with
			   TCP_NODELAY, and TCP_NOTSENT_LOWAT so that little waits in the kernel */
	struct key key; /* the environment */
	enum encoding encoding;
	struct span head;        /* the response head; static */
	struct frame *snapshot;  /* the update that the stream begins with; NULL: none */
	unsigned retry_ms;       /* told to the client */
	int64_t lifetime_ms;     /* the stream ends cleanly after this; 0: never */
	bool close_after_update; /* it also ends, cleanly, after its first update beyond the
				    snapshot */
};

/* Makes the shards, whose threads hub_start() starts.  0 or -errno. */
int hub_new(const struct hub_settings *settings, struct hub **ret);
int hub_start(struct hub *hub);

/* Ends the threads when they have done all that they were told.  The streams stay as they are, and
 * wait for hub_start().  Returns how many threads hang; these are left behind with their streams,
 * which no longer exist for the hub. */
unsigned hub_halt(struct hub *hub);

/* Between hub_halt() and hub_start().  Adds all streams and their environments; their descriptors
 * stay the hub's, so that it can still go on with them.  0; -ENOMEM; another -errno: one cannot be
 * handed over. */
int hub_save(struct hub *hub, struct handover_writer *writer);

/* Before hub_start().  Goes on with streams of another process: `items` are their descriptors in
 * the state's order (-1: the stream has ended), which it consumes.  At most `max_streams` of them
 * go on; the others, counted in `ret_surplus`, end cleanly.  0; -ENOMEM: nothing has happened. */
int hub_restore(struct hub *hub, const struct handover *state, const struct handover_item items[],
	size_t max_streams, size_t *ret_surplus);

/* Likewise, if only what comes with the descriptors is known of the streams: ends them as cleanly
 * as that allows. */
void hub_end_unknown(struct hub *hub, const struct handover_item items[], size_t n_items);

/* Likewise: ends all streams cleanly, in this thread, because there are no others.  Waits for their
 * clients, `for_ms` at most.  Returns how many streams have not ended by then. */
size_t hub_end_all(struct hub *hub, int64_t for_ms);

/* Changes the settings, for open streams too; user_timeout_ms only for streams that begin later. 0;
 * -ENOMEM: nothing has changed. */
int hub_configure(struct hub *hub, const struct hub_settings *settings);

/* Stops the shards.  Streams that are left end at once, not cleanly (see hub_drain()).  Takes NULL.
 */
struct hub *hub_free(struct hub *hub);
DEFINE_CLEANUP(struct hub *, hub_free)

/* Gives the connection to a shard.  On success the descriptor is the hub's and the snapshot has
 * been referenced; on failure (-ENOMEM) nothing has happened. */
int hub_adopt(struct hub *hub, const struct hub_arrival *arrival);

/* Sends `frame` to all streams of the environment.  Updates reach each stream in the order of the
 * calls, and after the snapshot that it was adopted with; a later one replaces an earlier one not
 * yet sent. References the frame.  `told_us` (CLOCK_MONOTONIC) is when the bus told the update:
 * each shard times the delivery from there.  0; -ENOMEM: no stream gets it. */
int hub_publish(struct hub *hub, const struct key *key, struct frame *frame, int64_t told_us);

/* For `told_us`: nobody has told it just now, so its delivery is not timed. */
#define HUB_UNTIMED 0

/* Ends the present streams cleanly, one after another, over this time.  With 0: all at once, and
 * also those adopted later.  Use 0 only at the very end, when nobody is accepted any more:
 * otherwise the streams of clients that come back would be ended again and again.  Call it twice at
 * most. */
void hub_drain(struct hub *hub, int64_t over_ms);

/* hub_ping() asks each shard to answer; hub_silence_ms() returns for how long shard number `shard`
 * has not answered (0: it has).
 */
void hub_ping(struct hub *hub);
unsigned hub_shards(const struct hub *hub);
int64_t hub_silence_ms(const struct hub *hub, unsigned shard);

/* Streams that hold a descriptor: open ones, those on their way to a shard, and those being ended.
 */
size_t hub_streams(const struct hub *hub);

/* hub_count() adds to *total what the shards have counted since the start.  hub_ended() returns how
 * many streams have ended for this reason: each opened stream counts under one reason as soon as
 * its end begins, and so does a subscriber that a shard had to refuse. */
void hub_count(const struct hub *hub, struct metrics *total);
uint64_t hub_ended(const struct hub *hub, enum end_reason reason);

size_t hub_environments(const struct hub *hub); /* with at least one stream, counted once a shard */
