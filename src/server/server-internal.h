/* SPDX-License-Identifier: BSD-3-Clause */
/* The server's state, for its own files. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/descriptors.h"
#include "base/mailbox.h"
#include "base/notify.h"
#include "base/table.h"
#include "bus/bus-clock.h"
#include "bus/bus.h"
#include "bus/outbox.h"
#include "config/config.h"
#include "http/http.h"
#include "hub/hub.h"
#include "hub/profile.h"
#include "hub/registry.h"
#include "relay/refusal-state.h"
#include "restart/inherited.h"
#include "restart/next-check.h"
#include "restart/stop-reason.h"
#include "server/server.h"

/* An update that is with the bus, with the outbox, or with both: what the bus has not acknowledged
 * in time goes into the outbox, though the bus may have it all the same. */
struct pending {
	struct publication publication; /* the bus's until it comes back */
	struct outbox_item item;        /* likewise the outbox's */
	bool with_bus, with_outbox;
	bool is_row;                  /* one of the outbox's, on its way to the bus */
	bool is_repair;               /* written back, as the bus has lost it */
	bool is_refused;              /* by the bus; in server.n_refused_pending */
	TAILQ_ENTRY(pending) link;    /* in server.pending while `publish` is set */
	struct http_publish *publish; /* who waits; NULL: nobody (any more) */
	int64_t begun_ms, deadline_ms;
};

TAILQ_HEAD(pending_queue, pending);

TAILQ_HEAD(row_list, row);

/* What the outbox holds, durable there, and waits for the bus. */
struct queue {
	struct table rows;       /* of struct row */
	struct row_list list;    /* in the order of acceptance */
	struct row_list resting; /* the bus has refused them: they join the others at `timer` */
	size_t n_refused;        /* rows that the bus has refused when they were last tried */
	unsigned n_flying;       /* with the bus */
	unsigned generation;     /* counts how often the outbox was opened */
	bool has_lost;           /* it may lack rows, which are to be written again */
	int64_t rest_us;         /* until the next `timer`, while some are resting */
	bool pausing;            /* until `timer` */
	bool timer_on;
	sd_event_source *timer;
};

/* Where a bus, or the outbox, posts what it has to tell. */
struct inbox {
	struct mailbox mailbox;
	struct server *server;
	sd_event_source *source;
	bool is_former; /* of a bus that was left behind: nothing counts but what comes back */
};

/* What watch.c knows of the threads. */
struct watch {
	sd_event_source *timer;
	int64_t fed_ms; /* when the watchdog was last fed, or not */
	bool shards_hang;
	bool shards_told; /* in the log */
	bool store_hangs;
	bool bus_hangs;        /* and there is nothing more to be done about it */
	unsigned n_buses_left; /* left behind, and replaced */
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
	bool own_accord;   /* a thread hangs; a signal may come yet, as systemd's first */
	bool signalled;    /* that has come */
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
	struct config *config; /* what runs: settings that need a restart are those of the start */
	int running;           /* running.h's descriptor; -1: none */
	struct {
		char *names; /* NULL: none yet */
		unsigned n;
	} at_restart; /* settings with a new value that needs a restart */
	server_read_config *read_config;
	void *read_config_userdata;

	/* From the configuration: */
	struct descriptor_shares shares;
	unsigned retry_min_ms, retry_max_ms;
	struct profile *profiles;
	size_t n_profiles;
	struct profile standard; /* for clients that no profile fits */

	/* The bus: */
	struct inbox *bus_inbox, *outbox_inbox;
	struct mail_list bus_mail; /* taken from it, not yet acted upon */
	bool undelivered; /* its first is in the registry, but the hub had no memory for it */
	sd_event_source *backlog_source; /* on while there is bus_mail */
	bool bus_up;
	bool bus_was_up;
	struct bus_clock
		bus_clock; /* as the bus has told it; the local one has none but the wall's */
	int64_t bus_down_since_ms;
	char bus_problem[BUS_TEXT_SIZE];                      /* while it is down */
	char bus_open_problem[BUS_TEXT_SIZE];                 /* the same, and names no host */
	char problems_told[PROBLEMS_TOLD_MAX][BUS_TEXT_SIZE]; /* of this outage, in the log */
	size_t n_problems_told;

	/* What the bus refuses (refused.c): */
	struct refusal refusal;
	size_t n_refused_pending;         /* refused, and on the way to the outbox */
	char refused_text[BUS_TEXT_SIZE]; /* the last reason */
	struct key refused_key;           /* of the last one */
	char bus_fault[BUS_TEXT_SIZE];    /* why it acknowledges none; "": it does */
	bool refused_all_told, refused_some_told;

	/* Told in the log: */
	int64_t full_told_ms; /* that subscribers are refused; 0: never */

	/* Updates on their way: */
	struct pending_queue pending; /* those for which somebody waits; earliest deadline first */
	size_t n_publications;        /* with bus or outbox, whether somebody waits or not */
	sd_event_source *deadline_timer;

	/* The outbox: */
	struct queue queue;
	bool outbox_up;
	bool disk_stalled;                  /* the store has not answered in time, nor since */
	char outbox_problem[BUS_TEXT_SIZE]; /* while it is down; "": it is being opened */
	char state_text[4 * BUS_TEXT_SIZE]; /* status.c's */

	struct watch watch;

	/* status.c's: */
	struct status_numbers {
		size_t streams, updates, queued;
	} numbers;                    /* as they were when the status was last written */
	sd_event_source *status_look; /* after whatever main does */

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
		uint64_t refused;          /* by the bus; each attempt */
		uint64_t full;             /* subscribers refused */
	} counters;
};

/* server.c: the configuration, as the parts have it. */
struct hub_settings server_hub_settings(const struct config *config);
struct http_settings server_http_settings(
	const struct config *config, const struct descriptor_shares *shares);

/* The table of profiles, which lives no longer than the configuration.  NULL: out of memory. */
struct profile *server_make_profiles(const struct config *config);

/* What new streams are given from now on.  Takes the table of profiles. */
void server_set_streams(
	struct server *server, const struct config *config, struct profile *profiles);

/* reload.c: other settings, while all goes on. */
void reload(struct server *server);
void reload_init(struct server *server); /* once there is a configuration that runs */
void reload_deinit(struct server *server);

/* subscribe.c: from HTTP to the hub. */
int subscribe(const struct http_subscription *subscription, void *userdata);

/* publish.c: updates from HTTP to the bus, or the outbox, and the answers back.  What returns an
 * int fails with -ENOMEM only: then nothing has happened. */
int publish_init(struct server *server);
void publish_request(
	struct http_publish *publish, const struct key *key, int64_t time_us, void *userdata);
void publish_write_back(struct server *server, const struct update *update);
/* The bus has it under a time that is not above `time_us`, which streams have had: so that they
 * hear of it, it is written once more.  Each node does so, and the first one is right for all. */
void publish_again_above(struct server *server, const struct update *update, int64_t time_us);
int publish_row(struct server *server, const struct update *row);
int publish_keep_again(struct server *server, const struct update *row);
void publish_on_answer(struct server *server, struct publication *publication);
void publish_on_late_answer(struct server *server, struct publication *publication);
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
void queue_on_bus_left(struct server *server); /* what it had of the queue is not awaited */
void queue_note_refused(
	struct server *server, const struct update *update); /* before it came here */
void queue_on_outbox_begin(struct server *server);
int queue_on_outbox_end(struct server *server); /* as queue_take_up() */
int queue_on_outbox_up(struct server *server);  /* likewise */

/* Rows that the outbox has lost, as its file was corrupt, to it again: once its disk answers. As
 * queue_take_up(). */
int queue_write_again(struct server *server);

/* It could not write this one, which may be such a row: again when it can be written. */
void queue_on_not_kept(struct server *server, const struct update *update);
void queue_deinit(struct server *server);

/* refused.c: what the bus refuses. */
void refused_on_answer(struct server *server, const struct publication *publication);
void refused_on_stored(struct server *server);                  /* the bus has taken one */
void refused_look(struct server *server);                       /* whether any is left */
void refused_on_fault(struct server *server, const char *text); /* "": it is over */
bool refused_all(const struct server *server);                  /* every update */
bool refused_told(const struct server *server);                 /* all or some: why is known */
size_t refused_environments(const struct server *server);

/* updates.c: what the bus tells, to registry and hub. */
void updates_prepare(struct server *server); /* what updates_deinit() needs at least */
int updates_init(struct server *server);
int updates_offer(struct server *server, const struct update *update); /* as queue_take_up() */

/* Now, by the bus's clock: what all times of storing and of acceptance are to be compared with.  Of
 * the local bus that is the wall's, of NATS its own; before that has told it, the wall's too. */
int64_t updates_now_us(const struct server *server);
void updates_deinit(struct server *server);
void updates_on_bus_down(struct server *server, const char *text, const char *open_text);
/* Why the bus is down: for the log and the status, and for everybody, without the names of hosts.
 */
void updates_set_problem(struct server *server, const char *text, const char *open_text);

/* The bus is left behind: what it still posts is of no interest, but for what it gives back, and
 * the next one has an inbox of its own.  0 or -errno: then nothing has happened (-EAGAIN: there is
 * much to be read yet). */
int updates_replace_inbox(struct server *server);

/* Once there is no bus any more: does all that it has told, and notes that it is gone. */
void updates_deliver(struct server *server);

/* server.c: begins with a bus, of the kind that is configured.  0 or -errno. */
int server_start_bus(struct server *server, const struct config *config);

/* watch.c: the threads, asked whether they are alive. */
int watch_init(struct server *server);
bool watch_is_alive(void *userdata);                    /* for the watchdog */
const char *watch_problem(const struct server *server); /* NULL: none; static text */
void watch_write_metrics(FILE *file, const struct server *server);
void watch_deinit(struct server *server);

/* stop.c: the end. */
int stop_init(struct server *server);
void stop_on_signal(struct server *server, int number);
bool stop_hands_over(const struct server *server); /* as far as it goes as planned */

/* A thread hangs, which only another process mends, and there is a watchdog that would kill this
 * one: it ends by itself, with what streams it can hand over, and systemd starts the next. */
void stop_on_hang(struct server *server);
void stop_deinit(struct server *server);

/* status.c: the state of things, for machines and people. */
bool status_keeps_updates(const struct server *server); /* in the outbox, as far as is known */
void status_write_metrics(FILE *file, void *userdata);
bool status_write_line(char *text, size_t size, void *userdata);
int status_init(struct server *server); /* once there is server->notify; 0 or -errno */
void status_deinit(struct server *server);
/* For answers: names no host. */
const char *status_not_ready(void *userdata);
const char *status_warning(void *userdata);
