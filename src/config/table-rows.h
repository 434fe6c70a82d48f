/* SPDX-License-Identifier: BSD-3-Clause */
/* Included before a table of settings (*.def): makes each row a struct setting, of which the value
 * is the member MEMBER(section, key) of OWNER.  No #pragma once: each table needs it. */
#define SETTING_ROW(type_, section_, key_, change_, env_, help_, member_, ...)                     \
	{                                                                                          \
		.section = #section_,                                                              \
		.key = #key_,                                                                      \
		.type = (type_),                                                                   \
		.change = CHANGE_##change_,                                                        \
		.variable = (env_),                                                                \
		.help = (help_),                                                                   \
		.offset = offsetof(OWNER, member_),                                                \
		__VA_ARGS__,                                                                       \
	},

#define SETTLED(member) offsetof(struct config, member)
#define SELF            0

#define SETTING_TEXT(section, key, change, default_, env, help)                                    \
	SETTING_ROW(TYPE_TEXT, section, key, change, env, help, MEMBER(section, key),              \
		.text = (default_))
#define SETTING_PREFIX(section, key, change, default_, env, help)                                  \
	SETTING_ROW(TYPE_PREFIX, section, key, change, env, help, MEMBER(section, key),            \
		.text = (default_))
#define SETTING_PATH(section, key, change, default_, settled_, env, help)                          \
	SETTING_ROW(TYPE_PATH, section, key, change, env, help, MEMBER(section, key),              \
		.text = (default_), .settled = (settled_))
#define SETTING_LISTEN(section, key, change, default_, env, help)                                  \
	SETTING_ROW(TYPE_LISTEN, section, key, change, env, help, MEMBER(section, key),            \
		.text = (default_))
#define SETTING_SECRET(section, key, change, default_, settled_, env, help)                        \
	SETTING_ROW(TYPE_SECRET, section, key, change, env, help, MEMBER(section, key),            \
		.text = (default_), .settled = (settled_))
#define SETTING_URLS(section, key, change, default_, env, help)                                    \
	SETTING_ROW(TYPE_URLS, section, key, change, env, help, MEMBER(section, key),              \
		.text = (default_))
#define SETTING_NUMBER(section, key, change, default_, min_, max_, unit_, env, help)               \
	SETTING_ROW(TYPE_NUMBER, section, key, change, env, help, MEMBER(section, key),            \
		.number = (default_), .min = (min_), .max = (max_), .unit = (unit_))
#define SETTING_SIZE(section, key, change, default_, min_, max_, unit_, env, help)                 \
	SETTING_ROW(TYPE_SIZE, section, key, change, env, help, MEMBER(section, key),              \
		.number = (default_), .min = (min_), .max = (max_), .unit = (unit_))
#define SETTING_DURATION(section, key, change, default_, min_, max_, unit_, env, help)             \
	SETTING_ROW(TYPE_DURATION, section, key, change, env, help, MEMBER_MS(section, key),       \
		.number = (default_), .min = (min_), .max = (max_), .unit = (unit_))
#define SETTING_DURATION_AS(                                                                       \
	section, key, change, as_section, as_key, min_, max_, unit_, env, help)                    \
	SETTING_ROW(TYPE_DURATION, section, key, change, env, help, MEMBER_MS(section, key),       \
		.as = #as_section "." #as_key,                                                     \
		.as_offset = offsetof(struct config, as_section##_##as_key##_ms), .min = (min_),   \
		.max = (max_), .unit = (unit_))
#define SETTING_CHOICE(section, key, change, default_, words_, env, help)                          \
	SETTING_ROW(TYPE_CHOICE, section, key, change, env, help, MEMBER(section, key),            \
		.number = (default_), .words = (words_))
#define SETTING_BOOLEAN(section, key, change, default_, env, help)                                 \
	SETTING_ROW(TYPE_BOOLEAN, section, key, change, env, help, MEMBER(section, key),           \
		.number = (default_))
