/* SPDX-License-Identifier: BSD-3-Clause */
/* The server's parts, for its own files: status, reload and thread watch look at all of them, and
 * are parts themselves. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
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

/* The sockets from systemd where there are any, else as configured.  Nobody is accepted yet.  0 or
 * -errno, logged. */
int listening_open(struct server *server, const struct config *config, struct inherited *inherited);

/* Accepts on all of them, which are HTTP's from then on.  Likewise. */
int listening_begin(struct server *server, struct inherited *inherited);

/* Each part's constructor gives 0 or -errno; its end takes NULL and returns NULL. */

/* reload.c: the configuration that runs, and another one in its place while all goes on.  Until
 * reload_begin() has been called there is none. */
int reload_new(struct server *server, server_read_config *read_config, void *userdata,
	struct reload **ret);
struct reload *reload_free(struct reload *reload);
DEFINE_CLEANUP(struct reload *, reload_free)

/* How many descriptors each may have, by this configuration. */
const struct descriptor_shares *reload_share(struct reload *reload, const struct config *config);

/* This configuration runs, and is the reload's. */
void reload_begin(struct reload *reload, struct config *config);
const struct config *reload_running(const struct reload *reload);

/* Reads the configuration anew. */
void reload_all(struct reload *reload);

/* Settings with a new value that needs a restart: their number, and their names. */
unsigned reload_pending(const struct reload *reload, const char **ret_names);

/* thread-watch.c: the threads, asked whether they are alive. */
int thread_watch_new(struct server *server, struct thread_watch **ret);
struct thread_watch *thread_watch_free(struct thread_watch *watch);
DEFINE_CLEANUP(struct thread_watch *, thread_watch_free)
bool thread_watch_is_alive(struct thread_watch *watch);             /* for the watchdog */
const char *thread_watch_problem(const struct thread_watch *watch); /* NULL: none; static text */
void thread_watch_write_metrics(FILE *file, const struct thread_watch *watch);

/* status.c: the state of things, for machines and people. */
int status_new(struct server *server, struct status **ret);
struct status *status_free(struct status *status);
DEFINE_CLEANUP(struct status *, status_free)
void status_write_metrics(FILE *file, struct status *status);
bool status_write_line(char *text, size_t size, struct status *status);
/* For answers: names no host. */
const char *status_not_ready(struct status *status);
const char *status_warning(struct status *status);
