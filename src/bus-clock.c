/* SPDX-License-Identifier: BSD-3-Clause */
#include "bus-clock.h"

#include "clock.h"

/* After this the next message counts even if it took longer: the bus's clock may have been set
 * back, and rates drift. */
#define LIFETIME_US (60 * US_PER_S)

void bus_clock_note(struct bus_clock *clock, int64_t stored_us, int64_t monotonic_us)
{
	int64_t ahead_us = stored_us - monotonic_us;

	if (clock->is_known && ahead_us < clock->ahead_us &&
		monotonic_us - clock->noted_us < LIFETIME_US)
		return;
	clock->is_known = true;
	clock->ahead_us = ahead_us;
	clock->noted_us = monotonic_us;
}

int64_t bus_clock_us(const struct bus_clock *clock, int64_t wall_us, int64_t monotonic_us)
{
	int64_t bus_us = monotonic_us + clock->ahead_us;

	return clock->is_known && bus_us > wall_us ? bus_us : wall_us;
}
