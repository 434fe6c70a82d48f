/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of shards share: one is stepped in the test's own thread, by a clock of its own.
 */
#pragma once

#include "hub/shard-internal.h"

#define HEAD "HTTP/1.1 200 OK\r\n\r\n"
#define T0   INT64_C(1700000000000000) /* an update's time */

extern int64_t now_ms; /* the clock; whoever sets it steps the shards after that */
int64_t test_clock(void);

/* A shard with these settings and that clock; shard_free(). */
struct shard *new_shard(struct shard_settings settings);

/* Steps it n times, without waiting for anything. */
void step(struct shard *shard, unsigned n);

struct key make_key(const char *text);

/* Delivers an update of an environment, for the next step. */
void deliver(struct shard *shard, const char *environment, int64_t time_us);

/* The bytes of an update's event; valid until the next call. */
const char *event_text(int64_t time_us, enum encoding encoding);
