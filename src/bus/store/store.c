/* SPDX-License-Identifier: BSD-3-Clause */
/* The store: one SQLite file, locked for as long as it is open, every commit synced to the disk. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "bus/store/set-aside.h"
#include "bus/store/store-internal.h"

#define TEXT_OF(value)  TEXT_OF_(value)
#define TEXT_OF_(value) #value

/* Of what is in a row.  No flagsse writes a time after the year 2999, nor one of storing, whatever
 * the clock says, that could overflow where an hour is added. */
#define TIME_LIMIT_US   32503683599999999 /* TIMESTAMP_LIMIT_US */
#define STORED_LIMIT_US 4611686018427387904
#define SEQUENCE_LIMIT  4611686018427387904

/* A process that is about to end may still have the file. */
#define BUSY_TIMEOUT_MS 1000

#define CHECKED_KEY                                                                                \
	" key TEXT NOT NULL UNIQUE CHECK (length(key) BETWEEN 1 AND 100"                           \
	"  AND key NOT GLOB '*[^A-Za-z0-9_-]*'),"

/* What makes of a database of one format one of the next; an empty one has 0.  To be added to, with
 * every change.  AUTOINCREMENT keeps the largest number ever given in the file, also when its row
 * is gone. */
static const char *const schema[] = {
	"CREATE TABLE updates ("
	" sequence INTEGER PRIMARY KEY AUTOINCREMENT," CHECKED_KEY " time_us INTEGER NOT NULL,"
	" stored_us INTEGER NOT NULL);"
	"PRAGMA application_id = " TEXT_OF(STORE_APPLICATION_ID),

	"CREATE TABLE outbox ("
	" sequence INTEGER PRIMARY KEY AUTOINCREMENT," CHECKED_KEY " time_us INTEGER NOT NULL,"
	" stored_us INTEGER NOT NULL)",

	"ALTER TABLE updates ADD COLUMN is_raised INTEGER NOT NULL DEFAULT 0"
	" CHECK (is_raised IN (0, 1));"
	"ALTER TABLE outbox ADD COLUMN is_raised INTEGER NOT NULL DEFAULT 0"
	" CHECK (is_raised IN (0, 1))",
};

#define FORMAT ((int)(sizeof(schema) / sizeof(schema[0]))) /* user_version */

const int store_format = FORMAT;

/* ---- Failures ---- */

char *store_make_text(const char *format, ...)
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

int store_fail(struct store *store, int code)
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

int store_fail_with(struct store *store, int error, const char *format, ...)
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

int store_execute(struct store *store, const char *sql)
{
	int code;

	errno = 0;
	code = sqlite3_exec(store->database, sql, NULL, NULL, NULL);
	return code == SQLITE_OK ? 0 : store_fail(store, code);
}

int store_query(struct store *store, const char *sql, char *ret, size_t size)
{
	sqlite3_stmt *statement;
	const char *text;
	int code, r = 0;

	errno = 0;
	code = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL);
	if (code != SQLITE_OK)
		return store_fail(store, code);

	code = sqlite3_step(statement);
	if (code != SQLITE_ROW)
		r = store_fail(store, code);
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
		return store_fail_with(store, -EROFS, "it can be read, but not written");

	r = store_execute(store, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL");
	if (r < 0)
		return r;
	r = store_query(store, "PRAGMA journal_mode = WAL", mode, sizeof(mode));
	if (r < 0)
		return r;
	if (strcmp(mode, "wal") != 0)
		return store_fail_with(
			store, -EIO, "its file system does not allow a write-ahead log");
	return store_execute(store, "BEGIN IMMEDIATE");
}

/* 0: ours, or new and empty, which is format 0.  -EBADMSG: not ours.  -ENOTSUP: a newer version's.
 */
static int check_format(struct store *store, int *ret_format)
{
	long long application, format, n_objects;
	char text[64];
	int r;

	r = store_query(store,
		"SELECT application_id || ' ' || user_version ||"
		" ' ' || (SELECT count(*) FROM sqlite_master)"
		" FROM pragma_application_id, pragma_user_version",
		text, sizeof(text));
	if (r < 0)
		return r;
	if (sscanf(text, "%lld %lld %lld", &application, &format, &n_objects) != 3)
		return store_fail_with(store, -EBADMSG, "its header reads \"%s\"", text);

	if (application == 0 && format == 0 && n_objects == 0) {
		*ret_format = 0;
		return 0;
	}
	if (application != STORE_APPLICATION_ID || format < 1)
		return store_fail_with(store, -EBADMSG, "the database of another program");
	if (format > FORMAT)
		return store_fail_with(
			store, -ENOTSUP, "format %lld, this version knows %d", format, FORMAT);
	*ret_format = (int)format;
	return 0;
}

static int write_format(struct store *store)
{
	char sql[64];

	snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", FORMAT);
	return store_execute(store, sql);
}

/* Of an older format, or empty. */
static int bring_up_to_date(struct store *store, int format)
{
	int r = 0;

	if (format == FORMAT)
		return 0;
	for (int i = format; r == 0 && i < FORMAT; i++)
		r = store_execute(store, schema[i]);
	return r < 0 ? r : write_format(store);
}

/* Every page of tables and indexes, and the constraints. */
static int check_pages(struct store *store)
{
	char text[sizeof(store->problem)];
	int r;

	r = store_query(store, "PRAGMA integrity_check(1)", text, sizeof(text));
	if (r < 0)
		return r;
	if (strcmp(text, "ok") != 0)
		return store_fail_with(store, -EBADMSG, "%s", text);
	return 0;
}

/* Times and numbers that no flagsse has written: to reckon with them could overflow, and SQLite has
 * no number after the last one.  What is not an integer is none of them either. */
static int check_numbers(struct store *store)
{
	char n_bad[24];
	int r;

	r = store_query(store,
		"SELECT count(*) FROM (SELECT * FROM updates UNION ALL SELECT * FROM outbox)"
		" WHERE time_us NOT BETWEEN 0 AND " TEXT_OF(TIME_LIMIT_US) " OR stored_us NOT BETWEEN 0 AND " TEXT_OF(
			STORED_LIMIT_US) " OR sequence NOT BETWEEN 1 AND " TEXT_OF(SEQUENCE_LIMIT),
		n_bad, sizeof(n_bad));
	if (r < 0)
		return r;
	if (strcmp(n_bad, "0") != 0)
		return store_fail_with(store, -EBADMSG, "%s rows have impossible numbers", n_bad);
	r = store_query(store,
		"SELECT count(*) FROM sqlite_sequence"
		" WHERE seq NOT BETWEEN 0 AND " TEXT_OF(SEQUENCE_LIMIT),
		n_bad, sizeof(n_bad));
	if (r < 0)
		return r;
	if (strcmp(n_bad, "0") != 0)
		return store_fail_with(store, -EBADMSG, "its numbers are used up");
	return 0;
}

void store_empty_log(struct store *store)
{
	sqlite3_wal_checkpoint_v2(store->database, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

int store_flush_log(struct store *store)
{
	int n_pages, n_moved, code;

	errno = 0;
	code = sqlite3_wal_checkpoint_v2(
		store->database, NULL, SQLITE_CHECKPOINT_FULL, &n_pages, &n_moved);
	if (code != SQLITE_OK)
		return store_fail(store, code);
	if (n_moved < n_pages)
		return store_fail_with(store, -EIO, "its log cannot be put into it");
	return 0;
}

static int open_database(struct store *store)
{
	int code, r, format = 0;

	errno = 0;
	/* Without SQLite's own locks: one thread at a time uses the store. */
	code = sqlite3_open_v2(store->path, &store->database,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code != SQLITE_OK)
		return store_fail(store, code);
	sqlite3_extended_result_codes(store->database, 1);
	sqlite3_busy_timeout(store->database, BUSY_TIMEOUT_MS);

	r = lock_database(store);
	if (r < 0)
		return r;
	r = check_format(store, &format);
	if (r < 0)
		return r;
	if (format > 0)
		r = check_pages(store);
	if (r == 0)
		r = bring_up_to_date(store, format);
	if (r < 0)
		return r;
	r = store_execute(store, "COMMIT");
	if (r < 0)
		return r;
	store_empty_log(store);
	r = store_prepare_statements(store);
	if (r == 0)
		r = check_numbers(store);
	return r < 0 ? r : store_note_place(store);
}

/* ---- Opening, and beginning anew ---- */

static char *describe_failure(const char *path, const char *problem, int error)
{
	char *why;

	switch (error) {
	case -EBUSY:
		return store_make_text(
			"%s: another process has it open. Stop the other flagsse, or give "
			"this one a state directory of its own.",
			path);
	case -ENOSPC:
		return store_make_text(
			"%s: no space is left (%s). Free some on its file system.", path, problem);
	case -EROFS:
		return store_make_text(
			"%s: read-only (%s). Make it and its directory writable.", path, problem);
	default:
		why = store_directory_problem(path);
		if (why)
			return why;
		return store_make_text(
			"%s: cannot be opened: %s. Check that the directory exists and "
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

	store->path = strdup(path);
	r = store->path ? open_database(store) : -ENOMEM;
	if (r < 0) {
		*ret_problem = r == -EBADMSG || r == -ENOTSUP
				       ? store_make_text("%s", store->problem)
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
		*ret_problem =
			store_make_text("%s: %s; it cannot be renamed: %s. Move it away by hand.",
				path, problem, strerror(-r));
		return r;
	}

	r = new_store(path, ret, ret_problem);
	if (r == 0)
		*ret_problem =
			store_make_text("%s: %s (%s). It is now %s, and a new one is begun: what "
					"was published before is not known any more.",
				path, error == -ENOTSUP ? "written by a newer version" : "corrupt",
				problem, old_path);
	return r;
}

int store_open(const char *directory, struct store **ret, char **ret_problem)
{
	_cleanup_(freep) char *path = NULL, *problem = NULL, *reason = NULL;
	int r;

	path = store_make_text("%s/" STORE_FILE_NAME, directory);
	if (!path)
		return -ENOMEM;

	/* systemd makes it; without systemd its parent exists at least.  If not, opening says so.
	 */
	(void)mkdir(directory, 0700);
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
	free(store->path);
	free(store);
	return NULL;
}

int store_test(struct store *store)
{
	int r;

	r = store_begin(store);
	if (r == 0)
		r = write_format(store);
	if (r == 0)
		r = store_commit(store);
	if (r < 0)
		store_rollback(store);
	return r;
}

const char *store_library_version(void)
{
	return sqlite3_libversion();
}
