/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of src/config/ share.  They call each other in a circle: config.c has file.c read
 * files and settle.c settle what was read, and both assign settings by the loader of config.c. */
#pragma once

#include "config/config.h"

enum setting_type {
	TYPE_TEXT,
	TYPE_PREFIX,
	TYPE_PATH,
	TYPE_LISTEN,
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

/* A row of a table (*.def). */
struct setting {
	const char *section; /* or the kind of sections */
	const char *key;
	enum setting_type type;
	enum setting_change change;
	const char *text;     /* default of texts */
	int64_t number;       /* default of the others, in `unit` */
	const char *as;       /* the setting whose value is the default; NULL: none */
	size_t as_offset;     /* of that value, in struct config */
	int64_t min, max;     /* in `unit` */
	const char *unit;     /* of NUMBER and SIZE, for people; of DURATION, what it counts in */
	const char *words;    /* of CHOICE, with spaces between */
	const char *variable; /* of the environment; NULL: none */
	const char *help;     /* words in `backquotes` are names and values */
	size_t offset;        /* of the value, in struct config or that of the kind */
	size_t settled; /* of the value that counts, in struct config; 0: the value itself counts */
};

/* table.c */
extern const struct setting config_settings[];
extern const size_t config_n_settings;

/* A section that is built in. */
struct builtin_section {
	const char *name;
	const char *const *values; /* as in a file, in the order of the table; NULL: the default */
};

struct loader;

/* A kind of sections that repeat, [KIND NAME]. */
struct section_kind {
	const char *name;
	const struct setting *settings;
	size_t n_settings;
	size_t size;        /* of its struct, whose first member is a struct config_section */
	const char *sample; /* comments that come before it in the sample */
	const struct builtin_section *builtins; /* the last has no name; NULL: none */

	/* Checks section `index` by itself and against those before it, once all has been read;
	 * NULL: there is nothing to check. */
	void (*check)(struct loader *loader, const struct config_sections *sections, size_t index);
};
extern const struct section_kind config_kinds[]; /* the last has no name */

#define DEFAULT_FILE     FLAGSSE_SYSCONFDIR "/flagsse.conf"
#define TOKEN_MAX        1024 /* characters of a token */
#define SECTION_NAME_MAX 32
#define TITLE_SIZE       64    /* of "KIND NAME" */
#define SECRET_MASK      "***" /* what is shown for a secret */

#define SETTING_UNSET INT64_C(-1) /* until another setting gives the default */

/* Values as the program has them: in milliseconds, bytes, or the index of a word. */
int64_t setting_default(const struct setting *setting);
bool setting_is_text(const struct setting *setting);
bool setting_is_list(const struct setting *setting); /* of texts, with commas between */
char **setting_text(const struct setting *setting, const void *base);

/* The text that counts, wherever it came from, if settle.c settles that; else as setting_text(). */
char **setting_settled(const struct setting *setting, const void *base);

int64_t setting_number(const struct setting *setting, const void *base);
void setting_set_number(const struct setting *setting, void *base, int64_t number);

/* Whether this row is the first of its section. */
bool begins_section(const struct setting *settings, size_t index);

/* Milliseconds in a unit of time; 0: no such unit. */
int64_t unit_factor(const char *unit);

/* Writes a number the way the parser reads it back. */
void setting_print_number(FILE *file, const struct setting *setting, int64_t number);

/* Writes what is allowed, for people: "1 s to 300 s". */
void setting_print_allowed(FILE *file, const struct setting *setting);

/* Writes URLs, with *** for the user information in each. */
void urls_print_masked(FILE *file, const char *urls);

/* value.c */
struct value {
	char *text; /* the caller's to free with free_secret() */
	int64_t number;
};

/* Reads the value of a setting from text.  0 and *ret; -EINVAL and, for the caller to free,
 * *ret_problem: what is wrong; -ENOMEM. */
int value_parse(const struct setting *setting, const char *text,
	int (*check_listen)(const char *address), struct value *ret, char **ret_problem);

/* Whether it is a usable token: printable ASCII without spaces, 1 to TOKEN_MAX characters. */
bool token_is_valid(const char *token);

/* Whether somebody who reads this value would learn a secret. */
bool value_is_secret(const struct setting *setting, const char *value);

/* Where the values are kept of a section that repeats, or of all sections that do not. */
struct target {
	const struct setting *table;
	size_t n;
	void *base;
	char **origins;
};

/* section.c */

/* Makes the lists of sections that repeat, with the built-in ones in them.  0 or -ENOMEM. */
int sections_init(struct config *config, const struct section_kind *kinds);
void sections_deinit(struct config *config); /* also if sections_init() failed, or never ran */

/* Takes "KIND NAME" apart.  Returns the kind; NULL: there is no such section. */
const struct section_kind *section_parse(
	const struct section_kind *kinds, const char *title, const char **ret_name);

/* The sections of a kind, which is one of the configuration's. */
struct config_sections *sections_of(const struct config *config, const struct section_kind *kind);

struct config_section *section_find(const struct config_sections *sections, const char *name);

/* Adds a section with the defaults, which first appears at `declared` (NULL: it is built in).
 * Returns NULL if there is no memory. */
struct config_section *section_add(const struct section_kind *kind,
	struct config_sections *sections, const char *name, const char *declared);

struct target section_target(const struct section_kind *kind, const struct config_section *section);

/* The row of a setting; `section` may be "KIND NAME".  NULL: there is none. */
const struct setting *setting_find(
	const struct section_kind *kinds, const char *section, const char *key);

/* Writes "KIND NAME", as messages have it. */
void section_title(const struct section_kind *kind, const struct config_section *section,
	char ret[TITLE_SIZE]);

/* To be called when everything has been read: sorts the sections, gives them the defaults that are
 * other settings' values, and calls the checks of their kinds. */
void sections_settle(struct loader *loader);

/* Calls only the checks: for a file that was read alone. */
void sections_check(struct loader *loader);

/* The settings of a profile, by their places in its table: PROFILE_user_agent and so on. */
enum profile_setting {
#include "config/index-rows.h"
#define INDEX(section, key) PROFILE_##key
#include "config/profile.def"
	PROFILE_SETTINGS /* how many there are */
};

/* profile.c: checks that a profile has what it needs, and that no two are for the same clients. */
void profile_check(struct loader *loader, const struct config_sections *sections, size_t index);

/* print.c: writes the sections that repeat, for help, sample and manual page. */
void sections_print_help(FILE *file, const struct section_kind *kinds);
void sections_print_sample(FILE *file, const struct section_kind *kinds);
void sections_print_man(FILE *file, const struct section_kind *kinds);

/* config.c */
struct loader {
	const struct config_sources *sources;
	config_complain *complain;
	void *userdata;
	struct config *config;
	const char *file;   /* that is being read; NULL: it is no file that is read */
	int error;          /* 0; -EINVAL after a complaint; -ENOMEM */
	bool alone;         /* a file is checked alone, without those that could complete it */
	bool token_refused; /* there is a token, but it is unusable: to say "no token", too, would
			       mislead */
};

/* As config_load(), with these kinds of sections instead of config_kinds[]. */
int config_load_kinds(const struct section_kind *kinds, const struct config_sources *sources,
	config_complain *complain, void *userdata, struct config **ret);

/* Where the settings of the sections that do not repeat are kept. */
struct target config_target(struct config *config);

/* Sets all to their defaults.  0 or -ENOMEM. */
int target_init(const struct target *target);
void target_deinit(const struct target *target); /* wipes secrets */

/* Sends a complaint, and remembers that there was one unless it is a warning.  `section`, with or
 * without `key`, says what it is about; both may be NULL. */
void loader_complain(struct loader *loader, bool warning, const char *origin, const char *section,
	const char *key, const char *format, ...) _printf_(6, 7);

/* To be called where a section begins, at `origin`.  If its kind repeats, and it is new, it is
 * added.  False: it is unknown, and a complaint was made. */
bool loader_begin_section(struct loader *loader, const char *origin, const char *section);

/* Sets a setting, by its names and its text.  Returns its row; NULL: there is none. */
const struct setting *loader_assign(struct loader *loader, const char *origin, const char *section,
	const char *key, const char *value);

/* Frees text that may be a secret, and leaves nothing of it in memory.  Takes NULL. */
void free_secret(char *text);
static inline void free_secretp(char **text)
{
	free_secret(*text);
}

/* file.c */

/* Reads one file.  `must_exist`: its absence is an error. */
void config_read_file(struct loader *loader, const char *path, bool must_exist);

/* Reads *.conf of the directory, in the order of their names.  Its absence is no error. */
void config_read_directory(struct loader *loader, const char *path);

/* settle.c */

/* The last step, after all sources have been read. */
void config_settle(struct loader *loader);

/* The last step for a file that was read alone: complains of what in it contradicts itself. */
void config_settle_file(struct loader *loader);

/* Frees the text in *slot and puts `text` there, of which it becomes the owner.  0; -ENOMEM: `text`
 * is NULL. */
int config_replace_text(char **slot, char *text);

/* The value of a variable; NULL if it is not set, or empty. */
const char *config_variable(const struct config_sources *sources, const char *name);
