/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the configuration share. */
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#include "config-fixture.h"
#include "config/config-internal.h"

char directory[64];
char complaints[65536];

const char *const no_options[] = {NULL};
char *const token_only[] = {(char *)TOKEN_VARIABLE, NULL};
char *const no_environment[] = {NULL};

void config_set_up(void)
{
	snprintf(directory, sizeof(directory), "%s", "/tmp/flagsse-test-config.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	complaints[0] = '\0';
}

static int remove_entry(const char *path, const struct stat *status, int flag, struct FTW *walk)
{
	(void)status, (void)flag, (void)walk;
	return remove(path);
}

void config_tear_down(void)
{
	nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *path_of(const char *name)
{
	static char paths[4][PATH_SIZE];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_SIZE, "%s/%s", directory, name);
	return path;
}

void write_bytes(const char *name, const char *bytes, size_t size)
{
	FILE *file = fopen(path_of(name), "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(chmod(path_of(name), 0600), 0);
}

void write_file(const char *name, const char *text)
{
	write_bytes(name, text, strlen(text));
}

static void complain(bool warning, const char *text, void *userdata)
{
	size_t used = strlen(complaints), length = strlen(directory);
	FILE *file = fmemopen(complaints + used, sizeof(complaints) - used, "w");
	const char *at;

	(void)userdata;
	ck_assert_ptr_nonnull(file);
	if (warning)
		fputs("warning: ", file);
	for (; (at = strstr(text, directory)); text = at + length + 1)
		fwrite(text, 1, (size_t)(at - text), file);
	fprintf(file, "%s\n", text);
	ck_assert_int_eq(fclose(file), 0);
}

static int any_but_bad(const char *address)
{
	return strcmp(address, "bad") == 0 ? -EINVAL : 0;
}

int load_with(const struct section_kind *kinds, const char *path, const char *const *options,
	char *const *environment, struct config **ret)
{
	const struct config_sources sources = {
		.file = path,
		.overrides = options,
		.environment = environment,
		.check_listen = any_but_bad,
	};

	complaints[0] = '\0';
	return config_load_kinds(kinds, &sources, complain, NULL, ret);
}

int load_from(
	const char *path, const char *const *options, char *const *environment, struct config **ret)
{
	return load_with(config_kinds, path, options, environment, ret);
}

int load(const char *const *options, char *const *environment, struct config **ret)
{
	return load_from(path_of("main.conf"), options, environment, ret);
}

int check_alone(void)
{
	complaints[0] = '\0';
	return config_check_file(path_of("main.conf"), any_but_bad, complain, NULL);
}

struct config *load_text(const char *text)
{
	struct config *config = NULL;

	write_file("main.conf", text);
	ck_assert_msg(load(no_options, token_only, &config) == 0, "%s", complaints);
	ck_assert_str_eq(complaints, "");
	return config;
}

char *print_to_string(void (*print)(FILE *))
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(file);
	print(file);
	ck_assert_int_eq(fclose(file), 0);
	return text;
}

char *printed(const struct config *config)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(file);
	config_print(config, file);
	ck_assert_int_eq(fclose(file), 0);
	return text;
}

char *read_source(const char *name)
{
	const char *source = getenv("srcdir");
	char path[PATH_SIZE], *text = NULL;
	size_t size = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", source ? source : ".", name);
	file = fopen(path, "r");
	ck_assert_msg(file, "%s: %s (is $srcdir the source tree?)", path, strerror(errno));
	ck_assert_int_ge(getdelim(&text, &size, '\0', file), 0);
	fclose(file);
	return text;
}
