/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of metrics, and its text for Prometheus. */
#include "base/metrics.h"

#include <inttypes.h>
#include <stdbool.h>

#include "base/clock.h"

#define N_BOUNDS(...) (sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

/* clang-format off */
#define TIMED(id, name, unit, help, ...)                                                           \
	_Static_assert(N_BOUNDS(__VA_ARGS__) <= METRICS_BOUNDS_MAX, "too many bounds of " name);
#define TIMED_BY(id, name, label, ...) TIMED(id, name, __VA_ARGS__)
#include "base/metrics.def"
/* clang-format on */

static const struct metric_row rows[] = {
#define PLAIN(name, type, label, unit, help) {name, type, label, unit, help, NULL, 0},
#define HISTOGRAM(name, label, unit, help, ...)                                                    \
	{name, "histogram", label, unit, help, (const double[]){__VA_ARGS__},                      \
		N_BOUNDS(__VA_ARGS__)},
#define COUNTED(id, name, unit, help)                        PLAIN(name, "counter", NULL, unit, help)
#define COUNTED_BY(id, name, label, unit, help)              PLAIN(name, "counter", label, unit, help)
#define TIMED(id, name, ...)                                 HISTOGRAM(name, NULL, __VA_ARGS__)
#define TIMED_BY(id, name, label, ...)                       HISTOGRAM(name, label, __VA_ARGS__)
#define READ(id, function, type, name, unit, help)           PLAIN(name, type, NULL, unit, help)
#define READ_BY(id, function, type, name, label, unit, help) PLAIN(name, type, label, unit, help)
#include "base/metrics.def"
#undef PLAIN
#undef HISTOGRAM
};

struct series {
	enum metric metric;
	const char *label; /* its value; NULL: the metric has none */
};

static const struct series counted[] = {
#define COUNTED(id, ...)           {METRIC_##id, NULL},
#define SERIES(id, series_, value) {METRIC_##id, value},
#include "base/metrics.def"
};

static const struct series timed[] = {
#define TIMED(id, ...)                   {METRIC_##id, NULL},
#define TIMED_SERIES(id, series_, value) {METRIC_##id, value},
#include "base/metrics.def"
};

/* ---- Blocks ---- */

void metrics_observe(struct metrics *metrics, enum timing timing, int64_t duration_us)
{
	const struct metric_row *row = &rows[timed[timing].metric];
	struct histogram *histogram = &metrics->histograms[timing];
	uint64_t us = duration_us > 0 ? (uint64_t)duration_us : 0;
	double seconds = (double)us / US_PER_S;
	unsigned i = 0;

	while (i < row->n_bounds && seconds > row->bounds[i])
		i++;
	counter_add(&histogram->buckets[i], 1);
	counter_add(&histogram->sum_us, us);
}

static void histogram_sum(struct histogram *total, const struct histogram *histogram)
{
	for (unsigned i = 0; i <= METRICS_BOUNDS_MAX; i++)
		counter_add(&total->buckets[i], counter_get(&histogram->buckets[i]));
	counter_add(&total->sum_us, counter_get(&histogram->sum_us));
}

void metrics_sum(struct metrics *total, const struct metrics *block)
{
	for (enum count i = 0; i < COUNTS; i++)
		metrics_add(total, i, metrics_get(block, i));
	for (enum timing i = 0; i < TIMINGS; i++)
		histogram_sum(&total->histograms[i], &block->histograms[i]);
}

/* ---- The text ---- */

const struct metric_row *metrics_row(enum metric metric)
{
	return &rows[metric];
}

/* NAME_SUFFIX{LABEL="label",le="bound"} and a blank, with the labels that are not NULL. */
static void write_name(FILE *file, const struct metric_row *row, const char *suffix,
	const char *label, const char *bound)
{
	fprintf(file, "%s%s", row->name, suffix);
	if (label)
		fprintf(file, "{%s=\"%s\"", row->label, label);
	if (bound)
		fprintf(file, "%sle=\"%s\"", label ? "," : "{", bound);
	fputs(label || bound ? "} " : " ", file);
}

void metrics_write_value(FILE *file, enum metric metric, const char *label, uint64_t value)
{
	write_name(file, &rows[metric], "", label, NULL);
	fprintf(file, "%" PRIu64 "\n", value);
}

/* Each bucket includes those before it, and the last one all: so it is also the count, which agrees
 * with the buckets whatever is observed meanwhile. */
static void write_histogram(FILE *file, const struct metric_row *row, const char *label,
	const struct histogram *histogram)
{
	uint64_t n = 0, sum_us = counter_get(&histogram->sum_us);
	char bound[32];

	for (unsigned i = 0; i <= row->n_bounds; i++) {
		if (i < row->n_bounds)
			snprintf(bound, sizeof(bound), "%g", row->bounds[i]);
		n += counter_get(&histogram->buckets[i]);
		write_name(file, row, "_bucket", label, i < row->n_bounds ? bound : "+Inf");
		fprintf(file, "%" PRIu64 "\n", n);
	}
	write_name(file, row, "_sum", label, NULL);
	fprintf(file, "%" PRIu64 ".%06" PRIu64 "\n", sum_us / US_PER_S, sum_us % US_PER_S);
	write_name(file, row, "_count", label, NULL);
	fprintf(file, "%" PRIu64 "\n", n);
}

/* These two: false if the metric is not one that is counted, or timed. */
static bool write_counts(FILE *file, enum metric metric, const struct metrics *total)
{
	bool found = false;

	for (enum count i = 0; i < COUNTS; i++) {
		if (counted[i].metric != metric)
			continue;
		metrics_write_value(file, metric, counted[i].label, metrics_get(total, i));
		found = true;
	}
	return found;
}

static bool write_histograms(FILE *file, enum metric metric, const struct metrics *total)
{
	bool found = false;

	for (enum timing i = 0; i < TIMINGS; i++) {
		if (timed[i].metric != metric)
			continue;
		write_histogram(file, &rows[metric], timed[i].label, &total->histograms[i]);
		found = true;
	}
	return found;
}

void metrics_write(
	FILE *file, const struct metrics *total, metrics_read *read, const void *userdata)
{
	for (enum metric metric = 0; metric < METRICS; metric++) {
		const struct metric_row *row = &rows[metric];

		fprintf(file, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name,
			row->type);
		if (!write_counts(file, metric, total) && !write_histograms(file, metric, total))
			read(file, metric, userdata);
	}
}
