/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of metrics: what a row must be, the text that comes from it, the blocks that threads
 * count in, and that the documents list the same metrics. */
#include <check.h>
#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/metrics.h"
#include "config-fixture.h"
#include "metrics-fixture.h"
#include "runner.h"

/* Where users read of them: ".B NAME{LABEL=...}", a line with the type, and words, up to ".TP". */
#define LIST "man/flagsse-http.7"

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text);

	return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

START_TEST(test_row)
{
	const struct metric_row *row = metrics_row(_i);
	bool is_counter = strcmp(row->type, "counter") == 0;
	char unit[32];

	ck_assert(is_counter || strcmp(row->type, row->n_bounds > 0 ? "histogram" : "gauge") == 0);
	ck_assert(strncmp(row->name, "flagsse_", 8) == 0);
	ck_assert_msg(ends_with(row->name, "_total") == is_counter, "%s", row->name);
	snprintf(unit, sizeof(unit), "_%s%s", row->unit, is_counter ? "_total" : "");
	ck_assert_msg(!*row->unit || ends_with(row->name, unit), "%s", row->name);
	ck_assert_msg(ends_with(row->help, ".") && !strpbrk(row->help, "\\\n"), "%s", row->name);
	for (int i = 0; i < _i; i++)
		ck_assert_str_ne(metrics_row(i)->name, row->name);
}
END_TEST

/* ---- The text ---- */

static void read_seven(FILE *file, enum metric metric, const void *userdata)
{
	ck_assert_ptr_eq(userdata, &read_seven);
	metrics_write_value(file, metric, metrics_row(metric)->label ? "value" : NULL, 7);
}

START_TEST(test_text)
{
	struct metrics total = {.counts = {0}};
	_cleanup_(freep) char *text = NULL;

	metrics_add(&total, COUNT_SENT_BYTES, 1);
	metrics_add(&total, COUNT_SENT_BYTES, UINT64_MAX - 1);
	metrics_add(&total, COUNT_QUEUED, 3);
	text = write_all(&total, read_seven, &read_seven);
	assert_has(text, "# HELP flagsse_sent_bytes_total Bytes written to streams.\n"
			 "# TYPE flagsse_sent_bytes_total counter\n"
			 "flagsse_sent_bytes_total 18446744073709551615\n"
			 "# HELP flagsse_bus_up 1 while the bus is connected.\n"
			 "# TYPE flagsse_bus_up gauge\n"
			 "flagsse_bus_up 7\n");
	assert_has(text, "# HELP flagsse_publishes_total Answers to publishers.\n"
			 "# TYPE flagsse_publishes_total counter\n"
			 "flagsse_publishes_total{status=\"published\"} 0\n"
			 "flagsse_publishes_total{status=\"stale\"} 0\n"
			 "flagsse_publishes_total{status=\"queued\"} 3\n"
			 "flagsse_publishes_total{status=\"unavailable\"} 0\n# HELP");
	assert_has(text, "\nflagsse_thread_alive{thread=\"value\"} 7\n");
}
END_TEST

START_TEST(test_text_is_in_the_order_of_the_table)
{
	struct metrics total = {.counts = {0}};
	_cleanup_(freep) char *text = write_all(&total, read_seven, &read_seven);
	const char *at = text;
	char head[256];

	for (enum metric metric = 0; metric < METRICS; metric++) {
		const struct metric_row *row = metrics_row(metric);
		const char *next;

		snprintf(head, sizeof(head), "# HELP %s ", row->name);
		ck_assert_msg(strncmp(at, head, strlen(head)) == 0, "%s: %s", row->name, at);
		next = strstr(at + 1, "# HELP ");
		at = next ? next : at + strlen(at);
	}
	ck_assert_str_eq(at, "");
}
END_TEST

/* ---- The blocks ---- */

#define TIMES 100000

static void *count(void *userdata)
{
	for (unsigned i = 0; i < TIMES; i++)
		metrics_add(userdata, COUNT_UPDATES, 1);
	return NULL;
}

START_TEST(test_threads_count_in_their_blocks)
{
	static struct metrics blocks[2], total;
	pthread_t threads[2];
	uint64_t before = 0;

	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count, &blocks[i]), 0);
	/* Whoever reads meanwhile sees no count go back. */
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t now = metrics_get(&blocks[0], COUNT_UPDATES);

		ck_assert_uint_ge(now, before);
		before = now;
	}
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		metrics_sum(&total, &blocks[i]);
	}
	ck_assert_uint_eq(metrics_get(&total, COUNT_UPDATES), 2 * TIMES);
	ck_assert_uint_eq(metrics_get(&total, COUNT_STALE), 0);
}
END_TEST

START_TEST(test_blocks_share_no_cache_line)
{
	struct metrics blocks[2];
	const char *last = (const char *)&blocks[0].histograms[TIMINGS];
	const char *first = (const char *)&blocks[1].counts[0];

	ck_assert_int_ge(first - last, CACHE_LINE);
	ck_assert_int_ge((const char *)blocks[0].counts - (const char *)blocks, CACHE_LINE);
}
END_TEST

/* ---- The document ---- */

/* What the list says of the metric; the list's text is cut up by that.  NULL: nothing. */
static const char *find_entry(char *text, const struct metric_row *row)
{
	char head[128];
	char *entry, *end;

	if (row->label)
		snprintf(head, sizeof(head), "\n.B %s{%s=...}\n", row->name, row->label);
	else
		snprintf(head, sizeof(head), "\n.B %s\n", row->name);
	entry = strstr(text, head);
	if (!entry)
		return NULL;
	entry += strlen(head);
	end = strstr(entry, "\n.TP\n");
	if (!end)
		end = strstr(entry, "\n.SH ");
	if (end)
		*end = '\0';
	return entry;
}

START_TEST(test_is_documented)
{
	const struct metric_row *row = metrics_row(_i);
	_cleanup_(freep) char *text = read_source(LIST);
	const char *entry = find_entry(text, row);
	char type[32];

	snprintf(
		type, sizeof(type), "%c%s.\n", toupper((unsigned char)row->type[0]), row->type + 1);
	ck_assert_msg(entry, "%s lacks %s", LIST, row->name);
	ck_assert_msg(strncmp(entry, type, strlen(type)) == 0, "%s: %s", row->name, entry);
}
END_TEST

START_TEST(test_nothing_else_is_documented)
{
	_cleanup_(freep) char *text = read_source(LIST);
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, "\n.B flagsse_")); at++) {
		const char *name = at + strlen("\n.B ");
		size_t length = strcspn(name, "{\n");
		enum metric metric = 0;

		while (metric < METRICS &&
			(strlen(metrics_row(metric)->name) != length ||
				strncmp(metrics_row(metric)->name, name, length) != 0))
			metric++;
		ck_assert_msg(metric < METRICS, "%s has %.*s", LIST, (int)length, name);
		n++;
	}
	ck_assert_uint_eq(n, METRICS);
}
END_TEST

static const struct labels {
	const char *metric, *value;
} labels[] = {
#define SERIES(id, series, value)       {#id, value},
#define TIMED_SERIES(id, series, value) {#id, value},
#include "base/metrics.def"
#define END(reason, word, manner) {"STREAMS_ENDED", word},
#include "hub/ends.def"
};

/* The row with this id. */
static const struct metric_row *row_of(const char *id)
{
	static const char *const ids[] = {
#define COUNTED(id, ...)    #id,
#define COUNTED_BY(id, ...) #id,
#define TIMED(id, ...)      #id,
#define TIMED_BY(id, ...)   #id,
#define READ(id, ...)       #id,
#define READ_BY(id, ...)    #id,
#include "base/metrics.def"
	};

	for (enum metric metric = 0; metric < METRICS; metric++)
		if (strcmp(ids[metric], id) == 0)
			return metrics_row(metric);
	ck_abort_msg("a series of %s, which is no metric", id);
}

START_TEST(test_label_is_documented)
{
	const struct metric_row *row = row_of(labels[_i].metric);
	_cleanup_(freep) char *text = read_source(LIST);
	const char *entry = find_entry(text, row);
	char word[64];

	ck_assert_msg(entry, "%s lacks %s", LIST, row->name);
	for (size_t length; *entry; entry += length + (entry[length] != '\0')) {
		length = strcspn(entry, " \n.,;:()");
		snprintf(word, sizeof(word), "%.*s", (int)length, entry);
		if (strcmp(word, labels[_i].value) == 0)
			return;
	}
	ck_abort_msg("%s does not say %s of %s", LIST, labels[_i].value, row->name);
}
END_TEST

#define N_OF(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *test_suite(void)
{
	Suite *all = suite_create("metrics");
	TCase *cases = tcase_create("metrics");

	tcase_add_loop_test(cases, test_row, 0, METRICS);
	tcase_add_test(cases, test_text);
	tcase_add_test(cases, test_text_is_in_the_order_of_the_table);
	tcase_add_test(cases, test_threads_count_in_their_blocks);
	tcase_add_test(cases, test_blocks_share_no_cache_line);
	tcase_add_loop_test(cases, test_is_documented, 0, METRICS);
	tcase_add_loop_test(cases, test_label_is_documented, 0, N_OF(labels));
	tcase_add_test(cases, test_nothing_else_is_documented);
	suite_add_tcase(all, cases);
	return all;
}
