/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the configuration have in common.  They call each other in a circle: config.c
 * reads files (file.c) and settles what is in them (settle.c), and both assign settings by
 * config.c's loader. */
#pragma once

#include "config/config.h"

enum setting_type {
	TYPE_TEXT,
	TYPE_SECRET,
	TYPE_URLS,
	TYPE_NUMBER,
	TYPE_SIZE,
	TYPE_DURATION,
	TYPE_CHOICE,
	TYPE_BOOLEAN,
};

/* When a new value of a setting counts. */
enum setting_change {
	CHANGE_RESTART, /* at the next start */
	CHANGE_RELOAD,  /* at the next reload */
};

/* A row of config.def. */
struct setting {
	const char *section; /* NULL: of a profile */
	const char *key;
	enum setting_type type;
	enum setting_change change;
	const char *text;     /* default of TEXT, SECRET and URLS */
	int64_t number;       /* default of the others, in `unit` */
	int64_t min, max;     /* in `unit` */
	const char *unit;     /* of NUMBER and SIZE, for people; of DURATION, what it counts in */
	const char *words;    /* of CHOICE, with spaces between */
	const char *variable; /* of the environment; NULL: none */
	const char *help;     /* words in `backquotes` are names and values */
	size_t offset;        /* of the value, in struct config or struct config_profile */
};

/* table.c */
extern const struct setting config_settings[];
extern const size_t config_n_settings;
extern const struct setting profile_settings[];
extern const size_t profile_n_settings;

/* A profile that is there without any file. */
struct builtin_profile {
	const char *name;
	const char *user_agent;
	const char *accept;
	int64_t max_age_ms; /* -1: as streams.max_age */
	bool close_after_update;
};
extern const struct builtin_profile builtin_profiles[];
extern const size_t n_builtin_profiles;

#define DEFAULT_FILE     FLAGSSE_SYSCONFDIR "/flagsse.conf"
#define TOKEN_MAX        1024 /* characters of a token */
#define PROFILE_PREFIX   "profile"
#define PROFILE_NAME_MAX 32
#define SECRET_MASK      "***" /* what is shown for a secret */

/* Values as the program has them: in milliseconds, bytes, or the index of a word. */
int64_t setting_default(const struct setting *setting);
bool setting_is_text(const struct setting *setting);
bool setting_is_list(const struct setting *setting); /* of texts, with commas between */
char **setting_text(const struct setting *setting, const void *base);
int64_t setting_number(const struct setting *setting, const void *base);
void setting_set_number(const struct setting *setting, void *base, int64_t number);

/* Milliseconds in a unit of time; 0: no such unit. */
int64_t unit_factor(const char *unit);

/* Writes a number the way the parser reads it back. */
void setting_print_number(FILE *file, const struct setting *setting, int64_t number);

/* What the setting may be, for people: "1 s to 300 s". */
void setting_print_allowed(FILE *file, const struct setting *setting);

/* Writes text, and URLs with *** for the user information in each. */
void urls_print_masked(FILE *file, const char *urls);

/* value.c */
struct value {
	char *text; /* the caller's to free with free_secret() */
	int64_t number;
};

/* Understands `text` as the setting's value.  0 and *ret; -EINVAL and what is wrong in
 * *ret_problem, which the caller frees; -ENOMEM. */
int value_parse(const struct setting *setting, const char *text,
	int (*check_listen)(const char *address), struct value *ret, char **ret_problem);

/* Whether it is a usable token: printable ASCII without spaces, 1 to TOKEN_MAX characters. */
bool token_is_valid(const char *token);

/* Whether people who may read this value would learn a secret. */
bool value_is_secret(const struct setting *setting, const char *value);

/* config.c */
struct loader {
	const struct config_sources *sources;
	config_complain *complain;
	void *userdata;
	struct config *config;
	const char *file;   /* that is being read; NULL: something else is */
	int error;          /* 0; -EINVAL after a complaint; -ENOMEM */
	bool alone;         /* one file is checked, without all that could complete it */
	bool token_refused; /* there is a token, but it is unusable: no need to say "no token" too
			     */
};

/* Sends a complaint, and remembers that there was one unless it is a warning.  `section`, with or
 * without `key`, says what it is about; both may be NULL. */
void loader_complain(struct loader *loader, bool warning, const char *origin, const char *section,
	const char *key, const char *format, ...) _printf_(6, 7);

/* A section begins, at `origin`: makes a new profile of it if it is one.  Whether it is a known
 * section; if not, a complaint was made. */
bool loader_begin_section(struct loader *loader, const char *origin, const char *section);

/* Sets one setting.  The setting it was, NULL if none. */
const struct setting *loader_assign(struct loader *loader, const char *origin, const char *section,
	const char *key, const char *value);

/* Frees text that may be a secret, and leaves nothing of it in memory.  Takes NULL. */
void free_secret(char *text);
static inline void free_secretp(char **text)
{
	free_secret(*text);
}

/* config-file.c */

/* Reads one file.  `must_exist`: its absence is an error. */
void config_read_file(struct loader *loader, const char *path, bool must_exist);

/* Reads *.conf of the directory, in the order of their names.  Its absence is no error. */
void config_read_directory(struct loader *loader, const char *path);

/* config-settle.c */

/* The last step, after all sources have been read. */
void config_settle(struct loader *loader);

/* The last step where one file was read alone: what in it contradicts itself. */
void config_settle_file(struct loader *loader);

/* Puts a new text, whose owner it becomes, in place of the old one.  -ENOMEM if it is NULL. */
int config_replace_text(char **slot, char *text);

/* The value of a variable; NULL if it is not set, or empty. */
const char *config_variable(const struct config_sources *sources, const char *name);
