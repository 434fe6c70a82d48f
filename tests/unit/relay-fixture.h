/* SPDX-License-Identifier: BSD-3-Clause */
/* A relay between neighbours that are made up: a bus and an outbox that answer what they are told
 * to, a hub that only writes down what it is given, publishers that are numbers.  A test is a
 * script, of words with blanks between, and what the neighbours were asked to do in it, in order.
 *
 * KEY is an environment's key, T the microseconds of an update's time since a moment ten seconds
 * ago.
 *
 *   publish:KEY=T             a publisher's request
 *   up, down                  the bus is there with its last values, or away
 *   fault, well               it acknowledges nothing, or does again
 *   sync, synced              all its last values follow, as `update`; that was all
 *   update:KEY=T              the bus tells one that is stored
 *   old:KEY=T                 ... that was stored at T, before all others
 *   lost:KEY=T                the bus has acknowledged it, and is without it
 *   stored:KEY, stale:KEY, unavailable:KEY, refused:KEY, refused-one:KEY
 *                             the bus's answer to the first of this environment that it has
 *   begin, row:KEY=T, end     the outbox opens, and has these
 *   outbox-up, outbox-down    it can be written, or cannot
 *   kept:KEY, had:KEY, failed:KEY
 *                             its answer to the first of this environment that it has
 *   stalls, answers           the disk
 *   1s, 1.7s                  what has begun until now has waited that long
 *   wake                      those rows that rest are tried again
 *   left                      the bus hangs and is left behind; another begins
 *   full, room                no memory for what the hub is given; there is again
 *   stop, end-bus             the end begins; the bus is ended
 *
 * What they were asked to do:
 *
 *   bus KEY=T, outbox KEY=T   has it now
 *   drop KEY                  the outbox need not have it any more
 *   streams KEY=T             it is sent to the streams
 *   published KEY, stale KEY, queued KEY, unavailable KEY
 *                             the publisher's answer
 *   ready                     the bus is up, its owner is told
 */
#pragma once

#include <stdint.h>

#include "hub/hub.h"
#include "relay/relay-internal.h"

/* With NATS and an outbox, or else with a local bus.  Fixtures of a test case. */
void relay_set_up(void);
void relay_set_up_local(void);
void relay_tear_down(void);

extern struct relay *relay;

/* What the hub says: how many streams are open; and what it was given last. */
extern size_t relay_n_streams;
extern struct hub_arrival relay_arrival;

/* When the bus told the update that the hub was given last, as the hub was told. */
extern int64_t relay_told_us;

/* The moment that T is counted from. */
extern int64_t relay_t0_us;

struct key relay_key(const char *text);

/* Runs the script; what the neighbours were asked to do in it has to be `expected`, with ", "
 * between. */
void relay_check(const char *script, const char *expected);

struct relay_case {
	const char *script, *expected;
};
