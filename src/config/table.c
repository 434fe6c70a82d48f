/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables of settings (*.def) in memory, the kinds of sections that repeat, and values as text.
 */
#include <inttypes.h>
#include <string.h>

#include "config/config-internal.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

#define OWNER                   struct config
#define MEMBER(section, key)    section##_##key
#define MEMBER_MS(section, key) section##_##key##_ms
#include "config/table-rows.h"
const struct setting config_settings[] = {
#include "config/config.def"
};
const size_t config_n_settings = N_OF(config_settings);

#define OWNER                   struct config_profile
#define MEMBER(section, key)    key
#define MEMBER_MS(section, key) key##_ms
#include "config/table-rows.h"
static const struct setting profile_settings[] = {
#include "config/profile.def"
};

/* Flutter's SDK opens a new stream every 29 s and keeps the old one: at 80 % of max_age the next is
 * there.  On the web it has the browser's User-Agent, and only its Accept is its own. */
static const char *const flutter[PROFILE_SETTINGS] = {
	[PROFILE_user_agent] = "Dart/",
	[PROFILE_accept] = "application/json , text/event-stream",
	[PROFILE_max_age] = "37 s",
};

/* Ruby's SDK looks at a body only when it has all of it. */
static const char *const ruby[PROFILE_SETTINGS] = {
	[PROFILE_user_agent] = "Faraday",
	[PROFILE_close_after_update] = "yes",
};

static const struct builtin_section builtin_profiles[] = {
	{"flutter", flutter}, {"ruby", ruby}, {NULL, NULL}};

const struct section_kind config_kinds[] = {
	[SECTION_PROFILE] =
		{
			.name = "profile",
			.settings = profile_settings,
			.n_settings = N_OF(profile_settings),
			.size = sizeof(struct config_profile),
			.sample = "# Profiles: what some kinds of client need. These two are built "
				  "in; a section of\n"
				  "# the same name changes one, any other name adds one.\n",
			.builtins = builtin_profiles,
			.check = profile_check,
		},
	{},
};

bool begins_section(const struct setting *settings, size_t index)
{
	return index == 0 || strcmp(settings[index].section, settings[index - 1].section) != 0;
}

int64_t unit_factor(const char *unit)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} factors[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};

	for (size_t i = 0; i < sizeof(factors) / sizeof(factors[0]); i++)
		if (strcmp(unit, factors[i].unit) == 0)
			return factors[i].ms;
	return 0;
}

bool setting_is_text(const struct setting *setting)
{
	return setting->type <= TYPE_URLS;
}

int64_t setting_default(const struct setting *setting)
{
	if (setting->as)
		return SETTING_UNSET;
	if (setting->type == TYPE_DURATION)
		return setting->number * unit_factor(setting->unit);
	return setting->number;
}

bool setting_is_list(const struct setting *setting)
{
	return setting->type == TYPE_URLS || setting->type == TYPE_LISTEN;
}

char **setting_text(const struct setting *setting, const void *base)
{
	return (char **)(void *)((char *)base + setting->offset);
}

char **setting_settled(const struct setting *setting, const void *base)
{
	if (setting->settled == 0)
		return setting_text(setting, base);
	return (char **)(void *)((char *)base + setting->settled);
}

int64_t setting_number(const struct setting *setting, const void *base)
{
	const char *value = (const char *)base + setting->offset;

	switch (setting->type) {
	case TYPE_CHOICE:
		return *(const int *)(const void *)value;
	case TYPE_BOOLEAN:
		return *(const bool *)value;
	default:
		return *(const int64_t *)(const void *)value;
	}
}

void setting_set_number(const struct setting *setting, void *base, int64_t number)
{
	char *value = (char *)base + setting->offset;

	switch (setting->type) {
	case TYPE_CHOICE:
		*(int *)(void *)value = (int)number;
		break;
	case TYPE_BOOLEAN:
		*(bool *)value = number != 0;
		break;
	default:
		*(int64_t *)(void *)value = number;
	}
}

static void print_duration(FILE *file, const struct setting *setting, int64_t ms)
{
	int64_t factor = unit_factor(setting->unit);

	if (ms % factor == 0)
		fprintf(file, "%" PRId64 " %s", ms / factor, setting->unit);
	else
		fprintf(file, "%" PRId64 " ms", ms);
}

static void print_word(FILE *file, const char *words, int64_t index)
{
	for (; index > 0; index--)
		words = strchr(words, ' ') + 1;
	fwrite(words, 1, strcspn(words, " "), file);
}

void setting_print_number(FILE *file, const struct setting *setting, int64_t number)
{
	switch (setting->type) {
	case TYPE_DURATION:
		print_duration(file, setting, number);
		break;
	case TYPE_CHOICE:
		print_word(file, setting->words, number);
		break;
	case TYPE_BOOLEAN:
		fputs(number ? "yes" : "no", file);
		break;
	default:
		fprintf(file, "%" PRId64, number);
	}
}

static void print_words(FILE *file, const char *words)
{
	for (; *words; words++) {
		if (*words == ' ')
			fputc(',', file);
		fputc(*words, file);
	}
}

void setting_print_allowed(FILE *file, const struct setting *setting)
{
	switch (setting->type) {
	case TYPE_NUMBER:
	case TYPE_SIZE:
		fprintf(file, "%" PRId64 " to %" PRId64 " %s", setting->min, setting->max,
			setting->unit);
		break;
	case TYPE_DURATION:
		fprintf(file, "%" PRId64 " %s to %" PRId64 " %s", setting->min, setting->unit,
			setting->max, setting->unit);
		break;
	case TYPE_CHOICE:
		print_words(file, setting->words);
		break;
	case TYPE_BOOLEAN:
		fputs("yes, no", file);
		break;
	default:
		break;
	}
}

void urls_print_masked(FILE *file, const char *urls)
{
	while (*urls) {
		size_t length = strcspn(urls, ",");
		const char *at = memrchr(urls, '@', length);
		const char *scheme_end = memmem(urls, length, "://", 3);

		if (at) {
			if (scheme_end && scheme_end < at)
				fwrite(urls, 1, (size_t)(scheme_end + 3 - urls), file);
			fputs(SECRET_MASK, file);
			fwrite(at, 1, length - (size_t)(at - urls), file);
		} else {
			fwrite(urls, 1, length, file);
		}
		urls += length;
		if (*urls == ',')
			fputc(*urls++, file);
	}
}
