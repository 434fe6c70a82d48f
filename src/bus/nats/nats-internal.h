/* SPDX-License-Identifier: BSD-3-Clause */
/* The NATS bus's own state, and what its parts do with it.  Nothing here knows nats.c, which is
 * behind wire.h and connect.h.
 *
 * The parts call each other in a circle, by this header: a session that comes up publishes what was
 * held for it, a publish that finds no stream has the session look for it, and whatever fails
 * anywhere ends the session, which gives back all that is being published.
 *
 * Three kinds of thread come here: main posts publications; the bus thread makes every call of
 * nats.c, as many of them block; nats.c's threads call back, and only parse what they got and post
 * it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "base/pulse.h"
#include "base/table.h"
#include "bus/bus-internal.h"
#include "bus/nats/connect.h"
#include "bus/nats/mail.h"
#include "bus/nats/parse.h"
#include "bus/nats/patience.h"
#include "bus/nats/subject.h"
#include "bus/nats/wire.h"

/* As in Flagsmith's own service, so that both can share a cluster. */
#define NATS_STREAM         "environments-stream"
#define NATS_SUBJECT_PREFIX "flagsmith.environment."
#define NATS_SUBJECTS       NATS_SUBJECT_PREFIX ">"
#define NATS_SUBJECT_SIZE   (sizeof(NATS_SUBJECT_PREFIX) + KEY_MAX_LENGTH)

/* Of a reply subject: nats.c's inbox, a number, a key. */
#define NATS_REPLY_SIZE (NATS_INBOX_SIZE + sizeof(".last.18446744073709551615.") + KEY_MAX_LENGTH)

/* Between two attempts if NATS's permissions do not suffice: somebody has to change them first. */
#define NATS_DENIED_PAUSE_MS 5000

/* The closure of callbacks about a connection.  It outlives the connection, whose address in memory
 * the next one may get.  After NATS_ORIGINS more sessions no callback about the old connection is
 * under way any more. */
#define NATS_ORIGINS 16

struct nats_origin {
	struct nats_bus *bus;
	_Atomic unsigned session;
	_Atomic int64_t heard_ms; /* CLOCK_MONOTONIC; when the consumer last sent anything */
};

struct nats_bus {
	struct bus bus;
	struct mailbox *inbox;          /* main's */
	struct nats_inlet publications; /* from main */
	struct nats_inlet mail;         /* all other types of struct nats_mail */
	struct nats_inlet messages;     /* NATS_MAIL_MESSAGE and _STATUS, which may pile up */
	struct nats_mail stop, ping;
	struct pulse pulse;
	_Atomic bool is_left; /* another bus has taken its place, and has the library */
	pthread_t thread;

	/* The bus thread's only: */
	char *urls;
	char **servers; /* pointers into `urls` */
	int n_servers;
	int64_t connect_timeout_ms;
	int replicas;
	bool stopping;
	bool is_library_closed; /* nothing of nats.c calls back any more */

	unsigned sessions; /* counts the attempts to connect */
	struct nats_origin origins[NATS_ORIGINS];
	int server;                   /* the next to be tried, or the one that is used */
	struct nats_attempt *attempt; /* NULL: none is under way */
	int64_t attempt_until_ms;     /* when it is given up */
	struct nats_attempts stragglers;
	unsigned n_stragglers;
	int64_t next_cut_ms; /* when to look for their sockets again */

	unsigned session;                    /* the number that its attempt had */
	bool is_lame_duck;                   /* its server is about to end: another is looked for */
	struct nats_wire *wire;              /* NULL: not connected */
	char ack_inbox[NATS_INBOX_SIZE];     /* what JetStream's answers come to */
	char deliver_inbox[NATS_INBOX_SIZE]; /* what the consumer sends to; "": there is none */
	bool is_subscribed;                  /* to deliver_inbox */
	uint64_t creations;                  /* counts the requests to make a consumer */
	int64_t create_begun_ms;
	int64_t create_until_ms; /* until when the answer is awaited; 0: none is */
	char consumer[64];
	uint64_t delivered;  /* the consumer's count of the last message */
	uint64_t sync_until; /* the count at which all last values have been read */
	uint64_t sync_seen;  /* `delivered` at the last check whether more will come */
	bool syncing;
	bool up;             /* BUS_UP has been posted, and no BUS_DOWN since */
	bool standard_shape; /* the stream is configured as we would configure it */
	bool shape_warned;
	int64_t stream_created_ns;
	uint64_t n_messages; /* that the stream had when it was opened */
	int64_t consumers; /* that the stream had at the last look; INT64_MAX: there was none yet */
	struct bus_clock clock;  /* NATS's */
	int64_t clock_offset_ms; /* from the monotonic to the wall clock, when last looked */
	bool no_acks;            /* the stream is set up to acknowledge nothing */
	bool has_stored;         /* an update, in this session */
	unsigned denied_told;    /* bits of nats_denial.need: those that are in the log */
	bool denied; /* the last attempt to connect, or the last session, ended because something
			was not permitted */
	struct nats_patience stream_patience, consumer_patience;
	struct nats_reread reread;
	int64_t next_attempt_ms; /* while not connected, or with a lame duck */
	int64_t next_check_ms;
	unsigned checks;   /* counts the checks */
	unsigned attempts; /* to connect */
	unsigned failures; /* rounds of attempts in a row */

	struct mail_list held;       /* publications that came before the last values were read */
	struct table subjects;       /* of struct subject */
	struct subject_queue flying; /* those that wait for JetStream, in the order of sending */
	uint64_t flights;            /* counts the publishes */
};

/* All that follows is the bus thread's. */

/* ---- phases.c: what happens, event by event ---- */

/* The mail is consumed. */
void nats_bus_act_upon(struct nats_bus *bus, struct nats_mail *mail);

/* Does what is due at `now_ms` (CLOCK_MONOTONIC).  Returns when the next thing is due. */
int64_t nats_bus_do_what_is_due(struct nats_bus *bus, int64_t now_ms);

/* At the start, what is published waits for the first attempt to connect. */
bool nats_bus_is_starting(const struct nats_bus *bus);

/* ---- session.c: the connection, the stream, the consumer ---- */

/* No connection to `bus->server` could be made, because of `problem`.  Posts BUS_DOWN, unless
 * another connection is in use. */
void nats_session_refuse(struct nats_bus *bus, const struct nats_problem *problem);

/* Begins a session on a new connection, which it consumes.  Ends the former session before that.
 * False: not possible now; BUS_DOWN has been posted. */
bool nats_session_begin(struct nats_bus *bus, struct nats_wire *wire, unsigned session);

/* Makes a new consumer, which reads the last values again.  False: as above, and the session has
 * ended. */
bool nats_session_sync(struct nats_bus *bus);

/* Looks whether the stream is still the one we read, with all that we read from it. */
void nats_session_check(struct nats_bus *bus);

/* Disconnects; all publications under way come back with `why`, which names no host. */
void nats_session_end(struct nats_bus *bus, const char *why);

void nats_session_on_message(struct nats_bus *bus, const struct nats_mail *mail);

/* Messages may be missing: all last values are read again, now or when nats_reread_due_ms() says.
 * What comes until then still counts. */
void nats_session_doubt(struct nats_bus *bus, const char *why);

/* JetStream has made the consumer, or refuses to. */
void nats_session_on_consumer(struct nats_bus *bus, const struct nats_mail *mail);

/* A request to JetStream.  nats_request_begin() says for how long its answer may be awaited;
 * nats_request_end() notes what has come of it, `r`: 0 or -errno, and returns that. */
struct nats_request {
	struct nats_patience *patience;
	int64_t begun_ms;
	int64_t wait_ms;
};

void nats_request_begin(struct nats_request *request, struct nats_bus *bus);
int nats_request_end(struct nats_request *request, int r);

/* A request has failed: says why and what to do about it, and ends the session.  Returns false. */
bool nats_session_fail(struct nats_bus *bus, const char *what, const struct nats_error *error);

/* NATS has said that something is not permitted. */
void nats_session_on_denied(struct nats_bus *bus, const char *text);

/* The closure of callbacks about this session's connection. */
struct nats_origin *nats_session_origin(struct nats_bus *bus);

/* ---- consumer.c ---- */

/* Gives up the present consumer and asks for another; NATS_MAIL_CONSUMER tells what has come of
 * that.  False: the session has ended. */
bool nats_consumer_create(struct nats_bus *bus);
bool nats_consumer_is_awaited(const struct nats_bus *bus);

/* Acts upon NATS_MAIL_CONSUMER.  True: there is a consumer now, and what it sends comes as mail.
 * False: the mail is about one that was given up, or another answer is awaited (the consumer is
 * made first, then looked for), or the session has ended. */
bool nats_consumer_on_created(struct nats_bus *bus, const struct nats_mail *mail);

/* nats_consumer_expire() ends the session if making the consumer takes too long, and doubts a
 * consumer that has been silent for too long; nats_consumer_deadline_ms() returns when that is due
 * (INT64_MAX: there is no consumer). */
void nats_consumer_expire(struct nats_bus *bus, int64_t now_ms);
int64_t nats_consumer_deadline_ms(const struct nats_bus *bus);

/* Asks how far the consumer has come.  0, or -errno and why. */
int nats_consumer_ask(
	struct nats_bus *bus, struct nats_consumer *ret, struct nats_error *ret_error);

/* Gives up the consumer, whether it exists or has only been asked for. */
void nats_consumer_drop(struct nats_bus *bus);

/* delivery.c.  To be called when all messages before the status have been read.  Answers flow
 * control, which asks whether they have; doubts if messages are missing. */
void nats_delivery_on_status(struct nats_bus *bus, const struct nats_mail *mail);

/* ---- stream.c ---- */

/* Finds the stream, or makes it.  False: neither; the session has ended. */
bool nats_stream_open(struct nats_bus *bus);

/* Asks how the stream is.  0, and *ret is the caller's to deinit; or -errno and why. */
int nats_stream_ask(struct nats_bus *bus, struct nats_stream *ret, struct nats_error *ret_error);

/* Notes, and tells main, whether it acknowledges what it stores. */
void nats_stream_note_acks(struct nats_bus *bus, bool no_ack);

/* ---- clock.c: NATS's clock.  Main is told of each change. ---- */

int64_t nats_clock_us(const struct nats_bus *bus); /* now; before anything is known, the wall's */
void nats_clock_note(struct nats_bus *bus, int64_t stored_us); /* of a message that has just come */

/* It was `then_us` by NATS's clock at some moment in the last `elapsed_us`. */
void nats_clock_read(struct nats_bus *bus, int64_t then_us, int64_t elapsed_us);

/* ---- publish.c: compare-and-set ---- */

void nats_publish(struct nats_bus *bus, struct publication *publication);
void nats_publish_on_ack(struct nats_bus *bus, struct nats_mail *mail);
void nats_publish_on_last(struct nats_bus *bus, const struct nats_mail *mail);

/* The updates of this environment may not be published. */
void nats_publish_on_denied(struct nats_bus *bus, const struct nats_denial *denial);

/* Gives up what JetStream has not answered in time. */
void nats_publish_expire(struct nats_bus *bus, int64_t now_ms);

/* When the next call of nats_publish_expire() is due; INT64_MAX: nothing is in flight. */
int64_t nats_publish_deadline_ms(const struct nats_bus *bus);

/* The last values have been read: publishes what was held until then. */
void nats_publish_held(struct nats_bus *bus);

/* Gives everything back as PUBLISH_UNAVAILABLE. */
void nats_publish_fail_all(struct nats_bus *bus, const char *why);

/* ack.c: the reply subject of a publish; `text` has NATS_REPLY_SIZE bytes. */
void nats_ack_format_reply(
	const struct nats_bus *bus, const struct key *key, uint64_t flight, char *text);

/* last.c.  Asks for the last message of an environment; NATS_MAIL_LAST with the number `flight`
 * brings the answer.  Nobody waits for it here: the caller minds the deadline.  0 or -errno. */
int nats_last_ask(struct nats_bus *bus, const struct key *key, uint64_t flight);

/* library.c.  After 0 nothing of nats.c calls back any more.  -ETIMEDOUT: it does not end. */
int nats_library_close(int64_t timeout_ms);
