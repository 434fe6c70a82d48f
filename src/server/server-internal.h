/* SPDX-License-Identifier: BSD-3-Clause */
/* The server's parts, for its own files.  Status, reload and thread watch are parts, too, and look
 * at all others. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "base/notify.h"
#include "http/http.h"
#include "hub/hub.h"
#include "hub/registry.h"
#include "relay/relay.h"
#include "restart/restart.h"
#include "server/server.h"

struct reload;
struct status;
struct thread_watch;

#define SIGNALS_MAX 3

struct server {
	sd_event *event;
	struct hub *hub;
	struct registry *registry;
	struct relay *relay;
	struct http *http;
	struct notify *notify;
	struct restart *restart;
	struct reload *reload;
	struct status *status;
	struct thread_watch *thread_watch;
	char *addresses; /* that it listens on, with commas between; NULL: systemd's sockets */
	sd_event_source *signals[SIGNALS_MAX];
	sd_event_source *ready_timer;
	sd_event_source *expiry_timer;
};

/* server.c: begins with a bus, of the kind that is configured.  0 or -errno. */
int server_start_bus(struct server *server, const struct config *config);

/* listening.c */

/* Takes the sockets from systemd if there are any, or else opens those of the configuration.
 * Accepts nobody yet.  0 or -errno, logged. */
int listening_open(struct server *server, const struct config *config, struct inherited *inherited);

/* Accepts on all of them; they are HTTP's from then on.  Returns likewise. */
int listening_begin(struct server *server, struct inherited *inherited);

/* Each part's constructor gives 0 or -errno; its end takes NULL and returns NULL. */

/* reload.c: the configuration that runs, and replacing it while everything goes on.  There is none
 * until reload_begin() is called. */
int reload_new(struct server *server, server_read_config *read_config, void *userdata,
	struct reload **ret);
struct reload *reload_free(struct reload *reload);
DEFINE_CLEANUP(struct reload *, reload_free)

/* How many descriptors each part may have with this configuration. */
const struct descriptor_shares *reload_share(struct reload *reload, const struct config *config);

/* From now on this configuration runs; the reload owns it. */
void reload_begin(struct reload *reload, struct config *config);
const struct config *reload_running(const struct reload *reload);

/* Reads the configuration again. */
void reload_all(struct reload *reload);

/* How many settings have a new value that needs a restart, and their names. */
unsigned reload_pending(const struct reload *reload, const char **ret_names);

/* thread-watch.c: the threads, asked whether they are alive. */
int thread_watch_new(struct server *server, struct thread_watch **ret);
struct thread_watch *thread_watch_free(struct thread_watch *watch);
DEFINE_CLEANUP(struct thread_watch *, thread_watch_free)
bool thread_watch_is_alive(struct thread_watch *watch);             /* for the watchdog */
const char *thread_watch_problem(const struct thread_watch *watch); /* NULL: none; static text */
/* A line for each thread: 1 while it answers. */
void thread_watch_write_alive(FILE *file, enum metric metric, const struct thread_watch *watch);

/* readings.c: all metrics, in Prometheus's text format. */
void readings_write(FILE *file, const struct server *server);

/* status.c: the state of things, for machines and people. */
int status_new(struct server *server, struct status **ret);
struct status *status_free(struct status *status);
DEFINE_CLEANUP(struct status *, status_free)
bool status_write_line(char *text, size_t size, struct status *status);
/* For answers: names no host. */
const char *status_not_ready(struct status *status);
const char *status_warning(struct status *status);
