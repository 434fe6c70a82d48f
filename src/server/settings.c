/* SPDX-License-Identifier: BSD-3-Clause */
/* From the configuration to the parts. */
#include "server/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

/* Of a client that reads nothing of its answer. */
#define ANSWER_TIMEOUT_MS (5 * MS_PER_S)

/* A subscriber that is refused has its answer after a random time between these: several SDKs come
 * back at once, hundreds of times a second. */
#define HOLD_MIN_MS (1 * MS_PER_S)
#define HOLD_MAX_MS (5 * MS_PER_S)

struct hub_settings settings_of_hub(const struct config *config)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct hub_settings settings = {
		.shards = (unsigned)config->streams_shards,
		.keepalive_ms = config->streams_keepalive_ms,
		.user_timeout_ms = config->streams_user_timeout_ms,
		.spread_ms = config->streams_spread_ms,
	};

	if (settings.shards == 0)
		settings.shards = cores > 0 ? (unsigned)cores : 1;
	return settings;
}

struct http_settings settings_of_http(
	const struct config *config, const struct descriptor_shares *shares)
{
	return (struct http_settings){
		.token = config->token,
		.request_timeout_ms = config->http_request_timeout_ms,
		.idle_timeout_ms = config->http_idle_timeout_ms,
		.answer_timeout_ms = ANSWER_TIMEOUT_MS,
		.hold_min_ms = HOLD_MIN_MS,
		.hold_max_ms = HOLD_MAX_MS,
		.max_header_size = (size_t)config->http_max_header_size,
		.max_connections = shares->http,
		.max_descriptors = shares->clients,
	};
}

int settings_of_streams(const struct config *config, const struct descriptor_shares *shares,
	struct relay_streams *ret)
{
	size_t n = config->sections[SECTION_PROFILE].n;
	struct profile *profiles = calloc(n + 1, sizeof(profiles[0]));

	if (!profiles)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct config_profile *profile = config_profile(config, i);

		profiles[i] = (struct profile){
			.user_agent = profile->user_agent,
			.accept = profile->accept,
			.max_age_ms = profile->max_age_ms,
			.close_after_update = profile->close_after_update,
		};
	}
	*ret = (struct relay_streams){
		.profiles = profiles,
		.n_profiles = n,
		.standard =
			{
				.user_agent = "",
				.accept = "",
				.max_age_ms = config->streams_max_age_ms,
			},
		.retry_min_ms = (unsigned)config->streams_retry_min_ms,
		.retry_max_ms = (unsigned)config->streams_retry_max_ms,
		.max = shares->streams,
	};
	return 0;
}

struct relay_bus_settings settings_of_bus(
	const struct config *config, struct nats_settings *ret_nats)
{
	*ret_nats = (struct nats_settings){
		.urls = config->nats_url,
		.connect_timeout_ms = config->nats_connect_timeout_ms,
		.replicas = (int)config->nats_replicas,
	};
	return (struct relay_bus_settings){
		.state_dir = config->state_dir,
		.nats = config->bus_type == BUS_TYPE_NATS ? ret_nats : NULL,
	};
}
