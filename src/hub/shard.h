/* SPDX-License-Identifier: BSD-3-Clause */
/* A shard: one thread's share of the streams, with an epoll of its own.  What it owns nobody else
 * touches; it is told things by mail.  For hub.c and the tests. */
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

/* How long a stream that was ended waits for its client to close too (RFC 9112, section 9.6). */
#define SHARD_LINGER_MS 5000

/* How long a stream that ends waits for its client to read, where TCP_USER_TIMEOUT does not say it.
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

/* Ends the thread, if there is one, once it has read all its mail.  The streams stay as they are.
 * False: it hangs, and is left behind after THREAD_END_MS.  Nobody else may touch the shard then.
 */
bool shard_halt(struct shard *shard);

/* One turn of the loop; for the shard's thread, or a test's.  Waits for something to do if `wait`.
 * 0 or -errno, which is fatal. */
int shard_step(struct shard *shard, bool wait);

/* From here on: the main thread only. */

/* As hub_adopt() and hub_drain() have it. */
int shard_adopt(struct shard *shard, const struct hub_arrival *arrival);
void shard_drain(struct shard *shard, int64_t over_ms);

/* Whether an update of the environment concerns the shard: it has streams of it, or is about to. It
 * may be true where there are none. */
bool shard_is_subscribed(const struct shard *shard, const struct key *key);

/* What goes to all shards or, out of memory, to none, goes in two steps: the first (NULL: out of
 * memory) makes mail of an update, whose frame it references, or of new settings; the second cannot
 * fail, and consumes the mail, as discarding does. */
struct shard_mail;
struct shard_mail *shard_prepare_update(const struct key *key, struct frame *frame);
struct shard_mail *shard_prepare_settings(const struct shard_settings *settings);
void shard_deliver(struct shard *shard, struct shard_mail *mail);
void shard_discard(struct shard_mail *mail);

void shard_ping(struct shard *shard);
bool shard_is_alive(const struct shard *shard);
int64_t shard_silence_ms(const struct shard *shard); /* since it was asked; 0: it has answered */

size_t shard_streams(const struct shard *shard);
size_t shard_environments(const struct shard *shard);

/* While there is no thread: */

/* Adds its streams and their environments; none if its thread was left behind.  As hub_save(). */
int shard_save(struct shard *shard, struct handover_writer *writer);

/* A stream that comes from another process.  Of no environment, it can only be ended. */
struct shard_restored {
	const struct handover_stream *stream; /* its environment's index counts for nothing */
	int fd;
	const struct key *key; /* of its environment; NULL: none */
	struct frame *latest;  /* the environment's; NULL: none known */
};

/* Goes on with it.  Streams come in the order of their `last_ms`.  The descriptor, whose options
 * stay as they are, is consumed: out of memory, the connection is ended.  The frame is referenced.
 */
void shard_restore(struct shard *shard, const struct shard_restored *restored);

/* All have come: those that are behind get the latest from here on, and all but the first `keep`
 * that are open end cleanly.  Returns how many. */
size_t shard_restored(struct shard *shard, size_t keep);

/* What it has counted, to be read; and how many streams have ended for this reason. */
const struct metrics *shard_metrics(const struct shard *shard);
uint64_t shard_ended(const struct shard *shard, enum end_reason reason);
