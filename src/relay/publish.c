/* SPDX-License-Identifier: BSD-3-Clause */
/* Publishing: an update goes from HTTP to the bus, and what the bus says goes back as the answer.
 * Where the bus cannot acknowledge it, it goes into the outbox.  A publisher gets an answer in time
 * whatever bus and disk do: Flagsmith waits for 2 s and then forgets. */
#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "relay/relay-internal.h"

/* After this the outbox is asked to keep what the bus has not acknowledged. */
#define BUS_TIMEOUT_MS 1000

/* After this the publisher is told that neither has answered. */
#define ANSWER_TIMEOUT_MS 1700

static void answer_unavailable(
	struct relay *relay, struct http_publish *publish, const char *detail)
{
	metrics_add(&relay->metrics, COUNT_UNAVAILABLE, 1);
	http_answer(publish, HTTP_UNAVAILABLE, 0, detail);
}

static void answer_stale(struct relay *relay, struct http_publish *publish)
{
	metrics_add(&relay->metrics, COUNT_STALE, 1);
	http_answer(publish, HTTP_STALE, 0, NULL);
}

/* HTTP_PUBLISHED or HTTP_QUEUED: the update is accepted. */
static void answer_accepted(struct relay *relay, const struct pending *pending,
	struct http_publish *publish, enum http_publish_status status)
{
	metrics_add(&relay->metrics, status == HTTP_PUBLISHED ? COUNT_PUBLISHED : COUNT_QUEUED, 1);
	metrics_observe(&relay->metrics, TIMING_PUBLISH_LAG, pending->lag_us);
	http_answer(publish, status, pending->publication.sequence, NULL);
}

/* ---- What is pending ---- */

static void arm_deadline(struct relay *relay)
{
	const struct pending *first = TAILQ_FIRST(&relay->publishing.awaited);

	if (!relay->publishing.timer)
		return; /* the end: answers still come */
	if (!first) {
		(void)sd_event_source_set_enabled(relay->publishing.timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(
		relay->publishing.timer, (uint64_t)(first->deadline_ms * US_PER_MS));
	(void)sd_event_source_set_enabled(relay->publishing.timer, SD_EVENT_ONESHOT);
}

/* Somebody waits for this update, until the deadline at most.  Most deadlines come in the order in
 * which they are set. */
static void pending_await(struct relay *relay, struct pending *pending, int64_t deadline_ms)
{
	struct pending *before = TAILQ_LAST(&relay->publishing.awaited, pending_queue);

	pending->deadline_ms = deadline_ms;
	while (before && before->deadline_ms > deadline_ms)
		before = TAILQ_PREV(before, pending_queue, link);
	if (before)
		TAILQ_INSERT_AFTER(&relay->publishing.awaited, before, pending, link);
	else {
		TAILQ_INSERT_HEAD(&relay->publishing.awaited, pending, link);
		arm_deadline(relay);
	}
}

/* Takes out the publisher that waits; the update may still be with the bus or the outbox. */
static struct http_publish *pending_take_publish(struct relay *relay, struct pending *pending)
{
	if (pending->publish)
		TAILQ_REMOVE(&relay->publishing.awaited, pending, link);
	return TAKE_PTR(pending->publish);
}

/* `publish` waits for the answer; NULL: nobody does.  Returns NULL if memory is short. */
static struct pending *pending_new(
	struct relay *relay, const struct update *update, struct http_publish *publish)
{
	struct pending *pending = calloc(1, sizeof(*pending));

	if (!pending)
		return NULL;
	pending->publication.update = *update;
	pending->begun_ms = clock_monotonic_ms();
	pending->publish = publish;
	relay->publishing.n_pending++;
	if (publish)
		pending_await(relay, pending,
			pending->begun_ms + (relay->outbox ? BUS_TIMEOUT_MS : ANSWER_TIMEOUT_MS));
	return pending;
}

/* Frees it once neither the bus nor the outbox has it. */
static void pending_release(struct relay *relay, struct pending *pending)
{
	if (pending->with_bus || pending->with_outbox)
		return;
	relay->refusals.n_pending -= pending->is_refused;
	relay->publishing.n_pending--;
	free(pending);
	arm_deadline(relay);
}

static void pending_send(struct relay *relay, struct pending *pending)
{
	pending->with_bus = true;
	bus_publish(relay->bus, &pending->publication);
}

static void refuse(struct relay *relay, struct pending *pending, const char *detail)
{
	struct http_publish *publish = pending_take_publish(relay, pending);

	if (publish)
		answer_unavailable(relay, publish, detail);
}

/* This node's streams are told of an update that is in the outbox, so its time is raised above what
 * they have.  False: they have it already. */
static bool raise_above_told(
	const struct relay *relay, const struct publication *publication, struct update *update)
{
	struct update latest;

	if (publication->has_waited ||
		!registry_latest(relay->registry, &update->key, relay_now_us(relay), &latest, NULL))
		return true;
	return update_raise(update, latest.time_us);
}

/* The bus does not take it, for the reason `why`. */
static void pending_keep(struct relay *relay, struct pending *pending, const char *why)
{
	struct http_publish *publish;

	if (!relay->outbox) {
		refuse(relay, pending, why);
		return;
	}
	if (relay->disk_stalled) {
		refuse(relay, pending,
			"NATS does not take the update, and the disk of the outbox does not "
			"answer. Try again.");
		return;
	}
	pending->item.update = pending->publication.update;
	if (!raise_above_told(relay, &pending->publication, &pending->item.update)) {
		publish = pending_take_publish(relay, pending);
		if (publish)
			answer_stale(relay, publish);
		return;
	}
	pending->item.now_us = relay_now_us(relay);
	pending->with_outbox = true;
	if (pending->publish) {
		TAILQ_REMOVE(&relay->publishing.awaited, pending, link);
		pending_await(relay, pending, pending->begun_ms + ANSWER_TIMEOUT_MS);
	}
	outbox_keep(relay->outbox, &pending->item);
}

static void pending_on_deadline(struct relay *relay, struct pending *pending)
{
	if (relay->outbox && !pending->with_outbox) {
		pending_keep(relay, pending, "");
		return;
	}
	/* Until it answers no more are given to it: they would pile up. */
	relay->disk_stalled = true;
	refuse(relay, pending,
		relay->outbox ? "NATS has not acknowledged the update, and the disk of the outbox "
				"has not answered in time. Try again."
			      : "The disk of the store has not answered in time. Try again.");
}

void publish_expire(struct relay *relay, int64_t now_ms)
{
	struct pending *first;

	while ((first = TAILQ_FIRST(&relay->publishing.awaited)) && first->deadline_ms <= now_ms)
		pending_on_deadline(relay, first);
	arm_deadline(relay);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	publish_expire(userdata, clock_monotonic_ms());
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
static bool is_known_to_be_away(const struct relay *relay)
{
	return !relay->bus_state.is_up &&
	       (relay->bus_state.n_told > 0 ||
		       clock_monotonic_ms() - relay->bus_state.down_since_ms >= BUS_TIMEOUT_MS);
}

/* The update goes to the outbox at once if NATS is known to be away, or the bus has been ended for
 * a hand-over that then failed.  The local bus is asked even if it could not write the last one:
 * the disk may have space again. */
static void pending_begin(struct relay *relay, struct pending *pending)
{
	bool known_away = is_known_to_be_away(relay);

	if (!relay->bus)
		pending_keep(relay, pending, "The service is stopping. Try again.");
	else if (relay->outbox && known_away)
		pending_keep(relay, pending, "");
	else if (!relay->outbox && relay->disk_stalled)
		refuse(relay, pending, "The disk of the store does not answer. Try again.");
	else
		pending_send(relay, pending);
	pending_release(relay, pending);
}

void relay_publish(
	struct relay *relay, struct http_publish *publish, const struct key *key, int64_t time_us)
{
	struct update update = {.key = *key, .time_us = time_us}, latest;
	int64_t now_us = relay_now_us(relay);
	struct pending *pending;
	bool is_known;

	is_known = registry_latest(relay->registry, key, now_us, &latest, NULL);
	update.stored_us = acceptance_us(now_us, is_known ? &latest : NULL);
	pending = pending_new(relay, &update, publish);
	if (!pending) {
		answer_unavailable(relay, publish, "Out of memory. Try again.");
		return;
	}
	pending->lag_us = now_us - time_us;
	pending_begin(relay, pending);
}

/* For an update that was accepted before, maybe by a clock that was ahead. */
static struct pending *pending_new_waiting(struct relay *relay, const struct update *update)
{
	struct update settled = *update;
	struct pending *pending;

	settled.stored_us = update_accepted(update);
	update_settle_waiting(&settled, relay_now_us(relay));
	pending = pending_new(relay, &settled, NULL);
	if (pending)
		pending->publication.has_waited = true;
	return pending;
}

int publish_row(struct relay *relay, const struct update *row)
{
	struct pending *pending = pending_new_waiting(relay, row);

	if (!pending)
		return -ENOMEM;
	pending->is_row = true;
	pending_send(relay, pending);
	return 0;
}

static void repair(struct relay *relay, const struct update *update)
{
	struct pending *pending = pending_new_waiting(relay, update);

	if (!pending) {
		log_error("Out of memory: the latest update of environment %s, which the bus does "
			  "not have, is not written to it.",
			update->key.text);
		return;
	}
	pending->is_repair = true;
	pending_send(relay, pending);
	metrics_add(&relay->metrics, COUNT_UPDATES_REPAIRED, 1);
}

void publish_write_back(struct relay *relay, const struct update *update)
{
	/* What is about to expire is not to live another hour. */
	if (relay->bus && relay->bus_state.is_up && !backlog_has(relay, update) &&
		!update_is_expired(update, relay_now_us(relay) + UPDATE_MARGIN_US))
		repair(relay, update);
}

void publish_again_above(struct relay *relay, const struct update *update, int64_t time_us)
{
	struct update above = *update;

	if (above.time_us <= time_us)
		above.time_us = time_us + 1;
	above.sequence = 0;
	/* The bus holds it until all last values are read. */
	if (relay->bus)
		repair(relay, &above);
}

int publish_keep_again(struct relay *relay, const struct update *row)
{
	struct pending *pending = pending_new_waiting(relay, row);

	if (!pending)
		return -ENOMEM;
	pending_keep(relay, pending, "");
	pending_release(relay, pending);
	return 0;
}

/* ---- Answers ---- */

static void keep_unanswered(struct relay *relay, struct pending *pending)
{
	const struct publication *publication = &pending->publication;
	char why[BUS_TEXT_SIZE + 64];

	if (!publication_is_refused(publication)) {
		pending_keep(relay, pending, publication->problem);
		return;
	}
	snprintf(why, sizeof(why), "NATS refuses the update: %s. Try again.", publication->problem);
	pending_keep(relay, pending, why);
}

static void answer_by_bus(struct relay *relay, struct pending *pending)
{
	const struct publication *publication = &pending->publication;
	struct http_publish *publish;

	if (publication->outcome != PUBLISH_STORED && publication->outcome != PUBLISH_STALE) {
		/* What is with the outbox already is answered by that. */
		if (!pending->with_outbox && (pending->publish || pending->is_repair))
			keep_unanswered(relay, pending);
		return;
	}
	publish = pending_take_publish(relay, pending);
	if (!publish)
		log_debug("The bus has answered an update that nobody waits for.");
	else if (publication->outcome == PUBLISH_STALE)
		answer_stale(relay, publish);
	else
		answer_accepted(relay, pending, publish, HTTP_PUBLISHED);
}

void publish_on_answer(struct relay *relay, struct publication *publication)
{
	struct pending *pending = container_of(publication, struct pending, publication);

	pending->with_bus = false;
	if (!relay->outbox)
		relay->disk_stalled = false;
	if (publication_is_refused(publication)) {
		pending->is_refused = true;
		relay->refusals.n_pending++;
		refusals_on_answer(relay, publication);
	}
	if (pending->is_row)
		backlog_on_answer(relay, publication);
	else
		answer_by_bus(relay, pending);
	if (publication->outcome == PUBLISH_STORED)
		refusals_on_stored(relay);
	pending_release(relay, pending);
}

/* The answer of a bus that was left behind.  It is as true as ever, but the backlog does not count
 * the update as on its way any more. */
void publish_on_late_answer(struct relay *relay, struct publication *publication)
{
	struct pending *pending = container_of(publication, struct pending, publication);

	pending->with_bus = false;
	if (!pending->is_row)
		answer_by_bus(relay, pending);
	pending_release(relay, pending);
}

static void answer_by_outbox(struct relay *relay, struct pending *pending)
{
	struct http_publish *publish = pending_take_publish(relay, pending);

	if (!publish)
		return;
	switch (pending->item.outcome) {
	case OUTBOX_KEPT:
		answer_accepted(relay, pending, publish, HTTP_QUEUED);
		break;
	case OUTBOX_STALE:
		answer_stale(relay, publish);
		break;
	case OUTBOX_FAILED:
		answer_unavailable(relay, publish, pending->item.problem);
		break;
	}
}

int publish_on_outbox_answer(struct relay *relay, struct outbox_item *item)
{
	struct pending *pending = container_of(item, struct pending, item);
	int r;

	relay->disk_stalled = false;
	r = backlog_write_again(relay);
	if (r >= 0 && item->outcome == OUTBOX_KEPT)
		r = backlog_take_up(relay, &item->kept);
	if (r < 0)
		return r;
	if (item->outcome == OUTBOX_KEPT && pending->is_refused)
		backlog_note_refused(relay, &item->kept);
	if (item->outcome == OUTBOX_FAILED)
		backlog_on_not_kept(relay, &item->update);
	pending->with_outbox = false;
	answer_by_outbox(relay, pending);
	pending_release(relay, pending);
	backlog_run(relay);
	return 0;
}

void publish_forget_item(struct relay *relay, struct outbox_item *item)
{
	struct pending *pending = container_of(item, struct pending, item);

	pending->with_outbox = false;
	pending_release(relay, pending);
}

int publish_init(struct relay *relay)
{
	int r;

	r = sd_event_add_time(relay->event, &relay->publishing.timer, CLOCK_MONOTONIC, 0, US_PER_MS,
		on_deadline, relay);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(relay->publishing.timer, SD_EVENT_OFF);
}

void publish_deinit(struct relay *relay)
{
	struct pending *pending;

	while ((pending = TAILQ_FIRST(&relay->publishing.awaited)))
		answer_unavailable(relay, pending_take_publish(relay, pending),
			"The service is stopping. Try again.");
	relay->publishing.timer = sd_event_source_disable_unref(relay->publishing.timer);
}
