/* SPDX-License-Identifier: BSD-3-Clause */
/* What the outbox holds, and its way to the bus: updates go in the order in which they were
 * accepted, some at a time, and each is tried until the bus has it or says that it is stale. */
#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "relay/relay-internal.h"

/* How many rows may be with the bus at a time. */
#define FLYING_MAX 256

/* Likewise while the bus refuses all: enough to see when it takes them again. */
#define PROBES_MAX 16

/* The bus is up and does not take a row: how long until the next try. */
#define PAUSE_US US_PER_S

/* Rows that the bus refuses are tried again after PAUSE_US, twice that, and so on, up to this. */
#define REST_MAX_US (16 * US_PER_S)

/* One of the outbox's rows.  It is durable there before it comes here. */
struct row {
	struct table_node node; /* by the update's key */
	TAILQ_ENTRY(row) link;  /* by update.sequence, which counts what was accepted */
	struct update update;
	bool flying;         /* with the bus */
	bool refused;        /* by the bus, when it was last tried */
	bool resting;        /* in backlog.resting, not in backlog.list */
	unsigned generation; /* of the outbox that has it, or has been given it to write */
};

static struct row *backlog_find(const struct relay *relay, const struct key *key)
{
	return TABLE_ITEM(
		table_find(&relay->backlog.rows, key->text, key->length), struct row, node);
}

/* Whether `update` is what the row was made of; another may have taken its place. */
static bool row_is(const struct row *row, const struct update *update)
{
	return row && row->update.sequence == update->sequence &&
	       row->update.time_us == update->time_us;
}

static void row_unlink(struct relay *relay, struct row *row)
{
	if (row->resting)
		TAILQ_REMOVE(&relay->backlog.resting, row, link);
	else
		TAILQ_REMOVE(&relay->backlog.list, row, link);
	row->resting = false;
}

static void backlog_remove(struct relay *relay, struct row *row)
{
	table_remove(&relay->backlog.rows, &row->node);
	row_unlink(relay, row);
	relay->backlog.n_refused -= row->refused;
	free(row);
}

/* NULL: out of memory. */
static struct row *backlog_add(struct relay *relay, const struct update *update)
{
	struct row *row = calloc(1, sizeof(*row));

	if (!row)
		return NULL;
	row->update = *update;
	if (table_add(&relay->backlog.rows, &row->node, row->update.key.text,
		    row->update.key.length) < 0) {
		free(row);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&relay->backlog.list, row, link);
	/* If it is away or refuses, that has been said. */
	if (backlog_size(relay) == 1 && relay->bus_state.is_up && !refusals_told(relay))
		log_warning(
			"NATS does not acknowledge updates in time. They are kept in the outbox "
			"until it does.");
	return row;
}

int backlog_take_up(struct relay *relay, const struct update *update)
{
	struct row *row = backlog_find(relay, &update->key);
	struct update queued = *update;

	if (!row)
		row = backlog_add(relay, update);
	else if (!row_is(row, update)) {
		row->update = *update;
		row->flying = false;
		row_unlink(relay, row);
		TAILQ_INSERT_TAIL(&relay->backlog.list, row, link);
	}
	if (!row)
		return -ENOMEM;
	row->generation = relay->backlog.generation;
	/* Not on the bus. */
	queued.sequence = 0;
	return intake_offer(relay, &queued);
}

bool backlog_has(const struct relay *relay, const struct update *update)
{
	const struct row *row = backlog_find(relay, &update->key);

	return row && row->update.time_us == update->time_us;
}

size_t backlog_size(const struct relay *relay)
{
	return table_count(&relay->backlog.rows);
}

/* ---- To the bus ---- */

static void start_timer(struct relay *relay, int64_t after_us)
{
	relay->backlog.timer_on = true;
	(void)sd_event_source_set_time_relative(relay->backlog.timer, (uint64_t)after_us);
	(void)sd_event_source_set_enabled(relay->backlog.timer, SD_EVENT_ONESHOT);
}

static void backlog_pause(struct relay *relay)
{
	relay->backlog.pausing = true;
	start_timer(relay, PAUSE_US);
}

/* Puts the rows that the bus has refused behind the others, which it may take. */
static void wake_resting(struct relay *relay)
{
	struct row *row;

	relay->backlog.pausing = false;
	TAILQ_FOREACH (row, &relay->backlog.resting, link)
		row->resting = false;
	TAILQ_CONCAT(&relay->backlog.list, &relay->backlog.resting, link);
}

void backlog_run(struct relay *relay)
{
	unsigned max = relay->refusals.refusal.state == REFUSAL_ALL ? PROBES_MAX : FLYING_MAX;
	struct row *row;

	if (!relay->bus_state.is_up || relay->stopping || relay->backlog.pausing)
		return;
	TAILQ_FOREACH (row, &relay->backlog.list, link) {
		if (relay->backlog.n_flying >= max)
			return;
		if (row->flying)
			continue;
		if (publish_row(relay, &row->update) < 0) {
			backlog_pause(relay);
			return;
		}
		row->flying = true;
		relay->backlog.n_flying++;
	}
}

/* The bus has the row's update, or one that is not older. */
static void row_arrived(struct relay *relay, struct row *row, enum publish_outcome outcome)
{
	/* Without memory for that it goes once more, as stale. */
	if (outbox_drop(relay->outbox, &row->update) < 0) {
		backlog_pause(relay);
		return;
	}
	if (outcome == PUBLISH_STORED)
		metrics_add(&relay->metrics, COUNT_OUTBOX_PUBLISHED, 1);
	backlog_remove(relay, row);
	if (backlog_size(relay) == 0)
		log_notice("The outbox is empty: all that was accepted is on the bus.");
}

static void row_note_refused(struct relay *relay, struct row *row)
{
	relay->backlog.n_refused += !row->refused;
	row->refused = true;
}

/* The bus will not take it for a while.  If it takes no other either, the backlog pauses; else the
 * others go on. */
static void row_rest(struct relay *relay, struct row *row)
{
	struct backlog *backlog = &relay->backlog;

	row_note_refused(relay, row);
	row_unlink(relay, row);
	TAILQ_INSERT_TAIL(&backlog->resting, row, link);
	row->resting = true;
	if (refusals_all(relay))
		backlog_pause(relay);
	else if (!backlog->timer_on) {
		start_timer(relay, backlog->rest_us);
		backlog->rest_us =
			2 * backlog->rest_us < REST_MAX_US ? 2 * backlog->rest_us : REST_MAX_US;
	}
}

void backlog_note_refused(struct relay *relay, const struct update *update)
{
	struct row *row = backlog_find(relay, &update->key);

	if (row_is(row, update) && !row->flying)
		row_rest(relay, row);
}

void backlog_on_answer(struct relay *relay, const struct publication *publication)
{
	struct row *row = backlog_find(relay, &publication->update.key);

	relay->backlog.n_flying--;
	if (!relay->outbox)
		return; /* the end */
	if (row_is(row, &publication->update)) {
		row->flying = false;
		if (publication_is_refused(publication))
			row_rest(relay, row);
		else if (publication->outcome != PUBLISH_UNAVAILABLE)
			row_arrived(relay, row, publication->outcome);
		else if (relay->bus_state.is_up)
			backlog_pause(relay);
	}
	backlog_run(relay);
}

void backlog_on_bus_up(struct relay *relay)
{
	relay->backlog.rest_us = PAUSE_US;
	wake_resting(relay);
	backlog_run(relay);
}

void backlog_on_bus_left(struct relay *relay)
{
	struct row *row;

	TAILQ_FOREACH (row, &relay->backlog.list, link)
		row->flying = false;
	relay->backlog.n_flying = 0;
}

void backlog_wake(struct relay *relay)
{
	relay->backlog.timer_on = false;
	refusals_look(relay);
	if (relay->backlog.n_refused == 0)
		relay->backlog.rest_us = PAUSE_US;
	wake_resting(relay);
	backlog_run(relay);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	backlog_wake(userdata);
	return 0;
}

/* ---- The outbox opens ---- */

void backlog_on_begin(struct relay *relay)
{
	relay->backlog.generation++;
}

int backlog_write_again(struct relay *relay)
{
	struct row *row, *next;

	/* While the disk does not answer, nothing more is given to it. */
	if (!relay->backlog.has_lost || relay->disk_stalled)
		return 0;
	TABLE_FOREACH (row, next, &relay->backlog.rows, node) {
		if (row->generation == relay->backlog.generation)
			continue;
		if (publish_keep_again(relay, &row->update) < 0)
			return -ENOMEM;
		row->generation = relay->backlog.generation;
	}
	relay->backlog.has_lost = false;
	return 0;
}

int backlog_on_outbox_up(struct relay *relay)
{
	relay->backlog.has_lost = true; /* if any could not be written */
	return backlog_write_again(relay);
}

void backlog_on_not_kept(struct relay *relay, const struct update *update)
{
	struct row *row = backlog_find(relay, &update->key);

	if (row_is(row, update))
		row->generation = relay->backlog.generation - 1;
}

int backlog_on_end(struct relay *relay)
{
	/* Rows of a file that was corrupt and is begun anew. */
	relay->backlog.has_lost = true;
	if (backlog_write_again(relay) < 0)
		return -ENOMEM;
	if (backlog_size(relay) > 0)
		log_notice("The outbox holds %zu update%s to be published.", backlog_size(relay),
			text_s(backlog_size(relay)));
	backlog_run(relay);
	return 0;
}

int backlog_init(struct relay *relay)
{
	int r;

	TAILQ_INIT(&relay->backlog.list);
	TAILQ_INIT(&relay->backlog.resting);
	relay->backlog.rest_us = PAUSE_US;
	r = sd_event_add_time(relay->event, &relay->backlog.timer, CLOCK_MONOTONIC, 0, US_PER_MS,
		on_timer, relay);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(relay->backlog.timer, SD_EVENT_OFF);
}

void backlog_deinit(struct relay *relay)
{
	struct row *row, *next;

	relay->backlog.timer = sd_event_source_disable_unref(relay->backlog.timer);
	TABLE_FOREACH (row, next, &relay->backlog.rows, node)
		backlog_remove(relay, row);
}
