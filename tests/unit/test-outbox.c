/* SPDX-License-Identifier: BSD-3-Clause */
/* The outbox, as its user sees it: items in, events out. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "bus/bus.h"
#include "bus/outbox.h"
#include "runner.h"
#include "store-fixture.h"

static char directory[64], state[96];
static struct outbox *outbox;

/* ---- Events ---- */

static void expect_row(const char *key, int64_t time_us, int64_t stored_us, uint64_t sequence)
{
	struct bus_event event = next(BUS_OUTBOX_ROW);

	ck_assert_str_eq(event.update.key.text, key);
	ck_assert_int_eq(event.update.time_us, time_us);
	ck_assert_int_eq(event.update.stored_us, stored_us);
	ck_assert_uint_eq(event.update.sequence, sequence);
}

static void expect_empty(void)
{
	next(BUS_OUTBOX_BEGIN);
	next(BUS_OUTBOX_END);
	next(BUS_OUTBOX_UP);
}

/* ---- The outbox ---- */

static void set_up(void)
{
	snprintf(directory, sizeof(directory), "/tmp/flagsse-test-outbox-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(state, sizeof(state), "%s/state", directory);
	inbox_set_up();
	log_set_level(LOG_ERR);
	ck_assert_int_eq(outbox_new(state, &inbox, &outbox), 0);
}

static void tear_down(void)
{
	outbox = outbox_free(outbox);
	inbox_tear_down();
	remove_directory(state);
	remove_directory(directory);
}

static void restart(void)
{
	outbox = outbox_free(outbox);
	ck_assert_ptr_null(try_next(50));
	ck_assert_int_eq(outbox_new(state, &inbox, &outbox), 0);
}

static void prepare(struct outbox_item *item, const char *key, int64_t time_us, int64_t stored_us)
{
	*item = (struct outbox_item){.update = {.time_us = time_us, .stored_us = stored_us}};
	ck_assert_int_eq(key_parse(key, strlen(key), &item->update.key), 0);
}

/* What becomes of it.  `kept` may be NULL. */
static enum outbox_outcome keep(
	const char *key, int64_t time_us, int64_t stored_us, struct update *ret_kept)
{
	struct outbox_item item;

	prepare(&item, key, time_us, stored_us);
	outbox_keep(outbox, &item);
	ck_assert_ptr_eq(next(BUS_OUTBOX_ANSWER).item, &item);
	if (ret_kept)
		*ret_kept = item.kept;
	return item.outcome;
}

START_TEST(keeps_the_last)
{
	struct update kept;

	expect_empty();
	ck_assert_int_eq(keep("a", 10, 100, &kept), OUTBOX_KEPT);
	ck_assert_uint_eq(kept.sequence, 1);
	ck_assert_int_eq(keep("b", 10, 100, NULL), OUTBOX_KEPT);
	ck_assert_int_eq(keep("a", 10, 101, NULL), OUTBOX_STALE);
	ck_assert_int_eq(keep("a", 11, 103, NULL), OUTBOX_KEPT);
	restart();
	next(BUS_OUTBOX_BEGIN);
	expect_row("b", 10, 100, 2);
	expect_row("a", 11, 103, 3);
	next(BUS_OUTBOX_END);
	next(BUS_OUTBOX_UP);
}
END_TEST

/* It is news all the same, and above what the streams have been told. */
START_TEST(raises_what_is_older)
{
	struct update kept;

	expect_empty();
	keep("a", 10, 100, NULL);
	ck_assert_int_eq(keep("a", 5, 101, &kept), OUTBOX_KEPT);
	ck_assert_int_eq(kept.time_us, 11);
	ck_assert(kept.is_raised);
	ck_assert_int_eq(keep("a", 5, 102, &kept), OUTBOX_KEPT);
	ck_assert_int_eq(kept.time_us, 12);
	restart();
	next(BUS_OUTBOX_BEGIN);
	ck_assert(next(BUS_OUTBOX_ROW).update.is_raised);
	next(BUS_OUTBOX_END);
	next(BUS_OUTBOX_UP);
	ck_assert_int_eq(keep("a", 12, 103, NULL), OUTBOX_STALE);
	ck_assert_int_eq(keep("a", 13, 104, &kept), OUTBOX_KEPT);
	ck_assert_int_eq(kept.time_us, 13);
	ck_assert_msg(kept.is_raised, "it is for all of them");
}
END_TEST

/* What is accepted later has the later time, though a clock is set back. */
START_TEST(is_not_misled_by_clocks)
{
	struct update kept;

	expect_empty();
	ck_assert_int_eq(keep("a", 1000, 1001, NULL), OUTBOX_KEPT);
	ck_assert_int_eq(keep("a", 1010, 500, &kept), OUTBOX_KEPT);
	ck_assert_int_eq(kept.stored_us, 1002);
	/* A publisher far ahead silences nobody. */
	ck_assert_int_eq(keep("a", 99999, 1100, NULL), OUTBOX_KEPT);
	ck_assert_int_eq(keep("a", 1101, 1200, &kept), OUTBOX_KEPT);
	ck_assert_int_eq(kept.time_us, 100000);
}
END_TEST

/* The clock was an hour ahead as the first was accepted, and has been set right. */
START_TEST(is_not_silenced_by_the_future)
{
	const int64_t now_us = 1700000000 * US_PER_S, ahead_us = now_us + 3600 * US_PER_S;
	struct outbox_item item;

	expect_empty();
	prepare(&item, "a", ahead_us - 1, ahead_us);
	item.now_us = ahead_us;
	outbox_keep(outbox, &item);
	next(BUS_OUTBOX_ANSWER);
	ck_assert_int_eq(item.outcome, OUTBOX_KEPT);

	prepare(&item, "a", now_us - 5, now_us);
	item.now_us = now_us;
	outbox_keep(outbox, &item);
	next(BUS_OUTBOX_ANSWER);
	ck_assert_int_eq(item.outcome, OUTBOX_KEPT);
	ck_assert_int_eq(item.kept.stored_us, now_us);
	ck_assert_int_eq(item.kept.time_us, ahead_us);
}
END_TEST

START_TEST(drops_what_has_arrived)
{
	struct update first, second, other;

	expect_empty();
	keep("a", 10, 100, &first);
	keep("a", 11, 101, &second);
	keep("b", 10, 102, &other);
	ck_assert_int_eq(outbox_drop(outbox, &first), 0);
	ck_assert_int_eq(outbox_drop(outbox, &other), 0);
	/* Whether the removals are done only the next answer tells. */
	ck_assert_int_eq(keep("c", 1, 2, NULL), OUTBOX_KEPT);
	restart();
	next(BUS_OUTBOX_BEGIN);
	expect_row("a", 11, 101, 2);
	expect_row("c", 1, 2, 4);
	next(BUS_OUTBOX_END);
}
END_TEST

START_TEST(answers_a_burst_in_order)
{
	struct outbox_item *items = calloc(BURST, sizeof(*items));

	ck_assert_ptr_nonnull(items);
	expect_empty();
	for (int i = 0; i < BURST; i++)
		prepare(&items[i], "a", i + 1, BURST);
	for (int i = 0; i < BURST; i++)
		outbox_keep(outbox, &items[i]);
	for (int i = 0; i < BURST; i++) {
		struct bus_event event = next(BUS_OUTBOX_ANSWER);

		if (event.item != &items[i] || items[i].outcome != OUTBOX_KEPT)
			ck_abort_msg("answer %d", i);
	}
	free(items);
}
END_TEST

/* Each item comes back, and no removal is left behind. */
START_TEST(gives_all_back_at_the_end)
{
	struct outbox_item *items = calloc(END_BURST, sizeof(*items));
	struct update none = {0};
	int n = 0;

	ck_assert_ptr_null(outbox_free(NULL));
	ck_assert_ptr_nonnull(items);
	for (int i = 0; i < END_BURST; i++) {
		prepare(&items[i], "a", i + 1, END_BURST);
		outbox_keep(outbox, &items[i]);
		ck_assert_int_eq(outbox_drop(outbox, &none), 0);
	}
	outbox = outbox_free(outbox);
	for (struct bus_event *event; (event = try_next(0)); free(event))
		n += event->type == BUS_OUTBOX_ANSWER;
	ck_assert_int_eq(n, END_BURST);
	ck_assert_int_eq(items[END_BURST - 1].outcome, OUTBOX_FAILED);
	ck_assert_ptr_nonnull(strstr(items[END_BURST - 1].problem, "stopping"));
	free(items);
}
END_TEST

/* Told once; items are refused with the reason; as soon as it can be opened, it is. */
START_TEST(is_opened_when_it_can_be)
{
	struct outbox_item item;
	struct bus_event event;

	expect_empty();
	outbox = outbox_free(outbox);
	remove_directory(state);
	ck_assert_int_eq(symlink("/nonexistent/place", state), 0);
	ck_assert_int_eq(outbox_new(state, &inbox, &outbox), 0);
	event = next(BUS_OUTBOX_DOWN);
	ck_assert_ptr_nonnull(strstr(event.text, state));
	prepare(&item, "a", 1, 2);
	outbox_keep(outbox, &item);
	next(BUS_OUTBOX_ANSWER);
	ck_assert_int_eq(item.outcome, OUTBOX_FAILED);
	ck_assert_ptr_nonnull(strstr(item.problem, "cannot be opened"));
	ck_assert_ptr_null(try_next(1500));
	ck_assert_int_eq(unlink(state), 0);
	expect_empty();
	ck_assert_int_eq(keep("a", 1, 2, NULL), OUTBOX_KEPT);
}
END_TEST

/* The disk is full.  Nothing may be asserted until that ends: Check writes to a file, too. */
START_TEST(says_that_the_disk_is_full)
{
	struct outbox_item items[2];
	struct bus_event *events[4];
	struct rlimit before, limit;

	expect_empty();
	prepare(&items[0], "a", 1, 2);
	prepare(&items[1], "b", 1, 2);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = 1;
	setrlimit(RLIMIT_FSIZE, &limit);
	outbox_keep(outbox, &items[0]);
	events[0] = try_next(TIMEOUT_MS);
	events[1] = try_next(TIMEOUT_MS);
	outbox_keep(outbox, &items[1]);
	events[2] = try_next(TIMEOUT_MS);
	events[3] = try_next(50);
	setrlimit(RLIMIT_FSIZE, &before);

	ck_assert(events[0] && events[1] && events[2] && !events[3]);
	ck_assert_int_eq(events[0]->type, BUS_OUTBOX_DOWN);
	ck_assert_ptr_nonnull(strstr(events[0]->text, "Free space"));
	for (int i = 0; i < 2; i++) {
		ck_assert_ptr_eq(events[i + 1]->item, &items[i]);
		ck_assert_int_eq(items[i].outcome, OUTBOX_FAILED);
		ck_assert_ptr_nonnull(strstr(items[i].problem, "File too large"));
	}
	for (int i = 0; i < 3; i++)
		free(events[i]);

	outbox_keep(outbox, &items[1]);
	next(BUS_OUTBOX_UP);
	ck_assert_ptr_eq(next(BUS_OUTBOX_ANSWER).item, &items[1]);
	ck_assert_int_eq(items[1].outcome, OUTBOX_KEPT);
}
END_TEST

/* Somebody deletes the file while an item comes that is stale: that it is durable has to be true.
 */
START_TEST(moves_what_it_has_to_a_new_file)
{
	struct outbox_item item;
	char path[128];

	expect_empty();
	ck_assert_int_eq(keep("a", 10, 100, NULL), OUTBOX_KEPT);
	snprintf(path, sizeof(path), "%s/flagsse.db", state);
	ck_assert_int_eq(unlink(path), 0);
	log_set_level(LOG_CRIT);
	prepare(&item, "a", 10, 101);
	outbox_keep(outbox, &item);
	next(BUS_OUTBOX_BEGIN);
	expect_row("a", 10, 100, 1);
	next(BUS_OUTBOX_END);
	next(BUS_OUTBOX_ANSWER);
	ck_assert_int_eq(item.outcome, OUTBOX_STALE);
	ck_assert_int_eq(access(path, F_OK), 0);
	restart();
	next(BUS_OUTBOX_BEGIN);
	expect_row("a", 10, 100, 1);
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("outbox");
	TCase *cases = tcase_create("outbox");

	tcase_add_checked_fixture(cases, set_up, tear_down);
	tcase_add_test(cases, keeps_the_last);
	tcase_add_test(cases, raises_what_is_older);
	tcase_add_test(cases, is_not_misled_by_clocks);
	tcase_add_test(cases, is_not_silenced_by_the_future);
	tcase_add_test(cases, drops_what_has_arrived);
	tcase_add_test(cases, answers_a_burst_in_order);
	tcase_add_test(cases, gives_all_back_at_the_end);
	tcase_add_test(cases, is_opened_when_it_can_be);
	tcase_add_test(cases, says_that_the_disk_is_full);
	tcase_add_test(cases, moves_what_it_has_to_a_new_file);
	tcase_set_timeout(cases, 30);
	suite_add_tcase(all, cases);
	return all;
}
