/* SPDX-License-Identifier: BSD-3-Clause */
/* What a unit's process would be given, asked from systemd. */
#include "program/unit-surroundings.h"

#include <errno.h>
#include <glob.h>
#include <stdint.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "base/clock.h"

#define ANSWER_TIMEOUT_US (5 * US_PER_S)

#define SYSTEMD           "org.freedesktop.systemd1"
#define UNITS             "/org/freedesktop/systemd1/unit"
#define UNIT_INTERFACE    SYSTEMD ".Unit"
#define SERVICE_INTERFACE SYSTEMD ".Service"

#define CREDENTIAL "token"

/* One property, its variant opened. */
static int get(sd_bus *bus, const char *path, const char *interface, const char *name,
	const char *type, sd_bus_message **ret)
{
	return sd_bus_get_property(bus, SYSTEMD, path, interface, name, NULL, ret, type);
}

static int check_is_there(sd_bus *bus, const char *path)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *state;
	int r = get(bus, path, UNIT_INTERFACE, "LoadState", "s", &reply);

	if (r >= 0)
		r = sd_bus_message_read(reply, "s", &state);
	if (r < 0)
		return r;
	return strcmp(state, "loaded") == 0 ? 0 : -ENOENT;
}

/* The first command's words. */
static int read_command(sd_bus *bus, const char *path, struct unit *unit)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *program;
	int r = get(bus, path, SERVICE_INTERFACE, "ExecStart", "a(sasbttttuii)", &reply);

	if (r < 0 || (r = sd_bus_message_enter_container(reply, 'a', "(sasbttttuii)")) < 0)
		return r;
	r = sd_bus_message_enter_container(reply, 'r', "sasbttttuii");
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	r = sd_bus_message_read(reply, "s", &program);
	if (r >= 0)
		r = sd_bus_message_read_strv(reply, &unit->argv);
	while (r >= 0 && unit->argv && unit->argv[unit->argc])
		unit->argc++;
	return r;
}

static int read_variables(sd_bus *bus, const char *path, struct unit *unit)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *entry;
	int r = get(bus, path, SERVICE_INTERFACE, "Environment", "as", &reply);

	if (r >= 0)
		r = sd_bus_message_enter_container(reply, 'a', "s");
	while (r >= 0 && (r = sd_bus_message_read(reply, "s", &entry)) > 0)
		r = env_set(&unit->environment, entry);
	return r;
}

/* The name may be a pattern.  `optional`: it was written with a '-' before it. */
static int read_files(const char *pattern, int optional, struct unit *unit)
{
	glob_t found;
	int r = glob(pattern, 0, NULL, &found);

	if (r == GLOB_NOMATCH)
		return optional ? 0 : -ENOENT;
	if (r != 0)
		return -EIO;
	for (size_t i = 0; i < found.gl_pathc && r >= 0; i++)
		r = env_file_read(found.gl_pathv[i], &unit->environment);
	globfree(&found);
	return optional && r != -ENOMEM ? 0 : r;
}

static int read_environment_files(sd_bus *bus, const char *path, struct unit *unit)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *pattern;
	int optional, r = get(bus, path, SERVICE_INTERFACE, "EnvironmentFiles", "a(sb)", &reply);

	if (r >= 0)
		r = sd_bus_message_enter_container(reply, 'a', "(sb)");
	while (r >= 0 && (r = sd_bus_message_read(reply, "(sb)", &pattern, &optional)) > 0)
		r = read_files(pattern, optional, unit);
	return r;
}

static int read_credential(sd_bus *bus, const char *path, struct unit *unit)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *name, *source;
	int r = get(bus, path, SERVICE_INTERFACE, "LoadCredential", "a(ss)", &reply);

	if (r >= 0)
		r = sd_bus_message_enter_container(reply, 'a', "(ss)");
	while (r >= 0 && (r = sd_bus_message_read(reply, "(ss)", &name, &source)) > 0)
		if (strcmp(name, CREDENTIAL) == 0 && source[0] == '/') {
			free(unit->token);
			unit->token = strdup(source);
			if (!unit->token)
				return -ENOMEM;
		}
	return r;
}

int unit_read(const char *name, struct unit **ret)
{
	_cleanup_(unit_freep) struct unit *unit = calloc(1, sizeof(*unit));
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	_cleanup_(freep) char *path = NULL;
	int r;

	if (!unit || !(unit->environment = calloc(1, sizeof(char *))))
		return -ENOMEM;
	if ((r = sd_bus_path_encode(UNITS, name, &path)) < 0 ||
		(r = sd_bus_open_system(&bus)) < 0 ||
		(r = sd_bus_set_method_call_timeout(bus, ANSWER_TIMEOUT_US)) < 0 ||
		(r = check_is_there(bus, path)) < 0 || (r = read_command(bus, path, unit)) < 0 ||
		(r = read_variables(bus, path, unit)) < 0 ||
		(r = read_environment_files(bus, path, unit)) < 0 ||
		(r = read_credential(bus, path, unit)) < 0)
		return r;
	*ret = TAKE_PTR(unit);
	return 0;
}

static void free_strings(char **strings)
{
	for (char **string = strings; string && *string; string++)
		free(*string);
	free(strings);
}

struct unit *unit_free(struct unit *unit)
{
	if (!unit)
		return NULL;
	free_strings(unit->argv);
	free_strings(unit->environment);
	free(unit->token);
	free(unit);
	return NULL;
}
