/* SPDX-License-Identifier: BSD-3-Clause */
/* What knows nats.c, whose types and errors go no further: the connection (wire.c), attempts at one
 * (connect.c), what it calls back (callbacks.c), its messages (message.c), its errors (failure.c)
 * and itself (library.c). */
#pragma once

#include <nats/nats.h>

#include "bus/nats/nats-internal.h"

struct nats_wire {
	natsConnection *connection; /* NULL: there is none yet */
	struct nats_origin *origin; /* what callbacks about it get */
	jsCtx *jetstream;
	natsSubscription *answers, *messages;
};

/* Its thread's until the mail is posted; if it is given up before, it stays until that ends. */
struct nats_attempt {
	struct nats_mail mail;
	TAILQ_ENTRY(nats_attempt) link; /* in bus.stragglers, once it is given up */
	struct nats_bus *bus;
	const char *url; /* the bus's */
	unsigned session;
	pthread_t thread;
	natsOptions *options;
	natsStatus status;
	struct nats_problem problem; /* without NATS_OK */
	struct nats_wire *wire;      /* with NATS_OK it has a connection */
};

/* ---- callbacks.c ---- */

/* Sets the options of a connection to `bus->server`, whose callbacks get `origin`.  nats.c's error.
 * Bus thread. */
natsStatus nats_callbacks_set_options(
	struct nats_bus *bus, struct nats_origin *origin, natsOptions *options);

/* For the two subscriptions of a wire, with its origin as closure. */
void nats_callbacks_on_answer(natsConnection *connection, natsSubscription *subscription,
	natsMsg *message, void *closure);
void nats_callbacks_on_message(natsConnection *connection, natsSubscription *subscription,
	natsMsg *message, void *closure);

/* ---- message.c: reads messages.  Any thread. ---- */

/* Key and updated_at of a message of the stream.  NULL, or why it is no update; static text. */
const char *nats_message_read_update(natsMsg *message, struct update *ret);

/* As nats_accepted_parse().  Where memory is short, the first acceptance was long ago, and of the
 * last one nobody says. */
void nats_message_read_accepted(natsMsg *message, struct nats_mail *mail);

/* A heartbeat, or what flow control asks for: `number`, `consumer`, `text`.  False: it is neither,
 * or there is no memory to read it. */
bool nats_message_read_status(natsMsg *message, struct nats_mail *mail);

/* ---- failure.c.  Any thread. ---- */

/* Says what has failed and what to do, of a status of natsConnection_Connect()
 * and what nats_GetLastError() said then (NULL: nothing).  Where nats.c knows too little it looks
 * by itself: it may wait for the resolver, and for 300 ms for each address. */
void nats_failure_describe(
	const char *url, natsStatus status, const char *said, struct nats_problem *ret);

/* Of any other call that has just failed in this thread; `code` is JetStream's, or 0.  Returns
 * ret->error; see wire.h. */
int nats_failure_read(natsStatus status, jsErrCode code, struct nats_error *ret);
