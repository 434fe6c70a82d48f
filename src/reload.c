/* SPDX-License-Identifier: BSD-3-Clause */
/* A reload: what can change while all goes on changes.  A configuration that cannot be used leaves
 * everything as it was. */
#include <errno.h>
#include <string.h>

#include "log.h"
#include "messages.h"
#include "server-internal.h"

/* The names of what differs, as text. */
struct difference {
	FILE *at_once;
	FILE *at_restart;
};

static void note_difference(const char *section, const char *key, bool at_once, void *userdata)
{
	const struct difference *difference = userdata;
	FILE *file = at_once ? difference->at_once : difference->at_restart;

	fprintf(file, "%s%s.%s", ftell(file) > 0 ? ", " : "", section, key);
}

static void log_difference(const char *at_once, const char *at_restart)
{
	static const struct log_fields fields = {.message_id = MESSAGE_RELOADED};

	log_with(LOG_NOTICE, &fields, "The configuration is read again. Changed: %s.",
		*at_once ? at_once : "nothing");
	if (*at_restart)
		log_warning(
			"These settings have changed, too, but need a restart: %s.", at_restart);
}

static void tell_difference(const struct config *before, const struct config *after)
{
	_cleanup_(freep) char *at_once = NULL, *at_restart = NULL;
	size_t size;
	struct difference difference = {
		.at_once = open_memstream(&at_once, &size),
		.at_restart = open_memstream(&at_restart, &size),
	};
	bool complete = difference.at_once && difference.at_restart;

	if (complete)
		config_compare(before, after, note_difference, &difference);
	/* Both are to be closed, whether the first can be or not. */
	complete = difference.at_once && fclose(difference.at_once) == 0 && complete;
	complete = difference.at_restart && fclose(difference.at_restart) == 0 && complete;
	if (complete)
		log_difference(at_once, at_restart);
	else
		log_notice(
			"The configuration is read again. (No memory to tell what has changed.)");
}

/* 0; -ENOMEM: nothing has changed. */
static int apply(struct server *server, const struct config *config)
{
	_cleanup_(freep) struct profile *profiles = server_make_profiles(config);
	struct hub_settings hub = server_hub_settings(config);
	struct http_settings http;
	int r;

	if (!profiles)
		return -ENOMEM;
	r = hub_configure(server->hub, &hub);
	if (r < 0)
		return r;
	server_set_streams(server, config, TAKE_PTR(profiles));
	if (config->streams_max_streams != server->config->streams_max_streams)
		descriptors_share((size_t)config->streams_max_streams, &server->shares);
	http = server_http_settings(config, &server->shares);
	http_configure(server->http, &http);
	log_set_level(CONFIG_LOG_LEVEL(config));
	return 0;
}

static int read_and_apply(struct server *server)
{
	_cleanup_(config_freep) struct config *config = NULL;
	struct config *before;
	int r;

	r = server->read_config(server->read_config_userdata, &config);
	if (r >= 0)
		r = apply(server, config);
	if (r < 0)
		return r;
	tell_difference(server->config, config);
	before = server->config;
	server->config = TAKE_PTR(config);
	config_free(before);
	return 0;
}

void reload(struct server *server)
{
	static const struct log_fields fields = {.message_id = MESSAGE_RELOAD_REFUSED};
	int r;

	notify_reloading(server->notify);
	r = read_and_apply(server);
	if (r < 0)
		log_with(LOG_ERR, &fields,
			"The configuration cannot be used (%s), and all settings stay as they "
			"were. What is wrong with it was logged before.",
			strerror(-r));
	notify_reloaded(server->notify);
}
