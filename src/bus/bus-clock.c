/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus's clock, reckoned from what the bus tells. */
#include "bus/bus-clock.h"

#include "base/clock.h"

/* After this the next message counts even if it took longer: the bus's clock may have been set
 * back, and rates drift. */
#define LIFETIME_US (60 * US_PER_S)

/* What is told took this long on its way, at most: a request of a second, on a busy machine. */
#define LATENESS_US (2 * US_PER_S)

void bus_clock_set(struct bus_clock *clock, int64_t bus_us, int64_t steady_us)
{
	*clock = (struct bus_clock){
		.is_known = true,
		.ahead_us = bus_us - steady_us,
		.noted_us = steady_us,
	};
}

bool bus_clock_note(struct bus_clock *clock, int64_t stored_us, int64_t steady_us)
{
	if (clock->is_known && stored_us - steady_us < clock->ahead_us &&
		steady_us - clock->noted_us < LIFETIME_US)
		return false;
	bus_clock_set(clock, stored_us, steady_us);
	return true;
}

int64_t bus_clock_us(const struct bus_clock *clock, int64_t wall_us, int64_t steady_us)
{
	int64_t bus_us = steady_us + clock->ahead_us;

	if (!clock->is_known)
		return wall_us;
	/* It is later on the bus than it was told, by some milliseconds.  They matter where the
	 * publisher's clock is right: its update must not seem to be accepted before it was made.
	 */
	return wall_us > bus_us && wall_us - bus_us <= LATENESS_US ? wall_us : bus_us;
}
