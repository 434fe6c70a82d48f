/* SPDX-License-Identifier: BSD-3-Clause */
/* What the outbox holds, and its way to the bus: in the order in which it was accepted, some at a
 * time, each until the bus has it or says that it is stale. */
#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "server/server-internal.h"

/* With the bus at a time. */
#define FLYING_MAX 256

/* With the bus at a time while it refuses all: enough to see when it takes them again. */
#define PROBES_MAX 16

/* The bus is up and does not take one: again after this. */
#define PAUSE_US US_PER_S

/* Those that it refuses are tried again after PAUSE_US, twice that, and so on, up to this. */
#define REST_MAX_US (16 * US_PER_S)

/* One of the outbox's.  Durable there, before it comes here. */
struct row {
	struct table_node node; /* by the update's key */
	TAILQ_ENTRY(row) link;  /* by update.sequence, which counts what was accepted */
	struct update update;
	bool flying;         /* with the bus */
	bool refused;        /* by the bus, when it was last tried */
	bool resting;        /* in queue.resting, not in queue.list */
	unsigned generation; /* of the outbox that has it, or has been given it to write */
};

static struct row *queue_find(const struct server *server, const struct key *key)
{
	return TABLE_ITEM(
		table_find(&server->queue.rows, key->text, key->length), struct row, node);
}

/* Whether `update` is what the row was made of; another may have taken its place. */
static bool row_is(const struct row *row, const struct update *update)
{
	return row && row->update.sequence == update->sequence &&
	       row->update.time_us == update->time_us;
}

static void row_unlink(struct server *server, struct row *row)
{
	if (row->resting)
		TAILQ_REMOVE(&server->queue.resting, row, link);
	else
		TAILQ_REMOVE(&server->queue.list, row, link);
	row->resting = false;
}

static void queue_remove(struct server *server, struct row *row)
{
	table_remove(&server->queue.rows, &row->node);
	row_unlink(server, row);
	server->queue.n_refused -= row->refused;
	free(row);
}

/* NULL: out of memory. */
static struct row *queue_add(struct server *server, const struct update *update)
{
	struct row *row = calloc(1, sizeof(*row));

	if (!row)
		return NULL;
	row->update = *update;
	if (table_add(&server->queue.rows, &row->node, row->update.key.text,
		    row->update.key.length) < 0) {
		free(row);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&server->queue.list, row, link);
	/* If it is away or refuses, that has been said. */
	if (queue_size(server) == 1 && server->bus_up && !refused_told(server))
		log_warning(
			"NATS does not acknowledge updates in time. They are kept in the outbox "
			"until it does.");
	return row;
}

int queue_take_up(struct server *server, const struct update *update)
{
	struct row *row = queue_find(server, &update->key);
	struct update queued = *update;

	if (!row)
		row = queue_add(server, update);
	else if (!row_is(row, update)) {
		row->update = *update;
		row->flying = false;
		row_unlink(server, row);
		TAILQ_INSERT_TAIL(&server->queue.list, row, link);
	}
	if (!row)
		return -ENOMEM;
	row->generation = server->queue.generation;
	/* Not on the bus. */
	queued.sequence = 0;
	return updates_offer(server, &queued);
}

bool queue_has(const struct server *server, const struct update *update)
{
	const struct row *row = queue_find(server, &update->key);

	return row && row->update.time_us == update->time_us;
}

size_t queue_size(const struct server *server)
{
	return table_count(&server->queue.rows);
}

/* ---- To the bus ---- */

static void start_timer(struct server *server, int64_t after_us)
{
	server->queue.timer_on = true;
	(void)sd_event_source_set_time_relative(server->queue.timer, (uint64_t)after_us);
	(void)sd_event_source_set_enabled(server->queue.timer, SD_EVENT_ONESHOT);
}

static void pause_queue(struct server *server)
{
	server->queue.pausing = true;
	start_timer(server, PAUSE_US);
}

/* Those that the bus has refused stand behind the others now, which it may take. */
static void wake_resting(struct server *server)
{
	struct row *row;

	server->queue.pausing = false;
	TAILQ_FOREACH (row, &server->queue.resting, link)
		row->resting = false;
	TAILQ_CONCAT(&server->queue.list, &server->queue.resting, link);
}

void queue_run(struct server *server)
{
	unsigned max = server->refusal.state == REFUSAL_ALL ? PROBES_MAX : FLYING_MAX;
	struct row *row;

	if (!server->bus_up || server->stopping || server->queue.pausing)
		return;
	TAILQ_FOREACH (row, &server->queue.list, link) {
		if (server->queue.n_flying >= max)
			return;
		if (row->flying)
			continue;
		if (publish_row(server, &row->update) < 0) {
			pause_queue(server);
			return;
		}
		row->flying = true;
		server->queue.n_flying++;
	}
}

/* The bus has it, or one that is not older. */
static void row_arrived(struct server *server, struct row *row, enum publish_outcome outcome)
{
	/* Without memory for that it goes once more, as stale. */
	if (outbox_drop(server->outbox, &row->update) < 0) {
		pause_queue(server);
		return;
	}
	if (outcome == PUBLISH_STORED)
		server->counters.outbox_published++;
	queue_remove(server, row);
	if (queue_size(server) == 0)
		log_notice("The outbox is empty: all that was accepted is on the bus.");
}

static void row_note_refused(struct server *server, struct row *row)
{
	server->queue.n_refused += !row->refused;
	row->refused = true;
}

/* The bus will not take it for a while.  If it takes no other either, the queue pauses; else the
 * others go on. */
static void row_rest(struct server *server, struct row *row)
{
	struct queue *queue = &server->queue;

	row_note_refused(server, row);
	row_unlink(server, row);
	TAILQ_INSERT_TAIL(&queue->resting, row, link);
	row->resting = true;
	if (refused_all(server))
		pause_queue(server);
	else if (!queue->timer_on) {
		start_timer(server, queue->rest_us);
		queue->rest_us =
			2 * queue->rest_us < REST_MAX_US ? 2 * queue->rest_us : REST_MAX_US;
	}
}

void queue_note_refused(struct server *server, const struct update *update)
{
	struct row *row = queue_find(server, &update->key);

	if (row_is(row, update) && !row->flying)
		row_rest(server, row);
}

void queue_on_answer(struct server *server, const struct publication *publication)
{
	struct row *row = queue_find(server, &publication->update.key);

	server->queue.n_flying--;
	if (!server->outbox)
		return; /* the end */
	if (row_is(row, &publication->update)) {
		row->flying = false;
		if (publication_is_refused(publication))
			row_rest(server, row);
		else if (publication->outcome != PUBLISH_UNAVAILABLE)
			row_arrived(server, row, publication->outcome);
		else if (server->bus_up)
			pause_queue(server);
	}
	queue_run(server);
}

void queue_on_bus_up(struct server *server)
{
	server->queue.rest_us = PAUSE_US;
	wake_resting(server);
	queue_run(server);
}

void queue_on_bus_left(struct server *server)
{
	struct row *row;

	TAILQ_FOREACH (row, &server->queue.list, link)
		row->flying = false;
	server->queue.n_flying = 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;

	(void)source;
	(void)usec;
	server->queue.timer_on = false;
	refused_look(server);
	if (server->queue.n_refused == 0)
		server->queue.rest_us = PAUSE_US;
	wake_resting(server);
	queue_run(server);
	return 0;
}

/* ---- The outbox opens ---- */

void queue_on_outbox_begin(struct server *server)
{
	server->queue.generation++;
}

int queue_write_again(struct server *server)
{
	struct row *row, *next;

	/* While the disk does not answer, nothing more is given to it. */
	if (!server->queue.has_lost || server->disk_stalled)
		return 0;
	TABLE_FOREACH (row, next, &server->queue.rows, node) {
		if (row->generation == server->queue.generation)
			continue;
		if (publish_keep_again(server, &row->update) < 0)
			return -ENOMEM;
		row->generation = server->queue.generation;
	}
	server->queue.has_lost = false;
	return 0;
}

int queue_on_outbox_up(struct server *server)
{
	server->queue.has_lost = true; /* if any could not be written */
	return queue_write_again(server);
}

void queue_on_not_kept(struct server *server, const struct update *update)
{
	struct row *row = queue_find(server, &update->key);

	if (row_is(row, update))
		row->generation = server->queue.generation - 1;
}

int queue_on_outbox_end(struct server *server)
{
	/* Rows of a file that was corrupt and is begun anew. */
	server->queue.has_lost = true;
	if (queue_write_again(server) < 0)
		return -ENOMEM;
	if (queue_size(server) > 0)
		log_notice("The outbox holds %zu update%s to be published.", queue_size(server),
			text_s(queue_size(server)));
	queue_run(server);
	return 0;
}

int queue_init(struct server *server)
{
	int r;

	table_init(&server->queue.rows);
	TAILQ_INIT(&server->queue.list);
	TAILQ_INIT(&server->queue.resting);
	server->queue.rest_us = PAUSE_US;
	r = sd_event_add_time(server->event, &server->queue.timer, CLOCK_MONOTONIC, 0, US_PER_MS,
		on_timer, server);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(server->queue.timer, SD_EVENT_OFF);
}

void queue_deinit(struct server *server)
{
	struct row *row, *next;

	server->queue.timer = sd_event_source_disable_unref(server->queue.timer);
	TABLE_FOREACH (row, next, &server->queue.rows, node)
		queue_remove(server, row);
}
