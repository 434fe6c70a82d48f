/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of publishing to NATS share, beside nats-fixture.h.  All is about one environment,
 * "k"; times are in microseconds from FIXTURE_NOW_US on. */
#pragma once

#include "nats-fixture.h"

#define S US_PER_S

/* For a checked fixture, with fixture_tear_down(): the bus is connected, and has read all last
 * values. */
void publishing_set_up(void);

struct publication *publish(int64_t accepted_us, int64_t time_us);

/* The next message that was sent has to be an update with that time, which expects `last` to be the
 * last one.  Returns its flight. */
uint64_t expect_update(uint64_t last, int64_t time_us);

/* It has to be the question which one is the last.  Returns its flight. */
uint64_t expect_question(void);
void expect_nothing_sent(void);

/* What the publication has come back with. */
void expect_answer(const struct publication *publication, enum publish_outcome outcome,
	uint64_t sequence, const char *problem);

/* JetStream answers a publish, or the question; with sequence 0 there is no message. */
void acknowledge(uint64_t flight, enum nats_ack_outcome outcome, uint64_t sequence);
void tell_last(uint64_t flight, uint64_t sequence, int64_t time_us, int64_t stored_us);
