/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry: what is newer, what the bus has lost, what expires. */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "hub/registry.h"
#include "runner.h"

#define T0 INT64_C(1700000000000000)

static int64_t bus_now_us;

static void start(void)
{
	bus_now_us = T0;
}

static struct update make(const char *key, int64_t time_us, int64_t stored_us, uint64_t sequence)
{
	struct update update = {.time_us = time_us, .stored_us = stored_us, .sequence = sequence};

	ck_assert_int_eq(key_parse(key, strlen(key), &update.key), 0);
	return update;
}

static int offer_at(struct registry *registry, struct update update, int64_t now_us)
{
	const struct update *latest;
	struct frame *frame;
	int verdict = registry_offer(registry, &update, now_us, &latest, &frame);

	ck_assert_int_ge(verdict, 0);
	ck_assert_str_eq(latest->key.text, update.key.text);
	ck_assert_int_eq(frame_id(frame), latest->time_us);
	return verdict;
}

/* As it comes from a bus whose clock shows the latest time that it has ever told. */
static int offer(struct registry *registry, struct update update)
{
	if (update.stored_us > bus_now_us)
		bus_now_us = update.stored_us;
	return offer_at(registry, update, bus_now_us);
}

static int64_t latest_time(struct registry *registry, const char *name, int64_t now_us)
{
	struct update probe = make(name, 0, 0, 0);
	struct update latest;
	struct frame *frame;

	if (!registry_latest(registry, &probe.key, now_us, &latest, &frame))
		return -1;
	ck_assert_int_eq(frame_id(frame), latest.time_us);
	return latest.time_us;
}

/* One after the other into the same environment: the verdict of each. */
struct offer {
	const char *what;
	int64_t time, stored; /* seconds from T0 */
	uint64_t sequence;
	int verdict;
	int64_t latest; /* afterwards */
};

static const struct offer order[] = {
	{"the first", 0, 1, 1, REGISTRY_NEWER, 0},
	{"the same again", 0, 1, 1, REGISTRY_SAME, 0},
	{"a newer one", 10, 11, 2, REGISTRY_NEWER, 10},
	{"an older one, stored later", 5, 12, 3, REGISTRY_OVERTAKEN, 10},
	{"one that was stored before", 5, 8, 2, REGISTRY_OLDER, 10},
	{"a newer one that was stored before", 15, 8, 2, REGISTRY_OLDER, 10},
	{"the latest, written back", 10, 13, 4, REGISTRY_SAME, 10},
	{"a publisher whose clock is far ahead", 900000, 20, 5, REGISTRY_NEWER, 900000},
	{"another node's that did not know that", 21, 22, 6, REGISTRY_OVERTAKEN, 900000},
	{"written above it", 900001, 23, 7, REGISTRY_NEWER, 900001},
	{"far ahead, read again after that", 900000, 20, 5, REGISTRY_OLDER, 900001},
	{"the bus's clock has jumped back", 900030, 15, 8, REGISTRY_NEWER, 900030},
	{"the stream was made anew: small numbers, older value", 22, 40, 1, REGISTRY_OVERTAKEN,
		900030},
	{"the stream was made anew: newer value", 900041, 42, 2, REGISTRY_NEWER, 900041},
	{"older than one that had expired by then", 35, 42 + 3600, 3, REGISTRY_NEWER, 35},
};

static void check_offers(const struct offer *offers, size_t n)
{
	_cleanup_(registry_freep) struct registry *registry = NULL;

	ck_assert_int_eq(registry_new(&registry), 0);
	for (size_t i = 0; i < n; i++) {
		int64_t stored = T0 + offers[i].stored * US_PER_S;
		int verdict = offer(registry,
			make("env", T0 + offers[i].time * US_PER_S, stored, offers[i].sequence));

		ck_assert_msg(
			verdict == offers[i].verdict, "%s: verdict %d", offers[i].what, verdict);
		ck_assert_msg(latest_time(registry, "env", bus_now_us) ==
				      T0 + offers[i].latest * US_PER_S,
			"%s: the wrong one is the latest", offers[i].what);
	}
}

START_TEST(orders_updates)
{
	check_offers(order, sizeof(order) / sizeof(order[0]));
}
END_TEST

/* What the outbox holds has no number, and the time at which this node accepted it. */
static const struct offer queued[] = {
	{"in the outbox", 10, 11, 0, REGISTRY_NEWER, 10},
	{"an older one on the bus, stored after that", 9, 30, 7, REGISTRY_OVERTAKEN, 10},
	{"an older one on the bus, stored before", 9, 9, 7, REGISTRY_OLDER, 10},
	{"an older one on the bus, stored at about that time", 9, 11, 7, REGISTRY_OVERTAKEN, 10},
	{"far ahead on the bus, but stored before", 900000, 9, 8, REGISTRY_OLDER, 10},
	{"arrives on the bus", 10, 40, 9, REGISTRY_SAME, 10},
	{"a newer one, accepted before that was", 12, 10, 0, REGISTRY_OLDER, 10},
	{"a newer one, accepted before that was stored", 13, 20, 0, REGISTRY_NEWER, 13},
	{"another, far ahead", 900000, 50, 0, REGISTRY_NEWER, 900000},
	{"arrives: no news, though it lives longer now", 900000, 60, 10, REGISTRY_SAME, 900000},
	{"older, stored before that arrived", 55, 59, 10, REGISTRY_OLDER, 900000},
	{"a newer one", 900001, 71, 12, REGISTRY_NEWER, 900001},
	{"from the outbox again: the bus has it", 900001, 61, 0, REGISTRY_SAME, 900001},
	{"an older one in the outbox", 60, 70, 0, REGISTRY_OLDER, 900001},
	{"the bus's clock has jumped back", 900090, 65, 13, REGISTRY_NEWER, 900090},
	{"in the outbox, just after that", 900091, 72, 0, REGISTRY_NEWER, 900091},
	{"the one before, read again", 900090, 71, 13, REGISTRY_OLDER, 900091},
	{"an older one that was stored then", 900089, 72, 14, REGISTRY_OVERTAKEN, 900091},
};

START_TEST(orders_what_is_queued)
{
	check_offers(queued, sizeof(queued) / sizeof(queued[0]));
}
END_TEST

START_TEST(keeps_environments_apart)
{
	_cleanup_(registry_freep) struct registry *registry = NULL;

	ck_assert_int_eq(registry_new(&registry), 0);
	ck_assert_int_eq(offer(registry, make("a", T0 + 5, T0 + 6, 1)), REGISTRY_NEWER);
	ck_assert_int_eq(offer(registry, make("ab", T0 + 1, T0 + 7, 2)), REGISTRY_NEWER);
	ck_assert_int_eq(offer(registry, make("A", T0 + 2, T0 + 8, 3)), REGISTRY_NEWER);
	ck_assert_int_eq(latest_time(registry, "a", T0), T0 + 5);
	ck_assert_int_eq(latest_time(registry, "ab", T0), T0 + 1);
	ck_assert_int_eq(latest_time(registry, "A", T0), T0 + 2);
	ck_assert_int_eq(latest_time(registry, "b", T0), -1);
	ck_assert_uint_eq(registry_size(registry), 3);
}
END_TEST

START_TEST(expires)
{
	_cleanup_(registry_freep) struct registry *registry = NULL;

	ck_assert_int_eq(registry_new(&registry), 0);
	offer(registry, make("old", T0, T0, 1));
	offer(registry, make("new", T0, T0 + 1, 2));
	ck_assert_int_eq(latest_time(registry, "old", T0 + UPDATE_LIFETIME_US - 1), T0);
	ck_assert_int_eq(latest_time(registry, "old", T0 + UPDATE_LIFETIME_US), -1);
	registry_expire(registry, T0 + UPDATE_LIFETIME_US);
	ck_assert_uint_eq(registry_size(registry), 1);
	ck_assert_int_eq(latest_time(registry, "new", T0 + UPDATE_LIFETIME_US), T0);
}
END_TEST

START_TEST(being_written_back_prolongs_life)
{
	_cleanup_(registry_freep) struct registry *registry = NULL;

	ck_assert_int_eq(registry_new(&registry), 0);
	offer(registry, make("env", T0, T0, 1));
	ck_assert_int_eq(offer(registry, make("env", T0, T0 + 1000, 2)), REGISTRY_SAME);
	ck_assert_int_eq(latest_time(registry, "env", T0 + UPDATE_LIFETIME_US), T0);
	ck_assert_int_eq(latest_time(registry, "env", T0 + UPDATE_LIFETIME_US + 1000), -1);
}
END_TEST

static void collect(const struct update *update, void *userdata)
{
	strcat(userdata, update->key.text);
	strcat(userdata, " ");
}

START_TEST(finds_what_the_bus_has_lost)
{
	_cleanup_(registry_freep) struct registry *registry = NULL;
	char missing[64] = "";

	ck_assert_int_eq(registry_new(&registry), 0);
	registry_sync_begin(registry);
	offer(registry, make("kept", T0, T0, 1));
	offer(registry, make("lost", T0, T0, 2));
	offer(registry, make("aged", T0 + 9, T0 + 9, 3));
	offer(registry, make("expired", T0, T0 - UPDATE_LIFETIME_US, 4));
	registry_sync_end(registry, T0, collect, missing);
	ck_assert_str_eq(missing, "");
	registry_sync_begin(registry);
	offer(registry, make("kept", T0, T0, 1));
	offer(registry,
		make("aged", T0 + 5, T0 + 5, 1)); /* the bus has gone back to an older one */
	offer(registry, make("added", T0, T0, 2));
	/* It has one, but not this one, which it had acknowledged. */
	offer(registry, make("told", T0, T0, 3));
	offer(registry, make("told", T0 + 1, T0 + 1, 0));
	registry_sync_end(registry, T0, collect, missing);
	ck_assert_str_eq(missing, "lost aged told ");
}
END_TEST

static int add_one(const struct update *update, void *userdata)
{
	size_t *n = userdata;

	(void)update;
	(*n)++;
	return *n == 3 ? -ENOMEM : 0;
}

START_TEST(tells_all_that_are_unexpired)
{
	int64_t later = T0 + UPDATE_LIFETIME_US;
	struct registry *registry = NULL;
	size_t n = 0;

	ck_assert_int_eq(registry_new(&registry), 0);
	offer(registry, make("old", T0, T0, 1));
	offer(registry, make("a", T0, T0 + 1, 2));
	offer(registry, make("b", T0, T0 + 1, 3));
	ck_assert_int_eq(registry_each(registry, later, add_one, &n), 0);
	ck_assert_uint_eq(n, 2);
	/* The first failure ends it. */
	n = 0;
	offer(registry, make("c", T0, T0 + 1, 4));
	offer(registry, make("d", T0, T0 + 1, 5));
	ck_assert_int_eq(registry_each(registry, later, add_one, &n), -ENOMEM);
	ck_assert_uint_eq(n, 3);
	registry_free(registry);
}
END_TEST

static void count_missing(const struct update *update, void *userdata)
{
	size_t *n = userdata;

	ck_assert_str_eq(update->key.text, "lost");
	(*n)++;
}

START_TEST(goes_on_from_another_process)
{
	const int64_t before = T0 - 2 * US_PER_S;
	struct update known = make("a", T0, T0 + 50, 77), lost = make("lost", T0, T0 + 50, 78);
	struct registry *registry = NULL;
	size_t n = 0;

	ck_assert_int_eq(registry_new(&registry), 0);
	ck_assert_int_eq(registry_restore(registry, &known), 0);
	ck_assert_int_eq(registry_restore(registry, &lost), 0);
	ck_assert_int_eq(latest_time(registry, "a", T0 + 100), T0);
	/* The bus tells what it has: that is the same, whatever number it has on this bus. */
	registry_sync_begin(registry);
	ck_assert_int_eq(offer(registry, make("a", T0, T0 + 50, 3)), REGISTRY_SAME);
	registry_sync_end(registry, T0 + 100, count_missing, &n);
	ck_assert_uint_eq(n, 1);
	/* An older one of a bus that counts higher is older all the same. */
	ck_assert_int_eq(offer(registry, make("lost", before, before + 5, 900)), REGISTRY_OLDER);
	ck_assert_int_eq(offer(registry, make("lost", T0 + 60, T0 + 70, 901)), REGISTRY_NEWER);
	/* And from then on the bus's own word counts. */
	ck_assert_int_eq(offer(registry, make("lost", T0 + 80, T0 + 20, 902)), REGISTRY_NEWER);
	/* What the bus has told is not overwritten. */
	ck_assert_int_eq(registry_restore(registry, &lost), 0);
	ck_assert_int_eq(latest_time(registry, "lost", T0 + 100), T0 + 80);
	registry_free(registry);
}
END_TEST

#define HOUR_US (3600 * US_PER_S)

/* Stored while the bus's clock, and that of the publisher too, was an hour ahead. */
static struct registry *with_one_from_the_future(int64_t time_us)
{
	struct registry *registry = NULL;

	ck_assert_int_eq(registry_new(&registry), 0);
	ck_assert_int_eq(offer_at(registry, make("env", time_us, T0 + HOUR_US, 5), T0 + HOUR_US),
		REGISTRY_NEWER);
	return registry;
}

/* The clock has been set right: what comes is news, though it was published a moment before. */
START_TEST(the_future_is_overtaken)
{
	struct registry *registry = with_one_from_the_future(T0 + HOUR_US - 1);
	int64_t now = T0 + US_PER_S;

	ck_assert_int_eq(offer_at(registry, make("env", now - 5, now, 6), now), REGISTRY_OVERTAKEN);
	ck_assert_int_eq(
		offer_at(registry, make("env", T0 + HOUR_US, now, 7), now), REGISTRY_NEWER);
	ck_assert_int_eq(latest_time(registry, "env", now), T0 + HOUR_US);
	registry_free(registry);
}
END_TEST

/* An `updated_at` that is possible is that of the storing. */
START_TEST(the_future_keeps_the_order)
{
	struct registry *registry = with_one_from_the_future(T0 - 100);
	int64_t now = T0 + US_PER_S;

	ck_assert_int_eq(
		offer_at(registry, make("env", T0 - 101, T0 - 101, 4), now), REGISTRY_OLDER);
	ck_assert_int_eq(
		offer_at(registry, make("env", T0 - 101, now, 6), now), REGISTRY_OVERTAKEN);
	ck_assert_int_eq(offer_at(registry, make("env", T0 - 99, now, 7), now), REGISTRY_NEWER);
	registry_free(registry);
}
END_TEST

/* It may be the clock of now that was wrong, and is set right in the end. */
START_TEST(the_future_may_come)
{
	struct registry *registry = with_one_from_the_future(T0 + HOUR_US - 1);

	ck_assert_int_eq(latest_time(registry, "env", T0), T0 + HOUR_US - 1);
	registry_expire(registry, T0);
	ck_assert_int_eq(latest_time(registry, "env", T0 + HOUR_US), T0 + HOUR_US - 1);
	ck_assert_int_eq(offer_at(registry, make("env", T0 + HOUR_US - 2, T0 + HOUR_US + 9, 6),
				 T0 + HOUR_US + 9),
		REGISTRY_OVERTAKEN);
	ck_assert_int_eq(latest_time(registry, "env", T0 + 2 * HOUR_US), -1);
	registry_free(registry);
}
END_TEST

/* What the outbox accepted by a clock that was ahead has come to the bus. */
START_TEST(the_future_is_confirmed)
{
	struct registry *registry = with_one_from_the_future(T0 + HOUR_US - 1);

	ck_assert_int_eq(
		offer_at(registry, make("env", T0 + HOUR_US - 1, T0, 6), T0), REGISTRY_SAME);
	ck_assert_int_eq(
		offer_at(registry, make("env", T0 - 1, T0 + 10, 7), T0 + 10), REGISTRY_OVERTAKEN);
	ck_assert_int_eq(latest_time(registry, "env", T0 + HOUR_US), -1);
	registry_free(registry);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("registry");
	TCase *tests = tcase_create("registry");

	tcase_add_checked_fixture(tests, start, NULL);
	tcase_add_test(tests, orders_updates);
	tcase_add_test(tests, orders_what_is_queued);
	tcase_add_test(tests, keeps_environments_apart);
	tcase_add_test(tests, expires);
	tcase_add_test(tests, being_written_back_prolongs_life);
	tcase_add_test(tests, finds_what_the_bus_has_lost);
	tcase_add_test(tests, tells_all_that_are_unexpired);
	tcase_add_test(tests, goes_on_from_another_process);
	tcase_add_test(tests, the_future_is_overtaken);
	tcase_add_test(tests, the_future_keeps_the_order);
	tcase_add_test(tests, the_future_may_come);
	tcase_add_test(tests, the_future_is_confirmed);
	suite_add_tcase(suite, tests);
	return suite;
}
