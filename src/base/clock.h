/* SPDX-License-Identifier: BSD-3-Clause */
/* The clocks: the wall's for what goes over the wire, the monotonic one for waiting, the steady one
 * for how much time has passed. */
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

/* Microseconds since the machine's start (CLOCK_BOOTTIME): like the monotonic clock it does not
 * jump, but it also counts the time during which the machine sleeps. */
static inline int64_t clock_steady_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * US_PER_S + now.tv_nsec / NS_PER_US;
}

/* Milliseconds of the monotonic clock. */
static inline int64_t clock_monotonic_ms(void)
{
	return clock_monotonic_us() / US_PER_MS;
}
