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

/* How many attempts that have been given up may still be under way.  When there are so many, no
 * other attempt begins until one of them has ended. */
#define NATS_STRAGGLERS_MAX 8

/* Why no connection could be made, without a full stop. */
struct nats_problem {
	char text[NATS_TEXT_SIZE]; /* for the operator */
	const char *open_text; /* for everybody: without the words of NATS or the system, which may
				  name hosts; static */
};

/* Begins an attempt to connect to `bus->server`; NATS_MAIL_CONNECT_END tells when it is over.  An
 * attempt that has taken connect_timeout is given up by nats_connect_give_up(), however far it has
 * come.  0, or -errno, and *ret_problem says why; -ETIMEDOUT: too many attempts that have been
 * given up are still under way. */
int nats_connect_begin(struct nats_bus *bus, struct nats_problem *ret_problem);

/* Gives up the attempt.  *ret_problem says that it has taken too long. */
void nats_connect_give_up(struct nats_bus *bus, struct nats_problem *ret_problem);

/* nats_connect_cut_off() shuts down the sockets of attempts that have been given up.  It has to be
 * called again and again, as such an attempt may turn to the next address of its name;
 * nats_connect_cut_due_ms() returns when (INT64_MAX: there is none). */
void nats_connect_cut_off(struct nats_bus *bus);
int64_t nats_connect_cut_due_ms(const struct nats_bus *bus);

/* An attempt is over.  True: it had not been given up; *ret_wire is the connection, which is the
 * caller's, or NULL, and then *ret_problem says why.  False: it had, and is of no interest any
 * more.  Consumes the mail. */
bool nats_connect_on_end(struct nats_bus *bus, struct nats_mail *mail, struct nats_wire **ret_wire,
	unsigned *ret_session, struct nats_problem *ret_problem);

/* Gives up all attempts, and waits a moment for their threads.  Those that do not end are left
 * behind; the bus has to stay then. */
void nats_connect_end(struct nats_bus *bus, void (*read_mail)(struct nats_bus *bus));

/* The number and the origin of the next attempt; for tests. */
struct nats_origin *nats_connect_next_origin(struct nats_bus *bus);
