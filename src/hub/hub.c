/* SPDX-License-Identifier: BSD-3-Clause */
/* The hub: spreads the streams over the shards, and what happens over all of them. */
#include "hub/hub.h"

#include <errno.h>

#include "clock.h"
#include "hub/shard.h"

struct hub {
	struct shard **shards;
	struct shard_mail **mails; /* one a shard, while something for all is prepared */
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
		r = shard_start(hub->shards[hub->n_shards - 1], hub->n_shards - 1);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(hub);
	return 0;
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

/* Delivers hub->mails.  One of them NULL: out of memory, so no shard gets any. */
static int deliver_all(struct hub *hub)
{
	bool complete = true;

	for (unsigned i = 0; i < hub->n_shards; i++)
		complete = complete && hub->mails[i];
	for (unsigned i = 0; i < hub->n_shards; i++)
		if (complete)
			shard_deliver(hub->shards[i], hub->mails[i]);
		else if (hub->mails[i])
			shard_discard(hub->mails[i]);
	return complete ? 0 : -ENOMEM;
}

int hub_publish(struct hub *hub, const struct key *key, struct frame *frame)
{
	for (unsigned i = 0; i < hub->n_shards; i++)
		hub->mails[i] = shard_prepare_update(key, frame);
	return deliver_all(hub);
}

int hub_configure(struct hub *hub, const struct hub_settings *settings)
{
	struct shard_settings shard_settings = settings_of_shard(settings);

	for (unsigned i = 0; i < hub->n_shards; i++)
		hub->mails[i] = shard_prepare_settings(&shard_settings);
	return deliver_all(hub);
}

void hub_drain(struct hub *hub)
{
	for (unsigned i = 0; i < hub->n_shards; i++)
		shard_drain(hub->shards[i]);
}

void hub_ping(struct hub *hub)
{
	for (unsigned i = 0; i < hub->n_shards; i++)
		shard_ping(hub->shards[i]);
}

bool hub_is_alive(const struct hub *hub)
{
	for (unsigned i = 0; i < hub->n_shards; i++)
		if (!shard_is_alive(hub->shards[i]))
			return false;
	return true;
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

void hub_count(const struct hub *hub, struct hub_counters *ret)
{
	struct hub_counters total = {0};

	for (unsigned i = 0; i < hub->n_shards; i++)
		shard_count(hub->shards[i], &total);
	*ret = total;
}
