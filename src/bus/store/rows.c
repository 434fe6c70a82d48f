/* SPDX-License-Identifier: BSD-3-Clause */
/* What is in the store: transactions, and the rows of its tables. */
#include <errno.h>

#include "bus/store/store-internal.h"

/* Both tables have the same columns. */
#define STATEMENTS_OF(table, name)                                                                 \
	[STATEMENT_GET + (table)] =                                                                \
		"SELECT sequence, time_us, stored_us, is_raised FROM " name " WHERE key = ?1",     \
			 [STATEMENT_PUT + (table)] = "INSERT OR REPLACE INTO " name                \
						     " (key, time_us, stored_us, is_raised)"       \
						     " VALUES (?1, ?2, ?3, ?4)",                   \
			 [STATEMENT_PUT_NUMBERED + (table)] =                                      \
				 "INSERT INTO " name                                               \
				 " (key, time_us, stored_us, is_raised, sequence)"                 \
				 " VALUES (?1, ?2, ?3, ?4, ?5)",                                   \
			 [STATEMENT_DELETE + (table)] =                                            \
				 "DELETE FROM " name                                               \
				 " WHERE key = ?1 AND time_us = ?2 AND sequence = ?3",             \
			 [STATEMENT_EACH + (table)] =                                              \
				 "SELECT sequence, time_us, stored_us, is_raised, key FROM " name  \
				 " ORDER BY sequence"

static const char *const statement_texts[N_STATEMENTS] = {
	[STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
	[STATEMENT_COMMIT] = "COMMIT",
	[STATEMENT_EXPIRE] = "DELETE FROM updates WHERE stored_us < ?1",
	STATEMENTS_OF(STORE_UPDATES, "updates"),
	STATEMENTS_OF(STORE_OUTBOX, "outbox"),
};

int store_prepare_statements(struct store *store)
{
	for (int i = 0; i < N_STATEMENTS; i++) {
		int code;

		errno = 0;
		code = sqlite3_prepare_v3(store->database, statement_texts[i], -1,
			SQLITE_PREPARE_PERSISTENT, &store->statements[i], NULL);

		/* The general error: a table or a column is missing. */
		if (code == SQLITE_ERROR) {
			store_fail(store, code);
			return -EBADMSG;
		}
		if (code != SQLITE_OK)
			return store_fail(store, code);
	}
	return 0;
}

/* Runs one that gives no rows. */
static int run(struct store *store, int which)
{
	sqlite3_stmt *statement = store->statements[which];
	int code, r;

	errno = 0;
	code = sqlite3_step(statement);
	r = code == SQLITE_DONE ? 0 : store_fail(store, code);
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
	store_empty_log(store);
}

static void read_row(sqlite3_stmt *statement, struct update *update)
{
	update->sequence = (uint64_t)sqlite3_column_int64(statement, 0);
	update->time_us = sqlite3_column_int64(statement, 1);
	update->stored_us = sqlite3_column_int64(statement, 2);
	update->is_raised = sqlite3_column_int64(statement, 3) != 0;
}

/* The key's memory is used until the statement is reset. */
static int bind_key(struct store *store, sqlite3_stmt *statement, const struct key *key)
{
	int code;

	errno = 0;
	code = sqlite3_bind_text(statement, 1, key->text, key->length, SQLITE_STATIC);
	return code == SQLITE_OK ? 0 : store_fail(store, code);
}

static int bind_update(struct store *store, sqlite3_stmt *statement, const struct update *update)
{
	int r = bind_key(store, statement, &update->key);

	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 2, update->time_us);
	sqlite3_bind_int64(statement, 3, update->stored_us);
	sqlite3_bind_int64(statement, 4, update->is_raised);
	return 0;
}

int store_get(
	struct store *store, enum store_table table, const struct key *key, struct update *ret)
{
	sqlite3_stmt *statement = store->statements[STATEMENT_GET + table];
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
		r = store_fail(store, code);

	sqlite3_reset(statement);
	return r;
}

int store_put(struct store *store, enum store_table table, struct update *update)
{
	sqlite3_stmt *statement = store->statements[STATEMENT_PUT + table];
	int r;

	r = bind_update(store, statement, update);
	if (r < 0)
		return r;
	r = run(store, STATEMENT_PUT + (int)table);
	if (r == 0)
		update->sequence = (uint64_t)sqlite3_last_insert_rowid(store->database);
	return r;
}

int store_put_numbered(struct store *store, enum store_table table, const struct update *update)
{
	sqlite3_stmt *statement = store->statements[STATEMENT_PUT_NUMBERED + table];
	int r;

	r = bind_update(store, statement, update);
	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 5, (int64_t)update->sequence);
	return run(store, STATEMENT_PUT_NUMBERED + (int)table);
}

int store_delete(struct store *store, enum store_table table, const struct update *update)
{
	sqlite3_stmt *statement = store->statements[STATEMENT_DELETE + table];
	int r;

	r = bind_key(store, statement, &update->key);
	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 2, update->time_us);
	sqlite3_bind_int64(statement, 3, (int64_t)update->sequence);

	r = run(store, STATEMENT_DELETE + (int)table);
	return r < 0 ? r : sqlite3_changes(store->database);
}

int store_expire(struct store *store, int64_t stored_us)
{
	int r;

	sqlite3_bind_int64(store->statements[STATEMENT_EXPIRE], 1, stored_us);
	r = run(store, STATEMENT_EXPIRE);
	return r < 0 ? r : sqlite3_changes(store->database);
}

/* One row of a table.  Keys were checked when the file was opened; SQLite would not tell
 * apart from an empty one a text for which it has no memory. */
static int visit_row(struct store *store, sqlite3_stmt *statement,
	void (*visit)(const struct update *update, void *userdata), void *userdata)
{
	const char *text = (const char *)sqlite3_column_text(statement, 4);
	struct update update = {0};

	if (!text)
		return store_fail_with(store, -ENOMEM, "out of memory");
	if (key_parse(text, (size_t)sqlite3_column_bytes(statement, 4), &update.key) < 0)
		return store_fail_with(store, -EBADMSG, "a row has a bad key");

	read_row(statement, &update);
	visit(&update, userdata);
	return 0;
}

int store_each(struct store *store, enum store_table table,
	void (*visit)(const struct update *update, void *userdata), void *userdata)
{
	sqlite3_stmt *statement = store->statements[STATEMENT_EACH + table];
	int code, r = 0;

	errno = 0;
	while (r == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW)
		r = visit_row(store, statement, visit, userdata);
	if (r == 0 && code != SQLITE_DONE)
		r = store_fail(store, code);

	sqlite3_reset(statement);
	return r;
}
