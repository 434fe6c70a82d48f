/* SPDX-License-Identifier: BSD-3-Clause */
/* What a shard keeps: a stream is a connection that events go out on, an environment is what
 * streams are subscribed to.  For the shard's own files; all of it belongs to the shard's thread.
 * They call each other in a circle: the shard's loop makes its streams and environments act, and
 * what becomes of these changes what the shard waits for. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/mailbox.h"
#include "base/metrics.h"
#include "base/pulse.h"
#include "base/table.h"
#include "hub/ends.h"
#include "hub/shard.h"
#include "hub/wire.h"
#include "update/frame.h"

enum stream_state {
	STREAM_OPEN,      /* in shard.open */
	STREAM_ENDING,    /* in shard.ending: `partial` holds all that is left to send; then FIN */
	STREAM_LINGERING, /* in shard.lingering: FIN is sent, the client's is awaited */
};

/* A client has nothing to say after its request.  Nevertheless it may send this much, and as much
 * again while its stream lingers; each read counts as one unit at least.  After that nothing is
 * read any more, and an open stream ends. */
#define STREAM_INPUT_UNIT 1024
#define STREAM_INPUT_MAX  UINT8_MAX /* units */

/* There are hundreds of thousands of these, so every byte counts: at most 96 with malloc's own. */
struct stream {
	LIST_ENTRY(stream) of_environment; /* not while lingering */
	TAILQ_ENTRY(stream) of_state;      /* oldest last_ms first */
	LIST_ENTRY(stream) of_wheel;       /* while open, if its life has an end */
	struct environment *environment;   /* NULL while lingering */
	struct frame *partial;             /* what is left of a write; NULL: nothing */
	int64_t last_ms;                   /* the last byte sent; lingering: the FIN */
	struct wire wire;
	uint32_t version;        /* the environment's version that it has */
	uint32_t end_tick;       /* the wheel's tick that ends its life; 0: none */
	uint16_t partial_offset; /* bytes of `partial` that are sent */
	uint8_t input;           /* units that were read; if it lingers, since then */
	uint8_t state : 2;       /* enum stream_state */
	bool chunked : 1;
	bool blocked : 1;            /* waits for room; the latest update follows then */
	bool close_after_update : 1; /* a long poll */
	bool aging : 1;              /* while open: its keep-alive may be sent */
};

_Static_assert(sizeof(struct stream) + sizeof(size_t) <= 96, "malloc() takes more for a stream");

TAILQ_HEAD(stream_queue, stream);
LIST_HEAD(stream_list, stream);

/* Exists while it has streams. */
struct environment {
	struct table_node node; /* by the key */
	struct stream_list
		streams; /* new ones come in at the head, where a cursor never meets them */
	size_t n_streams;
	struct frame *latest; /* the last one that came by mail; NULL: none yet */
	uint32_t version;     /* counts those */
	unsigned pins;        /* not to be freed while above 0 */

	/* The fan-out under way: */
	TAILQ_ENTRY(environment) of_fan_outs;
	bool fanning_out;      /* in shard.fan_outs */
	bool again;            /* a newer one came meanwhile: once round again, for those passed */
	int64_t told_us;       /* by hub_publish(): of the update that it brings ... */
	int64_t again_told_us; /* ... and of the first that came meanwhile */
	struct stream *cursor; /* the next to get the latest */
	size_t sent;           /* streams that the cursor has passed */
	int64_t began_ms;

	uint32_t index; /* among those that are handed over */
	uint8_t key_length;
	char key[];
};

TAILQ_HEAD(environment_queue, environment);

/* Ticks of a quarter of a second; a life longer than one turn (17 minutes) goes round again. */
#define WHEEL_TICK_MS 250
#define WHEEL_SLOTS   4096

/* Streams are counted by a hash of their environment's key, so that main can tell whether an update
 * concerns the shard without asking it. */
#define SUBSCRIBED_SLOTS 16384

struct shard {
	struct shard_settings settings;
	struct mailbox mailbox; /* any thread posts */
	struct mail_list mail;  /* taken from it, not yet acted upon */
	int epoll_fd;
	int64_t start_ms;
	int64_t now_ms; /* of this turn */
	bool stopping;
	bool draining;
	int64_t drain_begin_ms, drain_end_ms; /* the streams end within this time */
	size_t drain_open;                    /* how many there were when it began */
	size_t drain_ended;

	struct table environments;
	struct environment_queue fan_outs; /* the next one first */
	size_t n_fan_outs;
	struct stream_queue open; /* for keepalive.c to put in and take out */
	struct stream *young;     /* the first there that is not aging; all after it are not */
	size_t n_aging;           /* those before it */
	struct stream_queue ending;
	struct stream_queue lingering;
	struct stream_list wheel[WHEEL_SLOTS];
	uint32_t tick; /* the wheel's slots up to this one have been dealt with */
	size_t peak;   /* trim_is_due()'s */

	/* Main thread only: */
	pthread_t thread;
	bool started;
	bool is_left; /* the thread hangs, and has all of this for ever */
	struct shard_standing_mail *standing;

	/* The shard's thread counts, main reads: */
	struct pulse pulse;
	_Atomic size_t n_environments;
	_Atomic size_t n_streams; /* main adds, the shard's thread takes away */
	_Atomic uint32_t subscribed[SUBSCRIBED_SLOTS]; /* likewise */
	struct metrics metrics;
	_Atomic uint64_t ended[END_REASONS];
};

/* Counts a stream that ends for this reason, or could not begin. */
static inline void shard_count_end(struct shard *shard, enum end_reason reason)
{
	counter_add(&shard->ended[reason], 1);
}

/* Counts a stream of the environment whose key has this hash, table_hash(); or one less. */
static inline void shard_subscribe(struct shard *shard, uint32_t hash)
{
	atomic_fetch_add_explicit(
		&shard->subscribed[hash % SUBSCRIBED_SLOTS], 1, memory_order_relaxed);
}

static inline void shard_unsubscribe(struct shard *shard, uint32_t hash)
{
	atomic_fetch_sub_explicit(
		&shard->subscribed[hash % SUBSCRIBED_SLOTS], 1, memory_order_relaxed);
}

/* shard.c */

/* As hub_drain() has it, from now on. */
void shard_begin_drain(struct shard *shard, int64_t over_ms);

/* shard-mail.c */

/* Allocates the mail that must not fail for want of memory later; free() frees it.  NULL: out of
 * memory. */
struct shard_standing_mail *shard_standing_mail_new(void);

/* Main thread: ends the shard's thread, once it has read the mail before this. */
void shard_tell_to_stop(struct shard *shard);

/* Acts upon a slice of the mail, in order. */
void shard_read_mail(struct shard *shard);

/* stream.c */

/* Takes the connection over: greets it, sends the snapshot.  The descriptor and the snapshot's
 * reference are consumed.  Out of memory, or the client is gone: the connection is ended. */
void stream_begin(struct shard *shard, struct hub_arrival *arrival);

/* Sends the environment's latest update unless the stream has it, or is blocked and gets it later.
 * The stream may be freed. */
void stream_update(struct shard *shard, struct stream *stream);

/* A comment, so that proxies and the client see life.  The stream may be freed. */
void stream_keep_alive(struct shard *shard, struct stream *stream);

/* The one way to end a stream, cleanly or at once, as the reason's row in ends.def says.  Counts an
 * open one under the reason; one that is ending already is not counted again, and goes on with that
 * unless the reason cuts it.  The stream may be freed. */
void stream_close(struct shard *shard, struct stream *stream, enum end_reason reason);

/* What is left of a short write. */
struct span stream_rest(const struct stream *stream);

/* What the stream waits for, of enum wire_event: input, unless there was too much; room, if it is
 * blocked. */
unsigned stream_awaits(const struct stream *stream);

/* Whether the environment's latest update has not begun to go out on it. */
bool stream_is_behind(const struct stream *stream);

/* Ends its life at `end_ms`, on the clock of the shard. */
void stream_set_end(struct shard *shard, struct stream *stream, int64_t end_ms);

/* Acts upon what its wire has told, of enum wire_event.  The stream may be freed. */
void stream_on_event(struct shard *shard, struct stream *stream, unsigned events);

/* keepalive.c */

/* Puts the stream at the end of shard.open; its last_ms has been set. */
void keepalive_enter(struct shard *shard, struct stream *stream);

/* Takes the stream out. */
void keepalive_leave(struct shard *shard, struct stream *stream);

/* Sends a slice of the keep-alives that are due. */
void keepalives_send(struct shard *shard);

/* Milliseconds until some are due, if that is before `limit`; else `limit`. */
int64_t keepalives_wait(const struct shard *shard, int64_t limit);

/* environment.c */

/* Finds the environment or makes it.  NULL: out of memory. */
struct environment *environment_get(struct shard *shard, const struct key *key);

/* The stream has been counted by shard_subscribe(), from when it was on its way to the shard. */
void environment_attach(struct environment *environment, struct stream *stream);

/* May free the environment. */
void environment_detach(struct shard *shard, struct stream *stream);

/* A new latest update: begins a fan-out.  A fan-out that is under way goes on with the new update,
 * and then once round again for the streams that it had passed.  If it began anew each time, a run
 * of updates would starve the last streams. */
void environment_update(
	struct shard *shard, const struct key *key, struct frame *frame, int64_t told_us);

/* Begins a fan-out of the latest update to the streams that are behind, if none is under way. */
void environment_resume(struct shard *shard, struct environment *environment);

/* Does a slice of the work of all fan-outs, in turn.  Returns the milliseconds until there is more
 * to do: 0 now, -1 none. */
int environments_fan_out(struct shard *shard);
