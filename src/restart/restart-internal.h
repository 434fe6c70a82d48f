/* SPDX-License-Identifier: BSD-3-Clause */
/* The state of the end, for restart.c, drain.c and hand-over.c, which call each other: a hand-over
 * that fails becomes a drain. */
#pragma once

#include "restart/next-check.h"
#include "restart/restart.h"
#include "restart/stop-reason.h"

/* How far the end is; see restart.h. */
enum restart_phase {
	RESTART_NOT,
	RESTART_ASKING,    /* systemd is asked for the reason */
	RESTART_CHECKING,  /* the next program is asked whether it could start */
	RESTART_ANSWERING, /* the requests under way are answered; then the hand-over */
	RESTART_DELAYING,  /* before a drain */
	RESTART_DRAINING,
	RESTART_LAST, /* nobody is accepted any more; the last streams are ending */
};

struct restart {
	struct restart_parts parts;
	const struct restart_operations *operations;
	void *userdata;
	int64_t drain_delay_ms, drain_time_ms;

	enum restart_phase phase;
	int64_t signal_ms; /* CLOCK_MONOTONIC, as all that follow: when the signal came */
	int64_t begun_ms;  /* when the phase began */
	int64_t until_ms;  /* when it is over at the latest */
	int64_t extend_ms; /* when systemd is to be told next that it takes longer */
	bool hurried;      /* a second signal came */
	bool own_accord;   /* the end began because a thread hangs; systemd's signal may still come,
			      and is no second one */
	bool signalled;    /* that signal has come */
	struct stop_reason *reason;
	struct next *next;
	size_t store_max; /* descriptors that systemd keeps for us */
	sd_event_source *timer;
};

/* The phase lasts `for_ms` at most. */
void restart_set_phase(struct restart *restart, enum restart_phase phase, int64_t for_ms);

/* Accepts no more, and answers what is under way. */
void restart_stop_accepting(struct restart *restart);

/* Goes on to the next phase if this one is over. */
void restart_go_on(struct restart *restart, int64_t now_ms);

/* drain.c */

/* Begins a drain: after the delay, if there is one. */
void drain_begin(struct restart *restart);

/* Begins a drain without the delay. */
void drain_streams(struct restart *restart);

/* How long, at the very end, to wait for clients to read and to close. */
#define DRAIN_LAST_MS 10000

/* Ends all streams at once; their clients have `for_ms` to read and to close. */
void drain_last(struct restart *restart, int64_t for_ms);

/* hand-over.c */

/* Halts the shards, and gives their streams to systemd.  0: they are the next process's as soon as
 * it takes them.  -errno, which has been logged: this process goes on serving them. */
int hand_over(struct restart *restart);
