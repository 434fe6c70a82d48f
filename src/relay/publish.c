/* SPDX-License-Identifier: BSD-3-Clause */
/* Publishing: an update goes from HTTP to the bus, and what the bus says goes back as the answer.
 * Where the bus cannot acknowledge it, it goes into the outbox.  A publisher gets an answer in time
 * whatever bus and disk do: Flagsmith waits for 2 s and then forgets. */
#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/server-internal.h"

/* After this the outbox is asked to keep what the bus has not acknowledged. */
#define BUS_TIMEOUT_MS 1000

/* After this the publisher is told that neither has answered. */
#define ANSWER_TIMEOUT_MS 1700

static void answer_unavailable(
	struct server *server, struct http_publish *publish, const char *detail)
{
	server->counters.unavailable++;
	http_answer(publish, HTTP_UNAVAILABLE, 0, detail);
}

static void answer_stale(struct server *server, struct http_publish *publish)
{
	server->counters.stale++;
	http_answer(publish, HTTP_STALE, 0, NULL);
}

/* ---- What is pending ---- */

static void arm_deadline(struct server *server)
{
	const struct pending *first = TAILQ_FIRST(&server->pending);

	if (!server->deadline_timer)
		return; /* the end: answers still come */
	if (!first) {
		(void)sd_event_source_set_enabled(server->deadline_timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(
		server->deadline_timer, (uint64_t)(first->deadline_ms * US_PER_MS));
	(void)sd_event_source_set_enabled(server->deadline_timer, SD_EVENT_ONESHOT);
}

/* Somebody waits for it, and at most until then.  Most deadlines come in the order in which they
 * are set. */
static void pending_await(struct server *server, struct pending *pending, int64_t deadline_ms)
{
	struct pending *before = TAILQ_LAST(&server->pending, pending_queue);

	pending->deadline_ms = deadline_ms;
	while (before && before->deadline_ms > deadline_ms)
		before = TAILQ_PREV(before, pending_queue, link);
	if (before)
		TAILQ_INSERT_AFTER(&server->pending, before, pending, link);
	else {
		TAILQ_INSERT_HEAD(&server->pending, pending, link);
		arm_deadline(server);
	}
}

/* Nobody waits for it any more; it may still be with the bus or the outbox. */
static struct http_publish *pending_take_publish(struct server *server, struct pending *pending)
{
	if (pending->publish)
		TAILQ_REMOVE(&server->pending, pending, link);
	return TAKE_PTR(pending->publish);
}

/* `publish`, who waits for the answer, may be NULL.  NULL: out of memory. */
static struct pending *pending_new(
	struct server *server, const struct update *update, struct http_publish *publish)
{
	struct pending *pending = calloc(1, sizeof(*pending));

	if (!pending)
		return NULL;
	pending->publication.update = *update;
	pending->begun_ms = clock_monotonic_ms();
	pending->publish = publish;
	server->n_publications++;
	if (publish)
		pending_await(server, pending,
			pending->begun_ms + (server->outbox ? BUS_TIMEOUT_MS : ANSWER_TIMEOUT_MS));
	return pending;
}

/* Once neither the bus nor the outbox has it. */
static void pending_release(struct server *server, struct pending *pending)
{
	if (pending->with_bus || pending->with_outbox)
		return;
	server->n_refused_pending -= pending->is_refused;
	server->n_publications--;
	free(pending);
	arm_deadline(server);
}

static void pending_send(struct server *server, struct pending *pending)
{
	pending->with_bus = true;
	bus_publish(server->bus, &pending->publication);
}

static void refuse(struct server *server, struct pending *pending, const char *detail)
{
	struct http_publish *publish = pending_take_publish(server, pending);

	if (publish)
		answer_unavailable(server, publish, detail);
}

/* Once it is in the outbox this node's streams are told of it: above what they have.  False: they
 * have it. */
static bool raise_above_told(
	const struct server *server, const struct publication *publication, struct update *update)
{
	struct update latest;

	if (publication->has_waited || !registry_latest(server->registry, &update->key,
					       updates_now_us(server), &latest, NULL))
		return true;
	return update_raise(update, latest.time_us);
}

/* The bus does not take it, for the reason `why`. */
static void pending_keep(struct server *server, struct pending *pending, const char *why)
{
	struct http_publish *publish;

	if (!server->outbox) {
		refuse(server, pending, why);
		return;
	}
	if (server->disk_stalled) {
		refuse(server, pending,
			"NATS does not take the update, and the disk of the outbox does not "
			"answer. Try again.");
		return;
	}
	pending->item.update = pending->publication.update;
	if (!raise_above_told(server, &pending->publication, &pending->item.update)) {
		publish = pending_take_publish(server, pending);
		if (publish)
			answer_stale(server, publish);
		return;
	}
	pending->item.now_us = updates_now_us(server);
	pending->with_outbox = true;
	if (pending->publish) {
		TAILQ_REMOVE(&server->pending, pending, link);
		pending_await(server, pending, pending->begun_ms + ANSWER_TIMEOUT_MS);
	}
	outbox_keep(server->outbox, &pending->item);
}

static void pending_on_deadline(struct server *server, struct pending *pending)
{
	if (server->outbox && !pending->with_outbox) {
		pending_keep(server, pending, "");
		return;
	}
	/* Until it answers no more are given to it: they would pile up. */
	server->disk_stalled = true;
	refuse(server, pending,
		server->outbox ? "NATS has not acknowledged the update, and the disk of the outbox "
				 "has not answered in time. Try again."
			       : "The disk of the store has not answered in time. Try again.");
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;
	struct pending *first;
	int64_t now_ms = clock_monotonic_ms();

	(void)source;
	(void)usec;
	while ((first = TAILQ_FIRST(&server->pending)) && first->deadline_ms <= now_ms)
		pending_on_deadline(server, first);
	arm_deadline(server);
	return 0;
}

/* ---- Publishing ---- */

/* The time of acceptance, by the bus's clock: this node's own may be behind it, and then an update
 * that the outbox keeps would count as older than one that the bus took before.  What is accepted
 * after the latest was stored comes after it, whatever the clocks say. */
static int64_t acceptance_us(int64_t now_us, const struct update *latest)
{
	return latest && latest->stored_us >= now_us ? latest->stored_us + 1 : now_us;
}

/* At the start the bus is not up yet, and for a moment there is no telling whether it will be. */
static bool is_known_to_be_away(const struct server *server)
{
	return !server->bus_up &&
	       (server->n_problems_told > 0 ||
		       clock_monotonic_ms() - server->bus_down_since_ms >= BUS_TIMEOUT_MS);
}

/* To the outbox at once if NATS is known to be away, or the bus has been ended for a hand-over that
 * then failed.  The local bus is asked even if it could not write the last one: the disk may have
 * space again. */
static void pending_begin(struct server *server, struct pending *pending)
{
	bool known_away = is_known_to_be_away(server);

	if (!server->bus)
		pending_keep(server, pending, "The service is stopping. Try again.");
	else if (server->outbox && known_away)
		pending_keep(server, pending, "");
	else if (!server->outbox && server->disk_stalled)
		refuse(server, pending, "The disk of the store does not answer. Try again.");
	else
		pending_send(server, pending);
	pending_release(server, pending);
}

void publish_request(
	struct http_publish *publish, const struct key *key, int64_t time_us, void *userdata)
{
	struct server *server = userdata;
	struct update update = {.key = *key, .time_us = time_us}, latest;
	int64_t now_us = updates_now_us(server);
	struct pending *pending;
	bool is_known;

	is_known = registry_latest(server->registry, key, now_us, &latest, NULL);
	update.stored_us = acceptance_us(now_us, is_known ? &latest : NULL);
	pending = pending_new(server, &update, publish);
	if (!pending)
		answer_unavailable(server, publish, "Out of memory. Try again.");
	else
		pending_begin(server, pending);
}

/* One that was accepted before, maybe by a clock that was ahead. */
static struct pending *pending_new_waiting(struct server *server, const struct update *update)
{
	struct update settled = *update;
	struct pending *pending;

	settled.stored_us = update_accepted(update);
	update_settle_waiting(&settled, updates_now_us(server));
	pending = pending_new(server, &settled, NULL);
	if (pending)
		pending->publication.has_waited = true;
	return pending;
}

int publish_row(struct server *server, const struct update *row)
{
	struct pending *pending = pending_new_waiting(server, row);

	if (!pending)
		return -ENOMEM;
	pending->is_row = true;
	pending_send(server, pending);
	return 0;
}

static void repair(struct server *server, const struct update *update)
{
	struct pending *pending = pending_new_waiting(server, update);

	if (!pending) {
		log_error("Out of memory: the latest update of environment %s, which the bus does "
			  "not have, is not written to it.",
			update->key.text);
		return;
	}
	pending->is_repair = true;
	pending_send(server, pending);
	server->counters.repaired++;
}

void publish_write_back(struct server *server, const struct update *update)
{
	/* What is about to expire is not to live another hour. */
	if (server->bus && server->bus_up && !queue_has(server, update) &&
		!update_is_expired(update, updates_now_us(server) + UPDATE_MARGIN_US))
		repair(server, update);
}

void publish_again_above(struct server *server, const struct update *update, int64_t time_us)
{
	struct update above = *update;

	above.time_us = time_us + 1;
	above.sequence = 0;
	/* The bus holds it until all last values are read. */
	if (server->bus)
		repair(server, &above);
}

int publish_keep_again(struct server *server, const struct update *row)
{
	struct pending *pending = pending_new_waiting(server, row);

	if (!pending)
		return -ENOMEM;
	pending_keep(server, pending, "");
	pending_release(server, pending);
	return 0;
}

/* ---- Answers ---- */

static void keep_unanswered(struct server *server, struct pending *pending)
{
	const struct publication *publication = &pending->publication;
	char why[BUS_TEXT_SIZE + 64];

	if (!publication_is_refused(publication)) {
		pending_keep(server, pending, publication->problem);
		return;
	}
	snprintf(why, sizeof(why), "NATS refuses the update: %s. Try again.", publication->problem);
	pending_keep(server, pending, why);
}

static void answer_by_bus(struct server *server, struct pending *pending)
{
	const struct publication *publication = &pending->publication;
	struct http_publish *publish;

	if (publication->outcome != PUBLISH_STORED && publication->outcome != PUBLISH_STALE) {
		/* What is with the outbox already is answered by that. */
		if (!pending->with_outbox && (pending->publish || pending->is_repair))
			keep_unanswered(server, pending);
		return;
	}
	publish = pending_take_publish(server, pending);
	if (!publish)
		log_debug("The bus has answered an update that nobody waits for.");
	else if (publication->outcome == PUBLISH_STALE)
		answer_stale(server, publish);
	else {
		server->counters.published++;
		http_answer(publish, HTTP_PUBLISHED, publication->sequence, NULL);
	}
}

void publish_on_answer(struct server *server, struct publication *publication)
{
	struct pending *pending = container_of(publication, struct pending, publication);

	pending->with_bus = false;
	if (!server->outbox)
		server->disk_stalled = false;
	if (publication_is_refused(publication)) {
		pending->is_refused = true;
		server->n_refused_pending++;
		refused_on_answer(server, publication);
	}
	if (pending->is_row)
		queue_on_answer(server, publication);
	else
		answer_by_bus(server, pending);
	if (publication->outcome == PUBLISH_STORED)
		refused_on_stored(server);
	pending_release(server, pending);
}

/* Of a bus that was left behind.  What it says is as true as ever; but the queue does not count it
 * as on its way any more. */
void publish_on_late_answer(struct server *server, struct publication *publication)
{
	struct pending *pending = container_of(publication, struct pending, publication);

	pending->with_bus = false;
	if (!pending->is_row)
		answer_by_bus(server, pending);
	pending_release(server, pending);
}

static void answer_by_outbox(struct server *server, struct pending *pending)
{
	struct http_publish *publish = pending_take_publish(server, pending);

	if (!publish)
		return;
	switch (pending->item.outcome) {
	case OUTBOX_KEPT:
		server->counters.queued++;
		http_answer(publish, HTTP_QUEUED, 0, NULL);
		break;
	case OUTBOX_STALE:
		answer_stale(server, publish);
		break;
	case OUTBOX_FAILED:
		answer_unavailable(server, publish, pending->item.problem);
		break;
	}
}

int publish_on_outbox_answer(struct server *server, struct outbox_item *item)
{
	struct pending *pending = container_of(item, struct pending, item);
	int r;

	server->disk_stalled = false;
	r = queue_write_again(server);
	if (r >= 0 && item->outcome == OUTBOX_KEPT)
		r = queue_take_up(server, &item->kept);
	if (r < 0)
		return r;
	if (item->outcome == OUTBOX_KEPT && pending->is_refused)
		queue_note_refused(server, &item->kept);
	if (item->outcome == OUTBOX_FAILED)
		queue_on_not_kept(server, &item->update);
	pending->with_outbox = false;
	answer_by_outbox(server, pending);
	pending_release(server, pending);
	queue_run(server);
	return 0;
}

void publish_forget_item(struct server *server, struct outbox_item *item)
{
	struct pending *pending = container_of(item, struct pending, item);

	pending->with_outbox = false;
	pending_release(server, pending);
}

int publish_init(struct server *server)
{
	int r;

	r = sd_event_add_time(server->event, &server->deadline_timer, CLOCK_MONOTONIC, 0, US_PER_MS,
		on_deadline, server);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(server->deadline_timer, SD_EVENT_OFF);
}

void publish_deinit(struct server *server)
{
	struct pending *pending;

	while ((pending = TAILQ_FIRST(&server->pending)))
		answer_unavailable(server, pending_take_publish(server, pending),
			"The service is stopping. Try again.");
	server->deadline_timer = sd_event_source_disable_unref(server->deadline_timer);
}
