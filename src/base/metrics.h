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

struct metric_row {
	const char *name;
	const char *type;  /* counter or gauge */
	const char *label; /* its name; NULL: none */
	const char *unit;
	const char *help;
};

#define CACHE_LINE 64

/* A block that one thread writes and any thread reads.  Wherever it lies, it keeps a cache line's
 * distance from what others write.  A new block is all zero. */
struct metrics {
	char apart_before[CACHE_LINE];
	_Atomic uint64_t counts[COUNTS];
	char apart_after[CACHE_LINE];
};

/* By the block's thread only, so that no locked instruction is needed. */
static inline void metrics_add(struct metrics *metrics, enum count count, uint64_t n)
{
	_Atomic uint64_t *to = &metrics->counts[count];

	atomic_store_explicit(
		to, atomic_load_explicit(to, memory_order_relaxed) + n, memory_order_relaxed);
}

/* By any thread.  Each count is monotonic by itself; several are no snapshot. */
static inline uint64_t metrics_get(const struct metrics *metrics, enum count count)
{
	return atomic_load_explicit(&metrics->counts[count], memory_order_relaxed);
}

/* Adds all counts of a block to *total, which is the calling thread's. */
void metrics_sum(struct metrics *total, const struct metrics *block);

/* The metric's row; static. */
const struct metric_row *metrics_row(enum metric metric);

/* A line of the exposition.  `label` is the label's value, NULL for a metric without one; it has
 * nothing in it that would have to be escaped. */
void metrics_write_value(FILE *file, enum metric metric, const char *label, uint64_t value);

/* Writes the lines of a metric that is READ, by metrics_write_value(). */
typedef void metrics_read(FILE *file, enum metric metric, const void *userdata);

/* Writes all metrics in Prometheus's text format: those that are counted from `total`, the others
 * by `read`. */
void metrics_write(
	FILE *file, const struct metrics *total, metrics_read *read, const void *userdata);
