/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection to NATS, as the bus's logic knows it.  wire.c implements it with nats.c.  The unit
 * tests link a made-up connection in its place (nats-fixture.c), which notes what is sent, and
 * answers what the test says.
 *
 * Bus thread.  What the connection tells by itself (its end, a complaint, a message) comes as mail;
 * see mail.h.  A function that returns an int returns 0 or -errno, and then *ret_error says why. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nats_wire;

/* The size of an inbox, which is a subject that nobody else has. */
#define NATS_INBOX_SIZE 64

/* Why NATS has not done what it was asked for.  With `error`:
 *   -ETIMEDOUT     nothing has answered in time
 *   -EHOSTUNREACH  JetStream is switched off
 *   -EOPNOTSUPP    JetStream is switched off for the user's account
 *   -ENOENT        there is no such stream
 *   -EEXIST        there is one of that name already
 *   -ENOMEM, or -EIO: all else */
struct nats_error {
	int error;        /* -errno, as it was returned */
	int code;         /* JetStream's; 0: it has not answered, or has none */
	const char *name; /* nats.c's, for this kind of error; static */
	const char *text; /* what NATS or nats.c has said, or else `name`; good until the next
			     request */
};

/* Makes the connection ready for JetStream, whose answers come as mail from now on.  *ret_inbox is
 * what replies are to be sent to: "INBOX.anything". */
int nats_wire_open(struct nats_wire *wire, char ret_inbox[static NATS_INBOX_SIZE],
	struct nats_error *ret_error);

/* Disconnects, at once, whether it was opened or not.  Returns NULL; takes NULL. */
struct nats_wire *nats_wire_free(struct nats_wire *wire);

/* NATS's last complaint, if it is that something is not permitted; else NULL.  Good until the next
 * call. */
const char *nats_wire_denied(struct nats_wire *wire);

/* ---- Messages ---- */

#define NATS_HEADERS_MAX 2

struct nats_header {
	const char *name, *value;
};

struct nats_message {
	const char *subject;
	const char *reply;                            /* NULL: no answer is wanted */
	struct nats_header headers[NATS_HEADERS_MAX]; /* name NULL: there are no more */
	const void *body;
	size_t length; /* of the body; 0: it has none */
};

/* Hands the message to the connection, which sends it soon.  Waits only if the server does not
 * read, and no longer than 500 ms. */
int nats_wire_send(
	struct nats_wire *wire, const struct nats_message *message, struct nats_error *ret_error);

/* An inbox for nats_wire_subscribe(). */
int nats_wire_make_inbox(char ret_inbox[static NATS_INBOX_SIZE], struct nats_error *ret_error);

/* From now on, what arrives at the inbox comes as NATS_MAIL_MESSAGE or NATS_MAIL_STATUS.  Only one
 * inbox at a time. */
int nats_wire_subscribe(struct nats_wire *wire, const char *inbox, struct nats_error *ret_error);
void nats_wire_unsubscribe(struct nats_wire *wire);

/* ---- Requests to JetStream: each waits for the answer, `wait_ms` at most ---- */

enum nats_retention {
	NATS_RETENTION_LIMITS,
	NATS_RETENTION_INTEREST,
	NATS_RETENTION_WORK_QUEUE,
};

enum nats_discard {
	NATS_DISCARD_OLD,
	NATS_DISCARD_NEW,
};

enum nats_storage {
	NATS_STORAGE_FILE,
	NATS_STORAGE_MEMORY,
};

/* How a stream is configured; a number of -1 means that there is no limit. */
struct nats_stream_settings {
	const char **subjects;
	int n_subjects;
	enum nats_retention retention;
	enum nats_discard discard;
	enum nats_storage storage;
	int64_t replicas;
	int64_t max_messages_per_subject, max_messages, max_bytes;
	int64_t max_age_ns, duplicates_ns;
	bool no_ack;
};

struct nats_stream {
	struct nats_stream_settings settings;
	int64_t created_ns; /* since the epoch; tells streams of the same name apart */
	uint64_t n_messages;
	int64_t n_consumers;
	void *owned; /* what the pointers above point into */
};

int nats_wire_get_stream(struct nats_wire *wire, const char *name, int64_t wait_ms,
	struct nats_stream *ret, struct nats_error *ret_error);

/* Frees what nats_wire_get_stream() has returned; takes one that is all zeros. */
void nats_stream_deinit(struct nats_stream *stream);

int nats_wire_make_stream(struct nats_wire *wire, const char *name, int64_t wait_ms,
	const struct nats_stream_settings *settings, struct nats_error *ret_error);

struct nats_consumer {
	uint64_t delivered; /* how many messages it has sent */
	uint64_t n_pending; /* it has yet to send */
};

int nats_wire_get_consumer(struct nats_wire *wire, const char *stream, const char *name,
	int64_t wait_ms, struct nats_consumer *ret, struct nats_error *ret_error);
