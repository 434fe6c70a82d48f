/* SPDX-License-Identifier: BSD-3-Clause */
/* When malloc_trim(3) is worth its while.  malloc keeps what a crowd has freed, in small pieces
 * here and there, for a next crowd that may never come. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A crowd is gone when at most one in so many of it is left. */
#define TRIM_FALL 8

/* To be called whenever the number of things, `n`, may have changed.  True, once for each crowd:
 * there were `crowd` or more, and they are gone.  *peak is the caller's, 0 to begin with: the most
 * there were since. */
static inline bool trim_is_due(size_t *peak, size_t n, size_t crowd)
{
	if (n > *peak)
		*peak = n;
	if (*peak < crowd || n > *peak / TRIM_FALL)
		return false;
	*peak = n;
	return true;
}
