/* SPDX-License-Identifier: BSD-3-Clause */
/* Keep-alives.  None is late, but some are early: streams that had an update at the same instant
 * would be due at the same instant, too, and make a spike. */
#include "hub/shard-internal.h"

/* The share of the interval over which keep-alives are spread, at the most. */
#define WINDOW_SHARE 5

/* Spread as far as this, keep-alives need no more spreading: a millisecond for each. */
#define STREAM_MS 1

/* The pause between two turns of sending them, so that each has more than a few to send. */
#define PAUSE_MS 10

/* The time before it is due in which a keep-alive may be sent: as long as all streams need. */
static int64_t window_ms(const struct shard *shard)
{
	int64_t most = shard->settings.keepalive_ms / WINDOW_SHARE,
		enough = (int64_t)shard_streams(shard) * STREAM_MS;

	return enough < most ? enough : most;
}

static int64_t time_left(const struct shard *shard, const struct stream *stream)
{
	return stream->last_ms + shard->settings.keepalive_ms - shard->now_ms;
}

/* How long before the first one's time it has to be sent for the others to be in time, if they
 * follow evenly. */
static int64_t lead_ms(const struct shard *shard)
{
	size_t n = shard_streams(shard);

	if (shard->n_aging <= 1 || n == 0)
		return 0;
	return (int64_t)(shard->n_aging - 1) * window_ms(shard) / (int64_t)n;
}

void keepalive_enter(struct shard *shard, struct stream *stream)
{
	TAILQ_INSERT_TAIL(&shard->open, stream, of_state);
	if (!shard->young)
		shard->young = stream;
}

void keepalive_leave(struct shard *shard, struct stream *stream)
{
	if (stream->aging)
		shard->n_aging--;
	else if (stream == shard->young)
		shard->young = TAILQ_NEXT(stream, of_state);
	stream->aging = false;
	TAILQ_REMOVE(&shard->open, stream, of_state);
}

/* Counts the streams whose window has begun. */
static void age(struct shard *shard)
{
	int64_t window = window_ms(shard);

	while (shard->young && time_left(shard, shard->young) <= window) {
		shard->young->aging = true;
		shard->n_aging++;
		shard->young = TAILQ_NEXT(shard->young, of_state);
	}
}

void keepalives_send(struct shard *shard)
{
	age(shard);
	for (unsigned i = 0; i < SHARD_SLICE; i++) {
		struct stream *oldest = TAILQ_FIRST(&shard->open);

		if (!oldest || time_left(shard, oldest) > lead_ms(shard))
			return;
		stream_keep_alive(shard, oldest);
	}
}

/* Milliseconds until the next one is to be counted among those that may be sent, which may make the
 * first one's lead longer. */
static int64_t aging_wait(const struct shard *shard, int64_t limit)
{
	int64_t wait;

	if (!shard->young)
		return limit;
	wait = time_left(shard, shard->young) - window_ms(shard);
	if (wait < PAUSE_MS)
		wait = PAUSE_MS;
	return wait < limit ? wait : limit;
}

int64_t keepalives_wait(const struct shard *shard, int64_t limit)
{
	const struct stream *oldest = TAILQ_FIRST(&shard->open);
	int64_t left, wait;

	if (!oldest)
		return limit;
	left = time_left(shard, oldest);
	if (!oldest->aging) {
		wait = left - window_ms(shard);
		return wait < limit ? wait : limit;
	}
	wait = left - lead_ms(shard);
	/* Behind by a pause at most, and never too late. */
	if (wait > -PAUSE_MS && wait < PAUSE_MS)
		wait = left < PAUSE_MS ? left : PAUSE_MS;
	wait = aging_wait(shard, wait);
	return wait < limit ? wait : limit;
}
