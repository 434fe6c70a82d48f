/* SPDX-License-Identifier: BSD-3-Clause */
/* An update: "the environment `key` changed at `time_us`".  The one value that flagsse moves. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "update/key.h"

/* How long the bus keeps an environment's latest update, and a new subscriber is given it. */
#define UPDATE_LIFETIME_US INT64_C(3600000000)

/* Clocks of nodes and bus differ: what expires within this time may be gone already. */
#define UPDATE_MARGIN_US INT64_C(60000000)

/* A time of storing that is further in the future than this is impossible.  Less is not told apart
 * from what a message takes on its way. */
#define UPDATE_DOUBT_US INT64_C(1000000)

struct update {
	struct key key;
	int64_t time_us;   /* updated_at, microseconds since the epoch: as it goes out, or went */
	int64_t stored_us; /* when the bus stored it, likewise; before that, when it was accepted */
	uint64_t sequence; /* the bus's number of it; 0: not stored yet */
	int64_t accepted_us; /* stored: when the last of what it is about was accepted, by the bus's
				clock; 0: nobody says, so at stored_us */
	bool is_raised;      /* not stored yet: its time is above that with which it was published,
			      as another one's was not below that */
};

/* An environment's latest update, as the bus has it. */
struct update_latest {
	int64_t time_us;     /* as it went out */
	int64_t told_us;     /* streams may have it since then: when the bus stored it, or before,
				from the node that had accepted it */
	int64_t accepted_us; /* likewise: when the last of what it is about was accepted */
};

/* When that was, of one that is stored. */
int64_t update_accepted(const struct update *update);

/* Every accepted update is news: whoever fetched for the latest may lack what it is about, and SDKs
 * drop what is not above what they have.  So the times of an environment's updates, as they go out,
 * only ever grow.  *ret_time_us is the time under which `update` is written over `latest`; false:
 * it is stale, as whoever has the latest has it.
 *
 * One that comes from its publisher is stale only if its time is the latest's, and else is written
 * above that.  One that `has_waited` was accepted at update->stored_us; the streams of one node may
 * have had it since then, and not the latest:
 *
 *   the latest's time is above its:  written above that, if some have had the latest before it was
 *                                    accepted (told_us); else it is stale
 *   the latest's time is below its:  written as it is; or 1 us above that, if the latest is about
 *                                    something that was accepted after it (accepted_us)
 *   they are the same:               it is stale; or written 1 us above that, if it has been raised
 *                                    to that time, as another one may have been, too
 *
 * Within UPDATE_DOUBT_US nobody knows what was before; then the latest was. */
bool update_follow(const struct update *update, bool has_waited, const struct update_latest *latest,
	int64_t *ret_time_us);

/* For an update that was published and is not stored yet: its time, above one of `time_us`.  False:
 * it is stale. */
bool update_raise(struct update *update, int64_t time_us);

/* For a copy of an environment's latest update, before anything is compared with that, or its age
 * is asked for.  If it bears a time of storing that is still to come, a clock was ahead then, and
 * has been set right: that time says nothing.  It counts as stored at its `updated_at`, if that was
 * within the last UPDATE_MARGIN_US, and else before these: so a possible `updated_at` keeps its
 * place in the order, and an impossible one comes before all that is published next, though that
 * bears a time of a moment ago.  Only for a copy: it may be the clock of now that is wrong.
 *
 * `now_us` is of the clock that `stored_us` is of.  True: it has been changed. */
bool update_settle(struct update *update, int64_t now_us);

/* For a copy of an update that waits to be stored: it was accepted now at the latest. */
void update_settle_waiting(struct update *update, int64_t now_us);

/* Whether the bus has dropped it by now (UPDATE_LIFETIME_US after it was stored).  `now_us` is of
 * the bus's clock, as `stored_us` is. */
bool update_is_expired(const struct update *update, int64_t now_us);

#define UPDATE_PAYLOAD_SIZE 64

/* {"updated_at": 1673546928.028060}: the body on NATS and the data of an event.  Returns its length
 * without the NUL. */
size_t update_format_payload(int64_t time_us, char ret_payload[static UPDATE_PAYLOAD_SIZE]);

/* Reads `updated_at` from a JSON object, as ISO 8601 text or as a number; other members are
 * ignored. 0, or -EBADMSG with *ret_problem set to a static text: what is wrong, what is expected;
 * or -ENOMEM. */
int update_parse_payload(
	const char *body, size_t length, int64_t *ret_time_us, const char **ret_problem);

/* The same for a message on the bus.  There a number of seconds goes to the year 2999, as
 * update_format_payload() writes it, and up to TIMESTAMP_LIMIT_US: what is above
 * TIMESTAMP_SECONDS_MAX, but no milliseconds since the year 2000 either, is seconds. */
int update_parse_message(
	const char *body, size_t length, int64_t *ret_time_us, const char **ret_problem);
