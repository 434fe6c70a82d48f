/* SPDX-License-Identifier: BSD-3-Clause */
/* Attempts to connect to NATS.  Bus thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "bus/nats/mail.h"

struct nats_bus;
struct nats_wire;

/* One attempt to connect to one server, in a thread of its own. */
struct nats_attempt;

TAILQ_HEAD(nats_attempts, nats_attempt);

/* So many attempts that have been given up may be under way; until one of them ends there is no
 * other. */
#define NATS_STRAGGLERS_MAX 8

/* Why no connection could be made, without a full stop. */
struct nats_problem {
	char text[NATS_TEXT_SIZE]; /* for who has to mend it */
	const char *open_text;     /* for everybody: without others' words, which may name hosts;
				      static */
};

/* Begins an attempt to connect to `bus->server`; NATS_MAIL_CONNECT_END tells when it is over.  Each
 * one is given up after connect_timeout, by nats_connect_give_up(), wherever it is by then.  0, or
 * -errno, and *ret_problem says why; -ETIMEDOUT: too many are under way that have been given up. */
int nats_connect_begin(struct nats_bus *bus, struct nats_problem *ret_problem);

/* *ret_problem: that it has taken too long. */
void nats_connect_give_up(struct nats_bus *bus, struct nats_problem *ret_problem);

/* What attempts that have been given up are waiting for is cut off, again and again, as they may
 * turn to the next address of a name; and when that is due (INT64_MAX: it is not). */
void nats_connect_cut_off(struct nats_bus *bus);
int64_t nats_connect_cut_due_ms(const struct nats_bus *bus);

/* An attempt is over.  True: it was not given up, and is told of; *ret_wire is the connection,
 * which is the caller's, or NULL, and *ret_problem says why.  The mail is consumed. */
bool nats_connect_on_end(struct nats_bus *bus, struct nats_mail *mail, struct nats_wire **ret_wire,
	unsigned *ret_session, struct nats_problem *ret_problem);

/* Gives up all attempts, and waits a moment for their threads.  Those that do not end are left
 * behind; the bus has to stay then. */
void nats_connect_end(struct nats_bus *bus, void (*read_mail)(struct nats_bus *bus));

/* The number and the origin of the next attempt; for tests. */
struct nats_origin *nats_connect_next_origin(struct nats_bus *bus);
