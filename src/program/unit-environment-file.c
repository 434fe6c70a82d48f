/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of variables, as EnvironmentFile= of systemd has them. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "program/unit-surroundings.h"

#define BLANKS " \t\r"

int env_set(char ***variables, const char *entry)
{
	size_t name = strcspn(entry, "=") + 1, n = 0;
	char *copy = strdup(entry), **grown;

	if (!copy)
		return -ENOMEM;
	for (; *variables && (*variables)[n]; n++)
		if (strncmp((*variables)[n], entry, name) == 0) {
			free((*variables)[n]);
			(*variables)[n] = copy;
			return 0;
		}
	grown = reallocarray(*variables, n + 2, sizeof(grown[0]));
	if (!grown) {
		free(copy);
		return -ENOMEM;
	}
	grown[n] = copy;
	grown[n + 1] = NULL;
	*variables = grown;
	return 0;
}

/* Takes quotes and backslashes out of a value, in place. */
static void unquote(char *value)
{
	char *to = value, *end = value, quote = '\0';

	for (char *at = value; *at; at++) {
		if (quote == '\0' && (*at == '"' || *at == '\''))
			quote = *at;
		else if (quote != '\0' && *at == quote)
			quote = '\0';
		else if (*at == '\\' && quote != '\'' && at[1])
			*to++ = *++at;
		else {
			*to++ = *at;
			if (quote == '\0' && strchr(BLANKS, *at))
				continue;
		}
		end = to;
	}
	*end = '\0'; /* blanks at the end are no part of the value */
}

/* A line without a name is no variable; systemd ignores it, too. */
static int add_line(char *line, char ***variables)
{
	char *equals;

	line += strspn(line, BLANKS);
	equals = strchr(line, '=');
	if (*line == '#' || *line == ';' || !equals || equals == line)
		return 0;
	memmove(equals + 1, equals + 1 + strspn(equals + 1, BLANKS),
		strlen(equals + 1 + strspn(equals + 1, BLANKS)) + 1);
	unquote(equals + 1);
	return env_set(variables, line);
}

/* Appends the line; true: it goes on in the next one. */
static int append(char **text, const char *line, bool *ret_goes_on)
{
	size_t length = strcspn(line, "\n"), before = *text ? strlen(*text) : 0;
	char *grown;

	*ret_goes_on = length > 0 && line[length - 1] == '\\';
	length -= *ret_goes_on;
	grown = realloc(*text, before + length + 1);
	if (!grown)
		return -ENOMEM;
	memcpy(grown + before, line, length);
	grown[before + length] = '\0';
	*text = grown;
	return 0;
}

int env_file_read(const char *path, char ***variables)
{
	_cleanup_(fclosep) FILE *file = fopen(path, "re");
	_cleanup_(freep) char *line = NULL;
	_cleanup_(freep) char *text = NULL;
	size_t size = 0;
	bool goes_on;
	int r = 0;

	if (!file)
		return -errno;
	while (r >= 0 && getline(&line, &size, file) >= 0) {
		r = append(&text, line, &goes_on);
		if (r < 0 || goes_on)
			continue;
		r = add_line(text, variables);
		*text = '\0';
	}
	if (r >= 0 && text && *text)
		r = add_line(text, variables);
	return ferror(file) ? -EIO : r;
}
