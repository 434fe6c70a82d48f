/* SPDX-License-Identifier: BSD-3-Clause */
/* Histograms: what counts in which bucket, how blocks add up, and the text for Prometheus, also
 * while a thread observes. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "histogram.h"
#include "metrics-fixture.h"
#include "runner.h"

static const struct {
	enum timing timing;
	enum metric metric;
} timings[] = {
#define TIMED(id, ...)                  {TIMING_##id, METRIC_##id},
#define TIMED_SERIES(id, series, value) {TIMING_##series, METRIC_##id},
#include "base/metrics.def"
};

/* The block has so many durations in this bucket. */
static void assert_bucket(
	const struct metrics *block, enum timing timing, unsigned bucket, uint64_t n)
{
	ck_assert_uint_eq(counter_get(&block->histograms[timing].buckets[bucket]), n);
}

/* ---- Buckets ---- */

/* They rise, and are whole microseconds that the text tells exactly. */
START_TEST(test_bounds)
{
	const struct metric_row *row = metrics_row(_i);
	char text[32];

	for (unsigned i = 0; i < row->n_bounds; i++) {
		double us = row->bounds[i] * 1e6;

		ck_assert_msg(row->bounds[i] > (i > 0 ? row->bounds[i - 1] : 0), "%s", row->name);
		ck_assert_msg(fabs(us - nearbyint(us)) < 1e-3, "%s", row->name);
		snprintf(text, sizeof(text), "%g", row->bounds[i]);
		ck_assert_msg(strtod(text, NULL) == row->bounds[i], "%s", row->name);
	}
	ck_assert(row->n_bounds == 0 || strcmp(row->unit, "seconds") == 0);
}
END_TEST

/* A bound is in its bucket, and what is above it in the next one. */
START_TEST(test_bound_is_in_its_bucket)
{
	enum timing timing = timings[_i].timing;
	const struct metric_row *row = metrics_row(timings[_i].metric);
	struct metrics block = {.counts = {0}};
	uint64_t sum_us = 0;

	for (unsigned i = 0; i < row->n_bounds; i++) {
		int64_t us = (int64_t)nearbyint(row->bounds[i] * 1e6);

		metrics_observe(&block, timing, us);
		metrics_observe(&block, timing, us + 1);
		sum_us += 2 * (uint64_t)us + 1;
	}
	assert_bucket(&block, timing, 0, 1);
	for (unsigned i = 1; i < row->n_bounds; i++)
		assert_bucket(&block, timing, i, 2);
	assert_bucket(&block, timing, row->n_bounds, 1);
	ck_assert_uint_eq(counter_get(&block.histograms[timing].sum_us), sum_us);
	for (enum timing other = 0; other < TIMINGS; other++)
		for (unsigned i = 0; other != timing && i <= METRICS_BOUNDS_MAX; i++)
			assert_bucket(&block, other, i, 0);
}
END_TEST

START_TEST(test_ends)
{
	struct metrics block = {.counts = {0}};
	unsigned above = metrics_row(METRIC_PUBLISH_LAG)->n_bounds;

	metrics_observe(&block, TIMING_PUBLISH_LAG, -1);
	metrics_observe(&block, TIMING_PUBLISH_LAG, INT64_MIN);
	metrics_observe(&block, TIMING_PUBLISH_LAG, 0);
	assert_bucket(&block, TIMING_PUBLISH_LAG, 0, 3);
	ck_assert_uint_eq(counter_get(&block.histograms[TIMING_PUBLISH_LAG].sum_us), 0);
	metrics_observe(&block, TIMING_PUBLISH_LAG, INT64_MAX);
	assert_bucket(&block, TIMING_PUBLISH_LAG, above, 1);
	ck_assert_uint_eq(counter_get(&block.histograms[TIMING_PUBLISH_LAG].sum_us), INT64_MAX);
}
END_TEST

START_TEST(test_blocks_add_up)
{
	struct metrics blocks[2] = {{.counts = {0}}}, total = {.counts = {0}};

	metrics_observe(&blocks[0], TIMING_QUEUED, 400);
	metrics_observe(&blocks[1], TIMING_QUEUED, 500);
	metrics_observe(&blocks[1], TIMING_QUEUED, 501);
	metrics_observe(&blocks[1], TIMING_STALE, 9000000);
	for (unsigned i = 0; i < 2; i++)
		metrics_sum(&total, &blocks[i]);
	assert_bucket(&total, TIMING_QUEUED, 0, 2);
	assert_bucket(&total, TIMING_QUEUED, 1, 1);
	ck_assert_uint_eq(counter_get(&total.histograms[TIMING_QUEUED].sum_us), 1401);
	assert_bucket(&total, TIMING_STALE, metrics_row(METRIC_PUBLISH)->n_bounds, 1);
	ck_assert_uint_eq(counter_get(&total.histograms[TIMING_STALE].sum_us), 9000000);
}
END_TEST

/* ---- The text ---- */

static void read_none(FILE *file, enum metric metric, const void *userdata)
{
	(void)userdata;
	metrics_write_value(file, metric, NULL, 0);
}

START_TEST(test_text)
{
	struct metrics total = {.counts = {0}};
	_cleanup_(freep) char *text = NULL;

	metrics_observe(&total, TIMING_PUBLISH_LAG, 0);
	metrics_observe(&total, TIMING_PUBLISH_LAG, 10000);
	metrics_observe(&total, TIMING_PUBLISH_LAG, 10001);
	metrics_observe(&total, TIMING_PUBLISH_LAG, 2500000);
	metrics_observe(&total, TIMING_PUBLISH_LAG, 7000000000);
	text = write_all(&total, read_none, NULL);
	assert_has(text, "\n# TYPE flagsse_publish_lag_seconds histogram\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"0.01\"} 2\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"0.025\"} 3\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"0.05\"} 3\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"0.1\"} 3\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"0.25\"} 3\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"0.5\"} 3\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"1\"} 3\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"2.5\"} 4\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"5\"} 4\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"10\"} 4\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"30\"} 4\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"60\"} 4\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"300\"} 4\n"
			 "flagsse_publish_lag_seconds_bucket{le=\"+Inf\"} 5\n"
			 "flagsse_publish_lag_seconds_sum 7002.520001\n"
			 "flagsse_publish_lag_seconds_count 5\n# HELP");
}
END_TEST

/* Each series from the start, and the label before the bound. */
START_TEST(test_text_with_label)
{
	struct metrics total = {.counts = {0}};
	_cleanup_(freep) char *text = NULL;

	metrics_observe(&total, TIMING_STALE, 3000000);
	text = write_all(&total, read_none, NULL);
	assert_has(text, "\n# TYPE flagsse_publish_seconds histogram\n"
			 "flagsse_publish_seconds_bucket{status=\"published\",le=\"0.0005\"} 0\n"
			 "flagsse_publish_seconds_bucket{status=\"published\",le=\"0.001\"} 0\n");
	assert_has(text, "flagsse_publish_seconds_bucket{status=\"published\",le=\"+Inf\"} 0\n"
			 "flagsse_publish_seconds_sum{status=\"published\"} 0.000000\n"
			 "flagsse_publish_seconds_count{status=\"published\"} 0\n"
			 "flagsse_publish_seconds_bucket{status=\"stale\",le=\"0.0005\"} 0\n");
	assert_has(text, "flagsse_publish_seconds_bucket{status=\"stale\",le=\"2\"} 0\n"
			 "flagsse_publish_seconds_bucket{status=\"stale\",le=\"+Inf\"} 1\n"
			 "flagsse_publish_seconds_sum{status=\"stale\"} 3.000000\n"
			 "flagsse_publish_seconds_count{status=\"stale\"} 1\n");
}
END_TEST

/* ---- Threads ---- */

#define TIMES 100000

/* To all buckets in turn: 1 ms, 2 ms, ... 1024 ms, and once more. */
static void *observe(void *userdata)
{
	for (unsigned i = 0; i < TIMES; i++)
		metrics_observe(userdata, TIMING_PUBLISHED, INT64_C(1000) << i % 11);
	return NULL;
}

/* The value of a line; `name` with its labels. */
static uint64_t value_of(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	ck_assert_msg(at, "no %s", name);
	return strtoull(at + strlen(name), NULL, 10);
}

/* The buckets of a series in the text never fall from one to the next, and the last one and the
 * count are the same.  Returns the count. */
static uint64_t check_series(const char *text)
{
	static const char bucket[] = "\nflagsse_publish_seconds_bucket{status=\"published\",le=\"";
	uint64_t before = 0, n;

	for (const char *at = text; (at = strstr(at, bucket)); at += strlen(bucket)) {
		n = strtoull(strchr(at + strlen(bucket), ' '), NULL, 10);
		ck_assert_uint_ge(n, before);
		before = n;
	}
	n = value_of(text, "\nflagsse_publish_seconds_count{status=\"published\"} ");
	ck_assert_uint_eq(n, before);
	return n;
}

/* Whoever reads while a thread observes gets a whole, and no smaller one than before. */
START_TEST(test_read_while_written)
{
	static struct metrics block;
	uint64_t before = 0, n = 0;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, observe, &block), 0);
	for (unsigned i = 0; i < 100 || n == 0; i++) {
		struct metrics total = {.counts = {0}};
		_cleanup_(freep) char *text = NULL;

		metrics_sum(&total, &block);
		text = write_all(&total, read_none, NULL);
		n = check_series(text);
		ck_assert_uint_ge(n, before);
		before = n;
	}
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(count_of(&block.histograms[TIMING_PUBLISHED]), TIMES);
}
END_TEST

#define N_OF(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *test_suite(void)
{
	Suite *all = suite_create("histogram");
	TCase *cases = tcase_create("histogram");

	tcase_add_loop_test(cases, test_bounds, 0, METRICS);
	tcase_add_loop_test(cases, test_bound_is_in_its_bucket, 0, N_OF(timings));
	tcase_add_test(cases, test_ends);
	tcase_add_test(cases, test_blocks_add_up);
	tcase_add_test(cases, test_text);
	tcase_add_test(cases, test_text_with_label);
	tcase_add_test(cases, test_read_while_written);
	suite_add_tcase(all, cases);
	return all;
}
