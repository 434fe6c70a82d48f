/* SPDX-License-Identifier: BSD-3-Clause */
/* The server's state, for its own files. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "bus-clock.h"
#include "bus/bus.h"
#include "bus/outbox.h"
#include "config.h"
#include "descriptors.h"
#include "http/http.h"
#include "hub/hub.h"
#include "hub/profile.h"
#include "hub/registry.h"
#include "inherited.h"
#include "job.h"
#include "mailbox.h"
#include "next.h"
#include "notify.h"
#include "server.h"

/* An update that is with the bus, with the outbox, or with both: what the bus has not acknowledged
 * in time goes into the outbox, though the bus may have it all the same. */
struct pending {
	struct publication publication; /* the bus's until it comes back */
	struct outbox_item item;        /* likewise the outbox's */
	bool with_bus, with_outbox;
	bool is_row;                  /* one of the outbox's, on its way to the bus */
	bool is_repair;               /* written back, as the bus has lost it */
	TAILQ_ENTRY(pending) link;    /* in server.pending while `publish` is set */
	struct http_publish *publish; /* who waits; NULL: nobody (any more) */
	int64_t begun_ms, deadline_ms;
};

TAILQ_HEAD(pending_queue, pending);

TAILQ_HEAD(row_list, row);

/* What the outbox holds, durable there, and waits for the bus. */
struct queue {
	struct row *rows;     /* uthash, by key */
	struct row_list list; /* in the order of acceptance */
	unsigned n_flying;    /* with the bus */
	unsigned generation;  /* counts how often the outbox was opened */
	bool pausing;         /* until `timer` */
	sd_event_source *timer;
};

#define PROBLEMS_TOLD_MAX 4

#define SIGNALS_MAX 3

/* How far the end is; see stop.c. */
enum stop_phase {
	STOP_NOT,
	STOP_ASKING,    /* systemd, for the reason */
	STOP_CHECKING,  /* whether the next process could start */
	STOP_ANSWERING, /* the requests under way; then the hand-over */
	STOP_DELAYING,  /* before a drain */
	STOP_DRAINING,
	STOP_LAST, /* nobody is accepted any more; the last streams are ending */
};

struct stop {
	enum stop_phase phase;
	int64_t signal_ms; /* when the signal came */
	int64_t begun_ms;  /* when the phase began */
	int64_t until_ms;  /* when it is over at the latest */
	int64_t extend_ms; /* when systemd is to be told next that it takes longer */
	bool hurried;      /* a second signal came */
	struct job *job;
	struct next *next;
	size_t store_max; /* descriptors that systemd keeps for us */
	sd_event_source *timer;
};

struct server {
	sd_event *event;
	struct hub *hub;
	struct registry *registry;
	struct bus *bus;
	struct outbox *outbox; /* NULL: there is none, as the bus is local */
	struct http *http;
	struct notify *notify;
	char *addresses; /* that it listens on, with commas between; NULL: systemd's sockets */

	/* For the next reload: */
	struct config *config;
	server_read_config *read_config;
	void *read_config_userdata;

	/* From the configuration: */
	struct descriptor_shares shares;
	unsigned retry_min_ms, retry_max_ms;
	struct profile *profiles;
	size_t n_profiles;
	struct profile standard; /* for clients that no profile fits */

	/* Subscribers that have come before the last values have been read: */
	bool settled; /* they are, or it takes too long: nobody waits any more */
	STAILQ_HEAD(, early) early;
	size_t n_early;

	/* The bus: */
	struct mailbox inbox;
	struct mail_list bus_mail; /* taken from it, not yet acted upon */
	bool undelivered; /* its first is in the registry, but the hub had no memory for it */
	sd_event_source *inbox_source;
	sd_event_source *backlog_source; /* on while there is bus_mail */
	bool bus_up;
	bool bus_was_up;
	struct bus_clock bus_clock;
	int64_t bus_down_since_ms;
	char bus_problem[BUS_TEXT_SIZE];                      /* while it is down */
	char problems_told[PROBLEMS_TOLD_MAX][BUS_TEXT_SIZE]; /* of this outage, in the log */
	size_t n_problems_told;

	/* Told in the log: */
	int64_t full_told_ms; /* that subscribers are refused; 0: never */
	bool hang_told;

	/* Updates on their way: */
	struct pending_queue pending; /* those for which somebody waits; earliest deadline first */
	size_t n_publications;        /* with bus or outbox, whether somebody waits or not */
	sd_event_source *deadline_timer;

	/* The outbox: */
	struct queue queue;
	bool outbox_up;
	bool disk_stalled;                  /* the store has not answered in time, nor since */
	char outbox_problem[BUS_TEXT_SIZE]; /* while it is down; "": not opened yet */
	char state_text[3 * BUS_TEXT_SIZE]; /* status.c's */

	/* The end: */
	bool stopping; /* from the signal on */
	struct stop stop;
	sd_event_source *signal_sources[SIGNALS_MAX];
	sd_event_source *ready_timer;
	sd_event_source *expiry_timer;

	struct {
		uint64_t updates;   /* from bus and outbox, newer than what was known */
		uint64_t repaired;  /* written back, as the bus had lost them */
		uint64_t skipped;   /* messages on the bus that are none */
		uint64_t published; /* answers to publishers: */
		uint64_t stale;
		uint64_t queued;
		uint64_t unavailable;
		uint64_t outbox_published; /* updates of the outbox, by the bus */
		uint64_t full;             /* subscribers refused */
	} counters;
};

/* server.c: the configuration, as the parts have it. */
struct hub_settings server_hub_settings(const struct config *config);
struct http_settings server_http_settings(const struct config *config, unsigned max_connections);

/* The table of profiles, which lives no longer than the configuration.  NULL: out of memory. */
struct profile *server_make_profiles(const struct config *config);

/* What new streams are given from now on.  Takes the table of profiles. */
void server_set_streams(
	struct server *server, const struct config *config, struct profile *profiles);

/* reload.c: other settings, while all goes on. */
void reload(struct server *server);

/* subscribe.c: from HTTP to the hub. */
int subscribe(const struct http_subscription *subscription, void *userdata);
void subscribe_settle(struct server *server); /* nobody has to wait from now on */
void subscribe_deinit(struct server *server);

/* publish.c: updates from HTTP to the bus, or the outbox, and the answers back.  What returns an
 * int fails with -ENOMEM only: then nothing has happened. */
int publish_init(struct server *server);
void publish_request(
	struct http_publish *publish, const struct key *key, int64_t time_us, void *userdata);
void publish_write_back(struct server *server, const struct update *update);
int publish_row(struct server *server, const struct update *row);
int publish_keep_again(struct server *server, const struct update *row);
void publish_on_answer(struct server *server, struct publication *publication);
int publish_on_outbox_answer(struct server *server, struct outbox_item *item);
void publish_forget_item(struct server *server, struct outbox_item *item);
void publish_deinit(struct server *server);

/* queue.c: what the outbox holds, to the bus. */
int queue_init(struct server *server);
int queue_take_up(struct server *server, const struct update *update); /* -ENOMEM: again, please */
bool queue_has(const struct server *server, const struct update *update);
size_t queue_size(const struct server *server);
void queue_run(struct server *server);
void queue_on_answer(struct server *server, const struct publication *publication);
void queue_on_bus_up(struct server *server);
void queue_on_outbox_begin(struct server *server);
int queue_on_outbox_end(struct server *server); /* as queue_take_up() */
void queue_deinit(struct server *server);

/* updates.c: what the bus tells, to registry and hub. */
void updates_prepare(struct server *server); /* what updates_deinit() needs at least */
int updates_init(struct server *server);
int updates_offer(struct server *server, const struct update *update); /* as queue_take_up() */
void updates_deinit(struct server *server);

/* Once there is no bus any more: does all that it has told, and notes that it is gone. */
void updates_deliver(struct server *server);

/* stop.c: the end. */
int stop_init(struct server *server);
void stop_on_signal(struct server *server, int number);
void stop_deinit(struct server *server);

/* status.c: the state of things, for machines and people. */
void status_write_metrics(FILE *file, void *userdata);
void status_write_line(char *text, size_t size, void *userdata);
const char *status_not_ready(void *userdata);
const char *status_warning(void *userdata);
