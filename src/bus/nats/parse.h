/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads what NATS and JetStream say: answers, reply subjects, headers, errors.  Any thread, no
 * I/O. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus/bus.h"
#include "bus/nats/mail.h"

/* ---- JetStream's answers; the reply subject of each tells what it answers ---- */

/* ack.c: the answer to a publish. */

/* False: it is not the reply subject of a publish. */
bool nats_ack_parse_reply(const char *subject, struct key *ret_key, uint64_t *ret_flight);

/* Whatever comes is an answer: what cannot be read counts as a refusal.  0 or -ENOMEM. */
int nats_ack_parse(const char *body, size_t length, struct nats_ack *ret);

/* The two ways in which nats_ack_parse() reads an answer; tests compare them.  The plain one reads,
 * without json-c, just what nats-server writes if the update was stored, byte for byte; false: it
 * is something else. */
bool nats_ack_parse_plain(const char *body, size_t length, struct nats_ack *ret);
int nats_ack_parse_json(const char *body, size_t length, struct nats_ack *ret);

/* Makes a refusal of an answer that cannot be understood. */
void nats_ack_refuse(struct nats_ack *ack, const char *text);

/* refusal.c: what an error of JetStream, which is no acknowledgement, means: never NATS_ACK_STORED.
 */
enum nats_ack_outcome nats_ack_meaning(int64_t code, const char *description);

/* last.c: the answer to the question which message of a subject is the last. */

/* False: it is the reply subject of something else. */
bool nats_last_parse_reply(const char *subject, struct key *ret_key, uint64_t *ret_flight);

/* Fills in `ack`, and with NATS_ACK_STORED `update` and `problem`.  0 or -ENOMEM. */
int nats_last_parse(const char *body, size_t length, struct nats_mail *mail);

/* Base64 with its padding; for tests.  0, and *ret is the caller's; -EBADMSG; -ENOMEM. */
int nats_last_decode(const char *text, char **ret, size_t *ret_length);

/* consumer.c: the answer to the request to make a consumer, or to say how it is. */

/* False: it is the reply subject of something else. */
bool nats_consumer_parse_reply(const char *subject, uint64_t *ret_number);

/* Fills in `consumer`, and `ack`: with NATS_ACK_STORED its `sequence` is the consumer's count at
 * which all last values have been sent.  0 or -ENOMEM. */
int nats_consumer_parse(const char *body, size_t length, struct nats_mail *mail);

/* ---- Messages of the stream ---- */

/* delivery.c.  Allocates no memory.  Reads what the reply subject of a message says about the
 * message: `update.sequence`, `update.stored_us`, `number`, `consumer`.  False: the message is not
 * one of JetStream's (nor is NULL); then those fields may be anything. */
bool nats_delivery_parse(const char *reply, struct nats_mail *mail);

/* Reads digits up to the next dot, or the end.  False: there is no such number. */
bool nats_delivery_parse_number(const char *text, uint64_t *ret);

/* accepted.c: a header that says when, by the bus's clock, the node that wrote the message had
 * accepted the update.  The streams of that node may have had the update since then.  That is long
 * before it was stored, if it has waited in the outbox. */

/* Microseconds since the epoch.  A message for several updates has the time of the first and the
 * time of the last, with a space between. */
#define NATS_ACCEPTED_HEADER "Flagsse-Accepted"
#define NATS_ACCEPTED_SIZE   44

void nats_accepted_format(
	int64_t first_us, int64_t last_us, char ret_text[static NATS_ACCEPTED_SIZE]);

/* Sets `told_us` to the first time, and `update.accepted_us` to the last; both to 0 if `value`,
 * which may be NULL, does not say. */
void nats_accepted_read(const char *value, struct nats_mail *mail);

/* The same, from all headers of a message as they come: lines that end in CR LF. */
void nats_accepted_parse(const char *headers, size_t length, struct nats_mail *mail);

/* ---- What NATS's permissions deny: denied.c ---- */

enum nats_denied {
	NATS_DENIED_ENVIRONMENT, /* to publish the updates of `key` */
	NATS_DENIED_REQUEST, /* a request without which there is no session; it gets no answer */
	NATS_DENIED_READING, /* to subscribe to what brings answers, acknowledgements or messages */
	NATS_DENIED_OTHER,   /* what a session can do without */
};

struct nats_denial {
	enum nats_denied what;
	struct key key;           /* ENVIRONMENT */
	unsigned need;            /* one bit: which of the permissions that we need */
	char text[BUS_TEXT_SIZE]; /* what NATS says, and what to grant; without a full stop */
};

/* Reads what NATS says of a violation of its permissions.  False: it speaks of something else. */
bool nats_denied_parse(const char *text, struct nats_denial *ret);
