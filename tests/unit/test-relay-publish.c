/* SPDX-License-Identifier: BSD-3-Clause */
/* What becomes of a publisher's update: where it goes, and which answer there is, just one. */
#include <check.h>
#include <math.h>

#include "histogram.h"
#include "relay-fixture.h"
#include "runner.h"

static const struct relay_case with_outbox[] = {
	/* The bus answers. */
	{"up publish:a=1 stored:a", "ready, bus a=1, published a"},
	{"up publish:a=1 stale:a", "ready, bus a=1, stale a"},
	{"up publish:a=1 publish:b=2 stored:b stored:a",
		"ready, bus a=1, bus b=2, published b, published a"},

	/* It does not take it: the outbox. */
	{"up publish:a=1 unavailable:a kept:a",
		"ready, bus a=1, outbox a=1, streams a=1, queued a, bus a=1"},
	{"up publish:a=1 refused:a kept:a", "ready, bus a=1, outbox a=1, streams a=1, queued a"},
	{"up publish:a=1 refused-one:a kept:a",
		"ready, bus a=1, outbox a=1, streams a=1, queued a"},

	/* It does not say so in time. */
	{"up publish:a=1 1s", "ready, bus a=1, outbox a=1"},
	{"up publish:a=1 1s kept:a", "ready, bus a=1, outbox a=1, streams a=1, queued a, bus a=1"},
	{"up publish:a=1 1s stored:a", "ready, bus a=1, outbox a=1, published a"},
	{"up publish:a=1 1s stale:a kept:a",
		"ready, bus a=1, outbox a=1, stale a, streams a=1, bus a=1"},
	{"up publish:a=1 1s unavailable:a kept:a",
		"ready, bus a=1, outbox a=1, streams a=1, queued a, bus a=1"},
	{"up publish:a=1 1s had:a", "ready, bus a=1, outbox a=1, stale a"},
	{"up publish:a=1 1s failed:a", "ready, bus a=1, outbox a=1, unavailable a"},

	/* Neither does. */
	{"up publish:a=1 1s 1.7s", "ready, bus a=1, outbox a=1, unavailable a"},
	{"up publish:a=1 1s 1.7s stored:a", "ready, bus a=1, outbox a=1, unavailable a"},
	{"up publish:a=1 1s 1.7s kept:a",
		"ready, bus a=1, outbox a=1, unavailable a, streams a=1, bus a=1"},
	{"up publish:a=1 1s 1.7s publish:b=2 unavailable:b",
		"ready, bus a=1, outbox a=1, unavailable a, bus b=2, unavailable b"},
	{"up stalls publish:a=1 unavailable:a", "ready, bus a=1, unavailable a"},
	{"up stalls publish:a=1 1s", "ready, bus a=1, unavailable a"},

	/* The bus is away. */
	{"down publish:a=1 kept:a", "outbox a=1, streams a=1, queued a"},
	{"down publish:a=1 failed:a", "outbox a=1, unavailable a"},
	{"down stalls publish:a=1", "unavailable a"},
	{"up down publish:a=1 kept:a up",
		"ready, outbox a=1, streams a=1, queued a, ready, bus a=1"},

	/* For a moment at the start nobody knows. */
	{"publish:a=1 stored:a", "bus a=1, published a"},

	/* Streams have had another one: above that; and what they have had is no news. */
	{"up update:a=5 down publish:a=1 kept:a",
		"ready, streams a=5, outbox a=6, streams a=6, queued a"},
	{"up update:a=5 down publish:a=9 kept:a",
		"ready, streams a=5, outbox a=9, streams a=9, queued a"},
	{"up update:a=5 down publish:a=5", "ready, streams a=5, stale a"},

	/* The end. */
	{"up publish:a=1 stop end-bus kept:a", "ready, bus a=1, outbox a=1, streams a=1, queued a"},
	{"up stop end-bus publish:a=1 kept:a", "ready, outbox a=1, streams a=1, queued a"},
	{"up publish:a=1 1s", "ready, bus a=1, outbox a=1"},

	/* A bus that was left behind. */
	{"up publish:a=1 left stored:a", "ready, bus a=1, published a"},
	{"up publish:a=1 left unavailable:a kept:a",
		"ready, bus a=1, outbox a=1, streams a=1, queued a"},
	{"up publish:a=1 left up publish:a=2 stored:a stored:a",
		"ready, bus a=1, ready, bus a=2, published a, published a"},
};

static const struct relay_case without_outbox[] = {
	{"up publish:a=1 stored:a", "ready, bus a=1, published a"},
	{"up publish:a=1 stale:a", "ready, bus a=1, stale a"},
	{"up publish:a=1 unavailable:a", "ready, bus a=1, unavailable a"},
	{"up publish:a=1 1s", "ready, bus a=1"},
	{"up publish:a=1 1s 1.7s", "ready, bus a=1, unavailable a"},
	{"up publish:a=1 1.7s publish:b=2", "ready, bus a=1, unavailable a, unavailable b"},
	{"up publish:a=1 1.7s stored:a publish:b=2 stored:b",
		"ready, bus a=1, unavailable a, bus b=2, published b"},
	/* The disk may have space again. */
	{"down publish:a=1 stored:a", "bus a=1, published a"},
	{"up stalls publish:a=1", "ready, unavailable a"},
	{"up stop end-bus publish:a=1", "ready, unavailable a"},
};

START_TEST(test_with_outbox)
{
	relay_check(with_outbox[_i].script, with_outbox[_i].expected);
}
END_TEST

START_TEST(test_without_outbox)
{
	relay_check(without_outbox[_i].script, without_outbox[_i].expected);
}
END_TEST

/* Publications, what becomes of them, and in which bucket of the publisher's lag they count. */
static const struct {
	const char *script, *expected;
	double above, up_to; /* seconds; 0 and 0: in none */
} lags[] = {
	/* 10 s ago, or 5 minutes; that is, up to 19 s more on a busy machine */
	{"up publish:a=1 stored:a", "ready, bus a=1, published a", 5, 30},
	{"down publish:a=1 kept:a", "outbox a=1, streams a=1, queued a", 5, 30},
	{"up publish:a=1 1s stored:a", "ready, bus a=1, outbox a=1, published a", 5, 30},
	{"up publish:a=-295000000 stored:a", "ready, bus a=-295000000, published a", 300, INFINITY},
	/* yet to come */
	{"up publish:a=900000000 stored:a", "ready, bus a=900000000, published a", 0, 0.01},
	/* not accepted */
	{"up publish:a=1 stale:a", "ready, bus a=1, stale a", 0, 0},
	{"up publish:a=1 1s 1.7s", "ready, bus a=1, outbox a=1, unavailable a", 0, 0},
	{"down publish:a=1 failed:a", "outbox a=1, unavailable a", 0, 0},
	/* no publication */
	{"up update:a=1", "ready, streams a=1", 0, 0},
	{"begin row:a=1 end up stored:a", "streams a=1, ready, bus a=1, drop a", 0, 0},
};

START_TEST(test_lag)
{
	const struct metric_row *row = metrics_row(METRIC_PUBLISH_LAG);
	const struct histogram *histogram = &relay_metrics(relay)->histograms[TIMING_PUBLISH_LAG];

	relay_check(lags[_i].script, lags[_i].expected);
	for (unsigned i = 0; i <= row->n_bounds; i++) {
		double bound = i < row->n_bounds ? row->bounds[i] : INFINITY;
		bool is_within = bound > lags[_i].above && bound <= lags[_i].up_to;

		if (!is_within)
			ck_assert_uint_eq(counter_get(&histogram->buckets[i]), 0);
	}
	ck_assert_uint_eq(count_of(histogram), lags[_i].up_to > 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("relay-publish");
	TCase *nats = tcase_create("with an outbox");
	TCase *local = tcase_create("without one");

	tcase_add_checked_fixture(nats, relay_set_up, relay_tear_down);
	tcase_add_loop_test(
		nats, test_with_outbox, 0, sizeof(with_outbox) / sizeof(with_outbox[0]));
	tcase_add_loop_test(nats, test_lag, 0, sizeof(lags) / sizeof(lags[0]));
	tcase_add_checked_fixture(local, relay_set_up_local, relay_tear_down);
	tcase_add_loop_test(
		local, test_without_outbox, 0, sizeof(without_outbox) / sizeof(without_outbox[0]));
	suite_add_tcase(all, nats);
	suite_add_tcase(all, local);
	return all;
}
