/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the configuration share: a directory, and loading from it. */
#pragma once

#include "config/config.h"

#define PATH_SIZE      512
#define TOKEN_VARIABLE "SSE_AUTHENTICATION_TOKEN=from-environment"

extern char directory[64];     /* of the test's own */
extern char complaints[65536]; /* of the last load(), a line each, without the directory's name */

extern const char *const no_options[];
extern char *const token_only[]; /* an environment */
extern char *const no_environment[];

/* A checked fixture. */
void config_set_up(void);
void config_tear_down(void);

/* The path of a file in the directory; valid for three calls more. */
const char *path_of(const char *name);

/* Make a file, readable by its owner only. */
void write_bytes(const char *name, const char *bytes, size_t size);
void write_file(const char *name, const char *text);

struct section_kind;

/* As config_load_kinds(), from the path; "bad" is no address to listen on. */
int load_with(const struct section_kind *kinds, const char *path, const char *const *options,
	char *const *environment, struct config **ret);

/* As config_load(), from the path, or from main.conf; "bad" is no address to listen on. */
int load_from(const char *path, const char *const *options, char *const *environment,
	struct config **ret);
int load(const char *const *options, char *const *environment, struct config **ret);

/* As config_check_file(), of main.conf. */
int check_alone(void);

/* Loads main.conf with this text, which must be without fault. */
struct config *load_text(const char *text);

/* What is printed; to be freed. */
char *print_to_string(void (*print)(FILE *));
char *printed(const struct config *config);

/* A file of the source tree; to be freed. */
char *read_source(const char *name);
