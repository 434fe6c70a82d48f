/* SPDX-License-Identifier: BSD-3-Clause */
/* The clock of a bus that has one of its own, as far as the bus has told it.  Whatever the bus has
 * stored bears a time of this clock.  Compare that only with times of the same clock: the node's
 * own clock may be minutes behind it, or ahead.  The bus's clock goes on while the bus is away.
 * Plain data, which threads may copy. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* All zeros: not known yet. */
struct bus_clock {
	bool is_known;
	int64_t ahead_us; /* of clock_steady_us(), which does not jump */
	int64_t noted_us; /* when that was found, on clock_steady_us() */
};

/* The bus says that its time is `bus_us`, when ours is `steady_us`.  Replaces what was known. */
void bus_clock_set(struct bus_clock *clock, int64_t bus_us, int64_t steady_us);

/* A message that the bus stored at `stored_us` has just come, at `steady_us`.  Of several such
 * messages, the one that took the least time on its way counts.  True: the clock has changed. */
bool bus_clock_note(struct bus_clock *clock, int64_t stored_us, int64_t steady_us);

/* The time on the bus; `wall_us` if the bus has told nothing yet.  What the bus tells is late by
 * the time it takes on its way, so the result may be, too.  If `wall_us` is later by no more than
 * that, it is taken instead. */
int64_t bus_clock_us(const struct bus_clock *clock, int64_t wall_us, int64_t steady_us);
