/* SPDX-License-Identifier: BSD-3-Clause */
#include "bus-clock.h"

#include "clock.h"

/* After this the next message counts even if it took longer: the bus's clock may have been set
 * back, and rates drift. */
#define LIFETIME_US (60 * US_PER_S)

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
	return clock->is_known ? steady_us + clock->ahead_us : wall_us;
}
