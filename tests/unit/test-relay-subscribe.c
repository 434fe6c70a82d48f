/* SPDX-License-Identifier: BSD-3-Clause */
/* What a stream begins with, and how long it lives, by its client and by what that has. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "relay-fixture.h"
#include "runner.h"

#define MAX_AGE_MS 20000
#define RETRY_MS   5000
#define N_STREAMS  10

enum snapshot {
	NOTHING,
	THE_UPDATE,
};

/* Of an environment with one update. */
static const struct {
	const char *user_agent;
	int64_t age_ms; /* of the update */
	bool has_it;    /* by the id that the client sends */
	enum snapshot snapshot;
	int64_t min_ms, max_ms; /* the stream's life */
} cases[] = {
	/* The standard: a random life, from four fifths of max_age on. */
	{NULL, 1000, false, THE_UPDATE, 16000, 20000},
	{"curl", 1000, false, THE_UPDATE, 16000, 20000},
	/* An id counts only if the update is older than a stream's life and the pause after it. */
	{NULL, 24000, true, THE_UPDATE, 16000, 20000},
	{NULL, 26000, true, NOTHING, 16000, 20000},
	{NULL, 26000, false, THE_UPDATE, 16000, 20000},
	/* For ever: as if it were fifteen minutes. */
	{"endless", 900000, true, THE_UPDATE, 0, 0},
	{"endless", 906000, true, NOTHING, 0, 0},
	/* A long poll ends after a quarter of the update's age, within a second and max_age. */
	{"poll", 1000, false, THE_UPDATE, 1000, 1000},
	{"poll", 8000, false, THE_UPDATE, 2000, 2100},
	{"poll", 3000000, false, THE_UPDATE, 8000, 10000},
};

static void set_up(void)
{
	static const struct profile profiles[] = {
		{.user_agent = "endless", .accept = ""},
		{.user_agent = "poll",
			.accept = "",
			.max_age_ms = 10000,
			.close_after_update = true},
	};
	struct relay_streams streams = {
		.profiles = malloc(sizeof(profiles)),
		.n_profiles = sizeof(profiles) / sizeof(profiles[0]),
		.standard = {.user_agent = "", .accept = "", .max_age_ms = MAX_AGE_MS},
		.retry_min_ms = RETRY_MS,
		.retry_max_ms = RETRY_MS,
		.max = N_STREAMS,
	};

	ck_assert_ptr_nonnull(streams.profiles);
	memcpy(streams.profiles, profiles, sizeof(profiles));
	relay_set_up();
	relay_set_streams(relay, &streams);
}

static int subscribe(const char *user_agent, int64_t last_event_id)
{
	struct http_subscription subscription = {
		.fd = 5,
		.key = relay_key("a"),
		.user_agent = user_agent,
		.last_event_id = last_event_id,
	};

	relay_arrival = (struct hub_arrival){.fd = -1};
	return relay_subscribe(relay, &subscription);
}

START_TEST(test_case)
{
	struct update update = {
		.key = relay_key("a"),
		.time_us = relay_t0_us,
		.stored_us = clock_wall_us() - cases[_i].age_ms * US_PER_MS,
		.sequence = 1,
	};

	ck_assert_int_eq(intake_offer(relay, &update), 0);
	ck_assert_int_eq(
		subscribe(cases[_i].user_agent, cases[_i].has_it ? update.time_us : -1), 0);
	ck_assert_int_eq(relay_arrival.fd, 5);
	ck_assert_int_eq(relay_arrival.retry_ms, RETRY_MS);
	ck_assert_int_eq(relay_arrival.snapshot != NULL, cases[_i].snapshot);
	ck_assert_int_ge(relay_arrival.lifetime_ms, cases[_i].min_ms);
	ck_assert_int_le(relay_arrival.lifetime_ms, cases[_i].max_ms);
}
END_TEST

START_TEST(test_nothing_is_known)
{
	ck_assert_int_eq(subscribe("poll", -1), 0);
	ck_assert_ptr_null(relay_arrival.snapshot);
	ck_assert_int_ge(relay_arrival.lifetime_ms, 8000);
	ck_assert_int_le(relay_arrival.lifetime_ms, 10000);
}
END_TEST

START_TEST(test_full)
{
	relay_n_streams = N_STREAMS - 1;
	ck_assert_int_eq(subscribe(NULL, -1), 0);
	relay_n_streams = N_STREAMS;
	ck_assert_int_eq(subscribe(NULL, -1), -EAGAIN);
	ck_assert_int_eq(relay_arrival.fd, -1);
	ck_assert_uint_eq(metrics_get(&relay->metrics, COUNT_STREAMS_REFUSED), 1);
}
END_TEST

START_TEST(test_end)
{
	relay_end_subscriptions(relay);
	relay_n_streams = N_STREAMS;
	ck_assert_int_eq(subscribe(NULL, -1), -ESHUTDOWN);
	ck_assert_int_eq(relay_arrival.fd, -1);
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("relay-subscribe");
	TCase *streams = tcase_create("streams");

	tcase_add_checked_fixture(streams, set_up, relay_tear_down);
	tcase_add_loop_test(streams, test_case, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(streams, test_nothing_is_known);
	tcase_add_test(streams, test_full);
	tcase_add_test(streams, test_end);
	suite_add_tcase(all, streams);
	return all;
}
