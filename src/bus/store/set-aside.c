/* SPDX-License-Identifier: BSD-3-Clause */
/* Moves a database out of the way, under a name that tells why and when. */
#include "bus/store/set-aside.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"

/* What is named after the database goes with it: a journal left behind would be played into the
 * next. */
static int rename_with(const char *from, const char *to, const char *suffix)
{
	_cleanup_(freep) char *old_name = NULL, *new_name = NULL;

	if (asprintf(&old_name, "%s%s", from, suffix) < 0) {
		old_name = NULL;
		return -ENOMEM;
	}
	if (asprintf(&new_name, "%s%s", to, suffix) < 0) {
		new_name = NULL;
		return -ENOMEM;
	}
	return rename(old_name, new_name) < 0 && errno != ENOENT ? -errno : 0;
}

/* "PATH.WORD-20230112T180642Z", or with a number after it, if that exists.  NULL: out of memory. */
static char *choose_name(const char *path, const char *word)
{
	char stamp[32], number[16] = "";
	time_t now = time(NULL);
	struct stat status;
	char *name;
	struct tm tm;

	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
	for (int i = 1;; i++) {
		if (asprintf(&name, "%s.%s-%s%s", path, word, stamp, number) < 0)
			return NULL;
		if (lstat(name, &status) < 0)
			return name;
		free(name);
		snprintf(number, sizeof(number), ".%d", i);
	}
}

int set_aside_database(const char *path, const char *word, char **ret_new_path)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
	_cleanup_(freep) char *new_path = choose_name(path, word);
	int r = 0;

	if (!new_path)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		r = rename_with(path, new_path, suffixes[i]);
	if (r < 0)
		return r;

	*ret_new_path = TAKE_PTR(new_path);
	return 0;
}
