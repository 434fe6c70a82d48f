/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of the process.  On SIGTERM it asks systemd why.  For a restart it hands the streams over
 * to the next process.  Otherwise, or if that is not possible, it drains them: ends them cleanly,
 * one after another.  Main thread.
 *
 *   phase     | it lasts until                              | then
 *   ----------+---------------------------------------------+---------------------------------
 *   not       | a signal, or restart_on_hang()              | asking, or (SIGINT, no systemd) drain
 *   asking    | systemd has said why                        | restart: checking; else drain
 *   checking  | the next process's program has been asked   | it could start: answering; else drain
 *   answering | all requests are answered, 2 s at most      | handed over: the end; else drain
 *   (drain)   |                                             | delaying, draining, or last
 *   delaying  | streams.drain_delay is over                 | draining, or last
 *   draining  | streams.drain_time is over                  | last
 *   last      | all streams have ended, 10 s at most        | the end
 *
 * A second signal goes to "last" from any phase, for 2 s at most. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/notify.h"
#include "http/http.h"
#include "hub/hub.h"
#include "hub/registry.h"

struct restart;

/* What is ended.  All of it outlives the restart. */
struct restart_parts {
	sd_event *event; /* its loop ends with the process */
	struct hub *hub;
	struct registry *registry;
	struct http *http;
	struct notify *notify;
	const char
		*addresses; /* that it listens on, separated by commas; NULL: systemd's sockets */
};

/* What it asks its owner to do with updates and their bus. */
struct restart_operations {
	/* The end has begun: the outbox keeps what it has. */
	void (*stop)(void *userdata);

	/* From now on streams that begin would be ended at once. */
	void (*end_subscriptions)(void *userdata);

	/* Whether no publisher waits for an answer any more. */
	bool (*has_answered)(void *userdata);

	/* Ends the bus, and sends what it has told.  Nothing new comes after that. */
	void (*end_bus)(void *userdata);

	/* Now, by the bus's clock. */
	int64_t (*now_us)(void *userdata);
};

/* 0 or -errno. */
int restart_new(const struct restart_parts *parts, const struct restart_operations *operations,
	void *userdata, struct restart **ret);
struct restart *restart_free(struct restart *restart); /* takes NULL; returns NULL */
DEFINE_CLEANUP(struct restart *, restart_free)

/* For drains that begin after the call: how long streams stay open first, and the time over which
 * they end. */
void restart_configure(struct restart *restart, int64_t drain_delay_ms, int64_t drain_time_ms);

/* SIGTERM or SIGINT has come. */
void restart_on_signal(struct restart *restart, int number);

/* A thread hangs, which only another process can mend, and a watchdog would kill this one.  Ends
 * the process, hands over the streams it can, and systemd starts the next process. */
void restart_on_hang(struct restart *restart);

bool restart_has_begun(const struct restart *restart);
bool restart_hands_over(const struct restart *restart); /* if all goes as planned */
