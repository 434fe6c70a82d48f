/* SPDX-License-Identifier: BSD-3-Clause */
/* The choice of a client's profile. */
#include <string.h>

#include "hub/profile.h"

const struct profile *profile_find(const struct profile profiles[], size_t n_profiles,
	const char *user_agent, const struct profile *fallback)
{
	const struct profile *best = fallback;
	size_t best_length = 0;

	if (!user_agent)
		user_agent = "";

	for (size_t i = 0; i < n_profiles; i++) {
		size_t length = strlen(profiles[i].user_agent);

		if (strncmp(user_agent, profiles[i].user_agent, length) != 0)
			continue;
		if (best != fallback && length <= best_length)
			continue;
		best = &profiles[i];
		best_length = length;
	}
	return best;
}
