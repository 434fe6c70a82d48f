/* SPDX-License-Identifier: BSD-3-Clause */
/* What the outbox holds, and its way to the bus: in the order in which it was accepted, some at a
 * time, each until the bus has it or says that it is stale. */
#include <errno.h>

#include "clock.h"
#include "hash.h"
#include "log.h"
#include "server-internal.h"

/* With the bus at a time. */
#define FLYING_MAX 256

/* The bus is up and does not take one: again after this. */
#define PAUSE_US US_PER_S

/* One of the outbox's.  Durable there, before it comes here. */
struct row {
	UT_hash_handle hh;
	TAILQ_ENTRY(row) link; /* by update.sequence, which counts what was accepted */
	struct update update;
	bool flying;         /* with the bus */
	unsigned generation; /* of the outbox that has it, or has been given it to write */
};

static struct row *queue_find(const struct server *server, const struct key *key)
{
	struct row *row;

	HASH_FIND(hh, server->queue.rows, key->text, key->length, row);
	return row;
}

/* Whether `update` is what the row was made of; another may have taken its place. */
static bool row_is(const struct row *row, const struct update *update)
{
	return row && row->update.sequence == update->sequence &&
	       row->update.time_us == update->time_us;
}

static void queue_remove(struct server *server, struct row *row)
{
	HASH_DEL(server->queue.rows, row);
	TAILQ_REMOVE(&server->queue.list, row, link);
	free(row);
}

/* NULL: out of memory. */
static struct row *queue_add(struct server *server, const struct update *update)
{
	struct row *row = calloc(1, sizeof(*row));

	if (!row)
		return NULL;
	row->update = *update;
	HASH_ADD_KEYPTR(hh, server->queue.rows, row->update.key.text, row->update.key.length, row);
	if (!row->hh.tbl) {
		free(row);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&server->queue.list, row, link);
	/* If it is away, that has been said. */
	if (queue_size(server) == 1 && server->bus_up)
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
		TAILQ_REMOVE(&server->queue.list, row, link);
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
	return HASH_COUNT(server->queue.rows);
}

/* ---- To the bus ---- */

static void pause_queue(struct server *server)
{
	server->queue.pausing = true;
	(void)sd_event_source_set_time_relative(server->queue.timer, PAUSE_US);
	(void)sd_event_source_set_enabled(server->queue.timer, SD_EVENT_ONESHOT);
}

void queue_run(struct server *server)
{
	struct row *row;

	if (!server->bus_up || server->stopping || server->queue.pausing)
		return;
	TAILQ_FOREACH (row, &server->queue.list, link) {
		if (server->queue.n_flying == FLYING_MAX)
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

void queue_on_answer(struct server *server, const struct publication *publication)
{
	struct row *row = queue_find(server, &publication->update.key);

	server->queue.n_flying--;
	if (!server->outbox)
		return; /* the end */
	if (row_is(row, &publication->update)) {
		row->flying = false;
		if (publication->outcome != PUBLISH_UNAVAILABLE)
			row_arrived(server, row, publication->outcome);
		else if (server->bus_up)
			pause_queue(server);
	}
	queue_run(server);
}

void queue_on_bus_up(struct server *server)
{
	server->queue.pausing = false;
	queue_run(server);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;

	(void)source;
	(void)usec;
	server->queue.pausing = false;
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
	struct row *row;

	/* While the disk does not answer, nothing more is given to it. */
	if (!server->queue.has_lost || server->disk_stalled)
		return 0;
	TAILQ_FOREACH (row, &server->queue.list, link) {
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
		log_notice("The outbox holds %zu updates that wait for NATS.", queue_size(server));
	queue_run(server);
	return 0;
}

int queue_init(struct server *server)
{
	int r;

	TAILQ_INIT(&server->queue.list);
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
	HASH_ITER (hh, server->queue.rows, row, next)
		queue_remove(server, row);
}
