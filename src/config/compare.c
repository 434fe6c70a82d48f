/* SPDX-License-Identifier: BSD-3-Clause */
/* Two configurations compared: what a reload changes, and what it cannot. */
#include <string.h>

#include "config/config-internal.h"

static bool is_same(const struct setting *setting, const void *before, const void *after)
{
	/* Compares what is settled: the token's file may hold another one by now. */
	if (setting_is_text(setting))
		return strcmp(*setting_settled(setting, before),
			       *setting_settled(setting, after)) == 0;
	return setting_number(setting, before) == setting_number(setting, after);
}

/* Whether the kind has a setting that needs a restart: then sections that come or go need one, too.
 */
static bool needs_restart(const struct section_kind *kind)
{
	for (size_t i = 0; i < kind->n_settings; i++)
		if (kind->settings[i].change == CHANGE_RESTART)
			return true;
	return false;
}

/* Whether two sections of the same name are equal; if not, *ret_at_once is whether all that differs
 * can change at once. */
static bool is_same_section(const struct section_kind *kind, const struct config_section *before,
	const struct config_section *after, bool *ret_at_once)
{
	bool same = true;

	*ret_at_once = true;
	for (size_t i = 0; i < kind->n_settings; i++) {
		const struct setting *setting = &kind->settings[i];

		if (is_same(setting, before, after))
			continue;
		same = false;
		if (setting->change == CHANGE_RESTART)
			*ret_at_once = false;
	}
	return same;
}

static void compare_sections(const struct section_kind *kind, const struct config_sections *before,
	const struct config_sections *after, config_difference *differs, void *userdata)
{
	for (size_t i = 0; i < after->n; i++) {
		const struct config_section *section = after->list[i],
					    *old = section_find(before, section->name);
		bool at_once = !needs_restart(kind);

		if (!old || !is_same_section(kind, old, section, &at_once))
			differs(kind->name, section->name, at_once, userdata);
	}
	for (size_t i = 0; i < before->n; i++)
		if (!section_find(after, before->list[i]->name))
			differs(kind->name, before->list[i]->name, !needs_restart(kind), userdata);
}

static void swap(char **a, char **b)
{
	char *kept = *a;

	*a = *b;
	*b = kept;
}

/* Swaps the values, and their origins, of all settings whose changes count at that time. */
static void exchange(const struct target *a, const struct target *b, enum setting_change change)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct setting *setting = &a->table[i];
		int64_t number;

		if (setting->change != change)
			continue;
		swap(&a->origins[i], &b->origins[i]);
		if (setting_is_text(setting)) {
			swap(setting_text(setting, a->base), setting_text(setting, b->base));
			if (setting->settled != 0)
				swap(setting_settled(setting, a->base),
					setting_settled(setting, b->base));
			continue;
		}
		number = setting_number(setting, a->base);
		setting_set_number(setting, a->base, setting_number(setting, b->base));
		setting_set_number(setting, b->base, number);
	}
}

/* The running sections stay, whichever were read; those that were read again get the values that a
 * reload may change. */
static void keep_sections(const struct section_kind *kind, struct config_sections *read,
	struct config_sections *running)
{
	struct config_sections kept = *running;

	if (!needs_restart(kind))
		return;
	*running = *read;
	*read = kept;
	for (size_t i = 0; i < read->n; i++) {
		const struct config_section *other = section_find(running, read->list[i]->name);
		struct target a = section_target(kind, read->list[i]), b;

		if (!other)
			continue;
		b = section_target(kind, other);
		exchange(&a, &b, CHANGE_RELOAD);
	}
}

void config_keep_restart(struct config *config, struct config *running)
{
	struct target a = config_target(config), b = config_target(running);

	exchange(&a, &b, CHANGE_RESTART);
	for (const struct section_kind *kind = config->kinds; kind->name; kind++)
		keep_sections(
			kind, sections_of(config, kind), &running->sections[kind - config->kinds]);
}

void config_compare(const struct config *before, const struct config *after,
	config_difference *differs, void *userdata)
{
	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *setting = &config_settings[i];

		if (!is_same(setting, before, after))
			differs(setting->section, setting->key, setting->change == CHANGE_RELOAD,
				userdata);
	}
	for (const struct section_kind *kind = after->kinds; kind->name; kind++)
		compare_sections(kind, &before->sections[kind - after->kinds],
			sections_of(after, kind), differs, userdata);
}
