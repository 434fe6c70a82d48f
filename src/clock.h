/* SPDX-License-Identifier: BSD-3-Clause */
/* The two clocks: the wall's for what goes over the wire, the monotonic one for waiting. */
#pragma once

#include <stdint.h>
#include <time.h>

#define US_PER_S  INT64_C(1000000)
#define MS_PER_S  INT64_C(1000)
#define US_PER_MS INT64_C(1000)
#define NS_PER_US INT64_C(1000)

/* Microseconds since the epoch (CLOCK_REALTIME); it can jump. */
static inline int64_t clock_wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * US_PER_S + now.tv_nsec / NS_PER_US;
}

/* Microseconds since some time before the start (CLOCK_MONOTONIC). */
static inline int64_t clock_monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * US_PER_S + now.tv_nsec / NS_PER_US;
}

/* Likewise, in milliseconds. */
static inline int64_t clock_monotonic_ms(void)
{
	return clock_monotonic_us() / US_PER_MS;
}
