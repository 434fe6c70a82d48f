/* SPDX-License-Identifier: BSD-3-Clause */
/* The store: what it keeps, over restarts and failures, and which files it does not take. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bus/store/store.h"
#include "runner.h"
#include "store-fixture.h"

#define N_UPDATES   50
#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static char directory[64];
static char path[128];
static struct store *store;
static char *problem;

static int n_syncs;

/* Takes the place of the C library's. */
int fdatasync(int fd)
{
	n_syncs++;
	return fsync(fd);
}

static void set_up(void)
{
	snprintf(directory, sizeof(directory), "/tmp/flagsse-test-store-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/flagsse.db", directory);
	ck_assert_int_eq(store_open(directory, &store, &problem), 0);
	ck_assert_ptr_null(problem);
}

static void tear_down(void)
{
	store = store_free(store);
	free(problem);
	problem = NULL;
	remove_directory(directory);
}

static int reopen(void)
{
	store = store_free(store);
	free(problem);
	problem = NULL;
	return store_open(directory, &store, &problem);
}

static struct key make_key(const char *text)
{
	struct key key;

	ck_assert_int_eq(key_parse(text, strlen(text), &key), 0);
	return key;
}

/* Within a transaction.  Returns its sequence. */
static uint64_t put(const char *key, int64_t time_us, int64_t stored_us)
{
	struct update update = {
		.key = make_key(key), .time_us = time_us, .stored_us = stored_us, .sequence = 77};

	ck_assert_int_eq(store_put(store, STORE_UPDATES, &update), 0);
	return update.sequence;
}

static uint64_t commit_one(const char *key, int64_t time_us, int64_t stored_us)
{
	uint64_t sequence;

	ck_assert_int_eq(store_begin(store), 0);
	sequence = put(key, time_us, stored_us);
	ck_assert_int_eq(store_commit(store), 0);
	return sequence;
}

static int get(const char *text, struct update *ret)
{
	struct key key = make_key(text);

	return store_get(store, STORE_UPDATES, &key, ret);
}

static void assert_stored(const char *key, int64_t time_us, int64_t stored_us, uint64_t sequence)
{
	struct update update;

	ck_assert_int_eq(get(key, &update), 1);
	ck_assert_str_eq(update.key.text, key);
	ck_assert_int_eq(update.time_us, time_us);
	ck_assert_int_eq(update.stored_us, stored_us);
	ck_assert_uint_eq(update.sequence, sequence);
}

static void assert_none(const char *key)
{
	struct update update;

	ck_assert_int_eq(get(key, &update), 0);
}

/* How many files in the directory have names that begin so. */
static int count_files(const char *prefix)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;
	int n = 0;

	ck_assert_ptr_nonnull(stream);
	while ((entry = readdir(stream)))
		n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	closedir(stream);
	return n;
}

/* By SQLite itself, while the store is closed. */
static void execute(const char *sql)
{
	sqlite3 *database;

	ck_assert_int_eq(sqlite3_open(path, &database), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(database);
}

static void write_at(off_t offset, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, data, size, offset), size);
	close(fd);
}

static struct rlimit before_limit;

/* No file can grow any more, as on a disk that is full.  Nothing may be asserted until it ends:
 * Check writes to a file, too. */
static void limit_file_size(void)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before_limit), 0);
	limit = before_limit;
	limit.rlim_cur = 1;
	setrlimit(RLIMIT_FSIZE, &limit);
}

static void unlimit_file_size(void)
{
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before_limit), 0);
}

START_TEST(test_put_and_get)
{
	assert_none("a");
	ck_assert_uint_eq(commit_one("a", 10, 20), 1);
	assert_stored("a", 10, 20, 1);
	assert_none("A");
	assert_none("b");
	ck_assert_uint_eq(commit_one("b", INT64_MAX, INT64_MIN), 2);
	assert_stored("b", INT64_MAX, INT64_MIN, 2);
	ck_assert_uint_eq(commit_one("a", 9, 21), 3);
	assert_stored("a", 9, 21, 3);
}
END_TEST

START_TEST(test_durable)
{
	for (int i = 1; i <= 3; i++) {
		n_syncs = 0;
		commit_one("a", i, i);
		ck_assert_int_ge(n_syncs, 1);
	}
	n_syncs = 0;
	ck_assert_int_eq(store_test(store), 0);
	ck_assert_int_ge(n_syncs, 1);
}
END_TEST

START_TEST(test_transaction)
{
	commit_one("a", 10, 20);
	ck_assert_int_eq(store_begin(store), 0);
	put("a", 11, 21);
	put("b", 12, 22);
	assert_stored("a", 11, 21, 2);
	store_rollback(store);
	assert_stored("a", 10, 20, 1);
	assert_none("b");
	store_rollback(store); /* with none open */
	commit_one("b", 13, 23);
	assert_stored("b", 13, 23, 2);
}
END_TEST

START_TEST(test_persistence)
{
	char key[16];

	for (int i = 0; i < N_UPDATES; i++) {
		snprintf(key, sizeof(key), "key-%d", i);
		commit_one(key, i, 100 + i);
	}
	ck_assert_int_eq(reopen(), 0);
	ck_assert_ptr_null(problem);
	for (int i = 0; i < N_UPDATES; i++) {
		snprintf(key, sizeof(key), "key-%d", i);
		assert_stored(key, i, 100 + i, (uint64_t)i + 1);
	}
}
END_TEST

/* A process that ends without closing it. */
START_TEST(test_killed)
{
	pid_t child;
	int status;

	store = store_free(store);
	child = fork();
	if (child == 0) {
		if (store_open(directory, &store, NULL) < 0)
			_exit(1);
		commit_one("a", 10, 20);
		if (store_begin(store) < 0)
			_exit(1);
		put("a", 11, 21);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(count_files("flagsse.db-wal"), 1);
	ck_assert_int_eq(reopen(), 0);
	ck_assert_ptr_null(problem);
	assert_stored("a", 10, 20, 1);
}
END_TEST

START_TEST(test_expire)
{
	commit_one("a", 1000, 10);
	commit_one("b", 1, 20);
	commit_one("c", 1, 30);
	ck_assert_int_eq(store_expire(store, 10), 0);
	ck_assert_int_eq(store_expire(store, 21), 2);
	assert_none("a");
	assert_none("b");
	assert_stored("c", 1, 30, 3);
	ck_assert_int_eq(store_expire(store, 1000), 1);
}
END_TEST

/* A sequence is never given twice, also where its row is gone. */
START_TEST(test_sequence)
{
	ck_assert_uint_eq(commit_one("a", 1, 10), 1);
	ck_assert_uint_eq(commit_one("a", 2, 20), 2);
	ck_assert_int_eq(store_expire(store, 1000), 1);
	ck_assert_int_eq(reopen(), 0);
	ck_assert_uint_eq(commit_one("a", 3, 30), 3);
	ck_assert_uint_eq(commit_one("b", 3, 30), 4);
}
END_TEST

static void collect(const struct update *update, void *userdata)
{
	char *text = userdata;
	size_t used = strlen(text);

	snprintf(text + used, 256 - used, "%s %lld %lld %llu, ", update->key.text,
		(long long)update->time_us, (long long)update->stored_us,
		(unsigned long long)update->sequence);
}

START_TEST(test_each)
{
	char text[256] = "";

	ck_assert_int_eq(store_each(store, STORE_UPDATES, collect, text), 0);
	ck_assert_str_eq(text, "");
	commit_one("b", 3, 30);
	commit_one("a", 2, 40);
	commit_one("c", 1, 50);
	commit_one("b", 4, 20);
	ck_assert_int_eq(store_each(store, STORE_UPDATES, collect, text), 0);
	ck_assert_str_eq(text, "a 2 40 2, c 1 50 3, b 4 20 4, ");
	text[0] = '\0';
	ck_assert_int_eq(store_each(store, STORE_UPDATES, collect, text), 0);
	ck_assert_str_eq(text, "a 2 40 2, c 1 50 3, b 4 20 4, ");
}
END_TEST

/* The outbox has rows and numbers of its own; a row that has been replaced is not deleted as the
 * former one. */
START_TEST(test_outbox)
{
	struct update first = {.key = make_key("a"), .time_us = 1, .stored_us = 2}, found;
	struct update second = {.key = make_key("a"), .time_us = 3, .stored_us = 4};
	struct update other = {.key = make_key("b"), .time_us = 5, .stored_us = 6};
	char text[256] = "";

	commit_one("a", 7, 8);
	ck_assert_int_eq(store_begin(store), 0);
	ck_assert_int_eq(store_put(store, STORE_OUTBOX, &first), 0);
	ck_assert_int_eq(store_put(store, STORE_OUTBOX, &other), 0);
	ck_assert_int_eq(store_put(store, STORE_OUTBOX, &second), 0);
	ck_assert_int_eq(store_commit(store), 0);
	ck_assert_int_eq(store_delete(store, STORE_OUTBOX, &first), 0);
	ck_assert_int_eq(store_expire(store, 5), 0);
	ck_assert_int_eq(reopen(), 0);

	ck_assert_int_eq(store_each(store, STORE_OUTBOX, collect, text), 0);
	ck_assert_str_eq(text, "b 5 6 2, a 3 4 3, ");
	ck_assert_int_eq(store_delete(store, STORE_OUTBOX, &second), 1);
	ck_assert_int_eq(store_get(store, STORE_OUTBOX, &second.key, &found), 0);
	ck_assert_int_eq(store_get(store, STORE_OUTBOX, &other.key, &found), 1);
	assert_stored("a", 7, 8, 1);
}
END_TEST

START_TEST(test_settings)
{
	store = store_free(store);
	execute("CREATE TEMP TABLE t (n CHECK (n = 1));"
		"INSERT INTO t SELECT user_version = 3 FROM pragma_user_version;"
		"INSERT INTO t SELECT application_id = 1179416389 FROM pragma_application_id;"
		"INSERT INTO t SELECT journal_mode = 'wal' FROM pragma_journal_mode");
	ck_assert_int_eq(reopen(), 0);
}
END_TEST

/* Its own process may not open it twice, nor may another; and it is whole afterwards. */
START_TEST(test_busy)
{
	pid_t child;
	int status;

	commit_one("a", 10, 20);
	child = fork();
	if (child == 0) {
		struct store *second = NULL;
		char *text = NULL;

		if (store_open(directory, &second, &text) != -EBUSY || second)
			_exit(1);
		_exit(text && strstr(text, "another process") && strstr(text, path) ? 0 : 2);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(count_files("flagsse.db."), 0);
	commit_one("a", 11, 21);
	assert_stored("a", 11, 21, 2);
}
END_TEST

static void assert_set_aside(const char *word)
{
	char prefix[64];

	snprintf(prefix, sizeof(prefix), "flagsse.db.%s-", word);
	ck_assert_int_eq(reopen(), 0);
	ck_assert_ptr_nonnull(problem);
	ck_assert_msg(strstr(problem, prefix) && strstr(problem, path), "%s", problem);
	ck_assert_int_ge(count_files(prefix), 1);
	commit_one("new", 10, 20);
	ck_assert_int_eq(reopen(), 0);
	ck_assert_ptr_null(problem);
	assert_none("old");
	assert_stored("new", 10, 20, 1);
}

START_TEST(test_no_database)
{
	static const char text[] = "This is not a database, but long enough to be one's header, "
				   "so that SQLite looks at it. This is not a database either.";

	store = store_free(store);
	ck_assert_int_eq(unlink(path), 0);
	write_at(0, text, sizeof(text));
	assert_set_aside("corrupt");
}
END_TEST

START_TEST(test_corrupt_pages)
{
	char key[16], noise[300];

	commit_one("old", 10, 20);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "key-%d", i);
		ck_assert_int_eq(store_begin(store), 0);
		put(key, i, i);
		ck_assert_int_eq(store_commit(store), 0);
	}
	store = store_free(store);
	/* Within a page of rows: the header and the schema are whole. */
	memset(noise, 0xa5, sizeof(noise));
	write_at(9 * 4096, noise, sizeof(noise));
	assert_set_aside("corrupt");
}
END_TEST

START_TEST(test_truncated)
{
	commit_one("old", 10, 20);
	store = store_free(store);
	ck_assert_int_eq(truncate(path, 5000), 0);
	assert_set_aside("corrupt");
}
END_TEST

START_TEST(test_missing_table)
{
	commit_one("old", 10, 20);
	store = store_free(store);
	execute("DROP TABLE updates");
	assert_set_aside("corrupt");
}
END_TEST

START_TEST(test_bad_key)
{
	commit_one("old", 10, 20);
	store = store_free(store);
	execute("PRAGMA ignore_check_constraints = 1; UPDATE updates SET key = 'a.*'");
	assert_set_aside("corrupt");
}
END_TEST

START_TEST(test_foreign)
{
	store = store_free(store);
	ck_assert_int_eq(unlink(path), 0);
	execute("CREATE TABLE notes (text)");
	assert_set_aside("corrupt");
}
END_TEST

START_TEST(test_newer)
{
	commit_one("old", 10, 20);
	store = store_free(store);
	execute("PRAGMA user_version = 4");
	assert_set_aside("newer");
}
END_TEST

/* As 0.1.0's first builds made it. */
static const char format_1[] =
	"CREATE TABLE updates (sequence INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE"
	" CHECK (length(key) BETWEEN 1 AND 100 AND key NOT GLOB '*[^A-Za-z0-9_-]*'),"
	" time_us INTEGER NOT NULL, stored_us INTEGER NOT NULL);"
	"INSERT INTO updates VALUES (41, 'old', 10, 20);"
	"PRAGMA application_id = 1179416389; PRAGMA user_version = 1";

START_TEST(test_older)
{
	struct update update = {.key = make_key("new"), .time_us = 1, .stored_us = 2};

	store = store_free(store);
	ck_assert_int_eq(unlink(path), 0);
	execute(format_1);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(reopen(), 0);
		ck_assert_ptr_null(problem);
		assert_stored("old", 10, 20, 41);
	}
	ck_assert_int_eq(count_files("flagsse.db."), 0);
	ck_assert_uint_eq(commit_one("newer", 11, 21), 42);
	ck_assert_int_eq(store_begin(store), 0);
	ck_assert_int_eq(store_put(store, STORE_OUTBOX, &update), 0);
	ck_assert_int_eq(store_commit(store), 0);
	ck_assert_uint_eq(update.sequence, 1);
}
END_TEST

/* As 0.1.0's last builds made it before times could be raised. */
static const char format_2[] =
	"CREATE TABLE updates (sequence INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE"
	" CHECK (length(key) BETWEEN 1 AND 100 AND key NOT GLOB '*[^A-Za-z0-9_-]*'),"
	" time_us INTEGER NOT NULL, stored_us INTEGER NOT NULL);"
	"CREATE TABLE outbox (sequence INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE"
	" CHECK (length(key) BETWEEN 1 AND 100 AND key NOT GLOB '*[^A-Za-z0-9_-]*'),"
	" time_us INTEGER NOT NULL, stored_us INTEGER NOT NULL);"
	"INSERT INTO outbox VALUES (41, 'old', 10, 20);"
	"PRAGMA application_id = 1179416389; PRAGMA user_version = 2";

START_TEST(test_raised)
{
	struct update raised = {.time_us = 11, .stored_us = 21, .is_raised = true}, found;

	store = store_free(store);
	ck_assert_int_eq(unlink(path), 0);
	execute(format_2);
	ck_assert_int_eq(reopen(), 0);
	raised.key = make_key("old");
	ck_assert_int_eq(store_get(store, STORE_OUTBOX, &raised.key, &found), 1);
	ck_assert_int_eq(found.time_us, 10);
	ck_assert(!found.is_raised);
	ck_assert_int_eq(store_begin(store), 0);
	ck_assert_int_eq(store_put(store, STORE_OUTBOX, &raised), 0);
	ck_assert_int_eq(store_commit(store), 0);
	ck_assert_int_eq(reopen(), 0);
	ck_assert_int_eq(store_get(store, STORE_OUTBOX, &raised.key, &found), 1);
	ck_assert_int_eq(found.time_us, 11);
	ck_assert(found.is_raised);
}
END_TEST

/* One set aside never takes the name of another, and its journals go with it. */
START_TEST(test_names)
{
	char noise[5000];

	for (int i = 1; i <= 3; i++) {
		store = store_free(store);
		execute("PRAGMA user_version = 4");
		ck_assert_int_eq(reopen(), 0);
		ck_assert_int_eq(count_files("flagsse.db.newer-"), i);
	}

	store = store_free(store);
	ck_assert_int_eq(unlink(path), 0);
	memset(noise, 'x', sizeof(noise));
	write_at(0, noise, sizeof(noise));
	/* Beside a log, SQLite leaves the other kind of journal alone. */
	snprintf(path, sizeof(path), "%s/flagsse.db-wal", directory);
	write_at(0, noise, sizeof(noise));
	snprintf(path, sizeof(path), "%s/flagsse.db-journal", directory);
	write_at(0, noise, sizeof(noise));
	ck_assert_int_eq(reopen(), 0);
	ck_assert_int_eq(count_files("flagsse.db-journal"), 0);
	ck_assert_int_eq(count_files("flagsse.db.corrupt-"), 2);
}
END_TEST

START_TEST(test_empty_file)
{
	store = store_free(store);
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_int_eq(reopen(), 0);
	ck_assert_ptr_null(problem);
	commit_one("a", 10, 20);
}
END_TEST

START_TEST(test_no_directory)
{
	struct store *none = NULL;
	char *text = NULL;

	ck_assert_int_eq(store_open("/nonexistent/flagsse", &none, &text), -ENOENT);
	ck_assert_ptr_null(none);
	ck_assert_ptr_nonnull(strstr(text, "/nonexistent/flagsse/flagsse.db"));
	free(text);
	ck_assert_int_eq(store_open("/nonexistent/flagsse", &none, NULL), -ENOENT);
}
END_TEST

static int try_update(struct update *update)
{
	int r;

	r = store_begin(store);
	if (r == 0)
		r = store_put(store, STORE_UPDATES, update);
	if (r == 0)
		r = store_commit(store);
	return r;
}

START_TEST(test_no_space)
{
	struct update update = {.key = make_key("b"), .time_us = 11, .stored_us = 21};
	struct update found;
	int put_result, get_result, test_result;
	char text[256];

	commit_one("a", 10, 20);
	ck_assert_int_eq(store_test(store), 0);

	limit_file_size();
	put_result = try_update(&update);
	snprintf(text, sizeof(text), "%s", store_problem(store));
	store_rollback(store);
	get_result = store_get(store, STORE_UPDATES, &update.key, &found);
	test_result = store_test(store);
	unlimit_file_size();

	ck_assert_int_eq(put_result, -ENOSPC);
	ck_assert_ptr_nonnull(strstr(text, "File too large"));
	ck_assert_int_eq(get_result, 0);
	ck_assert_int_eq(test_result, -ENOSPC);
	assert_stored("a", 10, 20, 1);

	ck_assert_int_eq(store_test(store), 0);
	commit_one("b", 12, 22);
	ck_assert_int_eq(reopen(), 0);
	ck_assert_ptr_null(problem);
	assert_stored("a", 10, 20, 1);
	assert_stored("b", 12, 22, 2);
}
END_TEST

START_TEST(test_no_space_to_open)
{
	int r;

	store = store_free(store);
	ck_assert_int_eq(unlink(path), 0);
	limit_file_size();
	r = store_open(directory, &store, &problem);
	unlimit_file_size();
	ck_assert_int_eq(r, -ENOSPC);
	ck_assert_ptr_null(store);
	ck_assert_ptr_nonnull(strstr(problem, "no space"));
	ck_assert_int_eq(reopen(), 0);
}
END_TEST

START_TEST(test_free)
{
	ck_assert_ptr_null(store_free(NULL));
	ck_assert_str_eq(store_library_version(), sqlite3_libversion());
}
END_TEST

/* What no flagsse has written is damage: to reckon with it could overflow. */
static const char *const impossible[] = {
	"UPDATE updates SET time_us = -1",
	"UPDATE updates SET time_us = 32503683600000000",
	"UPDATE updates SET time_us = 'soon'",
	"UPDATE updates SET stored_us = -1",
	"UPDATE updates SET stored_us = 9223372036854775807",
	"UPDATE updates SET stored_us = 1e300",
	"UPDATE updates SET sequence = 0",
	"UPDATE updates SET sequence = -5",
	"INSERT INTO outbox VALUES (1, 'a', 1, 9223372036854775000, 0)",
	"INSERT INTO outbox VALUES (1, 'a', -9223372036854775808, 1, 0)",
};

START_TEST(test_impossible_numbers)
{
	commit_one("old", 10, 20);
	store = store_free(store);
	execute(impossible[_i]);
	assert_set_aside("corrupt");
}
END_TEST

/* After the last number SQLite says that the disk is full. */
static const char *const last_numbers[] = {
	"UPDATE updates SET sequence = 9223372036854775807",
	"UPDATE sqlite_sequence SET seq = 9223372036854775807",
	"INSERT INTO outbox VALUES (9223372036854775807, 'a', 1, 2, 0)",
};

START_TEST(test_last_number)
{
	commit_one("old", 10, 20);
	store = store_free(store);
	execute(last_numbers[_i]);
	assert_set_aside("corrupt");
}
END_TEST

/* ---- Files that are deleted while they are open ---- */

static enum store_place find(void)
{
	char text[256] = "";
	enum store_place place = store_find(store, text, sizeof(text));

	ck_assert_int_eq(place == STORE_IN_PLACE, !*text);
	ck_assert(!*text || strstr(text, path));
	return place;
}

static void delete (const char *suffix)
{
	char name[160];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	ck_assert_int_eq(unlink(name), 0);
}

static void fill_both_tables(void)
{
	struct update waiting = {.key = make_key("w"), .time_us = 5, .stored_us = 6};

	commit_one("gone", 1, 2);
	commit_one("a", 10, 20);
	commit_one("b", 11, 21);
	ck_assert_int_eq(store_begin(store), 0);
	ck_assert_int_eq(store_put(store, STORE_OUTBOX, &waiting), 0);
	ck_assert_int_eq(store_put(store, STORE_OUTBOX, &waiting), 0);
	ck_assert_int_eq(store_expire(store, 5), 1);
	ck_assert_int_eq(store_commit(store), 0);
}

static void assert_both_tables(void)
{
	char text[256] = "";

	ck_assert_int_eq(store_each(store, STORE_UPDATES, collect, text), 0);
	ck_assert_int_eq(store_each(store, STORE_OUTBOX, collect, text), 0);
	ck_assert_str_eq(text, "a 10 20 2, b 11 21 3, w 5 6 2, ");
}

/* Into the place of the one that went astray. */
static void move(void)
{
	struct store *moved = NULL;

	ck_assert_int_eq(store_move(store, directory, &moved, &problem), 0);
	store_free(store);
	store = moved;
	ck_assert_int_eq(find(), STORE_IN_PLACE);
	assert_both_tables();
	ck_assert_int_eq(reopen(), 0);
	assert_both_tables();
	ck_assert_uint_eq(commit_one("c", 12, 22), 4);
}

START_TEST(test_in_place)
{
	ck_assert_int_eq(find(), STORE_IN_PLACE);
	fill_both_tables();
	ck_assert_int_eq(find(), STORE_IN_PLACE);
	/* The log begins again, more than once. */
	for (int i = 0; i < 3000; i++)
		commit_one("a", i, i);
	ck_assert_int_eq(find(), STORE_IN_PLACE);
	ck_assert_int_eq(reopen(), 0);
	ck_assert_int_eq(find(), STORE_IN_PLACE);
}
END_TEST

START_TEST(test_deleted)
{
	fill_both_tables();
	delete ("");
	if (_i)
		delete ("-wal");
	ck_assert_int_eq(find(), STORE_ASTRAY);
	move();
	ck_assert_int_eq(count_files("flagsse.db."), 0);
}
END_TEST

/* What is in the log alone gets into the file as that is closed. */
START_TEST(test_log_deleted)
{
	fill_both_tables();
	delete ("-wal");
	ck_assert_int_eq(find(), STORE_WITHOUT_LOG);
	ck_assert_int_eq(store_flush_log(store), 0);
	ck_assert_int_eq(reopen(), 0);
	ck_assert_int_eq(find(), STORE_IN_PLACE);
	assert_both_tables();
}
END_TEST

/* The disk is full: it stays open, whole, until there is space. */
START_TEST(test_log_deleted_and_no_space)
{
	int r;

	fill_both_tables();
	delete ("-wal");
	limit_file_size();
	r = store_flush_log(store);
	unlimit_file_size();
	ck_assert_int_eq(r, -ENOSPC);
	assert_both_tables();
	ck_assert_int_eq(store_flush_log(store), 0);
	ck_assert_int_eq(reopen(), 0);
	assert_both_tables();
}
END_TEST

START_TEST(test_directory_deleted)
{
	fill_both_tables();
	remove_directory(directory);
	ck_assert_int_eq(find(), STORE_ASTRAY);
	move();
}
END_TEST

/* One that nobody has open makes way, and keeps what is in it. */
START_TEST(test_replaced)
{
	char other[160];
	sqlite3 *database;

	fill_both_tables();
	delete ("");
	execute(format_1);
	ck_assert_int_eq(find(), STORE_ASTRAY);
	move();
	ck_assert_int_eq(count_files("flagsse.db.replaced-"), 1);
	ck_assert_ptr_null(problem);
	for (DIR *stream = opendir(directory); stream; stream = NULL) {
		struct dirent *entry;

		while ((entry = readdir(stream)))
			if (strncmp(entry->d_name, "flagsse.db.", 11) == 0)
				snprintf(
					other, sizeof(other), "%s/%.64s", directory, entry->d_name);
		closedir(stream);
	}
	ck_assert_int_eq(sqlite3_open(other, &database), SQLITE_OK);
	ck_assert_int_eq(
		sqlite3_exec(database,
			"CREATE TEMP TABLE t (n CHECK (n = 41)); INSERT INTO t SELECT sequence FROM updates",
			NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(database);
}
END_TEST

/* One that another process has open does not: nothing is changed, and it can be tried again. */
START_TEST(test_place_is_taken)
{
	struct store *moved = NULL;
	int to_child[2], from_child[2];
	pid_t child;
	char byte;

	ck_assert_int_eq(pipe(to_child), 0);
	ck_assert_int_eq(pipe(from_child), 0);
	fill_both_tables();
	delete ("");
	delete ("-wal");
	child = fork();
	if (child == 0) {
		struct store *second = NULL;

		if (store_open(directory, &second, NULL) < 0 || write(from_child[1], "", 1) != 1 ||
			read(to_child[0], &byte, 1) != 1)
			_exit(1);
		store_free(second);
		_exit(0);
	}
	ck_assert_int_eq(read(from_child[0], &byte, 1), 1);
	ck_assert_int_eq(store_move(store, directory, &moved, &problem), -EBUSY);
	ck_assert_ptr_null(moved);
	ck_assert_ptr_nonnull(strstr(problem, "another process"));
	free(problem);
	problem = NULL;
	ck_assert_int_eq(write(to_child[1], "", 1), 1);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	move();
	for (int i = 0; i < 2; i++) {
		close(to_child[i]);
		close(from_child[i]);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("store");
	TCase *cases = tcase_create("store");

	tcase_add_checked_fixture(cases, set_up, tear_down);
	tcase_add_test(cases, test_put_and_get);
	tcase_add_test(cases, test_durable);
	tcase_add_test(cases, test_transaction);
	tcase_add_test(cases, test_persistence);
	tcase_add_test(cases, test_killed);
	tcase_add_test(cases, test_expire);
	tcase_add_test(cases, test_sequence);
	tcase_add_test(cases, test_each);
	tcase_add_test(cases, test_outbox);
	tcase_add_test(cases, test_settings);
	tcase_add_test(cases, test_busy);
	tcase_add_test(cases, test_no_database);
	tcase_add_test(cases, test_corrupt_pages);
	tcase_add_test(cases, test_truncated);
	tcase_add_test(cases, test_missing_table);
	tcase_add_test(cases, test_bad_key);
	tcase_add_test(cases, test_foreign);
	tcase_add_test(cases, test_newer);
	tcase_add_test(cases, test_older);
	tcase_add_test(cases, test_raised);
	tcase_add_test(cases, test_names);
	tcase_add_test(cases, test_empty_file);
	tcase_add_test(cases, test_no_directory);
	tcase_add_test(cases, test_no_space);
	tcase_add_test(cases, test_no_space_to_open);
	tcase_add_test(cases, test_free);
	tcase_add_loop_test(cases, test_impossible_numbers, 0, N_OF(impossible));
	tcase_add_loop_test(cases, test_last_number, 0, N_OF(last_numbers));
	tcase_add_test(cases, test_in_place);
	tcase_add_loop_test(cases, test_deleted, 0, 2);
	tcase_add_test(cases, test_log_deleted);
	tcase_add_test(cases, test_log_deleted_and_no_space);
	tcase_add_test(cases, test_directory_deleted);
	tcase_add_test(cases, test_replaced);
	tcase_add_test(cases, test_place_is_taken);
	suite_add_tcase(all, cases);
	return all;
}
