/* SPDX-License-Identifier: BSD-3-Clause */
/* The store's own state, for store.c, place.c, rows.c and check.c.  They call each other in a
 * circle: to open a store is to find its place, which may have to take rows along from another one,
 * and all of them run their statements on the store. */
#pragma once

#include <sqlite3.h>
#include <sys/types.h>

#include "bus/store/store.h"

#define STORE_FILE_NAME      "flagsse.db"
#define STORE_APPLICATION_ID 1179416389 /* "FLSE" */

extern const int store_format; /* the one that this version writes */

enum store_statement {
	STATEMENT_BEGIN,
	STATEMENT_COMMIT,
	STATEMENT_EXPIRE,
	/* One for each table: */
	STATEMENT_GET,
	STATEMENT_PUT = STATEMENT_GET + N_STORE_TABLES,
	STATEMENT_PUT_NUMBERED = STATEMENT_PUT + N_STORE_TABLES,
	STATEMENT_DELETE = STATEMENT_PUT_NUMBERED + N_STORE_TABLES,
	STATEMENT_EACH = STATEMENT_DELETE + N_STORE_TABLES,
	N_STATEMENTS = STATEMENT_EACH + N_STORE_TABLES,
};

/* Which file has a name. */
struct file_id {
	dev_t device;
	ino_t inode;
};

struct store {
	sqlite3 *database;
	char *path;
	struct file_id file,
		log; /* what the path, and that of the log, led to when it was opened */
	sqlite3_stmt *statements[N_STATEMENTS];
	char problem[256];
};

/* Keeps SQLite's text, which its next call overwrites, and gives the errno for `code`.  Of the
 * system call that failed SQLite keeps the errno, but not within COMMIT; so whoever calls this has
 * set errno to 0 before. */
int store_fail(struct store *store, int code);
int store_fail_with(struct store *store, int error, const char *format, ...) _printf_(3, 4);

/* Runs SQL that gives no rows. */
int store_execute(struct store *store, const char *sql);

/* The first column of the first row. */
int store_query(struct store *store, const char *sql, char *ret, size_t size);

/* What is wrong with the directory that the store's file `path` is in; NULL: nothing that could be
 * found out, or no memory.  The caller frees it. */
char *store_directory_problem(const char *path);

/* NULL where memory is short. */
char *store_make_text(const char *format, ...) _printf_(1, 2);

/* Moves what is in the write-ahead log into the database, so that the log begins again in the space
 * that it has: where the disk is full, updates of environments that are known still fit.  SQLite
 * does it only after many commits. */
void store_empty_log(struct store *store);

/* rows.c.  -EBADMSG: a table or a column is missing. */
int store_prepare_statements(struct store *store);

/* Puts it under the sequence that it has, which must be free.  0 or -errno. */
int store_put_numbered(struct store *store, enum store_table table, const struct update *update);

/* place.c: notes which files have been opened.  The store has its path.  0 or -errno. */
int store_note_place(struct store *store);
