/* SPDX-License-Identifier: BSD-3-Clause */
/* Subscribing: a client's profile, the update that its stream begins with, its place in the hub.
 * Nobody waits for the bus: a stream begins with what is known, and what the bus tells later comes
 * as an update. */
#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "base/text.h"
#include "relay/relay-internal.h"

/* For the rule about ids, a stream without an end counts as one that lives this long. */
#define ENDLESS_MS (900 * MS_PER_S)

/* A long poll that has been sent an update lasts so long, at the least, and this part of the
 * update's age. */
#define POLL_MIN_MS   (1 * MS_PER_S)
#define POLL_AGE_PART 4

/* Between two warnings that subscribers are refused. */
#define FULL_INTERVAL_MS (60 * MS_PER_S)

/* In [minimum, maximum]. */
static int64_t random_between(int64_t minimum, int64_t maximum)
{
	return minimum + (int64_t)((double)random() / ((double)RAND_MAX + 1.0) *
				   (double)(maximum - minimum + 1));
}

/* Some SDKs record the id of an event that they then drop.  So within a stream's life, and the
 * pause after it, the update is offered again, whatever id is given: they compare `updated_at`
 * before they fetch. */
static bool is_had(const struct relay *relay, const struct profile *profile, int64_t age_us)
{
	int64_t life_ms = profile->max_age_ms > 0 ? profile->max_age_ms : ENDLESS_MS;

	return age_us > (life_ms + relay->subscribing.streams.retry_max_ms) * US_PER_MS;
}

/* The client of a long poll looks at nothing before the end, and sends no id: one that was away is
 * to learn soon what is new, and one that has it is to come back ever less often.  0: never. */
static int64_t poll_lifetime_ms(int64_t age_us, int64_t max_ms)
{
	int64_t ms = age_us / US_PER_MS / POLL_AGE_PART;

	if (ms < POLL_MIN_MS)
		ms = POLL_MIN_MS;
	return max_ms > 0 && max_ms < ms ? max_ms : ms;
}

/* The update to begin with, if any; and what follows from it for the stream's life. */
static void choose_snapshot(struct relay *relay, const struct profile *profile,
	int64_t last_event_id, struct hub_arrival *arrival)
{
	int64_t now_us = relay_now_us(relay);
	struct update latest;
	struct frame *frame;

	if (!registry_latest(relay->registry, &arrival->key, now_us, &latest, &frame))
		return;
	if (last_event_id == frame_id(frame) && is_had(relay, profile, now_us - latest.stored_us))
		return;
	arrival->snapshot = frame;
	if (arrival->close_after_update)
		arrival->lifetime_ms =
			poll_lifetime_ms(now_us - latest.stored_us, arrival->lifetime_ms);
}

/* Logged at most once a minute, as whoever is refused comes back. */
static void note_full(struct relay *relay, const struct http_subscription *subscription)
{
	const struct log_fields fields = {
		.environment = subscription->key.text, .message_id = MESSAGE_STREAMS_FULL};
	int64_t now_ms = clock_monotonic_ms(), *told_ms = &relay->subscribing.full_told_ms;
	size_t max = relay->subscribing.streams.max;

	metrics_add(&relay->metrics, COUNT_STREAMS_REFUSED, 1);
	if (*told_ms > 0 && now_ms - *told_ms < FULL_INTERVAL_MS)
		return;
	*told_ms = now_ms;
	log_with(LOG_WARNING, &fields,
		"Subscribers are refused: %zu stream%s may be open, and %s (%llu refused so far). "
		"Raise streams.max_streams or LimitNOFILE= of the unit, or add a node.",
		max, text_s(max), text_are(max),
		(unsigned long long)metrics_get(&relay->metrics, COUNT_STREAMS_REFUSED));
}

void relay_set_streams(struct relay *relay, const struct relay_streams *streams)
{
	free(relay->subscribing.streams.profiles);
	relay->subscribing.streams = *streams;
}

void relay_end_subscriptions(struct relay *relay)
{
	relay->subscribing.is_over = true;
}

int relay_subscribe(struct relay *relay, const struct http_subscription *subscription)
{
	const struct relay_streams *streams = &relay->subscribing.streams;
	const struct profile *profile = profile_find(streams->profiles, streams->n_profiles,
		subscription->user_agent, subscription->accept, &streams->standard);
	struct hub_arrival arrival = {
		.fd = subscription->fd,
		.key = subscription->key,
		.encoding = subscription->encoding,
		.head = subscription->head,
		.retry_ms = (unsigned)random_between(streams->retry_min_ms, streams->retry_max_ms),
		.lifetime_ms = random_between(profile->max_age_ms * 4 / 5, profile->max_age_ms),
		.close_after_update = profile->close_after_update,
	};

	/* It would be ended again at once. */
	if (relay->subscribing.is_over)
		return -ESHUTDOWN;
	if (hub_streams(relay->hub) >= streams->max) {
		note_full(relay, subscription);
		return -EAGAIN;
	}
	choose_snapshot(relay, profile, subscription->last_event_id, &arrival);
	return hub_adopt(relay->hub, &arrival);
}
