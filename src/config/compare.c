/* SPDX-License-Identifier: BSD-3-Clause */
/* Two configurations compared: what a reload changes, and what it cannot. */
#include <string.h>

#include "config/config-internal.h"

static bool is_same(const struct setting *setting, const void *before, const void *after)
{
	if (setting_is_text(setting))
		return strcmp(*setting_text(setting, before), *setting_text(setting, after)) == 0;
	return setting_number(setting, before) == setting_number(setting, after);
}

static bool is_same_profile(const struct config_profile *before, const struct config_profile *after)
{
	for (size_t i = 0; i < profile_n_settings; i++)
		if (!is_same(&profile_settings[i], before, after))
			return false;
	return true;
}

static const struct config_profile *find_profile(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_profiles; i++)
		if (strcmp(config->profiles[i].name, name) == 0)
			return &config->profiles[i];
	return NULL;
}

static void compare_profiles(const struct config *before, const struct config *after,
	config_difference *differs, void *userdata)
{
	for (size_t i = 0; i < after->n_profiles; i++) {
		const struct config_profile *profile = &after->profiles[i],
					    *old = find_profile(before, profile->name);

		if (!old || !is_same_profile(old, profile))
			differs(PROFILE_PREFIX, profile->name, true, userdata);
	}
	for (size_t i = 0; i < before->n_profiles; i++)
		if (!find_profile(after, before->profiles[i].name))
			differs(PROFILE_PREFIX, before->profiles[i].name, true, userdata);
}

static void swap(char **a, char **b)
{
	char *kept = *a;

	*a = *b;
	*b = kept;
}

void config_keep_restart(struct config *config, struct config *running)
{
	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *setting = &config_settings[i];
		int64_t number;

		if (setting->change != CHANGE_RESTART)
			continue;
		swap(&config->origins[i], &running->origins[i]);
		if (setting_is_text(setting)) {
			swap(setting_text(setting, config), setting_text(setting, running));
			continue;
		}
		number = setting_number(setting, config);
		setting_set_number(setting, config, setting_number(setting, running));
		setting_set_number(setting, running, number);
	}
	swap(&config->state_dir, &running->state_dir); /* from service.state_dir, which is one */
}

void config_compare(const struct config *before, const struct config *after,
	config_difference *differs, void *userdata)
{
	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *setting = &config_settings[i];
		/* Of the token, wherever it comes from: a file may have another one by now. */
		bool same = setting->type == TYPE_SECRET ? strcmp(before->token, after->token) == 0
							 : is_same(setting, before, after);

		if (!same)
			differs(setting->section, setting->key, setting->change == CHANGE_RELOAD,
				userdata);
	}
	compare_profiles(before, after, differs, userdata);
}
