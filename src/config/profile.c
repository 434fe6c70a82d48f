/* SPDX-License-Identifier: BSD-3-Clause */
/* What is checked of a profile as a whole, and of profiles against each other. */
#include <string.h>

#include "config/config-internal.h"

/* The settings by which clients are known. */
static const enum profile_setting known_by[] = {PROFILE_user_agent, PROFILE_accept};

#define N_KNOWN_BY (sizeof(known_by) / sizeof(known_by[0]))

static const struct section_kind *const kind = &config_kinds[SECTION_PROFILE];

/* Where a profile was last touched: what a message about the whole of it should name. */
static const char *profile_origin(const struct config_section *profile)
{
	for (size_t i = 0; i < N_KNOWN_BY; i++)
		if (profile->origins[known_by[i]])
			return profile->origins[known_by[i]];
	return profile->declared;
}

static const char *prefix_of(const struct config_section *profile, enum profile_setting by)
{
	return *setting_text(&kind->settings[by], profile);
}

static void complain_of_same(struct loader *loader, const struct config_section *profile,
	const struct config_section *other, enum profile_setting by)
{
	char title[TITLE_SIZE];

	section_title(kind, profile, title);
	loader_complain(loader, false,
		profile->origins[by] ? profile->origins[by] : profile_origin(profile), title,
		kind->settings[by].key, "the same as of profile %s; allowed: one profile for each",
		other->name);
}

/* Two profiles of one prefix: which of them a client gets would be left to chance. */
static void check_same(struct loader *loader, const struct config_sections *profiles, size_t index,
	enum profile_setting by)
{
	const struct config_section *profile = profiles->list[index];

	for (size_t i = 0; *prefix_of(profile, by) && i < index; i++) {
		const struct config_section *other = profiles->list[i];

		if (strcmp(prefix_of(other, by), prefix_of(profile, by)) != 0)
			continue;
		if (loader->alone && !profile_origin(other)) /* another file may change it */
			continue;
		if (profile_origin(profile))
			complain_of_same(loader, profile, other, by);
		else /* built-in: the other one is at fault */
			complain_of_same(loader, other, profile, by);
		return;
	}
}

void profile_check(struct loader *loader, const struct config_sections *profiles, size_t index)
{
	const struct config_section *profile = profiles->list[index];
	char title[TITLE_SIZE];

	if (loader->alone && !profile_origin(profile))
		return;
	if (loader->alone || *prefix_of(profile, PROFILE_user_agent) ||
		*prefix_of(profile, PROFILE_accept)) {
		for (size_t i = 0; i < N_KNOWN_BY; i++)
			check_same(loader, profiles, index, known_by[i]);
		return;
	}
	section_title(kind, profile, title);
	loader_complain(loader, false, profile->declared, title,
		kind->settings[PROFILE_user_agent].key,
		"not set, and neither is accept; one is required in a new profile; allowed: what "
		"the User-Agent of its clients begins with");
}
