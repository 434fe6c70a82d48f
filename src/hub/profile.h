/* SPDX-License-Identifier: BSD-3-Clause */
/* Client profiles: what kinds of client, known by their User-Agent, need beyond the standard.  A
 * constant table once it is made.  Main thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct profile {
	const char *user_agent;  /* prefix of the field; "" fits all */
	int64_t max_age_ms;      /* how long a stream lives; 0: for ever */
	bool close_after_update; /* its stream ends after one update */
};

/* The profile with the longest prefix of `user_agent` (NULL: none was sent) among `profiles`;
 * `fallback` where none fits. */
const struct profile *profile_find(const struct profile profiles[], size_t n_profiles,
	const char *user_agent, const struct profile *fallback);
