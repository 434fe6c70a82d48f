/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration that runs, shown in /proc/PID/fd. */
#include "config/running.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/memfd.h"

#define NAME "flagsse-running"

/* As proc(5) has it. */
#define LINK "/memfd:" NAME " (deleted)"

#define PATH_SIZE  64
#define PIECE_SIZE 4096

/* A reload replaces the file: if it is gone by the time it is opened, look for it again. */
#define ATTEMPTS 3

/* ---- Showing ---- */

int running_show(const struct config *config, int *fd)
{
	_cleanup_(freep) char *text = NULL;
	size_t size = 0;
	FILE *memory;

	if (*fd >= 0)
		close(TAKE_FD(*fd));
	memory = open_memstream(&text, &size);
	if (!memory)
		return -errno;
	config_print(config, memory);
	if (fclose(memory) != 0)
		return -ENOMEM;
	return memfd_make(NAME, text, size, fd);
}

/* ---- Reading ---- */

static bool is_ours(int directory, const char *name)
{
	char link[sizeof(LINK) + 1];
	ssize_t length = readlinkat(directory, name, link, sizeof(link));

	return length == (ssize_t)strlen(LINK) && memcmp(link, LINK, strlen(LINK)) == 0;
}

/* Opens a descriptor of the process, by its number.  0 and *ret; -ENODATA: it is another file, by
 * now at least; -errno. */
static int open_if_ours(int directory, const char *name, int *ret)
{
	_cleanup_(closep) int fd = -1;
	char path[PATH_SIZE];

	if (!is_ours(directory, name))
		return -ENODATA;
	fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? -ENODATA : -errno;
	/* The number may have become that of another file before it was opened. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!is_ours(AT_FDCWD, path))
		return -ENODATA;
	*ret = TAKE_FD(fd);
	return 0;
}

/* 0 and *ret; -ENODATA: there is none; -errno. */
static int find(pid_t pid, int *ret)
{
	char path[PATH_SIZE];
	const struct dirent *entry;
	int r = -ENODATA;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%ld/fd", (long)pid);
	directory = opendir(path);
	if (!directory)
		return errno == ENOENT ? -ESRCH : -errno;
	while (r == -ENODATA && (entry = readdir(directory)))
		r = open_if_ours(dirfd(directory), entry->d_name, ret);
	closedir(directory);
	return r;
}

static int copy(int fd, FILE *file)
{
	char piece[PIECE_SIZE];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, piece, sizeof(piece), at)) > 0) {
		if (fwrite(piece, 1, (size_t)n, file) != (size_t)n)
			return -EIO;
		at += n;
	}
	return n < 0 ? -errno : 0;
}

int running_print(pid_t pid, FILE *file)
{
	_cleanup_(closep) int fd = -1;
	int r = -ENODATA;

	for (unsigned i = 0; r == -ENODATA && i < ATTEMPTS; i++)
		r = find(pid, &fd);
	return r < 0 ? r : copy(fd, file);
}
