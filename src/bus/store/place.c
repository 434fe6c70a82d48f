/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the store's files are.  If somebody deletes, moves or replaces them, this process still has
 * them, as they are open, but the next one would not find them.  So everything is moved to where
 * the next process will look. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/store/set-aside.h"
#include "bus/store/store-internal.h"

static const char *const table_names[N_STORE_TABLES] = {
	[STORE_UPDATES] = "updates",
	[STORE_OUTBOX] = "outbox",
};

/* Which file PATH with this suffix leads to.  0 or -errno. */
static int identify(const char *path, const char *suffix, struct file_id *ret)
{
	_cleanup_(freep) char *name = store_make_text("%s%s", path, suffix);
	struct stat status;

	if (!name)
		return -ENOMEM;
	if (stat(name, &status) < 0)
		return -errno;
	*ret = (struct file_id){.device = status.st_dev, .inode = status.st_ino};
	return 0;
}

int store_note_place(struct store *store)
{
	int r;

	r = identify(store->path, "", &store->file);
	if (r >= 0)
		r = identify(store->path, "-wal", &store->log);
	return r < 0 ? store_fail_with(store, r, "it is not where it was opened: %s", strerror(-r))
		     : 0;
}

/* Its inode has no other file while it is open, so the number tells.  0: it is there; -ENOENT: it
 * has been deleted; -ESTALE: another is in its place; -errno. */
static int look_for(const char *path, const char *suffix, const struct file_id *id)
{
	struct file_id found = {0};
	int r = identify(path, suffix, &found);

	if (r < 0)
		return r == -ENOTDIR ? -ENOENT : r;
	return found.device == id->device && found.inode == id->inode ? 0 : -ESTALE;
}

static const char *describe(int error)
{
	switch (error) {
	case -ENOENT:
		return "has been deleted or moved";
	case -ESTALE:
		return "has been replaced by another file";
	default:
		return strerror(-error);
	}
}

enum store_place store_find(struct store *store, char *ret_text, size_t size)
{
	int r = look_for(store->path, "", &store->file);

	/* Without memory to look: next time. */
	if (r == -ENOMEM)
		return STORE_IN_PLACE;
	if (r < 0) {
		snprintf(ret_text, size, "%s: %s", store->path, describe(r));
		return STORE_ASTRAY;
	}
	r = look_for(store->path, "-wal", &store->log);
	if (r == 0 || r == -ENOMEM)
		return STORE_IN_PLACE;
	snprintf(ret_text, size, "%s-wal: %s", store->path, describe(r));
	return STORE_WITHOUT_LOG;
}

/* ---- Moving ---- */

/* A log that is left without its database would be played into the next one. */
static void remove_own_log(const struct store *store)
{
	_cleanup_(freep) char *name = store_make_text("%s-wal", store->path);

	if (name && look_for(store->path, "-wal", &store->log) == 0)
		(void)unlink(name);
}

/* No row was ever put into it. */
static bool is_new(struct store *store)
{
	char n[24];

	return store_query(store, "SELECT count(*) FROM sqlite_sequence", n, sizeof(n)) == 0 &&
	       strcmp(n, "0") == 0;
}

/* What has taken the place of the store at `path` makes way for a new one.  To open it first tells
 * that nobody else has it open. */
static int open_new(const char *path, const char *directory, struct store **ret, char **ret_problem)
{
	_cleanup_(freep) char *aside = NULL;
	int r;

	r = store_open(directory, ret, ret_problem);
	if (r < 0 || is_new(*ret))
		return r;
	*ret = store_free(*ret);
	free(TAKE_PTR(*ret_problem));
	r = set_aside_database(path, "replaced", &aside);
	if (r >= 0)
		r = store_open(directory, ret, ret_problem);
	if (r >= 0)
		*ret_problem = store_make_text(
			"%s: what had taken its place is now %s, and a new one is begun.", path,
			aside);
	return r;
}

struct copy {
	struct store *to;
	enum store_table table;
	int error;
};

static void copy_row(const struct update *update, void *userdata)
{
	struct copy *copy = userdata;

	if (copy->error == 0)
		copy->error = store_put_numbered(copy->to, copy->table, update);
}

/* With the largest number ever given, whose row may be gone. */
static int copy_table(struct store *from, struct store *to, enum store_table table)
{
	struct copy copy = {.to = to, .table = table};
	char sql[128], number[24];
	int r;

	snprintf(sql, sizeof(sql), "SELECT max(seq) FROM sqlite_sequence WHERE name = '%s'",
		table_names[table]);
	r = store_query(from, sql, number, sizeof(number));
	if (r < 0 || !*number)
		return r;
	snprintf(sql, sizeof(sql), "INSERT INTO sqlite_sequence (name, seq) VALUES ('%s', %s)",
		table_names[table], number);
	r = store_execute(to, sql);
	if (r == 0)
		r = store_each(from, table, copy_row, &copy);
	return r < 0 ? r : copy.error;
}

static int copy_all(struct store *from, struct store *to)
{
	int r = store_begin(to);

	for (enum store_table table = 0; r == 0 && table < N_STORE_TABLES; table++)
		r = copy_table(from, to, table);
	if (r == 0)
		r = store_commit(to);
	if (r < 0)
		store_rollback(to);
	return r;
}

int store_move(struct store *from, const char *directory, struct store **ret, char **ret_problem)
{
	_cleanup_(store_freep) struct store *to = NULL;
	_cleanup_(freep) char *problem = NULL;
	int r;

	remove_own_log(from);
	r = open_new(from->path, directory, &to, &problem);
	if (r >= 0) {
		r = copy_all(from, to);
		if (r < 0) {
			free(problem);
			problem = store_make_text("%s: what was in the former file cannot be "
						  "written to a new one: %s",
				from->path, to->problem[0] ? to->problem : from->problem);
		}
	}
	*ret_problem = TAKE_PTR(problem);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(to);
	return 0;
}
