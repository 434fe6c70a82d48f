/* SPDX-License-Identifier: BSD-3-Clause */
/* The store: one SQLite file, locked for as long as it is open, every commit synced to the disk. */
#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <string.h>

#include "bus/set-aside.h"
#include "bus/store.h"

#define FILE_NAME       "flagsse.db"
#define FORMAT          1          /* user_version; to be raised with every change of the schema */
#define APPLICATION_ID  1179416389 /* "FLSE" */
#define TEXT_OF(value)  TEXT_OF_(value)
#define TEXT_OF_(value) #value

/* A process that is about to end may still have the file. */
#define BUSY_TIMEOUT_MS 1000

/* AUTOINCREMENT keeps the largest number ever given in the file, also when its row is gone. */
static const char schema[] =
	"CREATE TABLE updates ("
	" sequence INTEGER PRIMARY KEY AUTOINCREMENT,"
	" key TEXT NOT NULL UNIQUE CHECK (length(key) BETWEEN 1 AND 100"
	"  AND key NOT GLOB '*[^A-Za-z0-9_-]*'),"
	" time_us INTEGER NOT NULL,"
	" stored_us INTEGER NOT NULL);"
	"PRAGMA application_id = " TEXT_OF(APPLICATION_ID) ";"
							   "PRAGMA user_version = " TEXT_OF(FORMAT);

enum statement {
	STATEMENT_BEGIN,
	STATEMENT_COMMIT,
	STATEMENT_GET,
	STATEMENT_PUT,
	STATEMENT_EXPIRE,
	STATEMENT_EACH,
	N_STATEMENTS,
};

static const char *const statement_texts[N_STATEMENTS] = {
	[STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
	[STATEMENT_COMMIT] = "COMMIT",
	[STATEMENT_GET] = "SELECT sequence, time_us, stored_us FROM updates WHERE key = ?1",
	[STATEMENT_PUT] = "INSERT OR REPLACE INTO updates (key, time_us, stored_us)"
			  " VALUES (?1, ?2, ?3)",
	[STATEMENT_EXPIRE] = "DELETE FROM updates WHERE stored_us < ?1",
	[STATEMENT_EACH] = "SELECT sequence, time_us, stored_us, key FROM updates"
			   " ORDER BY sequence",
};

struct store {
	sqlite3 *database;
	sqlite3_stmt *statements[N_STATEMENTS];
	char problem[256];
};

/* ---- Failures ---- */

/* NULL where memory is short. */
static char *make_text(const char *format, ...) _printf_(1, 2);

static char *make_text(const char *format, ...)
{
	va_list arguments;
	char *text;
	int n;

	va_start(arguments, format);
	n = vasprintf(&text, format, arguments);
	va_end(arguments);
	return n < 0 ? NULL : text;
}

/* For SQLITE_IOERR and SQLITE_CANTOPEN, whose reason is a system call's. */
static int error_of_system(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return -ENOSPC;
	case ENOENT:
	case ENOTDIR:
	case EACCES:
	case EPERM:
	case EROFS:
	case EMFILE:
	case ENFILE:
		return -error;
	default:
		return -EIO;
	}
}

static int error_of(int code, int system_error)
{
	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		return error_of_system(system_error);
	default:
		return -EIO;
	}
}

/* Keeps SQLite's text, which its next call overwrites, and gives the errno for `code`.  Of the
 * system call that failed SQLite keeps the errno, but not within COMMIT; so whoever calls this has
 * set errno to 0 before. */
static int fail(struct store *store, int code)
{
	int last_error = errno;
	int system_error = sqlite3_system_errno(store->database);
	bool is_system = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN;

	if (system_error == 0)
		system_error = last_error;
	if (is_system && system_error != 0)
		snprintf(store->problem, sizeof(store->problem), "%s (%s)",
			sqlite3_errmsg(store->database), strerror(system_error));
	else
		snprintf(store->problem, sizeof(store->problem), "%s",
			sqlite3_errmsg(store->database));
	return error_of(code, system_error);
}

static int fail_with(struct store *store, int error, const char *format, ...) _printf_(3, 4);

static int fail_with(struct store *store, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(store->problem, sizeof(store->problem), format, arguments);
	va_end(arguments);
	return error;
}

const char *store_problem(struct store *store)
{
	return store->problem;
}

/* ---- Opening ---- */

static int execute(struct store *store, const char *sql)
{
	int code;

	errno = 0;
	code = sqlite3_exec(store->database, sql, NULL, NULL, NULL);
	return code == SQLITE_OK ? 0 : fail(store, code);
}

/* The first column of the first row. */
static int query_text(struct store *store, const char *sql, char *ret, size_t size)
{
	sqlite3_stmt *statement;
	const char *text;
	int code, r = 0;

	errno = 0;
	code = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL);
	if (code != SQLITE_OK)
		return fail(store, code);

	code = sqlite3_step(statement);
	if (code != SQLITE_ROW)
		r = fail(store, code);
	else {
		text = (const char *)sqlite3_column_text(statement, 0);
		snprintf(ret, size, "%s", text ? text : "");
	}

	sqlite3_finalize(statement);
	return r;
}

/* Takes the lock, which the connection then keeps: that is what the exclusive mode means. */
static int lock_database(struct store *store)
{
	char mode[16];
	int r;

	if (sqlite3_db_readonly(store->database, "main") == 1)
		return fail_with(store, -EROFS, "it can be read, but not written");

	r = execute(store, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL");
	if (r < 0)
		return r;
	r = query_text(store, "PRAGMA journal_mode = WAL", mode, sizeof(mode));
	if (r < 0)
		return r;
	if (strcmp(mode, "wal") != 0)
		return fail_with(store, -EIO, "its file system does not allow a write-ahead log");
	return execute(store, "BEGIN IMMEDIATE");
}

/* 0: ours, or new and empty.  -EBADMSG: not ours.  -ENOTSUP: a newer version's. */
static int check_format(struct store *store, bool *ret_is_empty)
{
	long long application, format, n_objects;
	char text[64];
	int r;

	r = query_text(store,
		"SELECT application_id || ' ' || user_version ||"
		" ' ' || (SELECT count(*) FROM sqlite_master)"
		" FROM pragma_application_id, pragma_user_version",
		text, sizeof(text));
	if (r < 0)
		return r;
	if (sscanf(text, "%lld %lld %lld", &application, &format, &n_objects) != 3)
		return fail_with(store, -EBADMSG, "its header reads \"%s\"", text);

	*ret_is_empty = application == 0 && format == 0 && n_objects == 0;
	if (*ret_is_empty)
		return 0;
	if (application != APPLICATION_ID)
		return fail_with(store, -EBADMSG, "the database of another program");
	if (format > FORMAT)
		return fail_with(
			store, -ENOTSUP, "format %lld, this version knows %d", format, FORMAT);
	return 0;
}

/* Every page of tables and indexes, and the constraints. */
static int check_integrity(struct store *store)
{
	char text[sizeof(store->problem)];
	int r;

	r = query_text(store, "PRAGMA integrity_check(1)", text, sizeof(text));
	if (r < 0)
		return r;
	if (strcmp(text, "ok") != 0)
		return fail_with(store, -EBADMSG, "%s", text);
	return 0;
}

static int prepare_statements(struct store *store)
{
	for (int i = 0; i < N_STATEMENTS; i++) {
		int code;

		errno = 0;
		code = sqlite3_prepare_v3(store->database, statement_texts[i], -1,
			SQLITE_PREPARE_PERSISTENT, &store->statements[i], NULL);

		/* The general error: a table or a column is missing. */
		if (code == SQLITE_ERROR) {
			fail(store, code);
			return -EBADMSG;
		}
		if (code != SQLITE_OK)
			return fail(store, code);
	}
	return 0;
}

/* Moves what is in the write-ahead log into the database, so that the log begins again in the space
 * that it has: where the disk is full, updates of environments that are known still fit.  SQLite
 * does it only after many commits. */
static void empty_log(struct store *store)
{
	sqlite3_wal_checkpoint_v2(store->database, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

static int open_database(struct store *store, const char *path)
{
	bool is_empty = false;
	int code, r;

	errno = 0;
	/* Without SQLite's own locks: one thread at a time uses the store. */
	code = sqlite3_open_v2(path, &store->database,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code != SQLITE_OK)
		return fail(store, code);
	sqlite3_extended_result_codes(store->database, 1);
	sqlite3_busy_timeout(store->database, BUSY_TIMEOUT_MS);

	r = lock_database(store);
	if (r < 0)
		return r;
	r = check_format(store, &is_empty);
	if (r < 0)
		return r;
	r = is_empty ? execute(store, schema) : check_integrity(store);
	if (r < 0)
		return r;
	r = execute(store, "COMMIT");
	if (r < 0)
		return r;
	empty_log(store);
	return prepare_statements(store);
}

/* ---- Opening, and beginning anew ---- */

static char *describe_failure(const char *path, const char *problem, int error)
{
	switch (error) {
	case -EBUSY:
		return make_text("%s: another process has it open. Stop the other flagsse, or give "
				 "this one a state directory of its own.",
			path);
	case -ENOSPC:
		return make_text(
			"%s: no space is left (%s). Free some on its file system.", path, problem);
	case -EROFS:
		return make_text(
			"%s: read-only (%s). Make it and its directory writable.", path, problem);
	default:
		return make_text("%s: cannot be opened: %s. Check that the directory exists and "
				 "that this user may write to it.",
			path, problem);
	}
}

static int new_store(const char *path, struct store **ret, char **ret_problem)
{
	_cleanup_(store_freep) struct store *store = NULL;
	int r;

	store = calloc(1, sizeof(*store));
	if (!store)
		return -ENOMEM;

	r = open_database(store, path);
	if (r < 0) {
		*ret_problem = r == -EBADMSG || r == -ENOTSUP
				       ? make_text("%s", store->problem)
				       : describe_failure(path, store->problem, r);
		return r;
	}

	*ret = TAKE_PTR(store);
	return 0;
}

/* In place of one that can't be used, which `error` and `problem` describe. */
static int begin_anew(
	const char *path, int error, const char *problem, struct store **ret, char **ret_problem)
{
	_cleanup_(freep) char *old_path = NULL;
	int r;

	r = set_aside_database(path, error == -ENOTSUP ? "newer" : "corrupt", &old_path);
	if (r < 0) {
		*ret_problem = make_text("%s: %s; it cannot be renamed: %s. Move it away by hand.",
			path, problem, strerror(-r));
		return r;
	}

	r = new_store(path, ret, ret_problem);
	if (r == 0)
		*ret_problem = make_text("%s: %s (%s). It is now %s, and a new one is begun: what "
					 "was published before is not known any more.",
			path, error == -ENOTSUP ? "written by a newer version" : "corrupt", problem,
			old_path);
	return r;
}

int store_open(const char *directory, struct store **ret, char **ret_problem)
{
	_cleanup_(freep) char *path = NULL, *problem = NULL, *reason = NULL;
	int r;

	path = make_text("%s/" FILE_NAME, directory);
	if (!path)
		return -ENOMEM;

	r = new_store(path, ret, &problem);
	if (r == -EBADMSG || r == -ENOTSUP) {
		reason = TAKE_PTR(problem);
		r = begin_anew(path, r, reason ? reason : "", ret, &problem);
	}
	if (ret_problem)
		*ret_problem = TAKE_PTR(problem);
	return r;
}

struct store *store_free(struct store *store)
{
	if (!store)
		return NULL;

	for (int i = 0; i < N_STATEMENTS; i++)
		sqlite3_finalize(store->statements[i]);
	sqlite3_close(store->database);
	free(store);
	return NULL;
}

/* ---- Reading and writing ---- */

/* Runs one that gives no rows. */
static int run(struct store *store, enum statement which)
{
	sqlite3_stmt *statement = store->statements[which];
	int code, r;

	errno = 0;
	code = sqlite3_step(statement);
	r = code == SQLITE_DONE ? 0 : fail(store, code);
	sqlite3_reset(statement);
	return r;
}

int store_begin(struct store *store)
{
	return run(store, STATEMENT_BEGIN);
}

int store_commit(struct store *store)
{
	return run(store, STATEMENT_COMMIT);
}

void store_rollback(struct store *store)
{
	/* Some failures have ended the transaction already. */
	if (!sqlite3_get_autocommit(store->database))
		sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
	empty_log(store);
}

int store_test(struct store *store)
{
	int r;

	r = store_begin(store);
	if (r == 0)
		r = execute(store, "PRAGMA user_version = " TEXT_OF(FORMAT));
	if (r == 0)
		r = store_commit(store);
	if (r < 0)
		store_rollback(store);
	return r;
}

static void read_row(sqlite3_stmt *statement, struct update *update)
{
	update->sequence = (uint64_t)sqlite3_column_int64(statement, 0);
	update->time_us = sqlite3_column_int64(statement, 1);
	update->stored_us = sqlite3_column_int64(statement, 2);
}

/* The key's memory is used until the statement is reset. */
static int bind_key(struct store *store, sqlite3_stmt *statement, const struct key *key)
{
	int code;

	errno = 0;
	code = sqlite3_bind_text(statement, 1, key->text, key->length, SQLITE_STATIC);
	return code == SQLITE_OK ? 0 : fail(store, code);
}

int store_get(struct store *store, const struct key *key, struct update *ret)
{
	sqlite3_stmt *statement = store->statements[STATEMENT_GET];
	int code, r;

	r = bind_key(store, statement, key);
	if (r < 0)
		return r;

	code = sqlite3_step(statement);
	if (code == SQLITE_ROW) {
		ret->key = *key;
		read_row(statement, ret);
		r = 1;
	} else if (code != SQLITE_DONE)
		r = fail(store, code);

	sqlite3_reset(statement);
	return r;
}

int store_put(struct store *store, struct update *update)
{
	sqlite3_stmt *statement = store->statements[STATEMENT_PUT];
	int r;

	r = bind_key(store, statement, &update->key);
	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 2, update->time_us);
	sqlite3_bind_int64(statement, 3, update->stored_us);

	r = run(store, STATEMENT_PUT);
	if (r == 0)
		update->sequence = (uint64_t)sqlite3_last_insert_rowid(store->database);
	return r;
}

int store_expire(struct store *store, int64_t stored_us)
{
	int r;

	sqlite3_bind_int64(store->statements[STATEMENT_EXPIRE], 1, stored_us);
	r = run(store, STATEMENT_EXPIRE);
	return r < 0 ? r : sqlite3_changes(store->database);
}

/* One row of STATEMENT_EACH.  Keys were checked when the file was opened; SQLite would not tell
 * apart from an empty one a text for which it has no memory. */
static int visit_row(struct store *store, sqlite3_stmt *statement,
	void (*visit)(const struct update *update, void *userdata), void *userdata)
{
	const char *text = (const char *)sqlite3_column_text(statement, 3);
	struct update update = {0};

	if (!text)
		return fail_with(store, -ENOMEM, "out of memory");
	if (key_parse(text, (size_t)sqlite3_column_bytes(statement, 3), &update.key) < 0)
		return fail_with(store, -EBADMSG, "a row has a bad key");

	read_row(statement, &update);
	visit(&update, userdata);
	return 0;
}

int store_each(struct store *store, void (*visit)(const struct update *update, void *userdata),
	void *userdata)
{
	sqlite3_stmt *statement = store->statements[STATEMENT_EACH];
	int code, r = 0;

	errno = 0;
	while (r == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW)
		r = visit_row(store, statement, visit, userdata);
	if (r == 0 && code != SQLITE_DONE)
		r = fail(store, code);

	sqlite3_reset(statement);
	return r;
}

const char *store_library_version(void)
{
	return sqlite3_libversion();
}
