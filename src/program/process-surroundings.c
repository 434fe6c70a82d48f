/* SPDX-License-Identifier: BSD-3-Clause */
/* Another process's options and environment, from proc(5). */
#include "program/process-surroundings.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define PATH_SIZE   64
#define PIECE_SIZE  4096
#define CREDENTIALS "CREDENTIALS_DIRECTORY="

/* All of a file, with a NUL after it: its strings end with NULs, and have any other byte.  (The
 * kernel gives no more than it has taken at execve(2).) */
static int read_file(const char *path, char **ret_text, size_t *ret_size)
{
	_cleanup_(fclosep) FILE *file = fopen(path, "re");
	_cleanup_(freep) char *text = NULL;
	size_t size = 0;

	if (!file)
		return -errno;
	while (!feof(file)) {
		char *grown = realloc(text, size + PIECE_SIZE + 1);

		if (!grown)
			return -ENOMEM;
		text = grown;
		size += fread(text + size, 1, PIECE_SIZE, file);
		if (ferror(file))
			return -errno;
	}
	if (size == 0)
		return -ESRCH; /* a kernel's thread, or a process that is no more */
	text[size] = '\0';
	*ret_text = TAKE_PTR(text);
	*ret_size = size;
	return 0;
}

/* Strings one after the other, as an array of pointers to them. */
static char **split(char *text, size_t size, int *ret_n)
{
	size_t n = 0;
	char **strings;

	for (size_t i = 0; i < size; i++)
		n += text[i] == '\0';
	strings = calloc(n + 2, sizeof(strings[0])); /* the last one may lack its NUL */
	if (!strings)
		return NULL;
	n = 0;
	for (char *at = text; at < text + size; at += strlen(at) + 1)
		strings[n++] = at;
	*ret_n = (int)n;
	return strings;
}

static int read_strings(pid_t pid, const char *name, char **ret_text, char ***ret, int *ret_n)
{
	char path[PATH_SIZE];
	size_t size = 0;
	int r;

	snprintf(path, sizeof(path), "/proc/%ld/%s", (long)pid, name);
	r = read_file(path, ret_text, &size);
	if (r < 0)
		return r;
	*ret = split(*ret_text, size, ret_n);
	return *ret ? 0 : -ENOMEM;
}

/* systemd shows credentials to the service's main process only. */
static int redirect_credentials(struct process *process, pid_t pid)
{
	for (char **variable = process->environment; *variable; variable++) {
		if (strncmp(*variable, CREDENTIALS, strlen(CREDENTIALS)) != 0)
			continue;
		if (asprintf(&process->credentials, CREDENTIALS "/proc/%ld/root%s", (long)pid,
			    *variable + strlen(CREDENTIALS)) < 0) {
			process->credentials = NULL;
			return -ENOMEM;
		}
		*variable = process->credentials;
	}
	return 0;
}

/* The name of the file that the process executes, without its directory. */
static bool read_program(const char *process, char *ret, size_t size)
{
	char link[PATH_SIZE], path[PATH_MAX];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/%s/exe", process);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return false;
	path[length] = '\0';
	snprintf(ret, size, "%.*s", (int)size - 1,
		strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	return true;
}

bool process_is_alike(pid_t pid)
{
	char number[16], own[NAME_MAX + 1], other[NAME_MAX + 1];
	size_t length;

	snprintf(number, sizeof(number), "%ld", (long)pid);
	if (!read_program("self", own, sizeof(own)) || !read_program(number, other, sizeof(other)))
		return true;
	/* After an upgrade the file of a running process is gone: "flagsse (deleted)". */
	length = strlen(own);
	return strncmp(own, other, length) == 0 && (other[length] == '\0' || other[length] == ' ');
}

int process_read(pid_t pid, struct process **ret)
{
	_cleanup_(process_freep) struct process *process = calloc(1, sizeof(*process));
	int r, n;

	if (!process)
		return -ENOMEM;
	r = read_strings(pid, "cmdline", &process->argv_text, &process->argv, &process->argc);
	if (r >= 0)
		r = read_strings(
			pid, "environ", &process->environment_text, &process->environment, &n);
	if (r >= 0)
		r = redirect_credentials(process, pid);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(process);
	return 0;
}

struct process *process_free(struct process *process)
{
	if (!process)
		return NULL;
	free(process->argv);
	free(process->environment);
	free(process->argv_text);
	free(process->environment_text);
	free(process->credentials);
	free(process);
	return NULL;
}
