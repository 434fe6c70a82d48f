/* SPDX-License-Identifier: BSD-3-Clause */
/* How long a shard's deliveries take: what is timed, from when, and when it is over. */
#include <check.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "histogram.h"
#include "runner.h"
#include "shard-fixture.h"

#define STREAMS   4
#define SPREAD_MS 1000

static struct shard *shard;
static int clients[STREAMS];

static void open_stream(size_t i)
{
	struct hub_arrival arrival = {.key = make_key("env"), .head = {"", 0}, .retry_ms = 2000};
	int pair[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	arrival.fd = pair[0];
	clients[i] = pair[1];
	ck_assert_int_eq(shard_adopt(shard, &arrival), 0);
	step(shard, 1);
}

static void make(int64_t spread_ms)
{
	now_ms = 1000000;
	shard = new_shard(
		(struct shard_settings){.keepalive_ms = 15 * MS_PER_S, .spread_ms = spread_ms});
	for (size_t i = 0; i < STREAMS; i++)
		open_stream(i);
}

static void set_up(void)
{
	make(0);
}

static void set_up_spread(void)
{
	make(SPREAD_MS);
}

static void tear_down(void)
{
	for (size_t i = 0; i < STREAMS; i++)
		close(clients[i]);
	shard_free(shard);
}

/* Updates come in this order: each gets another time. */
static void publish(const char *environment, int64_t told_us)
{
	static int64_t time_us = T0;
	_cleanup_(frame_unrefp) struct frame *frame = frame_new_update(++time_us);
	struct key key = make_key(environment);

	shard_deliver(shard, shard_prepare_update(&key, frame, told_us));
	step(shard, 1);
}

static uint64_t delivered(void)
{
	return count_of(&shard_metrics(shard)->histograms[TIMING_DELIVERY]);
}

static uint64_t sent(void)
{
	return metrics_get(shard_metrics(shard), COUNT_EVENTS_SENT);
}

/* All deliveries together have taken so many seconds, and less than ten more: a busy machine. */
static void assert_seconds(int64_t seconds)
{
	const struct histogram *histogram = &shard_metrics(shard)->histograms[TIMING_DELIVERY];
	int64_t sum_us = (int64_t)counter_get(&histogram->sum_us);

	ck_assert_int_ge(sum_us, seconds * US_PER_S);
	ck_assert_int_lt(sum_us, (seconds + 10) * US_PER_S);
}

START_TEST(times_one_for_all_its_streams)
{
	publish("env", clock_monotonic_us() - 20 * US_PER_S);
	step(shard, 2);
	ck_assert_uint_eq(sent(), STREAMS);
	ck_assert_uint_eq(delivered(), 1);
	assert_seconds(20);
	publish("env", clock_monotonic_us());
	step(shard, 2);
	ck_assert_uint_eq(delivered(), 2);
	assert_seconds(20);
}
END_TEST

START_TEST(times_none_without_streams)
{
	publish("other", clock_monotonic_us());
	step(shard, 2);
	ck_assert_uint_eq(delivered(), 0);
}
END_TEST

START_TEST(times_none_that_nobody_has_told)
{
	publish("env", HUB_UNTIMED);
	step(shard, 2);
	ck_assert_uint_eq(sent(), STREAMS);
	ck_assert_uint_eq(delivered(), 0);
}
END_TEST

START_TEST(does_not_wait_for_blocked_streams)
{
	while (!TAILQ_FIRST(&shard->open)->blocked) {
		publish("env", HUB_UNTIMED);
		step(shard, 2);
		for (size_t i = 1; i < STREAMS; i++) {
			char bytes[4096];

			(void)recv(clients[i], bytes, sizeof(bytes), 0);
		}
	}
	publish("env", clock_monotonic_us());
	step(shard, 2);
	ck_assert_uint_eq(delivered(), 1);
}
END_TEST

START_TEST(is_over_with_the_last_stream)
{
	publish("env", clock_monotonic_us());
	step(shard, 1);
	ck_assert_uint_gt(sent(), 0);
	ck_assert_uint_lt(sent(), STREAMS);
	ck_assert_uint_eq(delivered(), 0);
	now_ms += SPREAD_MS;
	step(shard, 1);
	ck_assert_uint_eq(sent(), STREAMS);
	ck_assert_uint_eq(delivered(), 1);
}
END_TEST

/* The second and the third go out together, and count from the second. */
START_TEST(times_those_together_that_go_together)
{
	publish("env", clock_monotonic_us() - 30 * US_PER_S);
	step(shard, 1);
	publish("env", clock_monotonic_us() - 20 * US_PER_S);
	publish("env", clock_monotonic_us());
	ck_assert_uint_eq(delivered(), 0);
	now_ms += SPREAD_MS;
	step(shard, 1);
	ck_assert_uint_eq(delivered(), 1);
	assert_seconds(30);
	now_ms += SPREAD_MS;
	step(shard, 2);
	ck_assert_uint_eq(delivered(), 2);
	assert_seconds(50);
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("delivery");
	TCase *at_once = tcase_create("at once"), *spread = tcase_create("spread");

	tcase_add_checked_fixture(at_once, set_up, tear_down);
	tcase_add_test(at_once, times_one_for_all_its_streams);
	tcase_add_test(at_once, times_none_without_streams);
	tcase_add_test(at_once, times_none_that_nobody_has_told);
	tcase_add_test(at_once, does_not_wait_for_blocked_streams);
	suite_add_tcase(all, at_once);
	tcase_add_checked_fixture(spread, set_up_spread, tear_down);
	tcase_add_test(spread, is_over_with_the_last_stream);
	tcase_add_test(spread, times_those_together_that_go_together);
	suite_add_tcase(all, spread);
	return all;
}
