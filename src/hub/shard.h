/* SPDX-License-Identifier: BSD-3-Clause */
/* A shard: one thread's share of the streams, with an epoll of its own.  Other threads do not touch
 * what it owns; they send it mail.  For hub.c and the tests. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "hub/handover.h"
#include "hub/hub.h"

struct shard;

struct shard_settings {
	int64_t keepalive_ms;
	int64_t user_timeout_ms;
	int64_t spread_ms;
	int64_t (*clock_ms)(void); /* monotonic; tests bring their own */
};

/* How long an ended stream waits for its client to close its side, too (RFC 9112, section 9.6). */
#define SHARD_LINGER_MS 5000

/* How long an ending stream waits for its client to read, if TCP_USER_TIMEOUT does not say.
 */
#define SHARD_ENDING_MS 120000

/* Sends, arrivals, or keep-alives in one turn of the loop: about a millisecond of work. */
#define SHARD_SLICE 256

int shard_new(const struct shard_settings *settings, struct shard **ret);

/* Stops the thread if there is one; closes what streams are left. */
struct shard *shard_free(struct shard *shard);
DEFINE_CLEANUP(struct shard *, shard_free)

/* Runs shard_step() in a thread until shard_halt() or shard_free(). */
int shard_start(struct shard *shard, unsigned number);

/* Ends the thread, if there is one, when it has read all its mail.  The streams stay as they are.
 * False: it hangs, and is left behind after THREAD_END_MS.  Nobody else may touch the shard
 * then. */
bool shard_halt(struct shard *shard);

/* One turn of the loop; for the shard's thread, or a test's.  Waits for something to do if `wait`.
 * 0 or -errno, which is fatal. */
int shard_step(struct shard *shard, bool wait);

/* From here on: the main thread only. */

/* As hub_adopt() and hub_drain() have it. */
int shard_adopt(struct shard *shard, const struct hub_arrival *arrival);
void shard_drain(struct shard *shard, int64_t over_ms);

/* Whether an update of the environment concerns the shard: it has streams of that environment, or
 * is about to.  May be true though there are none. */
bool shard_is_subscribed(const struct shard *shard, const struct key *key);

/* Mail for all shards, or for none of them if memory is short, takes two steps.  Preparing makes
 * mail of an update, whose frame it references, or of new settings (NULL: out of memory).
 * Delivering cannot fail, and consumes the mail; so does discarding. */
struct shard_mail;
struct shard_mail *shard_prepare_update(
	const struct key *key, struct frame *frame, int64_t told_us);
struct shard_mail *shard_prepare_settings(const struct shard_settings *settings);
void shard_deliver(struct shard *shard, struct shard_mail *mail);
void shard_discard(struct shard_mail *mail);

void shard_ping(struct shard *shard);
bool shard_is_alive(const struct shard *shard);
int64_t shard_silence_ms(const struct shard *shard); /* since it was asked; 0: it has answered */

size_t shard_streams(const struct shard *shard);
size_t shard_environments(const struct shard *shard);

/* While there is no thread: */

/* Adds the shard's streams and their environments; none if its thread was left behind.  See
 * hub_save(). */
int shard_save(struct shard *shard, struct handover_writer *writer);

/* A stream from another process.  Without an environment it can only be ended. */
struct shard_restored {
	const struct handover_stream *stream; /* its environment's index counts for nothing */
	int fd;
	const struct key *key; /* of its environment; NULL: none */
	struct frame *latest;  /* the environment's; NULL: none known */
};

/* Takes the stream up.  Call it in the order of `last_ms`.  Consumes the descriptor, and leaves its
 * options alone; out of memory, it ends the connection.  References the frame.
 */
void shard_restore(struct shard *shard, const struct shard_restored *restored);

/* Call it after the last stream.  Those that are behind get the latest from now on, and all open
 * ones but the first `keep` end cleanly.  Returns how many end. */
size_t shard_restored(struct shard *shard, size_t keep);

/* shard_metrics(): what it has counted, for reading.  shard_ended(): how many streams have ended
 * for this reason. */
const struct metrics *shard_metrics(const struct shard *shard);
uint64_t shard_ended(const struct shard *shard, enum end_reason reason);
