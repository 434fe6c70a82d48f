/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration: the settings of config.def, from files, the environment and options.  It is
 * read at the start and at each reload, and constant once it is read.  Parts are given the values
 * that they need (server/settings.c), not the configuration. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <syslog.h>

#include "base/cleanup.h"

/* What all sections [KIND NAME] have, of whatever kind: the first member of their struct. */
struct config_section {
	char *name;
	char *declared; /* where it first appears; NULL: it is built in */
	char **origins; /* where each of its settings came from, in the order of the table; NULL:
			   the default */
};

/* All sections of a kind, in the order of their names. */
struct config_sections {
	struct config_section **list;
	size_t n;
};

/* The kinds of sections that repeat: the indexes of config_kinds[] (table.c). */
enum config_kind {
	SECTION_PROFILE,
};

/* A section [profile NAME], with a member for each row of profile.def, named KEY.  Files change the
 * built-in ones (table.c) by their names. */
struct config_profile {
	struct config_section section;
#include "config/member-rows.h"
#define MEMBER(section, key)    key
#define MEMBER_MS(section, key) key##_ms
#include "config/profile.def"
};

/* A member for each row of config.def, named SECTION_KEY.  Durations are in milliseconds, whatever
 * the unit of the row, and their members end in _ms. */
struct config {
#include "config/member-rows.h"
#define MEMBER(section, key)    section##_##key
#define MEMBER_MS(section, key) section##_##key##_ms
#include "config/config.def"

	const struct section_kind *kinds; /* of sections that repeat; the last has no name */
	struct config_sections *sections; /* one for each kind */
	char **origins; /* for config_print(): where each setting came from; NULL: default */

	/* Settled from more than one setting: */
	char *token;     /* of publishers, wherever it came from; never empty */
	char *state_dir; /* $STATE_DIRECTORY (its first), else service.state_dir */
};

/* One of the profiles, by its number: 0 to sections[SECTION_PROFILE].n - 1. */
static inline const struct config_profile *config_profile(const struct config *config, size_t index)
{
	return (const struct config_profile *)(const void *)config->sections[SECTION_PROFILE]
		.list[index];
}

enum {
	BUS_TYPE_NATS,
	BUS_TYPE_LOCAL
}; /* bus.type, in the order of the words in its row */

/* service.log_level as a level of syslog(3): the words of its row begin with that for LOG_DEBUG,
 * and grow in importance. */
#define CONFIG_LOG_LEVEL(config) (LOG_DEBUG - (config)->service_log_level)

/* Where to read from. */
struct config_sources {
	const char *file;             /* -c: must exist.  NULL: the default one, which need not */
	const char *const *overrides; /* options: "SECTION.KEY=VALUE", NULL-terminated; or NULL */
	char *const *environment;     /* as environ(7) */

	/* Returns 0 if http.listen may have this address; NULL: it may have any.  The caller
	 * provides the function, as the configuration knows no sockets. */
	int (*check_listen)(const char *address);

	/* A variable that begins with FLAGSSE_ and is no setting, so that nobody is warned of it;
	 * NULL: none. */
	const char *own_variable;

	/* The file that systemd would pass as the credential `token`; NULL: the one in
	 * $CREDENTIALS_DIRECTORY. */
	const char *credential;
};

/* Called for each mistake, not just for the first: "FILE:LINE: section.key: what is wrong; allowed:
 * what".  A `warning` is for people to see, and no reason to stop.  The text has no secret and no
 * control character in it. */
typedef void config_complain(bool warning, const char *text, void *userdata);

/* Reads the configuration.  0; -EINVAL after at least one complaint that is no warning; -ENOMEM.
 * *ret is untouched on failure. */
int config_load(const struct config_sources *sources, config_complain *complain, void *userdata,
	struct config **ret);

/* Checks one file by itself, before it is put in its place: its text and values.  It may lack what
 * other files, the environment or options may bring: the token, the rest of a profile.  0; -EINVAL
 * after at least one complaint that is no warning; -ENOMEM.  `check_listen`: as in struct
 * config_sources. */
int config_check_file(const char *path, int (*check_listen)(const char *address),
	config_complain *complain, void *userdata);

struct config *config_free(struct config *config); /* takes NULL; returns NULL; wipes secrets */
DEFINE_CLEANUP(struct config *, config_free)

/* Called for each difference: the setting `key` of `section`; or a whole section that repeats, with
 * its kind as `section` and its name as `key`.  `at_once`: a running service can take the new
 * value. */
typedef void config_difference(const char *section, const char *key, bool at_once, void *userdata);

/* Tells all differences between two configurations. */
void config_compare(const struct config *before, const struct config *after,
	config_difference *differs, void *userdata);

/* Makes `config`, which was read later, what may run without a restart: swaps the settings that
 * need a restart, and where they came from, with those of `running`. */
void config_keep_restart(struct config *config, struct config *running);

/* Where http.listen was set; NULL: nowhere. */
const char *config_listen_origin(const struct config *config);

/* Has config_print() say that http.listen is not used, as systemd passes the sockets.  0 or
 * -ENOMEM. */
int config_note_listen_unused(struct config *config);

/* Writes the effective settings in the format of the file, before each a comment on where it came
 * from; secrets are masked. */
void config_print(const struct config *config, FILE *file);

/* Writes a paragraph for each setting, for --help. */
void config_print_help(FILE *file);

/* Writes a complete sample file, with every setting commented out at its default:
 * etc/flagsse/flagsse.conf. */
void config_print_sample(FILE *file);

/* Writes the settings part of flagsse.conf(5), in man(7). */
void config_print_man(FILE *file);
