/* SPDX-License-Identifier: BSD-3-Clause */
/* The store's own state, for store.c, place.c, rows.c and check.c.  They call each other in a
 * circle: opening a store includes finding its place, which may include taking rows along from
 * another store, and all of them run statements on the store. */
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

/* Identifies the file that a path leads to. */
struct file_id {
	dev_t device;
	ino_t inode;
};

struct store {
	sqlite3 *database;
	char *path;
	struct file_id file,
		log; /* what the path, and the log's path, led to when the store was opened */
	sqlite3_stmt *statements[N_STATEMENTS];
	char problem[256];
};

/* Keeps SQLite's text, which SQLite's next call overwrites, and returns the -errno for `code`.
 * SQLite remembers the errno of the system call that failed, except within COMMIT; for that case,
 * set errno to 0 before you call SQLite. */
int store_fail(struct store *store, int code);
int store_fail_with(struct store *store, int error, const char *format, ...) _printf_(3, 4);

/* Runs SQL that gives no rows. */
int store_execute(struct store *store, const char *sql);

/* The first column of the first row. */
int store_query(struct store *store, const char *sql, char *ret, size_t size);

/* What is wrong with the directory that the store's file `path` is in; NULL: nothing that could be
 * found out, or no memory.  The caller frees it. */
char *store_directory_problem(const char *path);

/* NULL: out of memory. */
char *store_make_text(const char *format, ...) _printf_(1, 2);

/* Moves what is in the write-ahead log into the database, so that the log begins again in the space
 * that it has.  Then updates of known environments still fit when the disk is full.  By itself
 * SQLite does this only after many commits. */
void store_empty_log(struct store *store);

/* rows.c.  -EBADMSG: a table or a column is missing. */
int store_prepare_statements(struct store *store);

/* Puts the update under the sequence that it has, which must be free.  0 or -errno. */
int store_put_numbered(struct store *store, enum store_table table, const struct update *update);

/* place.c: notes which files have been opened.  The store has its path.  0 or -errno. */
int store_note_place(struct store *store);
