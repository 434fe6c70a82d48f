/* SPDX-License-Identifier: BSD-3-Clause */
/* The clock of a bus that has one of its own, as that tells it.  Whatever the bus has stored bears
 * a time of that clock, and may only be compared with a time of that clock: this node's own may be
 * minutes behind it, or ahead.  It goes on while the bus is away.  Plain data, to be copied from
 * thread to thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* All zeros: not known yet. */
struct bus_clock {
	bool is_known;
	int64_t ahead_us; /* of clock_steady_us(), which does not jump */
	int64_t noted_us; /* when that was found, on clock_steady_us() */
};

/* The bus says that it is `bus_us` now, at `steady_us`.  That replaces what was known. */
void bus_clock_set(struct bus_clock *clock, int64_t bus_us, int64_t steady_us);

/* A message that the bus stored at `stored_us` has just come, at `steady_us`.  Of some, the one
 * that took least time on its way counts.  True: the clock has changed. */
bool bus_clock_note(struct bus_clock *clock, int64_t stored_us, int64_t steady_us);

/* The time on the bus; of a bus that has told nothing yet, `wall_us`.  What is told is late by what
 * it took on its way; so `wall_us` counts too where it is later by no more than that. */
int64_t bus_clock_us(const struct bus_clock *clock, int64_t wall_us, int64_t steady_us);
