/* SPDX-License-Identifier: BSD-3-Clause */
/* A drain: streams end cleanly, one after another, so that their clients do not all come back at
 * once. */
#include <inttypes.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "restart/restart-internal.h"

/* How many streams a drain ends in a second, at least: a few take no time. */
#define RATE_MIN 1000

void drain_last(struct restart *restart, int64_t for_ms)
{
	restart_set_phase(restart, RESTART_LAST, for_ms);
	restart->operations->end_subscriptions(restart->userdata);
	/* First of all: otherwise clients that come back at once would be accepted, and their
	 * streams ended again. */
	restart_stop_accepting(restart);
	hub_drain(restart->parts.hub, 0);
}

void drain_streams(struct restart *restart)
{
	int64_t n = (int64_t)hub_streams(restart->parts.hub);
	int64_t over_ms = n * MS_PER_S / RATE_MIN;

	if (over_ms > restart->drain_time_ms)
		over_ms = restart->drain_time_ms;
	if (over_ms == 0) {
		drain_last(restart, DRAIN_LAST_MS);
		return;
	}
	hub_drain(restart->parts.hub, over_ms);
	log_info("Ending %" PRId64 " stream%s over %.1f s.", n, text_s((size_t)n),
		(double)over_ms / MS_PER_S);
	restart_set_phase(restart, RESTART_DRAINING, over_ms);
}

void drain_begin(struct restart *restart)
{
	if (restart->drain_delay_ms == 0) {
		drain_streams(restart);
		return;
	}
	log_info("The streams stay for %.1f s yet.", (double)restart->drain_delay_ms / MS_PER_S);
	restart_set_phase(restart, RESTART_DELAYING, restart->drain_delay_ms);
}
