/* SPDX-License-Identifier: BSD-3-Clause */
/* Publishing: an update goes from HTTP to the bus, and what the bus says goes back as the answer. A
 * publisher gets one in time whatever the bus does: Flagsmith waits for 2 s and then forgets. */
#include <errno.h>

#include "clock.h"
#include "log.h"
#include "server-internal.h"

/* After this the publisher is told that the bus has not answered. */
#define ANSWER_TIMEOUT_MS 1500

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

static void arm_deadline(struct server *server)
{
	const struct pending *oldest = TAILQ_FIRST(&server->pending);

	if (!server->deadline_timer)
		return; /* the end: answers still come */
	if (!oldest) {
		(void)sd_event_source_set_enabled(server->deadline_timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(
		server->deadline_timer, (uint64_t)(oldest->deadline_ms * US_PER_MS));
	(void)sd_event_source_set_enabled(server->deadline_timer, SD_EVENT_ONESHOT);
}

/* Nobody waits for it any more; the publication itself is still with the bus. */
static struct http_publish *pending_take_publish(struct server *server, struct pending *pending)
{
	if (pending->publish)
		TAILQ_REMOVE(&server->pending, pending, link);
	return TAKE_PTR(pending->publish);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;
	struct pending *oldest;
	int64_t now_ms = clock_monotonic_ms();

	(void)source;
	(void)usec;
	while ((oldest = TAILQ_FIRST(&server->pending)) && oldest->deadline_ms <= now_ms)
		answer_unavailable(server, pending_take_publish(server, oldest),
			"The bus has not acknowledged the update in time. Try again.");
	arm_deadline(server);
	return 0;
}

/* Hands the update to the bus.  `publish`, who waits for the answer, may be NULL.  0 or -ENOMEM. */
static int pending_start(
	struct server *server, const struct update *update, struct http_publish *publish)
{
	struct pending *pending = calloc(1, sizeof(*pending));

	if (!pending)
		return -ENOMEM;
	pending->publication.update = *update;
	pending->publish = publish;
	pending->deadline_ms = clock_monotonic_ms() + ANSWER_TIMEOUT_MS;
	if (publish) {
		TAILQ_INSERT_TAIL(&server->pending, pending, link);
		if (TAILQ_FIRST(&server->pending) == pending)
			arm_deadline(server);
	}
	server->n_publications++;
	bus_publish(server->bus, &pending->publication);
	return 0;
}

void publish_request(
	struct http_publish *publish, const struct key *key, int64_t time_us, void *userdata)
{
	struct server *server = userdata;
	struct update update = {.key = *key, .time_us = time_us, .stored_us = clock_wall_us()};
	const struct update *latest;

	/* Once stored it would be ordered by its updated_at or by a later time than the latest's,
	 * so only its updated_at can make it stale. */
	if (registry_latest(server->registry, key, update.stored_us, &latest, NULL) &&
		time_us <= update_order(latest))
		answer_stale(server, publish);
	/* At the start the bus is not up yet, but as long as it tells of no problem the update
	 * waits there. */
	else if (!server->bus_up && server->n_problems_told > 0)
		answer_unavailable(server, publish, server->bus_problem);
	else if (pending_start(server, &update, publish) < 0)
		answer_unavailable(server, publish, "Out of memory. Try again.");
}

void publish_write_back(struct server *server, const struct update *update)
{
	/* What is about to expire is not to live another hour. */
	if (!server->bus_up || update_is_expired(update, clock_wall_us() + UPDATE_MARGIN_US))
		return;
	if (pending_start(server, update, NULL) < 0) {
		log_error("Out of memory: the latest update of an environment, which the bus has "
			  "lost, is not written back to it.");
		return;
	}
	server->counters.repaired++;
}

void publish_on_answer(struct server *server, struct publication *publication)
{
	struct pending *pending = container_of(publication, struct pending, publication);
	struct http_publish *publish = pending_take_publish(server, pending);

	if (!publish)
		log_debug("The bus has answered an update that nobody waits for.");
	else if (publication->outcome == PUBLISH_STORED) {
		server->counters.published++;
		http_answer(publish, HTTP_PUBLISHED, publication->sequence, NULL);
	} else if (publication->outcome == PUBLISH_STALE)
		answer_stale(server, publish);
	else
		answer_unavailable(server, publish, publication->problem);
	server->n_publications--;
	free(pending);
	arm_deadline(server);
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
