/* SPDX-License-Identifier: BSD-3-Clause */
/* Finds out without SQLite whether the store could be opened.  Another process has it open, and
 * even a look at it by SQLite would wait for that process's lock. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bus/store/store-internal.h"

/* https://www.sqlite.org/fileformat.html, sections 1.3 and 1.5. */
#define MAGIC             "SQLite format 3"
#define HEADER_SIZE       100
#define AT_USER_VERSION   60
#define AT_APPLICATION_ID 68
#define LOCK_BYTES        0x40000000 /* where SQLite's locks are */
#define N_LOCK_BYTES      512

/* A new store and its log have less. */
#define SPACE_MIN (256 * 1024)

/* What is found out about the file. */
enum finding {
	FINDING_GOOD,
	FINDING_NONE,    /* a new one will be made */
	FINDING_NEWER,   /* this one will be set aside, and a new one made */
	FINDING_CORRUPT, /* likewise */
};

/* Gives `error`. */
static int fail(char **ret_problem, int error, const char *format, ...) _printf_(3, 4);

static int fail(char **ret_problem, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_problem, format, arguments) < 0)
		*ret_problem = NULL;
	va_end(arguments);
	return error;
}

static uint32_t number_at(const char *header, size_t at)
{
	uint32_t number;

	memcpy(&number, header + at, sizeof(number));
	return be32toh(number);
}

/* The header's page may be in the log still, but only while the file is new: then it has 0s. */
static enum finding judge_header(const char *header, size_t size)
{
	uint32_t application, format;

	if (size == 0)
		return FINDING_NONE;
	if (size < HEADER_SIZE || memcmp(header, MAGIC, sizeof(MAGIC)) != 0)
		return FINDING_CORRUPT;
	application = number_at(header, AT_APPLICATION_ID);
	format = number_at(header, AT_USER_VERSION);
	if (application == 0 && format == 0)
		return FINDING_GOOD;
	if (application != STORE_APPLICATION_ID)
		return FINDING_CORRUPT;
	return format > (uint32_t)store_format ? FINDING_NEWER : FINDING_GOOD;
}

static bool is_locked(int fd, pid_t owner)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = LOCK_BYTES,
		.l_len = N_LOCK_BYTES,
	};

	return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid != owner;
}

/* 0 and *ret, or -errno. */
static int check_file(const char *path, pid_t owner, enum finding *ret, char **ret_problem)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char header[HEADER_SIZE];
	ssize_t n = -1;

	if (fd < 0 && errno == ENOENT) {
		*ret = FINDING_NONE;
		return 0;
	}
	if (fd < 0 || access(path, W_OK) < 0 || (n = pread(fd, header, sizeof(header), 0)) < 0)
		return fail(ret_problem, -errno,
			"%s: it cannot be read and written: %s. Make it this user's.", path,
			strerror(errno));
	if (is_locked(fd, owner))
		return fail(ret_problem, -EBUSY, "%s: another process has it open.", path);
	*ret = judge_header(header, (size_t)n);
	return 0;
}

/* That files can be made in it; it itself is made, if need be. */
static int check_directory(const char *directory, char **ret_problem)
{
	_cleanup_(freep) char *parent = NULL;
	char *slash;

	if (access(directory, W_OK | X_OK) == 0)
		return 0;
	if (errno == ENOENT && (parent = strdup(directory)) && (slash = strrchr(parent, '/')) &&
		slash > parent) {
		*slash = '\0';
		if (access(parent, W_OK | X_OK) == 0)
			return 0;
	}
	return fail(ret_problem, -errno,
		"%s: no file can be made in it: %s. Make it this user's, and writable.", directory,
		strerror(errno));
}

static int check_space(const char *directory, char **ret_problem)
{
	struct statvfs status;

	/* A directory that is yet to be made: its parent's file system is not worth a look. */
	if (statvfs(directory, &status) < 0 ||
		(uint64_t)status.f_bavail * status.f_frsize >= SPACE_MIN)
		return 0;
	return fail(ret_problem, -ENOSPC,
		"%s: no space is left for a new store. Free some on its file system.", directory);
}

int store_check(const char *directory, pid_t owner, char **ret_problem)
{
	_cleanup_(freep) char *path = NULL;
	enum finding finding = FINDING_NONE;
	int r;

	*ret_problem = NULL;
	if (asprintf(&path, "%s/" STORE_FILE_NAME, directory) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	r = check_directory(directory, ret_problem);
	if (r == 0)
		r = check_file(path, owner, &finding, ret_problem);
	if (r == 0 && finding != FINDING_GOOD)
		r = check_space(directory, ret_problem);
	if (r < 0 || finding == FINDING_GOOD || finding == FINDING_NONE)
		return r;
	return fail(ret_problem, 0, "%s: %s. It will be set aside, and a new one begun.", path,
		finding == FINDING_NEWER ? "written by a newer version" : "corrupt");
}

char *store_directory_problem(const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_(freep) char *directory = slash ? strndup(path, (size_t)(slash - path)) : NULL;
	struct stat status;

	if (!directory)
		return NULL;
	if (stat(directory, &status) < 0 && errno == ENOENT)
		return store_make_text("%s: the directory does not exist. Make it, for the user of "
				       "number %u, or set service.state_dir.",
			path, geteuid());
	if (access(directory, R_OK | W_OK | X_OK) < 0 && errno == EACCES)
		return store_make_text("%s: the user of number %u may not write to this directory. "
				       "Run chown, or set service.state_dir.",
			path, geteuid());
	return NULL;
}
