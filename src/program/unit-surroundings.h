/* SPDX-License-Identifier: BSD-3-Clause */
/* A unit of systemd: what the process that it starts is given.  For a check by hand.  Main thread.
 */
#pragma once

#include "base/cleanup.h"

struct unit {
	char **argv; /* of ExecStart=; NULL-terminated, as are the variables */
	int argc;
	char **environment; /* of Environment= and EnvironmentFile= */
	char *token;        /* LoadCredential=token:PATH; NULL: none */
};

/* Asks systemd over the system bus, 5 s for each answer at most, and reads the environment files.
 * 0; -ENOENT: there is no such unit; another -errno: systemd cannot be asked, or a file not read.
 */
int unit_read(const char *name, struct unit **ret);
struct unit *unit_free(struct unit *unit); /* takes NULL; returns NULL */
DEFINE_CLEANUP(struct unit *, unit_free)

/* unit-environment-file.c */

/* Adds to a NULL-terminated, malloc'ed array the variables of a file as EnvironmentFile= of
 * systemd.exec(5) has it: lines NAME=VALUE; comments after # or ;; values may be in quotes; a line
 * that ends with a backslash goes on in the next.  A variable that is there already is replaced.  0
 * or -errno. */
int env_file_read(const char *path, char ***variables);

/* Adds or replaces a variable.  `entry` is "NAME=VALUE", and is copied.  0 or -ENOMEM. */
int env_set(char ***variables, const char *entry);
