/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration: the settings of config.def, from files, the environment and options.  Read at
 * the start and at each reload; constant once it is read.  Modules are given the values they need,
 * not this. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <syslog.h>

#include "base/cleanup.h"

/* What each [KIND NAME] has, of whatever kind: the first member of its struct. */
struct config_section {
	char *name;
	char *declared; /* where it first stands; NULL: built-in */
	char **origins; /* where each of its settings came from, in the table's order; NULL: default
			 */
};

/* All sections of a kind, in the order of their names. */
struct config_sections {
	struct config_section **list;
	size_t n;
};

/* The kinds of sections that repeat, as in the table of them (table.c). */
enum config_kind {
	SECTION_PROFILE,
};

/* A [profile NAME] section; the built-in ones (table.c) can be changed by their names. */
struct config_profile {
	struct config_section section;
#include "config/member-rows.h"
#define MEMBER(section, key)    key
#define MEMBER_MS(section, key) key##_ms
#include "config/profile.def"
};

/* A member a row, named SECTION_KEY.  Durations are in milliseconds whatever the row's unit. */
struct config {
#include "config/member-rows.h"
#define MEMBER(section, key)    section##_##key
#define MEMBER_MS(section, key) section##_##key##_ms
#include "config/config.def"

	const struct section_kind *kinds; /* of sections that repeat; ends with one of no name */
	struct config_sections *sections; /* a member a kind */
	char **origins; /* for config_print(): where each setting came from; NULL: default */

	/* Settled from more than one setting: */
	char *token;     /* of publishers, from wherever it came; never empty */
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
}; /* bus.type; as the words in its row */

/* service.log_level as syslog(3) has it: its words begin at LOG_DEBUG and grow in importance. */
#define CONFIG_LOG_LEVEL(config) (LOG_DEBUG - (config)->service_log_level)

/* Where to read from. */
struct config_sources {
	const char *file;             /* -c: must exist.  NULL: the default one, which need not */
	const char *const *overrides; /* options: "SECTION.KEY=VALUE", NULL-terminated; or NULL */
	char *const *environment;     /* as environ(7) */

	/* 0 if http.listen may have such an address; NULL: any.  Not called directly, as the
	 * configuration knows no sockets. */
	int (*check_listen)(const char *address);

	/* One variable of our name that is no setting; NULL: none. */
	const char *own_variable;

	/* The file that systemd would give as the credential `token`; NULL: as
	 * $CREDENTIALS_DIRECTORY says. */
	const char *credential;
};

/* What is wrong, "FILE:LINE: section.key: what is wrong; allowed: what": one call for each thing,
 * not just for the first.  `warning` is for people to see, and no reason to stop.  No secret is in
 * it, and no control character. */
typedef void config_complain(bool warning, const char *text, void *userdata);

/* Reads it all.  0; -EINVAL after at least one complaint that is no warning; -ENOMEM.  *ret is
 * untouched on failure. */
int config_load(const struct config_sources *sources, config_complain *complain, void *userdata,
	struct config **ret);

/* Checks one file by itself, before it is put in its place: its text and values.  What other files,
 * the environment or options may bring is not missed: the token, the rest of a profile.  0; -EINVAL
 * after at least one complaint that is no warning; -ENOMEM.  `check_listen`: as in struct
 * config_sources. */
int config_check_file(const char *path, int (*check_listen)(const char *address),
	config_complain *complain, void *userdata);

struct config *config_free(struct config *config); /* takes NULL; returns NULL; wipes secrets */
DEFINE_CLEANUP(struct config *, config_free)

/* One thing that differs: setting `key` of `section`, or (its kind, its name) a section that
 * repeats. `at_once`: a running service can take the new value. */
typedef void config_difference(const char *section, const char *key, bool at_once, void *userdata);

/* Tells all that differs between two configurations. */
void config_compare(const struct config *before, const struct config *after,
	config_difference *differs, void *userdata);

/* To make `config`, which was read later, what runs: gives it the settings of `running` that need a
 * restart, with where they came from, and takes its own in return. */
void config_keep_restart(struct config *config, struct config *running);

/* Where http.listen was set; NULL: nowhere. */
const char *config_listen_origin(const struct config *config);

/* systemd passes the sockets: config_print() says from now on that http.listen is not used.  0 or
 * -ENOMEM. */
int config_note_listen_unused(struct config *config);

/* The effective settings in the file's own format, where each came from as a comment before it;
 * secrets masked. */
void config_print(const struct config *config, FILE *file);

/* The table for people: a paragraph a setting, for --help. */
void config_print_help(FILE *file);

/* A complete sample file, every setting commented out at its default: etc/flagsse/flagsse.conf is
 * this. */
void config_print_sample(FILE *file);

/* The table as the settings part of flagsse.conf(5), in man(7). */
void config_print_man(FILE *file);
