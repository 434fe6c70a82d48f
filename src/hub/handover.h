/* SPDX-License-Identifier: BSD-3-Clause */
/* What one process hands over to the next: all streams, their environments, and the registry, as
 * bytes.  The descriptors go beside it, in the order of the streams (stash.h).
 *
 * The layout has a version.  A reader takes its own version and older ones, whose records are
 * shorter: what they lack reads as 0.  So add members at the end of a record, with 0 as a good
 * default.  A reader refuses newer versions.  It trusts nothing: it checks the whole state before
 * it uses any of it.  Main thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "update/frame.h"
#include "update/update.h"

/* More than what is ever left of a write. */
#define HANDOVER_REST_MAX 2048

#define HANDOVER_NO_ENVIRONMENT UINT32_MAX

struct handover_environment {
	struct key key;
	int64_t latest_us; /* the id of the latest frame that its streams were sent; 0: none */
};

enum handover_phase {
	HANDOVER_OPEN,
	HANDOVER_ENDING,    /* the rest is all that is left to send; then FIN */
	HANDOVER_LINGERING, /* FIN is sent, the client's is awaited */
};

struct handover_stream {
	uint32_t environment; /* index of it; HANDOVER_NO_ENVIRONMENT only if it is not open */
	enum handover_phase phase;
	bool chunked;
	bool close_after_update;
	bool behind;      /* has not got its environment's latest */
	int64_t last_ms;  /* the last byte sent, or the FIN: CLOCK_MONOTONIC */
	int64_t end_ms;   /* its life ends then, likewise; 0: never */
	struct span rest; /* what is left of a write */
};

/* What is known of a stream whose state cannot be read: it goes with the descriptor. */
enum handover_kind {
	HANDOVER_CHUNKED = 1 << 0,
	HANDOVER_CUT = 1 << 1,  /* in the middle of a frame, or of its end */
	HANDOVER_OVER = 1 << 2, /* there is nothing more to send */
};

/* A stream's descriptor. */
struct handover_item {
	int fd;
	uint8_t kind; /* of enum handover_kind */
};

/* ---- Writing ---- */

struct handover_writer;

int handover_writer_new(struct handover_writer **ret);
struct handover_writer *handover_writer_free(struct handover_writer *writer);
DEFINE_CLEANUP(struct handover_writer *, handover_writer_free)

/* 0 or -ENOMEM, after which the writer can only be freed. */
int handover_add_update(struct handover_writer *writer, const struct update *update);

/* Likewise.  Several shards may add an environment; it is stored once. */
int handover_add_environment(struct handover_writer *writer,
	const struct handover_environment *environment, uint32_t *ret_index);

/* Likewise; after its environment.  The descriptor stays the caller's. */
int handover_add_stream(
	struct handover_writer *writer, const struct handover_stream *stream, int fd);

/* The state, malloc'ed; the caller frees it.  `now_ms` is CLOCK_MONOTONIC.  0 or -ENOMEM. */
int handover_finish(
	const struct handover_writer *writer, int64_t now_ms, void **ret_state, size_t *ret_size);

/* How many environments have been added. */
size_t handover_environments(const struct handover_writer *writer);

/* The descriptors in order, as long as the writer lives. */
const struct handover_item *handover_items(const struct handover_writer *writer, size_t *ret_n);

/* ---- Reading ---- */

struct handover {
	const char *updates, *environments, *streams, *rests; /* within the state */
	size_t n_updates, n_environments, n_streams;
	size_t update_size, environment_size, stream_size; /* of a record */
};

/* Checks the whole state; `now_ms` is CLOCK_MONOTONIC.  The state must live as long as *ret is
 * used.  0, or -EBADMSG with *ret_problem set to a static text. */
int handover_read(const void *state, size_t size, int64_t now_ms, struct handover *ret,
	const char **ret_problem);

/* What the first bytes of a state say of it. */
struct handover_head {
	size_t n_streams;
	int64_t made_ms; /* when, by CLOCK_MONOTONIC; 0: it does not say, as it is of version 2 */
};

/* More than a head has. */
#define HANDOVER_HEAD_MAX 128

/* Reads only the first bytes, HANDOVER_HEAD_MAX at most: for callers that must not touch a state
 * that may be bad in a way that nobody has thought of.  0; -EBADMSG: it cannot be read. */
int handover_read_head(const void *start, size_t size, struct handover_head *ret);

/* The i-th of each.  An update has no number: the next bus may be another one. */
void handover_get_update(const struct handover *handover, size_t i, struct update *ret);
void handover_get_environment(
	const struct handover *handover, size_t i, struct handover_environment *ret);
void handover_get_stream(const struct handover *handover, size_t i, struct handover_stream *ret);

/* The checksum that a state of this size should have; for tests, which damage some. */
uint64_t handover_checksum(const void *state, size_t size);
