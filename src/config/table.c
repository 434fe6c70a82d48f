/* SPDX-License-Identifier: BSD-3-Clause */
/* config.def as a table in memory, and its values as text. */
#include <inttypes.h>
#include <string.h>

#include "config/config-internal.h"

#define TEXT_ROW(type_, section_, key_, change_, default_, env_, help_)                            \
	{                                                                                          \
		.section = #section_,                                                              \
		.key = #key_,                                                                      \
		.type = (type_),                                                                   \
		.change = CHANGE_##change_,                                                        \
		.text = (default_),                                                                \
		.variable = (env_),                                                                \
		.help = (help_),                                                                   \
		.offset = offsetof(struct config, section_##_##key_),                              \
	},
#define NUMBER_ROW(                                                                                \
	type_, section_, key_, change_, default_, min_, max_, unit_, env_, help_, member_)         \
	{                                                                                          \
		.section = #section_,                                                              \
		.key = #key_,                                                                      \
		.type = (type_),                                                                   \
		.change = CHANGE_##change_,                                                        \
		.number = (default_),                                                              \
		.min = (min_),                                                                     \
		.max = (max_),                                                                     \
		.unit = (unit_),                                                                   \
		.variable = (env_),                                                                \
		.help = (help_),                                                                   \
		.offset = offsetof(struct config, member_),                                        \
	},

#define SETTING_TEXT(section_, key_, change_, default_, env_, help_)                               \
	TEXT_ROW(TYPE_TEXT, section_, key_, change_, default_, env_, help_)
#define SETTING_SECRET(section_, key_, change_, default_, env_, help_)                             \
	TEXT_ROW(TYPE_SECRET, section_, key_, change_, default_, env_, help_)
#define SETTING_URLS(section_, key_, change_, default_, env_, help_)                               \
	TEXT_ROW(TYPE_URLS, section_, key_, change_, default_, env_, help_)
#define SETTING_NUMBER(section_, key_, change_, default_, min_, max_, unit_, env_, help_)          \
	NUMBER_ROW(TYPE_NUMBER, section_, key_, change_, default_, min_, max_, unit_, env_, help_, \
		section_##_##key_)
#define SETTING_SIZE(section_, key_, change_, default_, min_, max_, unit_, env_, help_)            \
	NUMBER_ROW(TYPE_SIZE, section_, key_, change_, default_, min_, max_, unit_, env_, help_,   \
		section_##_##key_)
#define SETTING_DURATION(section_, key_, change_, default_, min_, max_, unit_, env_, help_)        \
	NUMBER_ROW(TYPE_DURATION, section_, key_, change_, default_, min_, max_, unit_, env_,      \
		help_, section_##_##key_##_ms)
#define SETTING_CHOICE(section_, key_, change_, default_, words_, env_, help_)                     \
	{                                                                                          \
		.section = #section_,                                                              \
		.key = #key_,                                                                      \
		.type = TYPE_CHOICE,                                                               \
		.change = CHANGE_##change_,                                                        \
		.number = (default_),                                                              \
		.words = (words_),                                                                 \
		.variable = (env_),                                                                \
		.help = (help_),                                                                   \
		.offset = offsetof(struct config, section_##_##key_),                              \
	},

const struct setting config_settings[] = {
#include "config/config.def"
};
const size_t config_n_settings = sizeof(config_settings) / sizeof(config_settings[0]);

#define PROFILE_TEXT(key_, default_, help_)                                                        \
	{                                                                                          \
		.key = #key_,                                                                      \
		.change = CHANGE_RELOAD,                                                           \
		.type = TYPE_TEXT,                                                                 \
		.text = (default_),                                                                \
		.help = (help_),                                                                   \
		.offset = offsetof(struct config_profile, key_),                                   \
	},
#define PROFILE_DURATION(key_, default_, min_, max_, unit_, help_)                                 \
	{                                                                                          \
		.key = #key_,                                                                      \
		.change = CHANGE_RELOAD,                                                           \
		.type = TYPE_DURATION,                                                             \
		.number = (default_),                                                              \
		.min = (min_),                                                                     \
		.max = (max_),                                                                     \
		.unit = (unit_),                                                                   \
		.help = (help_),                                                                   \
		.offset = offsetof(struct config_profile, key_##_ms),                              \
	},
#define PROFILE_BOOLEAN(key_, default_, help_)                                                     \
	{                                                                                          \
		.key = #key_,                                                                      \
		.change = CHANGE_RELOAD,                                                           \
		.type = TYPE_BOOLEAN,                                                              \
		.number = (default_),                                                              \
		.help = (help_),                                                                   \
		.offset = offsetof(struct config_profile, key_),                                   \
	},

const struct setting profile_settings[] = {
#include "config/config.def"
};
const size_t profile_n_settings = sizeof(profile_settings) / sizeof(profile_settings[0]);

const struct builtin_profile builtin_profiles[] = {
	/* Opens a new stream every 29 s and keeps the old one: at 80 % of this the next is there.
	 * On the web only its Accept tells it from the browser. */
	{"flutter", "Dart/", "application/json , text/event-stream", 37000, false},
	/* Looks at a body only when it has all of it. */
	{"ruby", "Faraday", "", -1, true},
};
const size_t n_builtin_profiles = sizeof(builtin_profiles) / sizeof(builtin_profiles[0]);

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
	if (setting->type == TYPE_DURATION)
		return setting->number * unit_factor(setting->unit);
	return setting->number;
}

bool setting_is_list(const struct setting *setting)
{
	return setting->type == TYPE_URLS ||
	       (setting->section && setting->offset == offsetof(struct config, http_listen));
}

char **setting_text(const struct setting *setting, const void *base)
{
	return (char **)(void *)((char *)base + setting->offset);
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
