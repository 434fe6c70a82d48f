/* SPDX-License-Identifier: BSD-3-Clause */
/* A frame: bytes that go to a client in one send().  Immutable and reference-counted, so that all
 * shards share it.  Event format: WHATWG HTML, "Server-sent events"; chunks: RFC 9112, section 7.1.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

enum encoding {
	ENCODING_IDENTITY, /* HTTP/1.0: the body ends with the connection */
	ENCODING_CHUNKED,  /* HTTP/1.1: each frame is one chunk */
};

struct span {
	const char *data;
	size_t length;
};

struct frame;

/* The event of an update at `time_us`, in both encodings.  One reference, the caller's.  NULL: out
 * of memory. */
struct frame *frame_new_update(int64_t time_us);

/* A frame of any bytes, which are the same in both encodings: for what is left of a write.  As
 * above. */
struct frame *frame_new_bytes(const char *data, size_t length);

/* Any thread. */
struct frame *frame_ref(struct frame *frame);
struct frame *frame_unref(struct frame *frame); /* takes NULL; returns NULL */
DEFINE_CLEANUP(struct frame *, frame_unref)

/* The bytes to send; they live as long as the frame. */
struct span frame_bytes(const struct frame *frame, enum encoding encoding);

/* The id of the event: updated_at in whole microseconds; 0 for frame_new_bytes(). */
int64_t frame_id(const struct frame *frame);

/* Static: the keep-alive comment, and what ends a body (the last chunk; nothing for identity). */
struct span frame_keepalive(enum encoding encoding);
struct span frame_last(enum encoding encoding);

#define FRAME_GREETING_SIZE 64

/* The first thing on a stream: a comment, and after how many milliseconds to reconnect.  Returns
 * the length written. */
size_t frame_format_greeting(
	unsigned retry_ms, enum encoding encoding, char ret_text[static FRAME_GREETING_SIZE]);
