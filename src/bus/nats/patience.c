/* SPDX-License-Identifier: BSD-3-Clause */
/* How long JetStream may take to answer, and how soon all may be read again: both learn, so a slow
 * server gets more time to answer, and an error that recurs makes the pauses longer. */
#include "bus/nats/patience.h"

/* An answer may take so many times as long as the last one did. */
#define SLACK 4

/* Between two readings of all last values that a doubt has caused. */
#define REREAD_MIN_MS 1000
#define REREAD_MAX_MS 60000

int64_t nats_patience_ms(const struct nats_patience *patience)
{
	return patience->wait_ms < NATS_REQUEST_TIMEOUT_MS ? NATS_REQUEST_TIMEOUT_MS
							   : patience->wait_ms;
}

static void patience_set(struct nats_patience *patience, int64_t wait_ms)
{
	patience->wait_ms = wait_ms < patience->max_ms ? wait_ms : patience->max_ms;
}

void nats_patience_lost(struct nats_patience *patience)
{
	patience_set(patience, 2 * nats_patience_ms(patience));
}

void nats_patience_rewarded(struct nats_patience *patience, int64_t took_ms)
{
	patience_set(patience, SLACK * took_ms);
}

bool nats_reread_begin(struct nats_reread *reread, int64_t now_ms)
{
	bool quiet = now_ms - reread->last_ms > 2 * REREAD_MAX_MS;

	reread->is_due = true;
	if (!quiet && reread->pause_ms > 0 && now_ms < reread->last_ms + reread->pause_ms)
		return false;
	reread->is_due = false;
	if (quiet || reread->pause_ms == 0)
		reread->pause_ms = REREAD_MIN_MS;
	else if (reread->pause_ms < REREAD_MAX_MS / 2)
		reread->pause_ms *= 2;
	else
		reread->pause_ms = REREAD_MAX_MS;
	reread->last_ms = now_ms;
	return true;
}

int64_t nats_reread_due_ms(const struct nats_reread *reread)
{
	return reread->is_due ? reread->last_ms + reread->pause_ms : INT64_MAX;
}
