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

/* ---- What main has got ---- */

/* The next event, whose type it must be. */
struct bus_event fixture_expect(enum bus_event_type type);

/* Answers come in any number and order among events; they are kept by fixture_answered(). */
void fixture_expect_no_event(void);

/* ---- Publications ---- */

/* The fixture's own, which is accepted so long after FIXTURE_NOW_US, and bears a time so long after
 * that. */
struct publication *fixture_publication(const char *key, int64_t accepted_us, int64_t time_us);

/* Whether the bus has given it back. */
bool fixture_is_answered(const struct publication *publication);

/* ---- What nats.c would post: the bus acts upon it at once ---- */

/* Copied. */
void fixture_mail(const struct nats_mail *mail);

/* The attempt that is under way ends. */
void fixture_connect_ends(bool well);

struct key fixture_key(const char *text);
