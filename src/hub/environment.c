/* SPDX-License-Identifier: BSD-3-Clause */
/* Environments of a shard, and the fan-out of an update to all streams of its environment: a slice
 * at a time, so that a large environment does not delay the others. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "hub/shard-internal.h"

/* With a spread, how long a fan-out pauses between two sends, at the most. */
#define SPREAD_PAUSE_MS 5

static struct environment *environment_find(struct shard *shard, const struct key *key)
{
	return TABLE_ITEM(
		table_find(&shard->environments, key->text, key->length), struct environment, node);
}

struct environment *environment_get(struct shard *shard, const struct key *key)
{
	struct environment *environment = environment_find(shard, key);

	if (environment)
		return environment;
	environment = calloc(1, sizeof(*environment) + key->length);
	if (!environment)
		return NULL;
	memcpy(environment->key, key->text, key->length);
	environment->key_length = key->length;
	LIST_INIT(&environment->streams);
	if (table_add(&shard->environments, &environment->node, environment->key,
		    environment->key_length) < 0) {
		free(environment);
		return NULL;
	}
	atomic_fetch_add(&shard->n_environments, 1);
	return environment;
}

static void fan_out_finish(struct shard *shard, struct environment *environment)
{
	if (!environment->fanning_out)
		return;
	TAILQ_REMOVE(&shard->fan_outs, environment, of_fan_outs);
	shard->n_fan_outs--;
	environment->fanning_out = false;
	environment->cursor = NULL;
}

static void environment_release(struct shard *shard, struct environment *environment)
{
	if (environment->pins > 0 || environment->n_streams > 0)
		return;
	fan_out_finish(shard, environment);
	table_remove(&shard->environments, &environment->node);
	atomic_fetch_sub(&shard->n_environments, 1);
	frame_unref(environment->latest);
	free(environment);
}

void environment_attach(struct environment *environment, struct stream *stream)
{
	LIST_INSERT_HEAD(&environment->streams, stream, of_environment);
	environment->n_streams++;
	stream->environment = environment;
	stream->version = environment->version;
}

void environment_detach(struct shard *shard, struct stream *stream)
{
	struct environment *environment = stream->environment;

	if (!environment)
		return;
	if (environment->cursor == stream)
		environment->cursor = LIST_NEXT(stream, of_environment);
	LIST_REMOVE(stream, of_environment);
	shard_unsubscribe(shard, environment->node.hash);
	environment->n_streams--;
	stream->environment = NULL;
	environment_release(shard, environment);
}

static void fan_out_begin(
	const struct shard *shard, struct environment *environment, int64_t told_us)
{
	environment->cursor = LIST_FIRST(&environment->streams);
	environment->sent = 0;
	environment->began_ms = shard->now_ms;
	environment->again = false;
	environment->told_us = told_us;
}

static void fan_out_start(struct shard *shard, struct environment *environment, int64_t told_us)
{
	fan_out_begin(shard, environment, told_us);
	TAILQ_INSERT_TAIL(&shard->fan_outs, environment, of_fan_outs);
	shard->n_fan_outs++;
	environment->fanning_out = true;
}

void environment_resume(struct shard *shard, struct environment *environment)
{
	if (!environment->fanning_out)
		fan_out_start(shard, environment, HUB_UNTIMED);
}

void environment_update(
	struct shard *shard, const struct key *key, struct frame *frame, int64_t told_us)
{
	struct environment *environment = environment_find(shard, key);

	if (!environment)
		return;
	frame_unref(environment->latest);
	environment->latest = frame_ref(frame);
	environment->version++;
	if (!environment->fanning_out) {
		fan_out_start(shard, environment, told_us);
		return;
	}
	if (!environment->again)
		environment->again_told_us = told_us;
	environment->again = true;
}

/* How many streams this fan-out may have passed by now: with a spread, in proportion to the time.
 */
static size_t fan_out_allowance(const struct shard *shard, const struct environment *environment)
{
	int64_t elapsed = shard->now_ms - environment->began_ms + 1,
		spread = shard->settings.spread_ms;
	size_t due;

	if (elapsed >= spread)
		return SIZE_MAX;
	due = (size_t)((double)environment->n_streams * (double)elapsed / (double)spread) + 1;
	return due > environment->sent ? due - environment->sent : 0;
}

/* Streams that are blocked are not waited for: how long they take is up to their clients. */
static void note_delivery(struct shard *shard, const struct environment *environment)
{
	if (environment->told_us != HUB_UNTIMED)
		metrics_observe(&shard->metrics, TIMING_DELIVERY,
			clock_monotonic_us() - environment->told_us);
}

/* At most `limit` sends, which are taken from the budget.  Whether the fan-out begins anew, as a
 * newer update has come.  The environment may be gone afterwards. */
static bool fan_out_step(
	struct shard *shard, struct environment *environment, size_t limit, size_t *budget)
{
	size_t n = 0;
	bool anew;

	if (limit > *budget)
		limit = *budget;
	environment->pins++;
	while (environment->cursor && n < limit) {
		struct stream *stream = environment->cursor;

		environment->cursor = LIST_NEXT(stream, of_environment);
		stream_update(shard, stream);
		n++;
	}
	environment->sent += n;
	*budget -= n;
	environment->pins--;
	if (!environment->cursor)
		note_delivery(shard, environment);
	anew = !environment->cursor && environment->again;
	if (anew)
		fan_out_begin(shard, environment, environment->again_told_us);
	if (!environment->cursor)
		fan_out_finish(shard, environment);
	environment_release(shard, environment);
	return anew;
}

int environments_fan_out(struct shard *shard)
{
	size_t budget = SHARD_SLICE;
	bool anew = false;

	for (size_t turns = shard->n_fan_outs; turns > 0 && budget > 0; turns--) {
		struct environment *environment = TAILQ_FIRST(&shard->fan_outs);
		size_t allowance = fan_out_allowance(shard, environment);

		/* To the end of the line first: the step may free it. */
		TAILQ_REMOVE(&shard->fan_outs, environment, of_fan_outs);
		TAILQ_INSERT_TAIL(&shard->fan_outs, environment, of_fan_outs);
		anew |= fan_out_step(shard, environment, allowance, &budget);
	}
	if (TAILQ_EMPTY(&shard->fan_outs))
		return -1;
	/* What is left of the budget is kept back by a spread, or has only just become due. */
	return budget == 0 || anew ? 0 : SPREAD_PAUSE_MS;
}
