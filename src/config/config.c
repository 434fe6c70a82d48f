/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration: defaults, then files, the environment and options, each over the former; and
 * what is settled from more than one setting. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "config/config-internal.h"

#define OUR_VARIABLES "FLAGSSE_"

static const char name_characters[] =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

void loader_complain(struct loader *loader, bool warning, const char *origin, const char *section,
	const char *key, const char *format, ...)
{
	_cleanup_(freep) char *what = NULL;
	_cleanup_(freep) char *text = NULL;
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = vasprintf(&what, format, arguments);
	va_end(arguments);
	if (r < 0) {
		what = NULL;
		loader->error = -ENOMEM;
		return;
	}
	/* "FILE:LINE: ..." and "environment NAME: ...", but "option ..." */
	r = asprintf(&text, "%s%s%s%s%s%s%s", origin ? origin : "",
		!origin                         ? ""
		: strcmp(origin, "option") == 0 ? " "
						: ": ",
		section ? section : "", section && key ? "." : "", key ? key : "",
		section || key ? ": " : "", what);
	if (r < 0) {
		text = NULL;
		loader->error = -ENOMEM;
		return;
	}
	for (char *at = text; *at; at++)
		if (iscntrl((unsigned char)*at))
			*at = '?';
	if (!warning && loader->error == 0)
		loader->error = -EINVAL;
	loader->complain(warning, text, loader->userdata);
}

int target_init(const struct target *target)
{
	for (size_t i = 0; i < target->n; i++) {
		const struct setting *setting = &target->table[i];

		if (!setting_is_text(setting))
			setting_set_number(setting, target->base, setting_default(setting));
		else if (config_replace_text(
				 setting_text(setting, target->base), strdup(setting->text)) < 0)
			return -ENOMEM;
	}
	return 0;
}

void target_deinit(const struct target *target)
{
	for (size_t i = 0; i < target->n; i++) {
		if (setting_is_text(&target->table[i]))
			free_secret(*setting_text(&target->table[i], target->base));
		if (target->origins)
			free(target->origins[i]);
	}
	free(target->origins);
}

struct target config_target(struct config *config)
{
	return (struct target){config_settings, config_n_settings, config, config->origins};
}

struct config *config_free(struct config *config)
{
	struct target target;

	if (!config)
		return NULL;
	sections_deinit(config);
	target = config_target(config);
	target_deinit(&target);
	free_secret(config->token);
	free(config->state_dir);
	free(config);
	return NULL;
}

static int config_new(const struct section_kind *kinds, struct config **ret)
{
	_cleanup_(config_freep) struct config *config = calloc(1, sizeof(*config));
	struct target target;
	int r;

	if (!config)
		return -ENOMEM;
	config->origins = calloc(config_n_settings, sizeof(char *));
	if (!config->origins)
		return -ENOMEM;
	target = config_target(config);
	r = target_init(&target);
	if (r < 0)
		return r;
	r = sections_init(config, kinds);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(config);
	return 0;
}

static bool is_section(const char *name)
{
	for (size_t i = 0; i < config_n_settings; i++)
		if (strcmp(config_settings[i].section, name) == 0)
			return true;
	return false;
}

/* The names of all sections, for people. */
static void print_sections(FILE *file, const struct section_kind *kinds)
{
	for (size_t i = 0; i < config_n_settings; i++)
		if (begins_section(config_settings, i))
			fprintf(file, "%s%s", i > 0 ? ", " : "", config_settings[i].section);
	for (; kinds->name; kinds++)
		fprintf(file, ", %s NAME", kinds->name);
	fprintf(file, " (NAME: 1 to %d of A-Z a-z 0-9 - _)", SECTION_NAME_MAX);
}

static void complain_of_section(struct loader *loader, const char *origin, const char *section)
{
	_cleanup_(freep) char *allowed = NULL;
	size_t size;
	FILE *file = open_memstream(&allowed, &size);

	if (strchr(section, '@')) /* could be a URL with a password */
		section = NULL;
	if (file)
		print_sections(file, loader->config->kinds);
	if (!file || fclose(file) != 0)
		loader->error = -ENOMEM;
	else
		loader_complain(loader, false, origin, section, NULL,
			"unknown section; allowed: %s", allowed);
}

/* Finds where the settings of a section are kept; adds it if its kind repeats and it is new.
 * False: there is no such section, and a complaint was made; or no memory. */
static bool find_target(
	struct loader *loader, const char *origin, const char *section, struct target *ret)
{
	const char *name;
	const struct section_kind *kind = section_parse(loader->config->kinds, section, &name);
	struct config_section *found;

	if (kind) {
		struct config_sections *sections = sections_of(loader->config, kind);

		found = section_find(sections, name);
		if (!found)
			found = section_add(kind, sections, name, origin);
		if (!found) {
			loader->error = -ENOMEM;
			return false;
		}
		*ret = section_target(kind, found);
		return true;
	}
	if (!is_section(section)) {
		complain_of_section(loader, origin, section);
		return false;
	}
	*ret = config_target(loader->config);
	return true;
}

bool loader_begin_section(struct loader *loader, const char *origin, const char *section)
{
	struct target target;

	return find_target(loader, origin, section, &target);
}

/* Whether the row belongs to the section: of a kind that repeats, all rows do. */
static bool is_of_section(
	const struct target *target, const struct setting *setting, const char *section)
{
	return target->table != config_settings || strcmp(setting->section, section) == 0;
}

static void complain_of_key(struct loader *loader, const char *origin, const char *section,
	const char *key, const struct target *target)
{
	_cleanup_(freep) char *keys = NULL;
	size_t size;
	FILE *file = open_memstream(&keys, &size);

	if (key[strspn(key, name_characters)])
		key = NULL; /* no name: could be a piece of a secret */
	for (size_t i = 0; file && i < target->n; i++)
		if (is_of_section(target, &target->table[i], section))
			fprintf(file, "%s%s", ftell(file) > 0 ? ", " : "", target->table[i].key);
	if (!file || fclose(file) != 0)
		loader->error = -ENOMEM;
	else
		loader_complain(
			loader, false, origin, section, key, "unknown key; allowed: %s", keys);
}

/* Some other formats have quotes around values; here they are part of them. */
static void warn_of_quotes(struct loader *loader, const char *origin, const char *section,
	const struct setting *setting, const char *text)
{
	size_t length = strlen(text);

	if (length >= 2 && (*text == '"' || *text == '\'') && text[length - 1] == *text)
		loader_complain(loader, true, origin, section, setting->key,
			"the quotes are part of the value; write it without them");
}

/* Whether an earlier line of the same file has begun this list. */
static bool is_begun(const struct loader *loader, const char *origin)
{
	size_t length = loader->file ? strlen(loader->file) : 0;

	return length > 0 && origin && strncmp(origin, loader->file, length) == 0 &&
	       origin[length] == ':';
}

/* The text is consumed.  0 or -ENOMEM. */
static int set_text(struct loader *loader, const struct target *target, size_t index, char *text)
{
	_cleanup_(free_secretp) char *added = text;
	char **slot = setting_text(&target->table[index], target->base), *joined;

	if (!setting_is_list(&target->table[index]) || !is_begun(loader, target->origins[index]))
		return config_replace_text(slot, TAKE_PTR(added));
	if (asprintf(&joined, "%s,%s", *slot, added) < 0)
		return -ENOMEM;
	return config_replace_text(slot, joined);
}

/* Sets the setting with this index in the target. */
static int set(struct loader *loader, const char *origin, const char *section,
	const struct target *target, size_t index, const char *text)
{
	const struct setting *setting = &target->table[index];
	_cleanup_(freep) char *problem = NULL;
	struct value value;
	int r;

	r = value_parse(setting, text, loader->sources->check_listen, &value, &problem);
	if (r == -EINVAL) {
		loader_complain(loader, false, origin, section, setting->key, "%s", problem);
		return r;
	}
	if (r < 0)
		return r;
	if (setting_is_text(setting)) {
		warn_of_quotes(loader, origin, section, setting, value.text);
		r = set_text(loader, target, index, value.text);
		if (r < 0)
			return r;
	} else
		setting_set_number(setting, target->base, value.number);
	return config_replace_text(&target->origins[index], strdup(origin));
}

const struct setting *loader_assign(struct loader *loader, const char *origin, const char *section,
	const char *key, const char *value)
{
	struct target target;
	int r;

	if (!find_target(loader, origin, section, &target))
		return NULL;
	for (size_t i = 0; i < target.n; i++) {
		const struct setting *setting = target.table + i;

		if (strcmp(setting->key, key) != 0 || !is_of_section(&target, setting, section))
			continue;
		r = set(loader, origin, section, &target, i, value);
		if (r == -ENOMEM)
			loader->error = r;
		else if (r < 0 && setting->settled == offsetof(struct config, token))
			loader->token_refused = true;
		return setting;
	}
	complain_of_key(loader, origin, section, key, &target);
	return NULL;
}

/* The main file, and conf.d beside it. */
static void read_files(struct loader *loader)
{
	const char *file = loader->sources->file;
	_cleanup_(freep) char *directory = NULL;
	const char *slash;

	config_read_file(loader, file ? file : DEFAULT_FILE, file != NULL);
	if (!file)
		file = DEFAULT_FILE;
	slash = strrchr(file, '/');
	if (asprintf(&directory, "%.*sconf.d", slash ? (int)(slash + 1 - file) : 0, file) < 0) {
		directory = NULL;
		loader->error = -ENOMEM;
		return;
	}
	config_read_directory(loader, directory);
}

static void read_variable(struct loader *loader, const struct setting *setting)
{
	const char *value = config_variable(loader->sources, setting->variable);
	char origin[64];

	if (!value)
		return;
	snprintf(origin, sizeof(origin), "environment %s", setting->variable);
	loader_assign(loader, origin, setting->section, setting->key, value);
}

static bool is_known(const struct config_sources *sources, const char *entry, size_t length)
{
	if (sources->own_variable && strlen(sources->own_variable) == length &&
		memcmp(sources->own_variable, entry, length) == 0)
		return true;
	for (size_t i = 0; i < config_n_settings; i++) {
		const char *variable = config_settings[i].variable;

		if (variable && strlen(variable) == length && memcmp(variable, entry, length) == 0)
			return true;
	}
	return false;
}

/* Warns of variables with our prefix that are no setting: one that is misspelt has no effect. */
static void warn_of_variables(struct loader *loader)
{
	for (char *const *entry = loader->sources->environment; entry && *entry; entry++) {
		size_t length = strcspn(*entry, "=");

		if (strncmp(*entry, OUR_VARIABLES, strlen(OUR_VARIABLES)) == 0 &&
			!is_known(loader->sources, *entry, length))
			loader_complain(loader, true, NULL, NULL, NULL,
				"environment %.*s: no setting has this variable, and it has no "
				"effect; flagsse.conf(5) names all",
				(int)length, *entry);
	}
}

/* "SECTION.KEY=VALUE"; the section of a profile has a space in it. */
static void read_option(struct loader *loader, const char *option)
{
	_cleanup_(free_secretp) char *copy = strdup(option);
	char *equals, *dot;

	if (!copy) {
		loader->error = -ENOMEM;
		return;
	}
	equals = strchr(copy, '=');
	dot = equals ? memrchr(copy, '.', (size_t)(equals - copy)) : NULL;
	if (!dot || dot == copy || dot + 1 == equals) {
		loader_complain(loader, false, "option", "-o", NULL,
			"its value, which is not shown as it may be a secret, is not understood; "
			"allowed: SECTION.KEY=VALUE");
		explicit_bzero(copy, strlen(option));
		return;
	}
	*dot = *equals = '\0';
	loader_assign(loader, "option", copy, dot + 1, equals + 1);
	explicit_bzero(copy, strlen(option));
}

static void read_sources(struct loader *loader)
{
	const struct config_sources *sources = loader->sources;

	read_files(loader);
	for (size_t i = 0; i < config_n_settings; i++)
		if (config_settings[i].variable)
			read_variable(loader, &config_settings[i]);
	warn_of_variables(loader);
	for (const char *const *option = sources->overrides; option && *option; option++)
		read_option(loader, *option);
}

int config_load_kinds(const struct section_kind *kinds, const struct config_sources *sources,
	config_complain *complain, void *userdata, struct config **ret)
{
	_cleanup_(config_freep) struct config *config = NULL;
	struct loader loader = {.sources = sources, .complain = complain, .userdata = userdata};
	int r;

	r = config_new(kinds, &config);
	if (r < 0)
		return r;
	loader.config = config;
	read_sources(&loader);
	if (loader.error != -ENOMEM) {
		config_settle(&loader);
	}
	if (loader.error < 0)
		return loader.error;
	*ret = TAKE_PTR(config);
	return 0;
}

int config_load(const struct config_sources *sources, config_complain *complain, void *userdata,
	struct config **ret)
{
	return config_load_kinds(config_kinds, sources, complain, userdata, ret);
}

int config_check_file(const char *path, int (*check_listen)(const char *address),
	config_complain *complain, void *userdata)
{
	_cleanup_(config_freep) struct config *config = NULL;
	struct config_sources sources = {.file = path, .check_listen = check_listen};
	struct loader loader = {
		.sources = &sources, .complain = complain, .userdata = userdata, .alone = true};
	int r;

	r = config_new(config_kinds, &config);
	if (r < 0)
		return r;
	loader.config = config;
	config_read_file(&loader, path, true);
	if (loader.error != -ENOMEM)
		config_settle_file(&loader);
	return loader.error;
}
