/* SPDX-License-Identifier: BSD-3-Clause */
/* An update: "the environment `key` changed at `time_us`".  The one value that flagsse moves. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "update/key.h"

/* For how long the bus keeps an environment's latest update, and new subscribers are sent it. */
#define UPDATE_LIFETIME_US INT64_C(3600000000)

/* Clocks of nodes and bus differ: what expires within this time may be gone already. */
#define UPDATE_MARGIN_US INT64_C(60000000)

/* A time of storing that is further in the future than this is impossible.  A smaller difference
 * may be the time that a message takes on its way. */
#define UPDATE_DOUBT_US INT64_C(1000000)

struct update {
	struct key key;
	int64_t time_us;   /* updated_at, microseconds since the epoch: as it goes out, or went */
	int64_t stored_us; /* when the bus stored it, likewise; before that, when it was accepted */
	uint64_t sequence; /* the bus's number of it; 0: not stored yet */
	int64_t accepted_us; /* of a stored one: when the last change that it stands for was
				accepted, by the bus's clock; 0: unknown, so stored_us counts */
	bool is_raised; /* of one not stored yet: its time is not just the published one: it was
			   raised above another update's, or stands for others, too */
};

/* An environment's latest update, as the bus has it. */
struct update_latest {
	int64_t time_us; /* as it went out */
	int64_t told_us; /* since when streams may have it: when the bus stored it, or earlier, from
			    the node that accepted it */
	int64_t accepted_us; /* when the last change that it stands for was accepted */
};

/* When the last change was accepted that a stored update stands for. */
int64_t update_accepted(const struct update *update);

/* Every accepted update is news: a client that fetched its flags for the latest update may lack the
 * change that this one is about, and SDKs drop an update whose time is not above that of the one
 * before.  So the times of an environment's updates, as they go out, only ever grow.  *ret_time_us
 * is the time with which `update` replaces `latest`; false: it is stale, as whoever has the latest
 * has this change, too.
 *
 * An update that comes from its publisher is stale only if it has the latest's own time; else it is
 * written above the latest.  An update that `has_waited` was accepted at update->stored_us; since
 * then the streams of one node may have had it, and not the latest:
 *
 *   the latest has a later time     written above that, if some streams had the latest before
 *                                   this one was accepted (told_us); else stale
 *   the latest has an earlier time  written with its own time; or 1 us above, if the latest stands
 *                                   for a change that was accepted later (accepted_us)
 *   they have the same time         stale; or written 1 us above, if this one was raised to that
 *                                   time, as another one may have been, too
 *
 * If two times differ by UPDATE_DOUBT_US or less, nobody knows which was earlier; then the latest's
 * counts as earlier. */
bool update_follow(const struct update *update, bool has_waited, const struct update_latest *latest,
	int64_t *ret_time_us);

/* For an update that was published and is not stored yet, where another one has `time_us`: raises
 * its time above that, if it is not above yet.  False: it is stale. */
bool update_raise(struct update *update, int64_t time_us);

/* To be called with a copy of an environment's latest update, before anything is compared with it,
 * or its age is asked for.  If its time of storing is still to come, some clock was ahead when it
 * was stored, and has been set right since: that time says nothing.  Then the update counts as
 * stored at its `updated_at`, if that was within the last UPDATE_MARGIN_US, else at their
 * beginning.  So a possible `updated_at` keeps its place in the order, and an impossible one comes
 * before everything that is published next, even with a time of a moment ago.  Use a copy: the
 * clock that is wrong may be the present one.
 *
 * `now_us` is of the clock that gave `stored_us`.  True: the copy has been changed. */
bool update_settle(struct update *update, int64_t now_us);

/* To be called with a copy of an update that waits to be stored: it cannot have been accepted later
 * than now. */
void update_settle_waiting(struct update *update, int64_t now_us);

/* Whether the bus has dropped the update by `now_us` (UPDATE_LIFETIME_US after it was stored),
 * which is of the bus's clock, as `stored_us` is. */
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

/* The same for a message on the bus.  There a number of seconds may reach TIMESTAMP_LIMIT_US, as
 * update_format_payload() writes it: a number above TIMESTAMP_SECONDS_MAX that is too small for
 * milliseconds since the year 2000 is seconds, too. */
int update_parse_message(
	const char *body, size_t length, int64_t *ret_time_us, const char **ret_problem);
