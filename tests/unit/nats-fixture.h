/* SPDX-License-Identifier: BSD-3-Clause */
/* A NATS bus without NATS: the program links a connection and attempts at one that are made up, in
 * the place of nats.c's (bus/nats/wire.h, bus/nats/connect.h).  What the bus sends is noted, and
 * what it is answered the test says.  There is no bus thread: the test does what that would. */
#pragma once

#include "base/mailbox.h"
#include "bus/nats/nats-internal.h"

/* NATS's time when a test begins; it goes on from there. */
#define FIXTURE_NOW_US INT64_C(1700000000000000)

#define FIXTURE_INBOX    "_INBOX.answers"
#define FIXTURE_DELIVERY "_INBOX.messages."

/* What the made-up NATS does; all zeros, but for a stream as it should be, in the beginning. */
struct made_up {
	/* 0, or the -errno that the function of wire.h or connect.h returns. */
	int begin, open, make_inbox, subscribe, send, get_stream, make_stream, get_consumer;
	int next_send;             /* likewise, once */
	struct nats_stream stream; /* get_stream is 0 once it has been made */
	struct nats_consumer consumer;
	const char *denied; /* nats_wire_denied() */

	/* How often it was called. */
	unsigned n_begin, n_get_stream, n_make_stream, n_get_consumer, n_give_up, n_inboxes;
	struct nats_stream_settings made; /* as the stream was asked for */
	int64_t wait_ms;                  /* of the last request */
	bool is_subscribed;
	unsigned n_wires; /* that there are */
};

extern struct made_up made_up;
extern struct nats_bus *bus;

/* A bus that is not connected, and knows two servers; to be called before and after each test. */
void fixture_set_up(void);
void fixture_tear_down(void);

/* A wire that is connected. */
struct nats_wire *fixture_new_wire(void);

/* From there: to a connection, on which a consumer is asked for; and on to where its `n_values`
 * last values have been read. */
void fixture_connect(void);
void fixture_come_up(unsigned n_values);

/* ---- What the bus has sent ---- */

struct sent {
	char subject[256], reply[NATS_REPLY_SIZE];
	char last[32], accepted[NATS_ACCEPTED_SIZE]; /* headers; "": it has none */
	char body[1024];
};

/* The next that was not looked at yet; NULL: there is none. */
const struct sent *fixture_sent(void);

/* How many there are; they count as looked at. */
unsigned fixture_count_sent(void);

/* The last one, looked at or not. */
const struct sent *fixture_last_sent(void);

/* ---- What main has got ---- */

/* The next event but for answers, which fixture_is_answered() tells of.  This must be its type. */
struct bus_event fixture_expect(enum bus_event_type type);
void fixture_expect_no_event(void);

/* How many of each type there are; they count as looked at.  Good until the next call. */
const unsigned *fixture_count_events(void);

/* ---- Publications ---- */

/* The fixture's own, which is accepted so long after FIXTURE_NOW_US, and bears a time so long after
 * that. */
struct publication *fixture_publication(const char *key, int64_t accepted_us, int64_t time_us);

/* Whether the bus has given it back. */
bool fixture_is_answered(const struct publication *publication);

/* ---- What nats.c would post: the bus acts upon it at once ---- */

/* Copied. */
void fixture_mail(const struct nats_mail *mail);

/* The consumer sends a message, its `number`th: an update of "key-N", of now, which is number
 * `sequence` of the stream. */
void fixture_message(const char *consumer, uint64_t number, uint64_t sequence);

/* What comes to its inbox besides: it has sent so many messages, and wants an answer to
 * `to_answer`, if that is not "". */
void fixture_status(const char *delivery_inbox, uint64_t number, const char *to_answer);

/* The answer to a request for the consumer, which is called "c": it will send so many last values,
 * or NATS says "as NATS says it". */
void fixture_consumer(enum nats_ack_outcome outcome, uint64_t n_values, uint64_t request);

/* DOUBT, DENIED, CLOSED, LAME_DUCK. */
void fixture_about_session(enum nats_mail_type type, unsigned session, const char *text);

/* The attempt that is under way ends. */
void fixture_connect_ends(bool well);

struct key fixture_key(const char *text);
