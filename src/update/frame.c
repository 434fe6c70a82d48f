/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames: one allocation that holds the bytes as a chunk; without encoding they are the middle of
 * it. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "update/frame.h"
#include "update/update.h"

#define EVENT_SIZE 192

struct frame {
	atomic_uint references;
	int64_t id;
	struct span chunked; /* this and the next lie within `bytes` */
	struct span identity;
	char bytes[];
};

static struct frame *frame_new(int64_t id, size_t size)
{
	struct frame *frame = malloc(sizeof(*frame) + size);

	if (!frame)
		return NULL;
	atomic_init(&frame->references, 1);
	frame->id = id;
	return frame;
}

static size_t format_event(int64_t time_us, char ret_text[static EVENT_SIZE])
{
	char payload[UPDATE_PAYLOAD_SIZE];

	update_format_payload(time_us, payload);
	return (size_t)snprintf(ret_text, EVENT_SIZE,
		"id: %" PRId64 "\n"
		"event: environment_updated\n"
		"data: %s\n"
		"\n",
		time_us, payload);
}

struct frame *frame_new_update(int64_t time_us)
{
	char event[EVENT_SIZE], size_line[16];
	struct frame *frame;
	size_t n_event, n_line, n;

	n_event = format_event(time_us, event);
	n_line = (size_t)snprintf(size_line, sizeof(size_line), "%zx\r\n", n_event);
	n = n_line + n_event + strlen("\r\n");

	frame = frame_new(time_us, n);
	if (!frame)
		return NULL;
	memcpy(frame->bytes, size_line, n_line);
	memcpy(frame->bytes + n_line, event, n_event);
	memcpy(frame->bytes + n_line + n_event, "\r\n", strlen("\r\n"));
	frame->chunked = (struct span){frame->bytes, n};
	frame->identity = (struct span){frame->bytes + n_line, n_event};
	return frame;
}

struct frame *frame_new_bytes(const char *data, size_t length)
{
	struct frame *frame = frame_new(0, length);

	if (!frame)
		return NULL;
	if (length > 0)
		memcpy(frame->bytes, data, length);
	frame->chunked = frame->identity = (struct span){frame->bytes, length};
	return frame;
}

struct frame *frame_ref(struct frame *frame)
{
	/* Whoever adds a reference has one already, so nothing has to be ordered here. */
	atomic_fetch_add_explicit(&frame->references, 1, memory_order_relaxed);
	return frame;
}

struct frame *frame_unref(struct frame *frame)
{
	if (frame && atomic_fetch_sub_explicit(&frame->references, 1, memory_order_acq_rel) == 1)
		free(frame);
	return NULL;
}

struct span frame_bytes(const struct frame *frame, enum encoding encoding)
{
	return encoding == ENCODING_CHUNKED ? frame->chunked : frame->identity;
}

int64_t frame_id(const struct frame *frame)
{
	return frame->id;
}

#define SPAN_OF(literal) ((struct span){literal, sizeof(literal) - 1})

struct span frame_keepalive(enum encoding encoding)
{
	return encoding == ENCODING_CHUNKED ? SPAN_OF("3\r\n:\n\n\r\n") : SPAN_OF(":\n\n");
}

struct span frame_last(enum encoding encoding)
{
	return encoding == ENCODING_CHUNKED ? SPAN_OF("0\r\n\r\n") : SPAN_OF("");
}

size_t frame_format_greeting(
	unsigned retry_ms, enum encoding encoding, char ret_text[static FRAME_GREETING_SIZE])
{
	char text[48];
	int n;

	n = snprintf(text, sizeof(text), ": flagsse\nretry: %u\n\n", retry_ms);
	if (encoding == ENCODING_CHUNKED)
		n = snprintf(ret_text, FRAME_GREETING_SIZE, "%x\r\n%s\r\n", (unsigned)n, text);
	else
		n = snprintf(ret_text, FRAME_GREETING_SIZE, "%s", text);
	return (size_t)n;
}
