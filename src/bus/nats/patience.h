/* SPDX-License-Identifier: BSD-3-Clause */
/* How long JetStream may take to answer, and how soon all may be read again.  No I/O, no clock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* How long to wait for JetStream's answer to a request other than a publish:
 * NATS_REQUEST_TIMEOUT_MS at first; then as long as has been learnt, up to one of the others. */
#define NATS_REQUEST_TIMEOUT_MS  1000
#define NATS_STREAM_TIMEOUT_MS   4000  /* however far away the server is; the bus thread waits */
#define NATS_CONSUMER_TIMEOUT_MS 60000 /* to make the consumer, which nobody waits for */

/* Where there are many messages, the wait is a millisecond longer for each of so many.  To make a
 * consumer that begins with the last value of each subject, nats-server 2.9 looks at each subject,
 * and meanwhile does nothing else for the stream: a million take 5 s, and saying how far the
 * consumer is takes another second. */
#define NATS_MESSAGES_PER_MS 100

/* How long a request may take: doubled by each request that was not answered, up to `max_ms`; set
 * by each answer to a multiple of the time that the answer took. */
struct nats_patience {
	int64_t wait_ms; /* 0: nothing learnt yet */
	int64_t max_ms;
};

/* How long to wait for the answer to the next request. */
int64_t nats_patience_ms(const struct nats_patience *patience);

/* nats_patience_lost(): the last request was not answered in that time.  nats_patience_rewarded():
 * it was answered after `took_ms`. */
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

/* When the next reading is due; INT64_MAX: none is. */
int64_t nats_reread_due_ms(const struct nats_reread *reread);
