/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus's clock, as its messages tell it.  Updates are ordered by it where a publisher's clock is
 * ahead; so what waits in the outbox needs its time too, though the bus is away and this node's own
 * clock may be behind.  Plain data; main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bus_clock {
	bool is_known;
	int64_t ahead_us; /* of CLOCK_MONOTONIC, which does not jump */
	int64_t noted_us; /* when that was found, on CLOCK_MONOTONIC */
};

/* A message that the bus stored at `stored_us` has just come, at `monotonic_us`.  Of some, the one
 * that took least time on its way counts. */
void bus_clock_note(struct bus_clock *clock, int64_t stored_us, int64_t monotonic_us);

/* The time on the bus, or on the wall where that is later: of a bus that has told nothing yet, or
 * nothing since the machine slept, only the wall knows the time. */
int64_t bus_clock_us(const struct bus_clock *clock, int64_t wall_us, int64_t monotonic_us);
