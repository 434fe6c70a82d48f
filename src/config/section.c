/* SPDX-License-Identifier: BSD-3-Clause */
/* Sections that repeat, [KIND NAME]: their lists, by a table of kinds. */
#include <errno.h>
#include <string.h>

#include "config/config-internal.h"

static const char name_characters[] =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

struct config_sections *sections_of(const struct config *config, const struct section_kind *kind)
{
	return &config->sections[kind - config->kinds];
}

struct target section_target(const struct section_kind *kind, const struct config_section *section)
{
	return (struct target){kind->settings, kind->n_settings, (void *)section, section->origins};
}

void section_title(
	const struct section_kind *kind, const struct config_section *section, char ret[TITLE_SIZE])
{
	snprintf(ret, TITLE_SIZE, "%s %s", kind->name, section->name);
}

const struct section_kind *section_parse(
	const struct section_kind *kinds, const char *title, const char **ret_name)
{
	for (const struct section_kind *kind = kinds; kind->name; kind++) {
		size_t prefix = strlen(kind->name), blanks, length;
		const char *name = title + prefix;

		if (strncmp(title, kind->name, prefix) != 0)
			continue;
		blanks = strspn(name, " \t");
		length = strspn(name + blanks, name_characters);
		if (blanks == 0 || length == 0 || length > SECTION_NAME_MAX ||
			name[blanks + length])
			continue;
		*ret_name = name + blanks;
		return kind;
	}
	return NULL;
}

const struct setting *setting_find(
	const struct section_kind *kinds, const char *section, const char *key)
{
	const char *name;
	const struct section_kind *kind = section_parse(kinds, section, &name);
	const struct setting *settings = kind ? kind->settings : config_settings;
	size_t n = kind ? kind->n_settings : config_n_settings;

	for (size_t i = 0; i < n; i++)
		if ((kind || strcmp(settings[i].section, section) == 0) &&
			strcmp(settings[i].key, key) == 0)
			return &settings[i];
	return NULL;
}

static struct config_section *section_free(
	const struct section_kind *kind, struct config_section *section)
{
	struct target target;

	if (!section)
		return NULL;
	target = section_target(kind, section);
	target_deinit(&target);
	free(section->name);
	free(section->declared);
	free(section);
	return NULL;
}

static struct config_section *section_new(
	const struct section_kind *kind, const char *name, const char *declared)
{
	struct config_section *section = calloc(1, kind->size);
	struct target target;

	if (!section)
		return NULL;
	section->name = strdup(name);
	section->declared = declared ? strdup(declared) : NULL;
	section->origins = calloc(kind->n_settings, sizeof(char *));
	target = section_target(kind, section);
	if (!section->name || (declared && !section->declared) || !section->origins ||
		target_init(&target) < 0)
		return section_free(kind, section);
	return section;
}

struct config_section *section_add(const struct section_kind *kind,
	struct config_sections *sections, const char *name, const char *declared)
{
	struct config_section **list, *section;

	list = realloc(sections->list, (sections->n + 1) * sizeof(struct config_section *));
	if (!list)
		return NULL;
	sections->list = list;
	section = section_new(kind, name, declared);
	if (section)
		list[sections->n++] = section;
	return section;
}

struct config_section *section_find(const struct config_sections *sections, const char *name)
{
	for (size_t i = 0; i < sections->n; i++)
		if (strcmp(sections->list[i]->name, name) == 0)
			return sections->list[i];
	return NULL;
}

/* 0; -ENOMEM; -EINVAL: the table has a value that no file may have. */
static int set_builtin(const struct target *target, size_t index, const char *text)
{
	const struct setting *setting = &target->table[index];
	_cleanup_(freep) char *problem = NULL;
	struct value value;
	int r = value_parse(setting, text, NULL, &value, &problem);

	if (r < 0)
		return r;
	if (setting_is_text(setting))
		return config_replace_text(setting_text(setting, target->base), value.text);
	setting_set_number(setting, target->base, value.number);
	return 0;
}

static int add_builtin(const struct section_kind *kind, struct config_sections *sections,
	const struct builtin_section *builtin)
{
	struct config_section *section = section_add(kind, sections, builtin->name, NULL);
	struct target target;
	int r = 0;

	if (!section)
		return -ENOMEM;
	target = section_target(kind, section);
	for (size_t i = 0; r == 0 && i < kind->n_settings; i++)
		if (builtin->values[i])
			r = set_builtin(&target, i, builtin->values[i]);
	return r;
}

int sections_init(struct config *config, const struct section_kind *kinds)
{
	size_t n = 0;
	int r = 0;

	while (kinds[n].name)
		n++;
	config->kinds = kinds;
	config->sections = calloc(n + 1, sizeof(struct config_sections));
	if (!config->sections)
		return -ENOMEM;
	for (const struct section_kind *kind = kinds; kind->name; kind++)
		for (const struct builtin_section *builtin = kind->builtins;
			r == 0 && builtin && builtin->name; builtin++)
			r = add_builtin(kind, sections_of(config, kind), builtin);
	return r;
}

void sections_deinit(struct config *config)
{
	if (!config->sections)
		return;
	for (const struct section_kind *kind = config->kinds; kind->name; kind++) {
		struct config_sections *sections = sections_of(config, kind);

		for (size_t i = 0; i < sections->n; i++)
			section_free(kind, sections->list[i]);
		free(sections->list);
	}
	free(config->sections);
}

static int compare_names(const void *a, const void *b)
{
	const struct config_section *const *first = a, *const *second = b;

	return strcmp((*first)->name, (*second)->name);
}

/* Gives those that were not set the values of other settings. */
static void settle_defaults(const struct config *config, const struct target *target)
{
	for (size_t i = 0; i < target->n; i++) {
		const struct setting *setting = &target->table[i];
		const char *value = (const char *)config + setting->as_offset;

		if (setting->as && setting_number(setting, target->base) == SETTING_UNSET)
			setting_set_number(
				setting, target->base, *(const int64_t *)(const void *)value);
	}
}

void sections_settle(struct loader *loader)
{
	for (const struct section_kind *kind = loader->config->kinds; kind->name; kind++) {
		struct config_sections *sections = sections_of(loader->config, kind);

		if (sections->n > 0)
			qsort(sections->list, sections->n, sizeof(struct config_section *),
				compare_names);
		for (size_t i = 0; i < sections->n; i++) {
			struct target target = section_target(kind, sections->list[i]);

			settle_defaults(loader->config, &target);
		}
	}
	sections_check(loader);
}

void sections_check(struct loader *loader)
{
	for (const struct section_kind *kind = loader->config->kinds; kind->name; kind++) {
		const struct config_sections *sections = sections_of(loader->config, kind);

		for (size_t i = 0; kind->check && i < sections->n; i++)
			kind->check(loader, sections, i);
	}
}
