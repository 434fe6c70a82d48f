/* SPDX-License-Identifier: BSD-3-Clause */
/* A reload: what can change while all goes on changes, and what needs a restart is told, for as
 * long as it does.  A configuration that cannot be used leaves everything as it was. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/messages.h"
#include "config/running.h"
#include "server/server-internal.h"

/* The names of what differs between what runs and what was read, as text. */
struct difference {
	FILE *at_once;
	FILE *at_restart;
	unsigned n_at_restart;
	bool uses_listen; /* else http.listen is no matter */
	bool other_listen;
};

static void add_name(FILE *file, const char *section, const char *key)
{
	fprintf(file, "%s%s.%s", ftell(file) > 0 ? ", " : "", section, key);
}

static void note_difference(const char *section, const char *key, bool at_once, void *userdata)
{
	struct difference *difference = userdata;

	if (!difference->uses_listen && strcmp(section, "http") == 0 &&
		strcmp(key, "listen") == 0) {
		difference->other_listen = true;
	} else if (at_once) {
		add_name(difference->at_once, section, key);
	} else {
		add_name(difference->at_restart, section, key);
		difference->n_at_restart++;
	}
}

static void log_listen_unused(const struct config *config)
{
	const char *origin = config_listen_origin(config);

	log_notice("%s: http.listen is not used, as systemd passes the sockets. To listen "
		   "elsewhere, edit the socket unit (`systemctl edit flagsse.socket`).",
		origin ? origin : "The default");
}

/* Takes the text, which has those that need a restart. */
static void tell_pending(struct server *server, char *names, unsigned n)
{
	if (n > 0)
		log_warning("What runs has other values than the configuration, and these "
			    "settings need a restart: %s.",
			names);
	else if (server->at_restart.n > 0)
		log_notice("No setting waits for a restart any more.");
	free(server->at_restart.names);
	server->at_restart.names = names;
	server->at_restart.n = n;
}

static void tell_difference(struct server *server, const struct config *read)
{
	static const struct log_fields fields = {.message_id = MESSAGE_RELOADED};
	_cleanup_(freep) char *at_once = NULL, *at_restart = NULL;
	size_t size;
	struct difference difference = {
		.at_once = open_memstream(&at_once, &size),
		.at_restart = open_memstream(&at_restart, &size),
		.uses_listen = server->addresses,
	};
	bool complete = difference.at_once && difference.at_restart;

	if (complete)
		config_compare(server->config, read, note_difference, &difference);
	/* Both are to be closed, whether the first can be or not. */
	complete = difference.at_once && fclose(difference.at_once) == 0 && complete;
	complete = difference.at_restart && fclose(difference.at_restart) == 0 && complete;
	if (!complete) {
		log_with(LOG_NOTICE, &fields,
			"The configuration is read again. (No memory to tell what has changed.)");
		return;
	}
	log_with(LOG_NOTICE, &fields, "The configuration is read again. Changed: %s.",
		*at_once ? at_once : "nothing");
	tell_pending(server, TAKE_PTR(at_restart), difference.n_at_restart);
	if (difference.other_listen)
		log_listen_unused(read);
}

static void show_running(struct server *server)
{
	int r = running_show(server->config, &server->running);

	if (r < 0)
		log_warning("`flagsse --print-config --process` cannot show what runs: %s.",
			strerror(-r));
}

void reload_init(struct server *server)
{
	if (!server->addresses) {
		if (config_listen_origin(server->config))
			log_listen_unused(server->config);
		(void)config_note_listen_unused(server->config); /* a comment less */
	}
	show_running(server);
}

void reload_deinit(struct server *server)
{
	free(TAKE_PTR(server->at_restart.names));
	if (server->running >= 0)
		close(TAKE_FD(server->running));
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
	tell_difference(server, config);
	before = server->config;
	config_keep_restart(config, before);
	server->config = TAKE_PTR(config);
	config_free(before);
	show_running(server);
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
