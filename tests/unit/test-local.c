/* SPDX-License-Identifier: BSD-3-Clause */
/* The embedded bus, as its user sees it: publications in, events out. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "bus/bus.h"
#include "runner.h"
#include "store-fixture.h"

static char directory[64];
static struct bus *bus;

/* ---- Events ---- */

static void expect_start(void)
{
	next(BUS_SYNC_BEGIN);
	next(BUS_UP);
	next(BUS_SYNC_END);
	next(BUS_UP);
}

static void expect_silence(void)
{
	struct bus_event *event = try_next(50);

	ck_assert_msg(!event, "event %d", event ? (int)event->type : 0);
}

static void expect_update(const char *key, int64_t time_us, uint64_t sequence)
{
	struct bus_event event = next(BUS_UPDATE);

	ck_assert_str_eq(event.update.key.text, key);
	ck_assert_int_eq(event.update.time_us, time_us);
	ck_assert_uint_eq(event.update.sequence, sequence);
}

/* ---- The bus ---- */

static void set_up(void)
{
	snprintf(directory, sizeof(directory), "/tmp/flagsse-test-local-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	inbox_set_up();
	log_set_level(LOG_ERR);
	ck_assert_int_eq(bus_new_local(directory, &inbox, &bus), 0);
}

static void tear_down(void)
{
	bus = bus_free(bus);
	inbox_tear_down();
	remove_directory(directory);
}

static void restart(void)
{
	bus = bus_free(bus);
	expect_silence();
	ck_assert_int_eq(bus_new_local(directory, &inbox, &bus), 0);
}

/* By SQLite itself, while the bus is down. */
static void execute(const char *sql)
{
	sqlite3 *database;
	char path[128];

	snprintf(path, sizeof(path), "%s/flagsse.db", directory);
	ck_assert_int_eq(sqlite3_open(path, &database), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(database);
}

static void prepare(struct publication *publication, const char *key, int64_t time_us)
{
	*publication = (struct publication){.update = {.time_us = time_us, .stored_us = 1}};
	ck_assert_int_eq(key_parse(key, strlen(key), &publication->update.key), 0);
}

static void expect_answer(struct publication *publication, enum publish_outcome outcome)
{
	struct bus_event event = next(BUS_ANSWER);

	ck_assert_ptr_eq(event.publication, publication);
	ck_assert_msg(publication->outcome == outcome, "outcome %d, not %d: %s",
		publication->outcome, outcome, publication->problem);
	ck_assert_int_eq(publication->update.stored_us, 1);
}

/* Publishes one that will be stored, under another time, and gives when it was. */
static int64_t publish_raised(
	const char *key, int64_t time_us, int64_t raised_us, uint64_t sequence)
{
	int64_t before_us = clock_wall_us();
	struct publication publication;
	struct bus_event event;

	prepare(&publication, key, time_us);
	bus_publish(bus, &publication);
	event = next(BUS_UPDATE);
	ck_assert_str_eq(event.update.key.text, key);
	ck_assert_int_eq(event.update.time_us, raised_us);
	ck_assert_uint_eq(event.update.sequence, sequence);
	ck_assert_int_ge(event.update.stored_us, before_us);
	expect_answer(&publication, PUBLISH_STORED);
	ck_assert_uint_eq(publication.sequence, sequence);
	return event.update.stored_us;
}

static int64_t publish_stored(const char *key, int64_t time_us, uint64_t sequence)
{
	return publish_raised(key, time_us, time_us, sequence);
}

static void publish_stale(const char *key, int64_t time_us)
{
	struct publication publication;

	prepare(&publication, key, time_us);
	bus_publish(bus, &publication);
	expect_answer(&publication, PUBLISH_STALE);
}

START_TEST(test_publish)
{
	int64_t now_us = clock_wall_us();

	expect_start();
	ck_assert_int_le(publish_stored("a", now_us - 10, 1), clock_wall_us());
	publish_stored("b", now_us - 20, 2);
	publish_stored("a", now_us - 9, 3);
	expect_silence();
}
END_TEST

START_TEST(test_stale)
{
	int64_t now_us = clock_wall_us();

	expect_start();
	publish_stored("a", now_us - 10, 1);
	publish_stale("a", now_us - 10);
	publish_stored("b", now_us - 11, 2);
	publish_stored("a", now_us - 9, 3);
	restart();
	next(BUS_SYNC_BEGIN);
	expect_update("b", now_us - 11, 2);
	expect_update("a", now_us - 9, 3);
	next(BUS_UP);
	next(BUS_SYNC_END);
	next(BUS_UP);
	publish_stale("a", now_us - 9);
	publish_stored("a", now_us - 8, 4);
}
END_TEST

/* Whoever fetched for the latest may lack it: so it is news, and above that. */
START_TEST(test_older)
{
	int64_t now_us = clock_wall_us();

	expect_start();
	publish_stored("a", now_us - 10, 1);
	publish_raised("a", now_us - 500, now_us - 9, 2);
	publish_raised("a", now_us - 10, now_us - 8, 3);
	publish_stale("a", now_us - 8);
	restart();
	next(BUS_SYNC_BEGIN);
	expect_update("a", now_us - 8, 3);
	next(BUS_UP);
	next(BUS_SYNC_END);
	next(BUS_UP);
	publish_raised("a", now_us - 700, now_us - 7, 4);
}
END_TEST

/* What has waited is compared with when the latest was stored. */
START_TEST(test_waited)
{
	int64_t now_us = clock_wall_us(), stored_us;
	struct publication publication;

	expect_start();
	stored_us = publish_stored("a", now_us - 10, 1);
	prepare(&publication, "a", now_us - 500);
	publication.has_waited = true; /* since 1970 */
	bus_publish(bus, &publication);
	expect_answer(&publication, PUBLISH_STALE);
	prepare(&publication, "a", now_us);
	publication.has_waited = true;
	bus_publish(bus, &publication);
	expect_update("a", now_us + 1, 2);
	expect_answer(&publication, PUBLISH_STORED);
	prepare(&publication, "a", now_us - 500);
	publication.has_waited = true;
	publication.update.stored_us = stored_us + US_PER_S;
	bus_publish(bus, &publication);
	expect_update("a", now_us + 2, 3);
	ck_assert_int_eq(next(BUS_ANSWER).publication->outcome, PUBLISH_STORED);
}
END_TEST

/* One publisher's clock is a year ahead: the others are heard all the same, and it too. */
START_TEST(test_clock_ahead)
{
	int64_t ahead_us = clock_wall_us() + 365 * 86400 * US_PER_S;
	int64_t stored_us;

	expect_start();
	stored_us = publish_stored("a", ahead_us, 1);
	publish_raised("a", stored_us, ahead_us + 1, 2);
	publish_raised("a", stored_us + 1, ahead_us + 2, 3);
	publish_raised("a", ahead_us - 1, ahead_us + 3, 4);
	publish_stored("a", ahead_us + 9, 5);
}
END_TEST

static void set_times(const char *key, int64_t time_us, int64_t stored_us)
{
	char sql[200];

	snprintf(sql, sizeof(sql),
		"UPDATE updates SET time_us = %lld, stored_us = %lld WHERE key = '%s'",
		(long long)time_us, (long long)stored_us, key);
	execute(sql);
}

/* Our own clock was ahead when the latest was stored, and has been set right.  Of "a" the
 * publisher's was right, of "b" it was ahead as well. */
static void start_with_a_store_of_the_future(int64_t ahead_us)
{
	int64_t now_us = clock_wall_us();

	expect_start();
	publish_stored("a", now_us - 10, 1);
	publish_stored("b", now_us - 10, 2);
	bus = bus_free(bus);
	set_times("a", now_us - 10, now_us + ahead_us);
	set_times("b", now_us + ahead_us, now_us + ahead_us);
	ck_assert_int_eq(bus_new_local(directory, &inbox, &bus), 0);
	next(BUS_SYNC_BEGIN);
}

static const int64_t aheads[] = {2 * US_PER_S, 3600 * US_PER_S, 365 * 86400 * US_PER_S};

START_TEST(test_clock_set_back)
{
	int64_t now_us, stored_us, ahead_us;

	start_with_a_store_of_the_future(aheads[_i]);
	next(BUS_UPDATE);
	ahead_us = next(BUS_UPDATE).update.time_us;
	next(BUS_UP);
	next(BUS_SYNC_END);
	next(BUS_UP);

	/* What comes now was made a moment before. */
	now_us = clock_wall_us() - 1;
	stored_us = publish_raised("b", now_us, ahead_us + 1, 3);
	ck_assert_int_le(stored_us, clock_wall_us());
	publish_raised("b", now_us + 1, ahead_us + 2, 4);
	/* One that is possible keeps its time. */
	publish_stored("a", now_us, 5);
	restart();
	next(BUS_SYNC_BEGIN);
	expect_update("b", ahead_us + 2, 4);
	expect_update("a", now_us, 5);
	next(BUS_UP);
	next(BUS_SYNC_END);
	next(BUS_UP);
	publish_raised("b", now_us + 2, ahead_us + 3, 6);
}
END_TEST

/* Expired ones are neither told nor compared with, and in the end deleted. */
START_TEST(test_expired)
{
	int64_t now_us = clock_wall_us();
	char sql[256];

	expect_start();
	publish_stored("a", now_us - 10, 1);
	publish_stored("b", now_us - 10, 2);
	publish_stored("c", now_us - 10, 3);
	bus = bus_free(bus);
	snprintf(sql, sizeof(sql), "UPDATE updates SET stored_us = %lld WHERE key <> 'c'",
		(long long)(now_us - UPDATE_LIFETIME_US));
	execute(sql);
	ck_assert_int_eq(bus_new_local(directory, &inbox, &bus), 0);
	next(BUS_SYNC_BEGIN);
	expect_update("c", now_us - 10, 3);
	next(BUS_UP);
	next(BUS_SYNC_END);
	next(BUS_UP);

	/* Older than the expired one in both respects. */
	publish_stored("a", now_us - 2 * UPDATE_LIFETIME_US, 4);
	bus = bus_free(bus);
	execute("CREATE TEMP TABLE t (n CHECK (n = 0));"
		"INSERT INTO t SELECT count(*) FROM updates WHERE key = 'b'");
	ck_assert_int_eq(bus_new_local(directory, &inbox, &bus), 0);
	next(BUS_SYNC_BEGIN);
	expect_update("c", now_us - 10, 3);
	expect_update("a", now_us - 2 * UPDATE_LIFETIME_US, 4);
}
END_TEST

/* Each comes back once, in order, with a sequence of its own; of each transaction the updates come
 * before the answers. */
START_TEST(test_burst)
{
	struct publication *publications = calloc(BURST, sizeof(*publications));
	int64_t now_us = clock_wall_us() - US_PER_S;
	uint64_t n_updates = 0;

	ck_assert_ptr_nonnull(publications);
	expect_start();
	for (int i = 0; i < BURST; i++)
		prepare(&publications[i], "a", now_us + i);
	for (int i = 0; i < BURST; i++)
		bus_publish(bus, &publications[i]);

	for (int i = 0; i < BURST;) {
		struct bus_event *event = try_next(TIMEOUT_MS);

		if (!event)
			ck_abort_msg("%d answers", i);
		if (event->type == BUS_UPDATE) {
			if (event->update.sequence != ++n_updates)
				ck_abort_msg("update %llu", (unsigned long long)n_updates);
		} else if (event->type != BUS_ANSWER || event->publication != &publications[i] ||
			   event->publication->outcome != PUBLISH_STORED ||
			   event->publication->sequence != (uint64_t)i + 1 ||
			   event->publication->sequence > n_updates)
			ck_abort_msg("answer %d", i);
		else
			i++;
		free(event);
	}
	ck_assert_uint_eq(n_updates, BURST);
	free(publications);
}
END_TEST

/* What is still with the bus comes back. */
START_TEST(test_free)
{
	struct publication *publications = calloc(END_BURST, sizeof(*publications));
	int n = 0;

	ck_assert_ptr_null(bus_free(NULL));
	ck_assert_ptr_nonnull(publications);
	for (int i = 0; i < END_BURST; i++) {
		prepare(&publications[i], "a", clock_wall_us());
		bus_publish(bus, &publications[i]);
	}
	bus = bus_free(bus);

	for (struct bus_event *event; (event = try_next(0)); free(event)) {
		if (event->type != BUS_ANSWER)
			continue;
		if (event->publication != &publications[n++])
			ck_abort_msg("answer %d", n - 1);
		if (event->publication->outcome == PUBLISH_UNAVAILABLE)
			ck_assert_ptr_nonnull(strstr(event->publication->problem, "stopping"));
	}
	ck_assert_int_eq(n, END_BURST);
	ck_assert_int_eq(publications[END_BURST - 1].outcome, PUBLISH_UNAVAILABLE);
	free(publications);
}
END_TEST

START_TEST(test_free_at_once)
{
	bus = bus_free(bus);
	expect_start();
	expect_silence();
}
END_TEST

/* The disk is full.  Nothing may be asserted until that ends: Check writes to a file, too. */
static void fill_disk(struct rlimit *ret_before)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, ret_before);
	limit = *ret_before;
	limit.rlim_cur = 1;
	setrlimit(RLIMIT_FSIZE, &limit);
}

/* Told once, and all are refused but stale ones, which are known to be. */
START_TEST(test_disk_full)
{
	int64_t now_us = clock_wall_us() - US_PER_S;
	struct publication publications[3];
	struct bus_event *events[5];
	struct rlimit before;

	expect_start();
	publish_stored("a", now_us, 1);
	prepare(&publications[0], "a", now_us + 1);
	prepare(&publications[1], "a", now_us);
	prepare(&publications[2], "a", now_us + 2);

	fill_disk(&before);
	bus_publish(bus, &publications[0]);
	events[0] = try_next(TIMEOUT_MS);
	events[1] = try_next(TIMEOUT_MS);
	bus_publish(bus, &publications[1]);
	events[2] = try_next(TIMEOUT_MS);
	bus_publish(bus, &publications[2]);
	events[3] = try_next(TIMEOUT_MS);
	events[4] = try_next(50);
	setrlimit(RLIMIT_FSIZE, &before);

	ck_assert(events[0] && events[1] && events[2] && events[3] && !events[4]);
	ck_assert_int_eq(events[0]->type, BUS_DOWN);
	ck_assert_ptr_nonnull(strstr(events[0]->text, "File too large"));
	ck_assert_ptr_nonnull(strstr(events[0]->text, "Free space"));
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(events[i + 1]->type, BUS_ANSWER);
		ck_assert_ptr_eq(events[i + 1]->publication, &publications[i]);
	}
	for (int i = 0; i < 4; i++)
		free(events[i]);
	ck_assert_int_eq(publications[0].outcome, PUBLISH_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(publications[0].problem, "File too large"));
	ck_assert_int_eq(publications[1].outcome, PUBLISH_STALE);
	ck_assert_int_eq(publications[2].outcome, PUBLISH_UNAVAILABLE);

	bus_publish(bus, &publications[2]);
	next(BUS_UP);
	expect_update("a", now_us + 2, 2);
	expect_answer(&publications[2], PUBLISH_STORED);
}
END_TEST

/* It finds out by itself that there is space again, not sooner, and has kept nothing that it
 * refused. */
START_TEST(test_recovery)
{
	int64_t now_us = clock_wall_us() - US_PER_S;
	struct publication publication;
	struct bus_event *events[3];
	struct rlimit before;

	expect_start();
	publish_stored("a", now_us, 1);
	prepare(&publication, "a", now_us + 1);

	fill_disk(&before);
	bus_publish(bus, &publication);
	events[0] = try_next(TIMEOUT_MS);
	events[1] = try_next(TIMEOUT_MS);
	events[2] = try_next(6000);
	setrlimit(RLIMIT_FSIZE, &before);

	ck_assert(events[0] && events[0]->type == BUS_DOWN);
	ck_assert(events[1] && events[1]->type == BUS_ANSWER);
	ck_assert(!events[2]);
	free(events[0]);
	free(events[1]);
	next(BUS_UP);
	expect_silence();
	restart();
	next(BUS_SYNC_BEGIN);
	expect_update("a", now_us, 1);
	next(BUS_UP);
	next(BUS_SYNC_END);
	next(BUS_UP);
}
END_TEST

/* Somebody deletes the file: what was answered is in a new one, the update at hand too. */
START_TEST(test_file_deleted)
{
	int64_t now_us = clock_wall_us() - US_PER_S;
	struct publication publication;
	char path[128];

	expect_start();
	publish_stored("a", now_us, 1);
	snprintf(path, sizeof(path), "%s/flagsse.db", directory);
	ck_assert_int_eq(unlink(path), 0);
	log_set_level(LOG_CRIT);
	prepare(&publication, "b", now_us + 1);
	bus_publish(bus, &publication);
	next(BUS_SYNC_BEGIN);
	expect_update("a", now_us, 1);
	expect_update("b", now_us + 1, 2);
	next(BUS_UP);
	next(BUS_SYNC_END);
	expect_update("b", now_us + 1, 2);
	expect_answer(&publication, PUBLISH_STORED);
	ck_assert_int_eq(access(path, F_OK), 0);
	restart();
	next(BUS_SYNC_BEGIN);
	expect_update("a", now_us, 1);
	expect_update("b", now_us + 1, 2);
}
END_TEST

/* Has the store, from `ready` on until `over` ends. */
static void be_another_process(int ready, int over)
{
	struct bus *own = NULL;
	char byte = 0;
	int r = bus_new_local(directory, &inbox, &own);

	if (r < 0 || write(ready, &byte, 1) != 1 || read(over, &byte, 1) != 0)
		_exit(1);
	bus_free(own);
	_exit(0);
}

START_TEST(test_two_processes)
{
	int ready[2], over[2], status;
	char byte;
	pid_t child;

	expect_start();
	/* Without a thread of ours: ThreadSanitizer knows no other fork(). */
	bus = bus_free(bus);
	ck_assert(pipe(ready) == 0 && pipe(over) == 0);
	child = fork();
	if (child == 0) {
		close(over[1]);
		be_another_process(ready[1], over[0]);
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert_int_eq(bus_new_local(directory, &inbox, &bus), -EBUSY);
	ck_assert_ptr_null(bus);
	close(over[1]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(bus_new_local(directory, &inbox, &bus), 0);
	expect_start();
	publish_stored("a", clock_wall_us(), 1);
	close(ready[0]);
	close(ready[1]);
	close(over[0]);
}
END_TEST

START_TEST(test_no_directory)
{
	struct bus *none = NULL;

	ck_assert_int_eq(bus_new_local("/nonexistent/flagsse", &inbox, &none), -ENOENT);
	ck_assert_ptr_null(none);
}
END_TEST

static void ignore_signal(int number)
{
	(void)number;
}

/* Signals are the main thread's: a blocked one stays pending, and no thread of the bus takes it. */
START_TEST(test_signals)
{
	sigset_t set, pending;

	expect_start();
	signal(SIGTERM, ignore_signal);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
	publish_stored("a", clock_wall_us(), 1);
	ck_assert_int_eq(sigpending(&pending), 0);
	ck_assert_int_eq(sigismember(&pending, SIGTERM), 1);
	ck_assert_int_eq(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("local");
	TCase *cases = tcase_create("local");

	tcase_add_checked_fixture(cases, set_up, tear_down);
	tcase_add_test(cases, test_publish);
	tcase_add_test(cases, test_stale);
	tcase_add_test(cases, test_older);
	tcase_add_test(cases, test_waited);
	tcase_add_test(cases, test_clock_ahead);
	tcase_add_loop_test(cases, test_clock_set_back, 0, sizeof(aheads) / sizeof(aheads[0]));
	tcase_add_test(cases, test_expired);
	tcase_add_test(cases, test_burst);
	tcase_add_test(cases, test_free);
	tcase_add_test(cases, test_free_at_once);
	tcase_add_test(cases, test_disk_full);
	tcase_add_test(cases, test_recovery);
	tcase_add_test(cases, test_file_deleted);
	tcase_add_test(cases, test_two_processes);
	tcase_add_test(cases, test_no_directory);
	tcase_add_test(cases, test_signals);
	tcase_set_timeout(cases, 30);
	suite_add_tcase(all, cases);
	return all;
}
