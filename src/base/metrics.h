/* SPDX-License-Identifier: BSD-3-Clause */
/* Metrics: the rows of metrics.def, blocks to count in, and the text for Prometheus. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A metric: a row of the table. */
enum metric {
#define COUNTED(id, ...)    METRIC_##id,
#define COUNTED_BY(id, ...) METRIC_##id,
#define TIMED(id, ...)      METRIC_##id,
#define TIMED_BY(id, ...)   METRIC_##id,
#define READ(id, ...)       METRIC_##id,
#define READ_BY(id, ...)    METRIC_##id,
#include "base/metrics.def"
	METRICS /* how many there are */
};

/* What is counted: a COUNTED metric, or a SERIES of one with a label. */
enum count {
#define COUNTED(id, ...)        COUNT_##id,
#define SERIES(id, series, ...) COUNT_##series,
#include "base/metrics.def"
	COUNTS
};

/* What is timed: a TIMED metric, or a TIMED_SERIES of one with a label. */
enum timing {
#define TIMED(id, ...)                TIMING_##id,
#define TIMED_SERIES(id, series, ...) TIMING_##series,
#include "base/metrics.def"
	TIMINGS
};

struct metric_row {
	const char *name;
	const char *type;  /* counter, gauge or histogram */
	const char *label; /* its name; NULL: none */
	const char *unit;
	const char *help;
	const double *bounds; /* of a histogram's buckets, in seconds; each is in its bucket */
	unsigned n_bounds;
};

#define METRICS_BOUNDS_MAX 16

/* Durations, by the first bound that is not below them. */
struct histogram {
	_Atomic uint64_t buckets[METRICS_BOUNDS_MAX + 1]; /* after the bounds': above all of them */
	_Atomic uint64_t sum_us;
};

#define CACHE_LINE 64

/* A block that one thread writes and any thread reads.  Wherever it lies, it keeps a cache line's
 * distance from what others write.  A new block is all zero. */
struct metrics {
	char apart_before[CACHE_LINE];
	_Atomic uint64_t counts[COUNTS];
	struct histogram histograms[TIMINGS];
	char apart_after[CACHE_LINE];
};

/* One thread adds to a counter, so that no locked instruction is needed.  Any thread reads it. */
static inline uint64_t counter_get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, counter_get(counter) + n, memory_order_relaxed);
}

/* By the block's thread only. */
static inline void metrics_add(struct metrics *metrics, enum count count, uint64_t n)
{
	counter_add(&metrics->counts[count], n);
}

/* Counts a duration in its histogram.  By the block's thread only; neither locks nor allocates.  A
 * negative duration, from two clocks that differ, counts as 0. */
void metrics_observe(struct metrics *metrics, enum timing timing, int64_t duration_us);

/* By any thread.  Each count is monotonic by itself; several are no snapshot. */
static inline uint64_t metrics_get(const struct metrics *metrics, enum count count)
{
	return counter_get(&metrics->counts[count]);
}

/* Adds all that a block has counted to *total, which is the calling thread's. */
void metrics_sum(struct metrics *total, const struct metrics *block);

/* The metric's row; static. */
const struct metric_row *metrics_row(enum metric metric);

/* A line of the exposition.  `label` is the label's value, NULL for a metric without one; it has
 * nothing in it that would have to be escaped. */
void metrics_write_value(FILE *file, enum metric metric, const char *label, uint64_t value);

/* Writes the lines of a metric that is READ, by metrics_write_value(). */
typedef void metrics_read(FILE *file, enum metric metric, const void *userdata);

/* Writes all metrics in Prometheus's text format: those that are counted or timed from `total`, the
 * others by `read`. */
void metrics_write(
	FILE *file, const struct metrics *total, metrics_read *read, const void *userdata);
