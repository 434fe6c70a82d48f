/* SPDX-License-Identifier: BSD-3-Clause */
/* The NATS bus's own state, for nats*.c.
 *
 * Three kinds of thread come here: main posts publications; the bus thread makes every call of
 * nats.c, as many of them block; nats.c's threads call back, and only parse what they got and post
 * it. */
#pragma once

#include <nats/nats.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "base/pulse.h"
#include "base/table.h"
#include "bus/bus-internal.h"

/* As in Flagsmith's own service, so that both can share a cluster. */
#define NATS_STREAM         "environments-stream"
#define NATS_SUBJECT_PREFIX "flagsmith.environment."
#define NATS_SUBJECTS       NATS_SUBJECT_PREFIX ">"
#define NATS_SUBJECT_SIZE   (sizeof(NATS_SUBJECT_PREFIX) + KEY_MAX_LENGTH)

/* Of a reply subject: nats.c's inbox, a number, a key. */
#define NATS_INBOX_SIZE 64
#define NATS_REPLY_SIZE (NATS_INBOX_SIZE + sizeof(".last.18446744073709551615.") + KEY_MAX_LENGTH)

/* JetStream's answers to requests of ours, other than publishes: so long at first, and what has
 * been learnt of how long they take (struct nats_patience) up to these. */
#define NATS_REQUEST_TIMEOUT_MS  1000
#define NATS_STREAM_TIMEOUT_MS   4000  /* as far away as the server may be; the bus thread waits */
#define NATS_CONSUMER_TIMEOUT_MS 60000 /* to make the consumer, which nobody waits for */

/* And longer by this, where there are many messages.  To make a consumer that begins with the last
 * value of each subject, nats-server 2.9 looks at each of them, and meanwhile does nothing else for
 * the stream: a million take it 5 s, and a second to say how far the consumer is. */
#define NATS_MESSAGES_PER_MS 100

/* Where NATS's permissions are wanting, between two attempts: somebody has to change them first. */
#define NATS_DENIED_PAUSE_MS 5000

/* Of what NATS says, so much is kept. */
#define NATS_TEXT_SIZE 200

/* In struct nats_mail. */
#define NATS_NUMBER_UNTOLD UINT64_MAX

/* From nats.c's threads to the bus thread. */
enum nats_mail_type {
	NATS_MAIL_MESSAGE,   /* the consumer has delivered a message */
	NATS_MAIL_STATUS,    /* it has shown itself, or asks for an answer */
	NATS_MAIL_ACK,       /* JetStream has answered a publish */
	NATS_MAIL_LAST,      /* JetStream has said which message of a subject is the last */
	NATS_MAIL_CONSUMER,  /* JetStream has made the consumer, or says that it is there; or not */
	NATS_MAIL_DOUBT,     /* messages may be missing */
	NATS_MAIL_DENIED,    /* NATS's permissions do not allow something */
	NATS_MAIL_CLOSED,    /* the connection is gone */
	NATS_MAIL_LAME_DUCK, /* the server says that it is about to end */
	NATS_MAIL_CONNECT_END, /* an attempt to connect is over; part of a struct nats_attempt */
	NATS_MAIL_PING,        /* main asks whether the bus thread is alive */
	NATS_MAIL_STOP,
};

/* JetStream's answer to a publish. */
enum nats_ack_outcome {
	NATS_ACK_STORED,
	NATS_ACK_CONFLICT,  /* the subject's last message is another one */
	NATS_ACK_NO_STREAM, /* nobody takes the subject */
	NATS_ACK_LATER,     /* not now, though nothing is wrong */
	NATS_ACK_REFUSED,   /* and so may be all others */
	NATS_ACK_REFUSED_ONE,
};

struct nats_ack {
	enum nats_ack_outcome outcome;
	uint64_t sequence;         /* STORED: in the stream */
	char text[NATS_TEXT_SIZE]; /* CONFLICT, LATER, REFUSED, REFUSED_ONE: why, as NATS says it */
};

struct nats_mail {
	struct mail mail;
	enum nats_mail_type type;
	struct update update; /* MESSAGE: all of it, if `problem` is NULL; else key (maybe empty)
				 and sequence.  ACK: the key.  LAST: the key, and with
				 NATS_ACK_STORED as MESSAGE; sequence 0: there is none */
	int64_t told_us;      /* MESSAGE, LAST: as nats_accepted_parse() */
	const char *problem;  /* MESSAGE, LAST: why it is no update; static */
	uint64_t number;      /* MESSAGE: in the consumer's count; STATUS: of the last one that it
				 has sent, or NATS_NUMBER_UNTOLD; ACK, LAST: of the flight */
	char consumer[64];    /* MESSAGE, CONSUMER: its name; STATUS: its deliver subject */
	int64_t created_us;   /* CONSUMER: when, by NATS's clock; 0: it does not say */
	unsigned session;     /* DOUBT, DENIED, CLOSED, LAME_DUCK: which one it is about */
	struct nats_ack ack;  /* ACK, LAST, CONSUMER */
	char text[NATS_TEXT_SIZE]; /* DOUBT, DENIED: what NATS says, or nats.c; STATUS: the subject
				      to answer to, or "" */
};

/* What is denied; see nats-denied.c. */
enum nats_denied {
	NATS_DENIED_ENVIRONMENT, /* to publish the updates of `key` */
	NATS_DENIED_REQUEST, /* a request without which there is no session; it gets no answer */
	NATS_DENIED_READING, /* what answers, acknowledgements and messages come by */
	NATS_DENIED_OTHER,   /* what a session can do without */
};

struct nats_denial {
	enum nats_denied what;
	struct key key;           /* ENVIRONMENT */
	unsigned need;            /* one bit: which of all that we need to be allowed */
	char text[BUS_TEXT_SIZE]; /* what NATS says, and what to grant; without a full stop */
};

/* How long a request may take: doubled by each that was not answered, up to `max_ms`, and set to
 * some times what the last answer took. */
struct nats_patience {
	int64_t wait_ms; /* 0: nothing learnt yet */
	int64_t max_ms;
};

/* All last values are read again: at once after a quiet time, then less and less often. */
struct nats_reread {
	int64_t last_ms;  /* CLOCK_MONOTONIC; when it was last begun */
	int64_t pause_ms; /* until the next may begin; 0: none was begun yet */
	bool is_due;      /* asked for, and not begun */
};

/* What the bus thread knows of a subject, so that a publish can be a compare-and-set. */
struct subject {
	struct table_node node; /* by the key */
	struct key key;
	uint64_t last_sequence; /* of its message in the stream; 0: none */
	bool has_latest;        /* which is an update: */
	struct update_latest latest;
	int64_t stored_us;
	struct mail_list flying;   /* publications that one message is for, which has been sent */
	struct update flown;       /* it: its time, and the last acceptance as stored_us */
	int64_t told_us;           /* its first acceptance */
	uint64_t flight;           /* what the acknowledgement will name; 0: none is awaited */
	bool is_asking;            /* by `flight`, after a conflict: which message is the last */
	int64_t flying_until_ms;   /* CLOCK_MONOTONIC: then it is given up */
	TAILQ_ENTRY(subject) link; /* in bus.flying while there is a `flight` */
	struct mail_list waiting;  /* publications that came meanwhile, and are the next */
	int64_t told_time_us;      /* of the last that the consumer has told since the values */
	uint64_t told_sequence;    /* were read; 0: none */
	bool is_unseen;            /* JetStream has acknowledged `unseen`, and not told it yet */
	struct update unseen;      /* stored_us is when it was accepted */
	unsigned unseen_checks;    /* bus.checks when that was */
	unsigned conflicts;        /* of `flying`, in a row */
	unsigned checks;           /* bus.checks when `flying` was sent */
};

TAILQ_HEAD(subject_queue, subject);

/* What callbacks about a connection get: it outlives the connection, whose address may be that of
 * the next one.  So many sessions later nothing of the old one is under way any more. */
#define NATS_ORIGINS 16

struct nats_origin {
	struct nats_bus *bus;
	_Atomic unsigned session;
	_Atomic int64_t heard_ms; /* CLOCK_MONOTONIC; when the consumer last sent anything */
};

/* Why no connection could be made, without a full stop. */
struct nats_problem {
	char text[NATS_TEXT_SIZE]; /* for who has to mend it */
	const char *open_text;     /* for everybody: without others' words, which may name hosts;
				      static */
};

/* One attempt to connect to one server.  Its thread's until the mail is posted; if it is given up
 * before, it stays until that ends. */
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
	natsConnection *connection;  /* with NATS_OK */
};

TAILQ_HEAD(nats_attempts, nats_attempt);

/* So many attempts that have been given up may be under way; until one of them ends there is no
 * other. */
#define NATS_STRAGGLERS_MAX 8

/* Mail of one kind: what arrives, and what has been taken and not been read. */
struct nats_inlet {
	struct mailbox mailbox;
	struct mail_list backlog; /* the bus thread's only */
};

/* So much mail of one kind is read in a turn of the bus thread's loop. */
#define NATS_SLICE 256

struct nats_bus {
	struct bus bus;
	struct mailbox *inbox;          /* main's */
	struct nats_inlet publications; /* from main */
	struct nats_inlet mail;         /* struct nats_mail, all but */
	struct nats_inlet messages;     /* NATS_MAIL_MESSAGE, _STATUS, which may pile up */
	struct nats_mail stop, ping;
	struct pulse pulse;
	_Atomic bool is_left; /* another bus has taken its place: the library is that one's */
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
	int64_t attempt_until_ms;     /* then it is given up */
	struct nats_attempts stragglers;
	unsigned n_stragglers;
	int64_t next_cut_ms; /* when to look for their sockets again */

	unsigned session;           /* the number that its attempt had */
	bool is_lame_duck;          /* its server is about to end: another is looked for */
	natsConnection *connection; /* NULL: not connected */
	jsCtx *jetstream;
	natsInbox *ack_inbox;
	natsSubscription *ack_subscription;
	natsSubscription *subscription;
	natsInbox *deliver_inbox; /* what the consumer sends to; NULL: there is none */
	uint64_t creations;       /* counts the requests to make a consumer */
	int64_t create_begun_ms;
	int64_t create_until_ms; /* then the answer is not waited for any more; 0: none is */
	char consumer[64];
	uint64_t delivered;  /* the consumer's count of the last message */
	uint64_t sync_until; /* the count at which all last values have been read */
	uint64_t sync_seen;  /* `delivered` when it was last looked whether more will come */
	bool syncing;
	bool up;             /* BUS_UP has been posted, and no BUS_DOWN since */
	bool standard_shape; /* the stream is configured as we would */
	bool shape_warned;
	int64_t stream_created;
	uint64_t n_messages; /* that the stream had when it was opened */
	int64_t consumers;   /* that the stream had when last looked; INT64_MAX: not looked yet */
	struct bus_clock clock;  /* NATS's */
	int64_t clock_offset_ms; /* from the monotonic to the wall clock, when last looked */
	bool no_acks;            /* the stream is set up to acknowledge nothing */
	bool has_stored;         /* this session: an update */
	unsigned denied_told;    /* bits of nats_denial.need, in the log */
	bool denied; /* the last attempt to connect, or the last session, ended by that */
	struct nats_patience stream_patience, consumer_patience;
	struct nats_reread reread;
	int64_t next_attempt_ms; /* while not connected, or with a lame duck */
	int64_t next_check_ms;
	unsigned checks;   /* counts them */
	unsigned attempts; /* to connect */
	unsigned failures; /* rounds of attempts in a row */

	struct mail_list held;       /* publications that came before the last values were read */
	struct table subjects;       /* of struct subject */
	struct subject_queue flying; /* those that wait for JetStream, in the order of sending */
	uint64_t flights;            /* counts the publishes */
};

/* nats-mail.c. */
int nats_inlet_init(struct nats_inlet *inlet); /* 0 or -errno */
void nats_inlet_deinit(struct nats_inlet *inlet);

/* Bus thread.  Reads a slice, in order; `act_upon` consumes each.  True: there is more. */
bool nats_mail_read(struct nats_bus *bus, struct nats_inlet *inlet,
	void (*act_upon)(struct nats_bus *bus, struct mail *mail));

/* nats-connect.c.  Bus thread. */

/* Begins an attempt to connect to `bus->server`; NATS_MAIL_CONNECT_END tells when it is over.  Each
 * one is given up after connect_timeout, by nats_connect_give_up(), wherever it is by then.
 * NATS_TIMEOUT: too many are under way that have been given up. */
natsStatus nats_connect_begin(struct nats_bus *bus);
void nats_connect_give_up(struct nats_bus *bus);

/* What attempts that have been given up are waiting for is cut off, again and again, as they may
 * turn to the next address of a name; and when that is due (INT64_MAX: it is not). */
void nats_connect_cut_off(struct nats_bus *bus);
int64_t nats_connect_cut_due_ms(const struct nats_bus *bus);

/* The number and the origin of the next attempt; for tests. */
struct nats_origin *nats_connect_next_origin(struct nats_bus *bus);

/* An attempt is over.  True: it was not given up, and is told of; with NATS_OK the connection is
 * the caller's, else `ret_problem` says why.  The mail is consumed. */
bool nats_connect_on_end(struct nats_bus *bus, struct nats_mail *mail, natsStatus *ret_status,
	struct nats_problem *ret_problem, natsConnection **ret_connection, unsigned *ret_session);

/* Gives up all attempts, and waits a moment for their threads.  Those that do not end are left
 * behind; the bus has to stay then. */
void nats_connect_end(struct nats_bus *bus, void (*read_mail)(struct nats_bus *bus));

/* nats-failure.c.  Any thread. */

/* Says what has failed and what to do, of a status of natsConnection_Connect()
 * and what nats_GetLastError() said then (NULL: nothing).  Where nats.c knows too little it looks
 * by itself: it may wait for the resolver, and for 300 ms for each address. */
void nats_failure_describe(
	const char *url, natsStatus status, const char *said, struct nats_problem *ret);

/* The part of the URL that may be shown: its host and port. */
const char *nats_server_name(const char *url);

/* nats-session.c: the connection, the stream, the consumer.  Bus thread. */

/* Sets the options of a connection to `bus->server`, whose callbacks get `origin`.  nats.c's error.
 */
natsStatus nats_session_set_options(
	struct nats_bus *bus, struct nats_origin *origin, natsOptions *options);

/* No connection to `bus->server` could be made, for this reason: posts BUS_DOWN, unless there is
 * one. */
void nats_session_refuse(struct nats_bus *bus, const struct nats_problem *problem);

/* Begins to read by a new connection, which is consumed; a session that is there is ended before.
 * False: not possible now; BUS_DOWN has been posted. */
bool nats_session_begin(struct nats_bus *bus, natsConnection *connection, unsigned session);

/* A new consumer, that reads the last values anew.  False: as above, and the session is at its end.
 */
bool nats_session_sync(struct nats_bus *bus);

/* Looks whether the stream is still the one we read, with all that we read from it. */
void nats_session_check(struct nats_bus *bus);

/* Disconnects; all publications under way come back with `why`, which names no host. */
void nats_session_end(struct nats_bus *bus, const char *why);

void nats_session_on_message(struct nats_bus *bus, const struct nats_mail *mail);

/* Messages may be missing: all last values are read again, now or when nats_reread_due_ms() says.
 * What comes until then is taken. */
void nats_session_doubt(struct nats_bus *bus, const char *why);

/* JetStream has made the consumer, or refuses to. */
void nats_session_on_consumer(struct nats_bus *bus, const struct nats_mail *mail);

/* NATS has said that something is not permitted. */
void nats_session_on_denied(struct nats_bus *bus, const char *text);

/* What a request of the bus thread to JetStream is asked with; and what came of it.  Returns
 * `status`. */
struct nats_request {
	struct nats_patience *patience;
	int64_t begun_ms;
	jsOptions options;
};

void nats_request_begin(struct nats_request *request, struct nats_bus *bus);
natsStatus nats_request_end(struct nats_request *request, natsStatus status);

/* A request has failed: says why and what to do about it, and ends the session.  Returns false. */
bool nats_session_fail(struct nats_bus *bus, const char *what, natsStatus status, jsErrCode error);

/* What the callbacks of this session's connection get. */
struct nats_origin *nats_session_origin(struct nats_bus *bus);

/* nats-clock.c: NATS's clock.  Bus thread.  Main is told what it becomes. */
int64_t nats_clock_us(const struct nats_bus *bus); /* now; before anything is known, the wall's */
void nats_clock_note(struct nats_bus *bus, int64_t stored_us); /* of a message that has just come */

/* It was so late by NATS's clock at some moment in the last `elapsed_us`. */
void nats_clock_read(struct nats_bus *bus, int64_t then_us, int64_t elapsed_us);

/* nats-ack.c.  Bus thread, but for the parsing, which is of any. */

/* Subscribes to an inbox for the session's acknowledgements, and the reverse.  nats.c's error; then
 * and otherwise to be closed. */
natsStatus nats_ack_open(struct nats_bus *bus);
void nats_ack_close(struct nats_bus *bus);

/* The reply subject of a publish; `text` has NATS_REPLY_SIZE bytes. */
void nats_ack_format_reply(
	const struct nats_bus *bus, const struct key *key, uint64_t flight, char *text);

/* False: it is none. */
bool nats_ack_parse_reply(const char *subject, struct key *ret_key, uint64_t *ret_flight);

/* Whatever it is, it is an answer: what cannot be read counts as refused.  0 or -ENOMEM. */
int nats_ack_parse(const char *body, size_t length, struct nats_ack *ret);

/* The two ways in which it does that; tests compare them.  Plainly, without json-c, what
 * nats-server writes where the update was stored, byte for byte; false: it is something else. */
bool nats_ack_parse_plain(const char *body, size_t length, struct nats_ack *ret);
int nats_ack_parse_json(const char *body, size_t length, struct nats_ack *ret);

/* Any thread: what we make of an answer that cannot be understood. */
void nats_ack_refuse(struct nats_ack *ack, const char *text);

/* nats-last.c.  Bus thread, but for the parsing, which is of any. */

/* Asks for the last message of an environment; NATS_MAIL_LAST with the number `flight` tells.
 * Nobody waits for it here: the caller minds its deadline.  nats.c's error. */
natsStatus nats_last_ask(struct nats_bus *bus, const struct key *key, uint64_t flight);

/* False: it is the reply subject of something else. */
bool nats_last_parse_reply(const char *subject, struct key *ret_key, uint64_t *ret_flight);

/* Fills in `ack`, and with NATS_ACK_STORED `update` and `problem`.  0 or -ENOMEM. */
int nats_last_parse(const char *body, size_t length, struct nats_mail *mail);

/* Base64 with its padding; for tests.  0, and *ret is the caller's; -EBADMSG; -ENOMEM. */
int nats_last_decode(const char *text, char **ret, size_t *ret_length);

/* nats-consumer.c.  Bus thread, but for the parsing, which is of any. */

/* Gives up the consumer that there is, and asks for another; NATS_MAIL_CONSUMER tells what came of
 * it.  False: the session is at its end. */
bool nats_consumer_create(struct nats_bus *bus);
bool nats_consumer_is_awaited(const struct nats_bus *bus);

/* True: there is one now, and `on_message` gets what it sends.  Else it was not asked for, or is
 * awaited still (it is made, then looked for), or the session is at its end. */
bool nats_consumer_on_created(
	struct nats_bus *bus, const struct nats_mail *mail, natsMsgHandler on_message);

/* Ends the session if its making takes too long, and doubts one that has been silent for too long;
 * and when that is (INT64_MAX: there is none). */
void nats_consumer_expire(struct nats_bus *bus, int64_t now_ms);
int64_t nats_consumer_deadline_ms(const struct nats_bus *bus);

/* Asks how far it is.  *ret_error is JetStream's code; *ret_info, if NATS_OK, the caller's. */
natsStatus nats_consumer_ask(struct nats_bus *bus, jsConsumerInfo **ret_info, jsErrCode *ret_error);

/* Gives it up, whether it is there or asked for. */
void nats_consumer_drop(struct nats_bus *bus);

/* False: it is the reply subject of something else. */
bool nats_consumer_parse_reply(const char *subject, uint64_t *ret_number);

/* Fills in `consumer`, and `ack`: with NATS_ACK_STORED its `sequence` is the consumer's count at
 * which all last values have been sent.  0 or -ENOMEM. */
int nats_consumer_parse(const char *body, size_t length, struct nats_mail *mail);

/* nats-delivery.c: what the consumer sends. */

/* Any thread, no I/O, takes no memory.  Reads what the reply subject of a message says of it:
 * `update.sequence`, `update.stored_us`, `number`, `consumer`.  False: it is none of JetStream's
 * messages (nor is NULL); these fields may be anything then. */
bool nats_delivery_parse(const char *reply, struct nats_mail *mail);

/* Any thread.  Reads a heartbeat, or what flow control asks for: `number`, `consumer`, `text`.
 * False: it is neither, or there is no memory to read it. */
bool nats_delivery_parse_status(natsMsg *message, struct nats_mail *mail);

/* Bus thread, when it has read all messages before.  Answers flow control, which asks whether it
 * has; doubts if messages are missing. */
void nats_delivery_on_status(struct nats_bus *bus, const struct nats_mail *mail);

/* nats-accepted.c: when the node that wrote a message had accepted what it is about, by the bus's
 * clock, in a header: its streams may have had it since then, which is long before it was stored
 * where it has waited in the outbox.  Any thread. */

/* Microseconds since the epoch; of one that is for several, of the first and the last, with a space
 * between. */
#define NATS_ACCEPTED_HEADER "Flagsse-Accepted"
#define NATS_ACCEPTED_SIZE   44

void nats_accepted_format(
	int64_t first_us, int64_t last_us, char ret_text[static NATS_ACCEPTED_SIZE]);

/* Sets `told_us` to the first one, and `update.accepted_us` to the last; to 0, if it does not say.
 * Where memory is short, the first one was long ago, and of the last one nobody says. */
void nats_accepted_read(natsMsg *message, struct nats_mail *mail);

/* The same, of headers as they are in a message: lines with CR LF. */
void nats_accepted_parse(const char *headers, size_t length, struct nats_mail *mail);

/* nats-refusal.c.  Any thread. */

/* What an error of JetStream, which is no acknowledgement, means: never NATS_ACK_STORED. */
enum nats_ack_outcome nats_ack_meaning(int64_t code, const char *description);

/* nats-denied.c.  Any thread. */

/* Reads what NATS says of a violation of its permissions.  False: it speaks of something else. */
bool nats_denied_parse(const char *text, struct nats_denial *ret);

/* nats-patience.c.  No I/O, no clock. */

/* For how long the next request may be waited for. */
int64_t nats_patience_ms(const struct nats_patience *patience);

/* The last one was not answered in that time; was answered after `took_ms`. */
void nats_patience_lost(struct nats_patience *patience);
void nats_patience_rewarded(struct nats_patience *patience, int64_t took_ms);

/* Asks for another reading.  True: begin now; false: it is due later. */
bool nats_reread_begin(struct nats_reread *reread, int64_t now_ms);

/* INT64_MAX: none is due. */
int64_t nats_reread_due_ms(const struct nats_reread *reread);

/* nats-stream.c.  Bus thread. */

/* Finds the stream, or makes it.  False: neither; the session is at its end. */
bool nats_stream_open(struct nats_bus *bus);

/* Asks for it.  *ret_error is JetStream's code; *ret_info, if NATS_OK, the caller's. */
natsStatus nats_stream_ask(struct nats_bus *bus, jsStreamInfo **ret_info, jsErrCode *ret_error);

/* Notes, and tells main, whether it acknowledges what it stores. */
void nats_stream_note_acks(struct nats_bus *bus, const jsStreamConfig *config);

/* nats-subject.c: what is known of each subject.  Bus thread. */

/* NULL: it is not known. */
struct subject *nats_subject_find(const struct nats_bus *bus, const struct key *key);

/* NULL: out of memory. */
struct subject *nats_subject_get(struct nats_bus *bus, const struct key *key);

/* A message was seen in the stream.  `update` NULL: it is no update.  `told_us`: its node's streams
 * may have it since then; 0: nobody says. */
void nats_subject_seen(struct nats_bus *bus, const struct key *key, uint64_t sequence,
	const struct update *update, int64_t told_us);

/* The consumer has told it, so main knows it, too. */
void nats_subject_told(struct nats_bus *bus, const struct update *update);

/* JetStream has acknowledged it, under its `sequence`; stored_us is when it was accepted.  The
 * stream may be deleted before it tells it: then nobody else knows. */
void nats_subject_await(struct nats_bus *bus, struct subject *subject, const struct update *update);

/* All last values have been read.  What was acknowledged and is not among them has been lost: main
 * is told. */
void nats_subjects_find_lost(struct nats_bus *bus);

/* Whether something was acknowledged a while ago and has not been told since. */
bool nats_subjects_unseen(const struct nats_bus *bus);

/* Forgets what was stored up to then: as it has expired, or (INT64_MAX) as all is read anew. */
void nats_subjects_forget(struct nats_bus *bus, int64_t stored_until_us);
void nats_subjects_free(struct nats_bus *bus);

/* How many messages the stream has at least, if it has kept them for an hour. */
uint64_t nats_subjects_alive(const struct nats_bus *bus);

/* nats-publish.c: compare-and-set.  Bus thread. */
void nats_publish(struct nats_bus *bus, struct publication *publication);
void nats_publish_on_ack(struct nats_bus *bus, struct nats_mail *mail);
void nats_publish_on_last(struct nats_bus *bus, const struct nats_mail *mail);

/* The updates of this environment may not be published. */
void nats_publish_on_denied(struct nats_bus *bus, const struct nats_denial *denial);

/* Gives up what JetStream has not answered in time. */
void nats_publish_expire(struct nats_bus *bus, int64_t now_ms);

/* When that is due again; INT64_MAX: nothing is in flight. */
int64_t nats_publish_deadline_ms(const struct nats_bus *bus);

/* The last values have been read: publishes what was held until then. */
void nats_publish_held(struct nats_bus *bus);

/* Gives everything back as PUBLISH_UNAVAILABLE. */
void nats_publish_fail_all(struct nats_bus *bus, const char *why);

/* nats.c: for the callbacks.  What the bus has told must not be lost: where memory is short, it is
 * waited for. */
void nats_wait_for_memory(void);
struct nats_mail *nats_mail_new(enum nats_mail_type type); /* never NULL */

/* Reads key and updated_at of a message of the stream.  NULL, or why it is no update; static text.
 */
const char *nats_read_message(natsMsg *message, struct update *ret);
