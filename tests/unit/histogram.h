/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests ask of a histogram. */
#pragma once

#include "base/metrics.h"

/* How many durations it has counted. */
static inline uint64_t count_of(const struct histogram *histogram)
{
	uint64_t n = 0;

	for (unsigned i = 0; i <= METRICS_BOUNDS_MAX; i++)
		n += counter_get(&histogram->buckets[i]);
	return n;
}
