/* SPDX-License-Identifier: BSD-3-Clause */
/* Subscribing: a client's profile, the update that its stream begins with, its place in the hub.
 * Who comes before the last values have been read waits until they are: else a client that names
 * the update it has would be sent that one again, and fetch its flags for nothing. */
#include <errno.h>

#include "clock.h"
#include "log.h"
#include "messages.h"
#include "server-internal.h"
#include "text.h"

/* A long poll is answered by the snapshot only if that is as fresh: its client sends no id, and
 * would get the same update again and again. */
#define LONG_POLL_FRESH_US (5 * US_PER_S)

/* Between two warnings that subscribers are refused. */
#define FULL_INTERVAL_MS (60 * MS_PER_S)

/* In [minimum, maximum]. */
static int64_t random_between(int64_t minimum, int64_t maximum)
{
	return minimum + (int64_t)((double)random() / ((double)RAND_MAX + 1.0) *
				   (double)(maximum - minimum + 1));
}

static struct frame *choose_snapshot(
	struct server *server, const struct hub_arrival *arrival, int64_t last_event_id)
{
	int64_t now_us = updates_now_us(server);
	struct update latest;
	struct frame *frame;

	if (!registry_latest(server->registry, &arrival->key, now_us, &latest, &frame))
		return NULL;
	if (last_event_id == frame_id(frame))
		return NULL;
	if (arrival->close_after_update && now_us - latest.stored_us >= LONG_POLL_FRESH_US)
		return NULL;
	return frame;
}

/* 0: the descriptor is the hub's.  -ENOMEM. */
static int begin(struct server *server, struct hub_arrival *arrival, int64_t last_event_id)
{
	arrival->snapshot = choose_snapshot(server, arrival, last_event_id);
	return hub_adopt(server->hub, arrival);
}

/* Told at most once a minute: whoever is refused comes back. */
static void note_full(struct server *server, const struct http_subscription *subscription)
{
	const struct log_fields fields = {
		.environment = subscription->key.text, .message_id = MESSAGE_STREAMS_FULL};
	int64_t now_ms = clock_monotonic_ms();

	server->counters.full++;
	if (server->full_told_ms > 0 && now_ms - server->full_told_ms < FULL_INTERVAL_MS)
		return;
	server->full_told_ms = now_ms;
	log_with(LOG_WARNING, &fields,
		"Subscribers are refused: %zu stream%s may be open, and %s (%llu refused so far). "
		"Raise streams.max_streams or LimitNOFILE= of the unit, or add a node.",
		server->shares.streams, text_s(server->shares.streams),
		text_are(server->shares.streams), (unsigned long long)server->counters.full);
}

/* ---- Who comes early ---- */

struct early {
	STAILQ_ENTRY(early) link; /* in the order of their coming */
	struct hub_arrival arrival;
	int64_t last_event_id;
};

/* 0: the descriptor is ours.  -ENOMEM. */
static int wait_for_settlement(
	struct server *server, const struct hub_arrival *arrival, int64_t last_event_id)
{
	struct early *early = malloc(sizeof(*early));

	if (!early)
		return -ENOMEM;
	*early = (struct early){.arrival = *arrival, .last_event_id = last_event_id};
	STAILQ_INSERT_TAIL(&server->early, early, link);
	server->n_early++;
	return 0;
}

static struct early *take_early(struct server *server)
{
	struct early *early = STAILQ_FIRST(&server->early);

	if (early) {
		STAILQ_REMOVE_HEAD(&server->early, link);
		server->n_early--;
	}
	return early;
}

void subscribe_settle(struct server *server)
{
	struct early *early;

	server->settled = true;
	while ((early = take_early(server))) {
		if (begin(server, &early->arrival, early->last_event_id) < 0) {
			log_error("Out of memory: a subscriber is dropped.");
			close(early->arrival.fd);
		}
		free(early);
	}
}

void subscribe_deinit(struct server *server)
{
	struct early *early;

	while ((early = take_early(server))) {
		close(early->arrival.fd);
		free(early);
	}
}

int subscribe(const struct http_subscription *subscription, void *userdata)
{
	struct server *server = userdata;
	const struct profile *profile = profile_find(
		server->profiles, server->n_profiles, subscription->user_agent, &server->standard);
	struct hub_arrival arrival = {
		.fd = subscription->fd,
		.key = subscription->key,
		.encoding = subscription->encoding,
		.head = subscription->head,
		.retry_ms = (unsigned)random_between(server->retry_min_ms, server->retry_max_ms),
		.lifetime_ms = random_between(profile->max_age_ms * 4 / 5, profile->max_age_ms),
		.close_after_update = profile->close_after_update,
	};

	if (hub_streams(server->hub) + server->n_early >= server->shares.streams) {
		note_full(server, subscription);
		return -EAGAIN;
	}
	if (!server->settled)
		return wait_for_settlement(server, &arrival, subscription->last_event_id);
	return begin(server, &arrival, subscription->last_event_id);
}
