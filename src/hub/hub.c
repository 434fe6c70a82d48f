/* SPDX-License-Identifier: BSD-3-Clause */
/* The hub: spreads the streams over the shards, and does what concerns all shards. */
#include "hub/hub.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"
#include "hub/shard.h"

/* Between two turns of the shards' loops, where there are no threads to wait in them. */
#define STEP_PAUSE_MS 1

struct hub {
	struct shard **shards;
	struct shard_mail **mails; /* one a shard, while something for several is prepared */
	unsigned n_shards;
};

static struct shard_settings settings_of_shard(const struct hub_settings *settings)
{
	return (struct shard_settings){
		.keepalive_ms = settings->keepalive_ms,
		.user_timeout_ms = settings->user_timeout_ms,
		.spread_ms = settings->spread_ms,
		.clock_ms = clock_monotonic_ms,
	};
}

int hub_new(const struct hub_settings *settings, struct hub **ret)
{
	_cleanup_(hub_freep) struct hub *hub = calloc(1, sizeof(*hub));
	struct shard_settings shard_settings = settings_of_shard(settings);
	int r;

	if (!hub)
		return -ENOMEM;
	hub->shards = calloc(settings->shards, sizeof(hub->shards[0]));
	hub->mails = calloc(settings->shards, sizeof(hub->mails[0]));
	if (!hub->shards || !hub->mails)
		return -ENOMEM;
	while (hub->n_shards < settings->shards) {
		r = shard_new(&shard_settings, &hub->shards[hub->n_shards]);
		if (r < 0)
			return r;
		hub->n_shards++;
	}
	*ret = TAKE_PTR(hub);
	return 0;
}

int hub_start(struct hub *hub)
{
	int r;

	for (unsigned i = 0; i < hub->n_shards; i++) {
		r = shard_start(hub->shards[i], i);
		if (r < 0)
			return r;
	}
	return 0;
}

unsigned hub_halt(struct hub *hub)
{
	unsigned n_left = 0;

	for (unsigned i = 0; i < hub->n_shards; i++)
		n_left += !shard_halt(hub->shards[i]);
	return n_left;
}

struct hub *hub_free(struct hub *hub)
{
	if (!hub)
		return NULL;
	for (unsigned i = 0; i < hub->n_shards; i++)
		shard_free(hub->shards[i]);
	free(hub->shards);
	free(hub->mails);
	free(hub);
	return NULL;
}

int hub_adopt(struct hub *hub, const struct hub_arrival *arrival)
{
	struct shard *emptiest = hub->shards[0];

	for (unsigned i = 1; i < hub->n_shards; i++)
		if (shard_streams(hub->shards[i]) < shard_streams(emptiest))
			emptiest = hub->shards[i];
	return shard_adopt(emptiest, arrival);
}

/* Delivers hub->mails, of which some may be NULL; if they are not `complete` for want of memory, no
 * shard gets any. */
static int deliver(struct hub *hub, bool complete)
{
	for (unsigned i = 0; i < hub->n_shards; i++)
		if (!hub->mails[i])
			continue;
		else if (complete)
			shard_deliver(hub->shards[i], hub->mails[i]);
		else
			shard_discard(hub->mails[i]);
	return complete ? 0 : -ENOMEM;
}

int hub_publish(struct hub *hub, const struct key *key, struct frame *frame, int64_t told_us)
{
	bool complete = true;

	for (unsigned i = 0; i < hub->n_shards; i++) {
		hub->mails[i] = NULL;
		if (!shard_is_subscribed(hub->shards[i], key))
			continue;
		hub->mails[i] = shard_prepare_update(key, frame, told_us);
		complete = complete && hub->mails[i];
	}
	return deliver(hub, complete);
}

int hub_configure(struct hub *hub, const struct hub_settings *settings)
{
	struct shard_settings shard_settings = settings_of_shard(settings);
	bool complete = true;

	for (unsigned i = 0; i < hub->n_shards; i++) {
		hub->mails[i] = shard_prepare_settings(&shard_settings);
		complete = complete && hub->mails[i];
	}
	return deliver(hub, complete);
}

void hub_drain(struct hub *hub, int64_t over_ms)
{
	for (unsigned i = 0; i < hub->n_shards; i++)
		shard_drain(hub->shards[i], over_ms);
}

void hub_ping(struct hub *hub)
{
	for (unsigned i = 0; i < hub->n_shards; i++)
		shard_ping(hub->shards[i]);
}

unsigned hub_shards(const struct hub *hub)
{
	return hub->n_shards;
}

int64_t hub_silence_ms(const struct hub *hub, unsigned shard)
{
	return shard_silence_ms(hub->shards[shard]);
}

size_t hub_streams(const struct hub *hub)
{
	size_t n = 0;

	for (unsigned i = 0; i < hub->n_shards; i++)
		n += shard_streams(hub->shards[i]);
	return n;
}

size_t hub_environments(const struct hub *hub)
{
	size_t n = 0;

	for (unsigned i = 0; i < hub->n_shards; i++)
		n += shard_environments(hub->shards[i]);
	return n;
}

void hub_count(const struct hub *hub, struct metrics *total)
{
	for (unsigned i = 0; i < hub->n_shards; i++)
		metrics_sum(total, shard_metrics(hub->shards[i]));
}

uint64_t hub_ended(const struct hub *hub, enum end_reason reason)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < hub->n_shards; i++)
		n += shard_ended(hub->shards[i], reason);
	return n;
}

/* ---- Without threads ---- */

/* False: a shard cannot wait for its streams any more. */
static bool step_all(struct hub *hub)
{
	for (unsigned i = 0; i < hub->n_shards; i++)
		if (shard_step(hub->shards[i], false) < 0)
			return false;
	return true;
}

size_t hub_end_all(struct hub *hub, int64_t for_ms)
{
	int64_t until_ms = clock_monotonic_ms() + for_ms;

	hub_drain(hub, 0);
	while (hub_streams(hub) > 0 && clock_monotonic_ms() < until_ms && step_all(hub))
		(void)poll(NULL, 0, STEP_PAUSE_MS);
	return hub_streams(hub);
}

/* ---- Hand-over ---- */

int hub_save(struct hub *hub, struct handover_writer *writer)
{
	int r;

	for (unsigned i = 0; i < hub->n_shards; i++) {
		r = shard_save(hub->shards[i], writer);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What hub_restore() makes of the state before it begins. */
struct restore {
	const struct handover *state;
	struct frame **frames; /* the latest of each environment; NULL: none */
	uint32_t *order;       /* the streams' indices by their last_ms */
};

static void restore_deinit(struct restore *restore)
{
	for (size_t i = 0; restore->frames && i < restore->state->n_environments; i++)
		frame_unref(restore->frames[i]);
	free(restore->frames);
	free(restore->order);
}

static int compare_last_ms(const void *a, const void *b, void *userdata)
{
	struct handover_stream left, right;

	handover_get_stream(userdata, *(const uint32_t *)a, &left);
	handover_get_stream(userdata, *(const uint32_t *)b, &right);
	return (left.last_ms > right.last_ms) - (left.last_ms < right.last_ms);
}

static int restore_init(struct restore *restore, const struct handover *state)
{
	restore->state = state;
	restore->frames = calloc(state->n_environments + 1, sizeof(restore->frames[0]));
	restore->order = calloc(state->n_streams + 1, sizeof(restore->order[0]));
	if (!restore->frames || !restore->order)
		return -ENOMEM;
	for (size_t i = 0; i < state->n_environments; i++) {
		struct handover_environment environment;

		handover_get_environment(state, i, &environment);
		if (environment.latest_us == 0)
			continue;
		restore->frames[i] = frame_new_update(environment.latest_us);
		if (!restore->frames[i])
			return -ENOMEM;
	}
	for (size_t i = 0; i < state->n_streams; i++)
		restore->order[i] = (uint32_t)i;
	/* Each shard has its own in this order, and they are mixed now. */
	qsort_r(restore->order, state->n_streams, sizeof(restore->order[0]), compare_last_ms,
		(void *)(uintptr_t)state);
	return 0;
}

static void restore_one(struct shard *shard, const struct restore *restore, size_t i, int fd)
{
	struct handover_environment environment;
	struct handover_stream stream;
	struct shard_restored restored = {.stream = &stream, .fd = fd};

	handover_get_stream(restore->state, i, &stream);
	if (stream.environment != HANDOVER_NO_ENVIRONMENT) {
		handover_get_environment(restore->state, stream.environment, &environment);
		restored.key = &environment.key;
		restored.latest = restore->frames[stream.environment];
	}
	shard_restore(shard, &restored);
}

/* All streams have come.  `keep` of the open ones go on, spread over all shards.  Returns how many
 * do not. */
static size_t restored_all(struct hub *hub, size_t keep)
{
	size_t n_ended = 0;

	for (unsigned i = 0; i < hub->n_shards; i++) {
		size_t share = keep / hub->n_shards + (i < keep % hub->n_shards);

		n_ended += shard_restored(hub->shards[i], share);
	}
	return n_ended;
}

int hub_restore(struct hub *hub, const struct handover *state, const struct handover_item items[],
	size_t max_streams, size_t *ret_surplus)
{
	_cleanup_(restore_deinit) struct restore restore = {0};
	int r = restore_init(&restore, state);

	if (r < 0)
		return r;
	for (size_t i = 0; i < state->n_streams; i++) {
		uint32_t index = restore.order[i];

		if (items[index].fd >= 0)
			restore_one(
				hub->shards[i % hub->n_shards], &restore, index, items[index].fd);
	}
	*ret_surplus = restored_all(hub, max_streams);
	return 0;
}

void hub_end_unknown(struct hub *hub, const struct handover_item items[], size_t n_items)
{
	int64_t now_ms = clock_monotonic_ms();

	for (size_t i = 0; i < n_items; i++) {
		uint8_t kind = items[i].kind;
		enum encoding encoding =
			kind & HANDOVER_CHUNKED ? ENCODING_CHUNKED : ENCODING_IDENTITY;
		struct handover_stream stream = {
			.phase = kind & HANDOVER_OVER ? HANDOVER_LINGERING : HANDOVER_ENDING,
			.chunked = kind & HANDOVER_CHUNKED,
			.last_ms = now_ms,
		};
		struct shard_restored restored = {.stream = &stream, .fd = items[i].fd};

		if (items[i].fd < 0)
			continue;
		if (stream.phase == HANDOVER_ENDING && !(kind & HANDOVER_CUT))
			stream.rest = frame_last(encoding);
		shard_restore(hub->shards[i % hub->n_shards], &restored);
	}
}
