/* SPDX-License-Identifier: BSD-3-Clause */
/* What the bus thread knows of each subject of NATS, that is of each environment: its last message,
 * so that a publish can be a compare-and-set; what is on its way; what JetStream has acknowledged
 * and the consumer has not told yet.  Bus thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/mailbox.h"
#include "base/table.h"
#include "update/update.h"

struct nats_bus;

struct subject {
	struct table_node node; /* by the key */
	struct key key;
	uint64_t last_sequence; /* of its message in the stream; 0: none */
	bool has_latest;        /* that message is an update: `latest`, stored at `stored_us` */
	struct update_latest latest;
	int64_t stored_us;
	struct mail_list flying; /* the publications in the message that has been sent */
	struct update flown; /* that message: its time, and as stored_us when its last update was
				accepted */
	int64_t told_us;     /* when its first update was accepted */
	uint64_t flight;     /* the number that its acknowledgement will name; 0: none is awaited */
	bool is_asking; /* after a conflict: `flight` is the question which message is the last */
	int64_t flying_until_ms;   /* CLOCK_MONOTONIC: when it is given up */
	TAILQ_ENTRY(subject) link; /* in bus.flying while there is a `flight` */
	struct mail_list waiting;  /* publications that came meanwhile, and go out next */
	int64_t told_time_us;   /* the last update that the consumer has told since the last values
				   were read: its time */
	uint64_t told_sequence; /* ... and its sequence; 0: none */
	bool is_unseen;         /* JetStream has acknowledged `unseen`, which is not told yet */
	struct update unseen;   /* stored_us is when it was accepted */
	unsigned unseen_checks; /* bus.checks at that time */
	unsigned conflicts;     /* of `flying`, in a row */
	unsigned checks;        /* bus.checks when `flying` was sent */
};

TAILQ_HEAD(subject_queue, subject);

/* NULL: it is not known. */
struct subject *nats_subject_find(const struct nats_bus *bus, const struct key *key);

/* NULL: out of memory. */
struct subject *nats_subject_get(struct nats_bus *bus, const struct key *key);

/* A message was seen in the stream.  `update` NULL: it is no update.  `told_us`: the streams of the
 * node that wrote it may have it since then; 0: not known. */
void nats_subject_seen(struct nats_bus *bus, const struct key *key, uint64_t sequence,
	const struct update *update, int64_t told_us);

/* The consumer has told this update, so main knows it, too. */
void nats_subject_told(struct nats_bus *bus, const struct update *update);

/* JetStream has acknowledged the update, under its `sequence`; its stored_us is when it was
 * accepted.  If the stream is deleted before the consumer tells it, nobody else knows of it. */
void nats_subject_await(struct nats_bus *bus, struct subject *subject, const struct update *update);

/* All last values have been read.  What was acknowledged and is not among them has been lost: main
 * is told. */
void nats_subjects_find_lost(struct nats_bus *bus);

/* Whether something was acknowledged a while ago and has not been told since. */
bool nats_subjects_unseen(const struct nats_bus *bus);

/* Forgets what was stored up to `stored_until_us`: because it has expired, or (INT64_MAX) because
 * everything is read again. */
void nats_subjects_forget(struct nats_bus *bus, int64_t stored_until_us);
void nats_subjects_free(struct nats_bus *bus);

/* How many messages the stream has at least, if it has kept them for an hour. */
uint64_t nats_subjects_alive(const struct nats_bus *bus);
