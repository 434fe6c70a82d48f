/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration's files.  inih parses them, but silently mistreats lines that are too long (it
 * splits them), names that are too long (it cuts them), and text after a section (it drops it).  So
 * each line is checked before inih gets it; a wrong one is reported, and inih gets a blank line
 * instead. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <string.h>
#include <sys/stat.h>

#include "config/config-internal.h"

/* inih's buffers for the names of a section and a key hold 50 bytes (they are not in its header).
 */
#define INIH_NAME_MAX 49

#define FILE_SIZE_MAX (1024 * 1024)

/* A file that is being read. */
struct reader {
	struct loader *loader;
	const char *path;
	char *data; /* the whole file */
	size_t size;
	size_t offset; /* of the next line in `data` */
	unsigned line;
	bool world_readable;
	bool warned;        /* that it is readable by everyone */
	bool in_section;    /* the first section has begun */
	bool known_section; /* false: its settings cannot be judged */
	char section[INIH_NAME_MAX + 1];
	char *origin; /* "PATH:LINE"; owned */
};

static void complain(struct reader *reader, const char *section, const char *key, const char *what)
{
	loader_complain(reader->loader, false, reader->origin, section, key, "%s", what);
}

/* 0, or -errno; -EFBIG where it is too large to be a configuration. */
static int read_whole(int fd, char **ret_data, size_t *ret_size)
{
	_cleanup_(freep) char *data = malloc(FILE_SIZE_MAX + 1);
	size_t size = 0;

	if (!data)
		return -ENOMEM;
	while (size <= FILE_SIZE_MAX) {
		ssize_t n = read(fd, data + size, FILE_SIZE_MAX + 1 - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) {
			*ret_data = TAKE_PTR(data);
			*ret_size = size;
			return 0;
		}
		size += (size_t)n;
	}
	return -EFBIG;
}

/* Cuts the next line out of the data, without white space around it.  NULL at the end.  The line is
 * not yet a string: it may hold NUL bytes within its `ret_length`. */
static char *next_line(struct reader *reader, size_t *ret_length)
{
	char *start = reader->data + reader->offset;
	size_t rest = reader->size - reader->offset, length;
	char *newline;

	if (rest == 0)
		return NULL;
	newline = memchr(start, '\n', rest);
	length = newline ? (size_t)(newline - start) : rest;
	reader->offset += newline ? length + 1 : length;
	reader->line++;

	while (length > 0 && isspace((unsigned char)start[length - 1]))
		length--;
	while (length > 0 && isspace((unsigned char)*start)) {
		start++;
		length--;
	}
	*ret_length = length;
	return start;
}

static bool has_control_character(const char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return true;
	return false;
}

/* A line that begins with '['.  A comment behind it is cut off, so that the line is not too long.
 */
static bool check_section_line(struct reader *reader, char *line)
{
	char *name = line + 1, *end = strchr(line, ']');
	const char *rest;
	size_t length;

	reader->in_section = true;
	reader->known_section = false;
	*reader->section = '\0';
	if (!end) {
		complain(reader, NULL, NULL, "a section without its ']'; allowed: [SECTION]");
		return false;
	}
	length = (size_t)(end - name);
	rest = end + 1 + strspn(end + 1, " \t");
	if (*rest && *rest != ';' && *rest != '#') {
		complain(reader, NULL, NULL, "text after the ']' of a section; allowed: [SECTION]");
		return false;
	}
	if (length > INIH_NAME_MAX) {
		complain(reader, NULL, NULL,
			"the name of the section is too long; allowed: 49 characters");
		return false;
	}
	memcpy(reader->section, name, length);
	reader->section[length] = '\0';
	end[1] = '\0';
	reader->known_section =
		loader_begin_section(reader->loader, reader->origin, reader->section);
	return reader->known_section;
}

static bool is_list(const struct reader *reader, const char *key)
{
	const struct setting *setting =
		setting_find(reader->loader->config->kinds, reader->section, key);

	return setting && setting_is_list(setting);
}

/* A line that should be "key = value".  The text is not shown: a line that is not understood may be
 * a piece of a secret. */
static bool check_key_line(struct reader *reader, const char *line, size_t max_length)
{
	static const char key_characters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t key_length = strspn(line, key_characters);
	const char *separator = line + key_length + strspn(line + key_length, " \t");
	char key[INIH_NAME_MAX + 1];
	char what[192];

	if (key_length == 0 || (*separator != '=' && *separator != ':')) {
		complain(reader, NULL, NULL,
			"not understood; allowed: [SECTION], KEY = VALUE, or a comment after #");
		return false;
	}
	if (key_length > INIH_NAME_MAX) {
		complain(reader, NULL, NULL, "the key is too long; allowed: 49 characters");
		return false;
	}
	memcpy(key, line, key_length);
	key[key_length] = '\0';
	if (strlen(line) > max_length) {
		snprintf(what, sizeof(what),
			"the line is too long; allowed: %zu characters (%s and options have no "
			"such limit)",
			max_length,
			is_list(reader, key) ? "several lines of this key add up; the environment"
					     : "the environment");
		complain(reader, *reader->section ? reader->section : NULL, key, what);
		return false;
	}
	if (!reader->in_section) {
		complain(
			reader, NULL, key, "stands before any section; allowed: after a [SECTION]");
		return false;
	}
	return reader->known_section;
}

/* Whether inih may see the line.  `line` is a string unless it holds NUL bytes. */
static bool check_line(struct reader *reader, char *line, size_t length, size_t max_length)
{
	if (has_control_character(line, length)) {
		complain(reader, NULL, NULL, "a control character or NUL byte; allowed: text");
		return false;
	}
	if (*line == '\0' || *line == '#' || *line == ';')
		return false; /* nothing in it for inih */
	if (*line == '[')
		return check_section_line(reader, line);
	return check_key_line(reader, line, max_length);
}

/* inih's fgets(): a line at a time into `buffer`. */
static char *read_line(char *buffer, int size, void *stream)
{
	struct reader *reader = stream;
	size_t length;
	char *line = next_line(reader, &length);

	*buffer = '\0';
	if (!line || reader->loader->error == -ENOMEM)
		return NULL;
	free(reader->origin);
	if (asprintf(&reader->origin, "%s:%u", reader->path, reader->line) < 0) {
		reader->origin = NULL;
		reader->loader->error = -ENOMEM;
		return NULL;
	}
	line[length] = '\0'; /* white space, the newline, or the byte reserved at the end */
	if (check_line(reader, line, length, (size_t)size - 1))
		memcpy(buffer, line, strlen(line) + 1);
	return buffer;
}

/* inih's handler: one setting. */
static int handle(void *userdata, const char *section, const char *key, const char *value)
{
	struct reader *reader = userdata;
	const struct setting *setting =
		loader_assign(reader->loader, reader->origin, section, key, value);

	if (setting && value_is_secret(setting, value) && reader->world_readable &&
		!reader->warned) {
		loader_complain(reader->loader, true, reader->origin, section, key,
			"everyone can read this secret; run: chmod o-rwx %s (flagsse must still be "
			"able to read it, by its group)",
			reader->path);
		reader->warned = true;
	}
	return 1; /* what was wrong has been said */
}

static void parse(struct reader *reader)
{
	static const char byte_order_mark[] = "\xef\xbb\xbf";
	int r;

	if (reader->size >= 3 && memcmp(reader->data, byte_order_mark, 3) == 0)
		reader->offset = 3;
	r = ini_parse_stream(read_line, reader, handle, reader);
	if (r > 0)
		loader_complain(reader->loader, false, reader->path, NULL, NULL,
			"line %d was not understood", r);
	else if (r < 0)
		reader->loader->error = -ENOMEM;
}

static void complain_of_file(struct loader *loader, const char *path, int error)
{
	if (error == -ENOMEM)
		loader->error = -ENOMEM;
	else
		loader_complain(
			loader, false, path, NULL, NULL, "cannot be read: %s", strerror(-error));
}

void config_read_file(struct loader *loader, const char *path, bool must_exist)
{
	struct reader reader = {.loader = loader, .path = path};
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat status;
	int r;

	if (fd < 0) {
		if (errno != ENOENT || must_exist)
			complain_of_file(loader, path, -errno);
		return;
	}
	if (fstat(fd, &status) < 0) {
		complain_of_file(loader, path, -errno);
		return;
	}
	r = read_whole(fd, &reader.data, &reader.size);
	if (r < 0) {
		complain_of_file(loader, path, r);
		return;
	}
	/* A file that is checked alone may be a copy in a temporary directory; its mode says
	 * nothing. */
	reader.world_readable =
		!loader->alone && S_ISREG(status.st_mode) && (status.st_mode & S_IROTH);
	loader->file = path;
	parse(&reader);
	loader->file = NULL;
	explicit_bzero(reader.data, reader.size);
	free(reader.data);
	free(reader.origin);
}

static int is_configuration(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > 5 &&
	       strcmp(entry->d_name + length - 5, ".conf") == 0;
}

/* By bytes: the order must not depend on the locale, as with alphasort(). */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

void config_read_directory(struct loader *loader, const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, is_configuration, compare_names);

	if (n < 0) {
		if (errno != ENOENT)
			complain_of_file(loader, path, -errno);
		return;
	}
	for (int i = 0; i < n; i++) {
		_cleanup_(freep) char *file = NULL;

		if (asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0) {
			file = NULL;
			loader->error = -ENOMEM;
		} else {
			config_read_file(loader, file, true);
		}
		free(entries[i]);
	}
	free(entries);
}
