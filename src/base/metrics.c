/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of metrics, and its text for Prometheus. */
#include "base/metrics.h"

#include <inttypes.h>
#include <stdbool.h>

static const struct metric_row rows[] = {
#define COUNTED(id, name, unit, help)                        {name, "counter", NULL, unit, help},
#define COUNTED_BY(id, name, label, unit, help)              {name, "counter", label, unit, help},
#define READ(id, function, type, name, unit, help)           {name, type, NULL, unit, help},
#define READ_BY(id, function, type, name, label, unit, help) {name, type, label, unit, help},
#include "base/metrics.def"
};

static const struct series {
	enum metric metric;
	const char *label; /* its value; NULL: the metric has none */
} series[] = {
#define COUNTED(id, ...)           {METRIC_##id, NULL},
#define SERIES(id, series_, value) {METRIC_##id, value},
#include "base/metrics.def"
};

void metrics_sum(struct metrics *total, const struct metrics *block)
{
	for (enum count i = 0; i < COUNTS; i++)
		metrics_add(total, i, metrics_get(block, i));
}

const struct metric_row *metrics_row(enum metric metric)
{
	return &rows[metric];
}

void metrics_write_value(FILE *file, enum metric metric, const char *label, uint64_t value)
{
	const struct metric_row *row = &rows[metric];

	if (label)
		fprintf(file, "%s{%s=\"%s\"} %" PRIu64 "\n", row->name, row->label, label, value);
	else
		fprintf(file, "%s %" PRIu64 "\n", row->name, value);
}

/* False: the metric is not one that is counted. */
static bool write_counts(FILE *file, enum metric metric, const struct metrics *total)
{
	bool found = false;

	for (enum count i = 0; i < COUNTS; i++) {
		if (series[i].metric != metric)
			continue;
		metrics_write_value(file, metric, series[i].label, metrics_get(total, i));
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
		if (!write_counts(file, metric, total))
			read(file, metric, userdata);
	}
}
