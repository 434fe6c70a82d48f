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
#include "server/settings.h"

struct reload {
	struct server *server;
	server_read_config *read_config;
	void *userdata;
	struct config *config; /* what runs: settings that need a restart are those of the start */
	struct descriptor_shares shares;
	int running; /* running.h's descriptor; -1: none */
	struct {
		char *names; /* NULL: none yet */
		unsigned n;
	} at_restart; /* settings with a new value that needs a restart */
};

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
static void tell_pending(struct reload *reload, char *names, unsigned n)
{
	if (n > 0)
		log_warning("What runs has other values than the configuration, and these "
			    "settings need a restart: %s.",
			names);
	else if (reload->at_restart.n > 0)
		log_notice("No setting waits for a restart any more.");
	free(reload->at_restart.names);
	reload->at_restart.names = names;
	reload->at_restart.n = n;
}

static void tell_difference(struct reload *reload, const struct config *read)
{
	static const struct log_fields fields = {.message_id = MESSAGE_RELOADED};
	_cleanup_(freep) char *at_once = NULL, *at_restart = NULL;
	size_t size;
	struct difference difference = {
		.at_once = open_memstream(&at_once, &size),
		.at_restart = open_memstream(&at_restart, &size),
		.uses_listen = reload->server->addresses,
	};
	bool complete = difference.at_once && difference.at_restart;

	if (complete)
		config_compare(reload->config, read, note_difference, &difference);
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
	tell_pending(reload, TAKE_PTR(at_restart), difference.n_at_restart);
	if (difference.other_listen)
		log_listen_unused(read);
}

static void show_running(struct reload *reload)
{
	int r = running_show(reload->config, &reload->running);

	if (r < 0)
		log_warning("`flagsse --print-config --process` cannot show what runs: %s.",
			strerror(-r));
}

/* 0; -ENOMEM: nothing has changed. */
static int apply(struct reload *reload, const struct config *config)
{
	const struct server *server = reload->server;
	struct descriptor_shares shares = reload->shares;
	struct hub_settings hub = settings_of_hub(config);
	struct relay_streams streams;
	struct http_settings http;
	int r;

	r = settings_of_streams(config, &shares, &streams);
	if (r < 0)
		return r;
	r = hub_configure(server->hub, &hub);
	if (r < 0) {
		free(streams.profiles);
		return r;
	}
	if (config->streams_max_streams != reload->config->streams_max_streams)
		streams.max = reload_share(reload, config)->streams;
	relay_set_streams(server->relay, &streams);
	http = settings_of_http(config, &reload->shares);
	http_configure(server->http, &http);
	restart_configure(
		server->restart, config->streams_drain_delay_ms, config->streams_drain_time_ms);
	log_set_level(CONFIG_LOG_LEVEL(config));
	return 0;
}

static int read_and_apply(struct reload *reload)
{
	_cleanup_(config_freep) struct config *config = NULL;
	struct config *before;
	int r;

	r = reload->read_config(reload->userdata, &config);
	if (r >= 0)
		r = apply(reload, config);
	if (r < 0)
		return r;
	tell_difference(reload, config);
	before = reload->config;
	config_keep_restart(config, before);
	reload->config = TAKE_PTR(config);
	config_free(before);
	show_running(reload);
	return 0;
}

void reload_all(struct reload *reload)
{
	static const struct log_fields fields = {.message_id = MESSAGE_RELOAD_REFUSED};
	int r;

	notify_reloading(reload->server->notify);
	r = read_and_apply(reload);
	if (r < 0)
		log_with(LOG_ERR, &fields,
			"The configuration cannot be used (%s), and all settings stay as they "
			"were. What is wrong with it was logged before.",
			strerror(-r));
	notify_reloaded(reload->server->notify);
}

const struct descriptor_shares *reload_share(struct reload *reload, const struct config *config)
{
	descriptors_share((size_t)config->streams_max_streams, &reload->shares);
	return &reload->shares;
}

void reload_begin(struct reload *reload, struct config *config)
{
	reload->config = config;
	if (!reload->server->addresses) {
		if (config_listen_origin(config))
			log_listen_unused(config);
		(void)config_note_listen_unused(config); /* a comment less */
	}
	show_running(reload);
}

const struct config *reload_running(const struct reload *reload)
{
	return reload->config;
}

unsigned reload_pending(const struct reload *reload, const char **ret_names)
{
	*ret_names = reload->at_restart.names;
	return reload->at_restart.n;
}

int reload_new(
	struct server *server, server_read_config *read_config, void *userdata, struct reload **ret)
{
	struct reload *reload = calloc(1, sizeof(*reload));

	if (!reload)
		return -ENOMEM;
	reload->server = server;
	reload->read_config = read_config;
	reload->userdata = userdata;
	reload->running = -1;
	*ret = reload;
	return 0;
}

struct reload *reload_free(struct reload *reload)
{
	if (!reload)
		return NULL;
	free(reload->at_restart.names);
	if (reload->running >= 0)
		close(reload->running);
	config_free(reload->config);
	free(reload);
	return NULL;
}
