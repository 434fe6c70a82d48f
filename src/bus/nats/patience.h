/* SPDX-License-Identifier: BSD-3-Clause */
/* How long JetStream may take to answer, and how soon all may be read again.  No I/O, no clock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* JetStream's answers to requests of ours, other than publishes: so long at first, and what has
 * been learnt of how long they take up to these. */
#define NATS_REQUEST_TIMEOUT_MS  1000
#define NATS_STREAM_TIMEOUT_MS   4000  /* as far away as the server may be; the bus thread waits */
#define NATS_CONSUMER_TIMEOUT_MS 60000 /* to make the consumer, which nobody waits for */

/* And longer by this, where there are many messages.  To make a consumer that begins with the last
 * value of each subject, nats-server 2.9 looks at each of them, and meanwhile does nothing else for
 * the stream: a million take it 5 s, and a second to say how far the consumer is. */
#define NATS_MESSAGES_PER_MS 100

/* How long a request may take: doubled by each that was not answered, up to `max_ms`, and set to
 * some times what the last answer took. */
struct nats_patience {
	int64_t wait_ms; /* 0: nothing learnt yet */
	int64_t max_ms;
};

/* For how long the next request may be waited for. */
int64_t nats_patience_ms(const struct nats_patience *patience);

/* The last one was not answered in that time; was answered after `took_ms`. */
void nats_patience_lost(struct nats_patience *patience);
void nats_patience_rewarded(struct nats_patience *patience, int64_t took_ms);

/* All last values are read again: at once after a quiet time, then less and less often. */
struct nats_reread {
	int64_t last_ms;  /* CLOCK_MONOTONIC; when it was last begun */
	int64_t pause_ms; /* until the next may begin; 0: none was begun yet */
	bool is_due;      /* asked for, and not begun */
};

/* Asks for another reading.  True: begin now; false: it is due later. */
bool nats_reread_begin(struct nats_reread *reread, int64_t now_ms);

/* INT64_MAX: none is due. */
int64_t nats_reread_due_ms(const struct nats_reread *reread);
