/* SPDX-License-Identifier: BSD-3-Clause */
/* The choice of a client's profile. */
#include <string.h>

#include "hub/profile.h"

static const char *prefix_by_user_agent(const struct profile *profile)
{
	return profile->user_agent;
}

static const char *prefix_by_accept(const struct profile *profile)
{
	return profile->accept;
}

/* The profile whose prefix of this field is the longest that fits; NULL: none does. */
static const struct profile *find_by(const struct profile profiles[], size_t n_profiles,
	const char *(*prefix_of)(const struct profile *profile), const char *value)
{
	const struct profile *best = NULL;
	size_t best_length = 0;

	for (size_t i = 0; value && i < n_profiles; i++) {
		const char *prefix = prefix_of(&profiles[i]);
		size_t length = strlen(prefix);

		if (length <= best_length || strncmp(value, prefix, length) != 0)
			continue;
		best = &profiles[i];
		best_length = length;
	}
	return best;
}

const struct profile *profile_find(const struct profile profiles[], size_t n_profiles,
	const char *user_agent, const char *accept, const struct profile *fallback)
{
	const struct profile *found;

	found = find_by(profiles, n_profiles, prefix_by_user_agent, user_agent);
	if (!found)
		found = find_by(profiles, n_profiles, prefix_by_accept, accept);
	return found ? found : fallback;
}
