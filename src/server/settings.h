/* SPDX-License-Identifier: BSD-3-Clause */
/* Turns the configuration into the settings of each part. */
#pragma once

#include "base/descriptors.h"
#include "config/config.h"
#include "http/http.h"
#include "hub/hub.h"
#include "relay/relay.h"

struct hub_settings settings_of_hub(const struct config *config);
struct http_settings settings_of_http(
	const struct config *config, const struct descriptor_shares *shares);

/* Its table of profiles is the receiver's, and points to texts of the configuration.  0
 * or -ENOMEM. */
int settings_of_streams(const struct config *config, const struct descriptor_shares *shares,
	struct relay_streams *ret);

/* The result may point to `ret_nats`. */
struct relay_bus_settings settings_of_bus(
	const struct config *config, struct nats_settings *ret_nats);
