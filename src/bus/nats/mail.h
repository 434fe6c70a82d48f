/* SPDX-License-Identifier: BSD-3-Clause */
/* Mail of the bus thread: what nats.c's threads and main post to it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "update/update.h"

struct nats_bus;

/* How much is kept of what NATS says. */
#define NATS_TEXT_SIZE 200

/* As the `number` of struct nats_mail: not told. */
#define NATS_NUMBER_UNTOLD UINT64_MAX

/* From nats.c's threads to the bus thread. */
enum nats_mail_type {
	NATS_MAIL_MESSAGE,     /* the consumer has delivered a message */
	NATS_MAIL_STATUS,      /* the consumer has sent a heartbeat, or asks for an answer */
	NATS_MAIL_ACK,         /* JetStream has answered a publish */
	NATS_MAIL_LAST,        /* JetStream has said which message of a subject is the last */
	NATS_MAIL_CONSUMER,    /* JetStream has made the consumer, says that it exists, or says why
				  neither */
	NATS_MAIL_DOUBT,       /* messages may be missing */
	NATS_MAIL_DENIED,      /* NATS's permissions do not allow something */
	NATS_MAIL_CLOSED,      /* the connection is gone */
	NATS_MAIL_LAME_DUCK,   /* the server says that it is about to end */
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
	NATS_ACK_REFUSED,   /* for a reason that may hold for every update */
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
	/* MESSAGE: all of it, if `problem` is NULL; else key (maybe empty) and sequence.  ACK: the
	 * key.  LAST: the key, and with NATS_ACK_STORED the rest as with MESSAGE; sequence 0: there
	 * is no message. */
	struct update update;
	int64_t told_us;     /* MESSAGE, LAST: as nats_accepted_parse() */
	const char *problem; /* MESSAGE, LAST: why it is no update; static */
	uint64_t number;     /* MESSAGE: in the consumer's count; STATUS: of the last one that it
				has sent, or NATS_NUMBER_UNTOLD; ACK, LAST: of the flight */
	char consumer[64];   /* MESSAGE, CONSUMER: its name; STATUS: its deliver subject */
	int64_t created_us;  /* CONSUMER: when, by NATS's clock; 0: it does not say */
	unsigned session;    /* DOUBT, DENIED, CLOSED, LAME_DUCK: the session that it is about */
	struct nats_ack ack; /* ACK, LAST, CONSUMER */
	char text[NATS_TEXT_SIZE]; /* DOUBT, DENIED: what NATS says, or nats.c; STATUS: the subject
				      to answer to, or "" */
};

/* For the callbacks.  Nothing that the bus has told may be lost, so they wait until there is
 * memory.  Any thread. */
void nats_wait_for_memory(void);
struct nats_mail *nats_mail_new(enum nats_mail_type type); /* never NULL */

/* Mail of one kind: what has arrived, and what has been taken from the mailbox but not been read
 * yet. */
struct nats_inlet {
	struct mailbox mailbox;
	struct mail_list backlog; /* the bus thread's only */
};

/* How much mail of one kind the bus thread reads in a turn of its loop. */
#define NATS_SLICE 256

int nats_inlet_init(struct nats_inlet *inlet); /* 0 or -errno */
void nats_inlet_deinit(struct nats_inlet *inlet);

/* Bus thread.  Reads a slice, in order; `act_upon` consumes each.  True: there is more. */
bool nats_mail_read(struct nats_bus *bus, struct nats_inlet *inlet,
	void (*act_upon)(struct nats_bus *bus, struct mail *mail));
