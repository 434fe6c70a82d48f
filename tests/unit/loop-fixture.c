/* SPDX-License-Identifier: BSD-3-Clause */
/* An event loop that a test lets go on for a while. */
#include "loop-fixture.h"

#include <check.h>

#include "base/clock.h"

int loop_turn_ms(sd_event *event, int ms)
{
	int64_t end_ms = clock_monotonic_ms() + ms, left_ms = ms;
	int turns = 0;

	do {
		int r = sd_event_run(event, (uint64_t)(left_ms * US_PER_MS));

		ck_assert_int_ge(r, 0);
		turns += r > 0;
		left_ms = end_ms - clock_monotonic_ms();
	} while (left_ms > 0);
	return turns;
}
