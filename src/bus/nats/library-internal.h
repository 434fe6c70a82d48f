/* SPDX-License-Identifier: BSD-3-Clause */
/* For the files that know nats.c: its connection (wire.c), attempts to connect (connect.c), its
 * callbacks (callbacks.c), messages (message.c) and errors (failure.c), and the library itself
 * (library.c).  Its types and errors go no further. */
#pragma once

#include <nats/nats.h>

#include "bus/nats/nats-internal.h"

struct nats_wire {
	natsConnection *connection; /* NULL: there is none yet */
	struct nats_origin *origin; /* the closure of callbacks about it */
	jsCtx *jetstream;
	natsSubscription *answers, *messages;
};

/* Belongs to its thread until the mail is posted.  If it is given up before that, it stays until
 * the thread ends. */
struct nats_attempt {
	struct nats_mail mail;
	TAILQ_ENTRY(nats_attempt) link; /* in bus.stragglers, once it is given up */
	struct nats_bus *bus;
	const char *url; /* the bus's */
	unsigned session;
	pthread_t thread;
	natsOptions *options;
	natsStatus status;
	struct nats_problem problem; /* unless `status` is NATS_OK */
	struct nats_wire *wire;      /* if `status` is NATS_OK, it has a connection */
};

/* ---- callbacks.c ---- */

/* Sets the options of a connection to `bus->server`, whose callbacks get `origin`.  Returns
 * nats.c's status.  Bus thread. */
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

/* As nats_accepted_parse().  If memory is short, sets `told_us` to a time long ago, and
 * `update.accepted_us` to 0: not told. */
void nats_message_read_accepted(natsMsg *message, struct nats_mail *mail);

/* Reads a heartbeat, or a request of flow control, into `number`, `consumer` and `text`.  False: it
 * is neither, or there is no memory to read it. */
bool nats_message_read_status(natsMsg *message, struct nats_mail *mail);

/* ---- failure.c.  Any thread. ---- */

/* Says what has failed and what to do about it, by the status of natsConnection_Connect() and by
 * what nats_GetLastError() said then (NULL: nothing).  Where nats.c knows too little, finds out by
 * itself: it may wait for the resolver, and 300 ms for each address. */
void nats_failure_describe(
	const char *url, natsStatus status, const char *said, struct nats_problem *ret);

/* Reads the error of any other call that has just failed in this thread; `code` is JetStream's, or
 * 0.  Returns ret->error; see wire.h. */
int nats_failure_read(natsStatus status, jsErrCode code, struct nats_error *ret);
