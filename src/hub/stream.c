/* SPDX-License-Identifier: BSD-3-Clause */
/* One stream: its beginning, its writes (all at once, or the rest when there is room), its end. */
#include <errno.h>
#include <string.h>

#include "hub/shard-internal.h"

/* More than what is ever written at once: a response head, a greeting, an event, a last chunk. */
#define BUFFER_SIZE 2048

static enum encoding stream_encoding(const struct stream *stream)
{
	return stream->chunked ? ENCODING_CHUNKED : ENCODING_IDENTITY;
}

static struct stream_queue *stream_queue_of(struct shard *shard, const struct stream *stream)
{
	return stream->state == STREAM_ENDING ? &shard->ending : &shard->lingering;
}

static void stream_leave(struct shard *shard, struct stream *stream)
{
	if (stream->state == STREAM_OPEN)
		keepalive_leave(shard, stream);
	else
		TAILQ_REMOVE(stream_queue_of(shard, stream), stream, of_state);
}

/* Puts it last in the queue of its (new) state, as of now. */
static void stream_enter(struct shard *shard, struct stream *stream, enum stream_state state)
{
	stream_leave(shard, stream);
	if (stream->state == STREAM_OPEN && state != STREAM_OPEN && stream->end_tick > 0)
		LIST_REMOVE(stream, of_wheel);
	stream->state = state;
	stream->last_ms = shard->now_ms;
	if (state == STREAM_OPEN)
		keepalive_enter(shard, stream);
	else
		TAILQ_INSERT_TAIL(stream_queue_of(shard, stream), stream, of_state);
}

/* Closes the connection, in whatever state it is, and forgets the stream. */
static void stream_free(struct shard *shard, struct stream *stream)
{
	if (stream->state == STREAM_OPEN && stream->end_tick > 0)
		LIST_REMOVE(stream, of_wheel);
	stream_leave(shard, stream);
	environment_detach(shard, stream);
	frame_unref(stream->partial);
	wire_free(&stream->wire, shard->epoll_fd);
	free(stream);
	metrics_add(&shard->metrics, COUNT_STREAMS_CLOSED, 1);
	atomic_fetch_sub(&shard->n_streams, 1);
}

unsigned stream_awaits(const struct stream *stream)
{
	return (stream->input < STREAM_INPUT_MAX ? WIRE_INPUT : 0u) |
	       (stream->blocked ? WIRE_ROOM : 0u);
}

/* Sets both, and tells the wire if that makes a difference.  0; -errno: the stream is to be freed.
 */
static int stream_set(struct shard *shard, struct stream *stream, bool blocked, uint8_t input)
{
	unsigned before = stream_awaits(stream), after;

	stream->blocked = blocked;
	stream->input = input;
	after = stream_awaits(stream);
	return after == before ? 0 : wire_await(&stream->wire, shard->epoll_fd, after, stream);
}

/* Waits for room, or no longer.  As stream_set(). */
static int stream_set_blocked(struct shard *shard, struct stream *stream, bool blocked)
{
	return stream_set(shard, stream, blocked, stream->input);
}

/* As wire_send(); counts the bytes. */
static ssize_t stream_send(struct shard *shard, struct stream *stream, struct span span)
{
	ssize_t n = wire_send(&stream->wire, span);

	if (n > 0)
		metrics_add(&shard->metrics, COUNT_SENT_BYTES, (uint64_t)n);
	return n;
}

struct span stream_rest(const struct stream *stream)
{
	struct span rest;

	if (!stream->partial)
		return (struct span){NULL, 0};
	rest = frame_bytes(stream->partial, ENCODING_IDENTITY);
	return (struct span){
		rest.data + stream->partial_offset, rest.length - stream->partial_offset};
}

/* Keeps bytes to be sent when there is room for them.  0 or -ENOMEM. */
static int stream_keep(struct stream *stream, struct span span)
{
	stream->partial = frame_new_bytes(span.data, span.length);
	stream->partial_offset = 0;
	return stream->partial ? 0 : -ENOMEM;
}

/* Writes in one piece; if the wire takes only some, keeps the rest.  1: it is on its way.  0: there
 * is no room and nothing was written; the stream is blocked now.  -errno: the stream is to be
 * freed. */
static int stream_write(struct shard *shard, struct stream *stream, struct span span)
{
	ssize_t n = stream_send(shard, stream, span);
	int r;

	if (n < 0)
		return (int)n;
	if ((size_t)n < span.length) {
		r = stream_set_blocked(shard, stream, true);
		if (r < 0)
			return r;
	}
	if (n == 0)
		return 0;
	if ((size_t)n < span.length) {
		struct span rest = {span.data + n, span.length - (size_t)n};

		r = stream_keep(stream, rest);
		if (r < 0)
			return r;
	}
	stream_enter(shard, stream, stream->state);
	return 1;
}

static void stream_shut_down(struct shard *shard, struct stream *stream)
{
	/* It is read again, so that the client's own end is seen, and no unread input resets it. */
	if (wire_end(&stream->wire) < 0 || stream_set(shard, stream, false, 0) < 0) {
		stream_free(shard, stream);
		return;
	}
	environment_detach(shard, stream);
	stream_enter(shard, stream, STREAM_LINGERING);
}

static size_t append(char *buffer, size_t length, struct span span)
{
	if (span.length > 0)
		memcpy(buffer + length, span.data, span.length);
	return length + span.length;
}

bool stream_is_behind(const struct stream *stream)
{
	return stream->version != stream->environment->version;
}

/* All that is to go out on a stream that ends: the rest of a write, the latest update if it is
 * still to come, the last chunk.  Returns the length, 0 also where it would be too long (which
 * nothing is). */
static size_t stream_compose_end(
	struct shard *shard, struct stream *stream, char *buffer, size_t size)
{
	enum encoding encoding = stream_encoding(stream);
	struct span rest = stream_rest(stream), update = {NULL, 0}, last = frame_last(encoding);
	size_t length = 0;

	if (stream_is_behind(stream)) {
		update = frame_bytes(stream->environment->latest, encoding);
		stream->version = stream->environment->version;
		metrics_add(&shard->metrics, COUNT_EVENTS_SENT, 1);
	}
	if (rest.length + update.length + last.length > size)
		return 0;
	length = append(buffer, length, rest);
	length = append(buffer, length, update);
	return append(buffer, length, last);
}

/* Ends an open stream: what is half written, the last chunk, FIN.  Then waits for the client to
 * close, so that no unread input turns the end into a reset. */
static void stream_end(struct shard *shard, struct stream *stream)
{
	char buffer[BUFFER_SIZE];
	struct span end = {buffer, 0};
	int r = 0;

	stream_enter(shard, stream, STREAM_ENDING);
	end.length = stream_compose_end(shard, stream, buffer, sizeof(buffer));
	stream->partial = frame_unref(stream->partial);
	if (!stream->blocked && end.length > 0)
		r = stream_write(shard, stream, end);
	if (r < 0) {
		stream_free(shard, stream);
		return;
	}
	if (!stream->blocked) {
		stream_shut_down(shard, stream);
		return;
	}
	if (r == 0 && stream_keep(stream, end) < 0)
		stream_free(shard, stream);
}

void stream_close(struct shard *shard, struct stream *stream, enum end_reason reason)
{
	if (stream->state == STREAM_OPEN)
		shard_count_end(shard, reason);
	if (!end_is_clean(reason))
		stream_free(shard, stream);
	else if (stream->state == STREAM_OPEN)
		stream_end(shard, stream);
}

void stream_update(struct shard *shard, struct stream *stream)
{
	const struct environment *environment = stream->environment;
	uint32_t missed;
	int r;

	if (stream->state != STREAM_OPEN || stream->blocked || !stream_is_behind(stream))
		return;
	missed = environment->version - stream->version;
	r = stream_write(shard, stream, frame_bytes(environment->latest, stream_encoding(stream)));
	if (r < 0) {
		stream_close(shard, stream, end_of_error(r));
		return;
	}
	if (r == 0)
		return;
	stream->version = environment->version;
	metrics_add(&shard->metrics, COUNT_EVENTS_SENT, 1);
	metrics_add(&shard->metrics, COUNT_EVENTS_REPLACED, missed - 1);
	if (stream->close_after_update)
		stream_close(shard, stream, END_LONG_POLL);
}

void stream_keep_alive(struct shard *shard, struct stream *stream)
{
	int r;

	if (stream->blocked) {
		/* Bytes are waiting already. */
		stream_enter(shard, stream, STREAM_OPEN);
		return;
	}
	r = stream_write(shard, stream, frame_keepalive(stream_encoding(stream)));
	if (r < 0)
		stream_close(shard, stream, end_of_error(r));
	else if (r > 0)
		metrics_add(&shard->metrics, COUNT_KEEPALIVES_SENT, 1);
}

/* The rest of a write that was short.  1: all of it is sent; 0: not yet; -errno. */
static int stream_flush(struct shard *shard, struct stream *stream)
{
	struct span rest;
	ssize_t n;

	if (!stream->partial)
		return 1;
	rest = stream_rest(stream);
	n = stream_send(shard, stream, rest);
	if (n < 0)
		return (int)n;
	stream->partial_offset = (uint16_t)(stream->partial_offset + n);
	if ((size_t)n < rest.length)
		return 0;
	stream->partial = frame_unref(stream->partial);
	stream_enter(shard, stream, stream->state);
	return 1;
}

static void stream_on_writable(struct shard *shard, struct stream *stream)
{
	int r = stream_flush(shard, stream);

	if (r > 0 && stream->state == STREAM_ENDING) {
		stream_shut_down(shard, stream);
		return;
	}
	if (r > 0)
		r = stream_set_blocked(shard, stream, false);
	if (r < 0) {
		stream_close(shard, stream, end_of_error(r));
		return;
	}
	if (!stream->blocked)
		stream_update(shard, stream);
}

/* Reads some and counts it.  0; -EPIPE: the client has closed; another -errno: it is gone. */
static int stream_discard_input(struct shard *shard, struct stream *stream)
{
	ssize_t n = wire_discard(&stream->wire);
	size_t units;

	if (n <= 0)
		return (int)n;
	units = stream->input + ((size_t)n + STREAM_INPUT_UNIT - 1) / STREAM_INPUT_UNIT;
	if (units > STREAM_INPUT_MAX)
		units = STREAM_INPUT_MAX;
	return stream_set(shard, stream, stream->blocked, (uint8_t)units);
}

void stream_on_event(struct shard *shard, struct stream *stream, unsigned events)
{
	int r = events & WIRE_INPUT ? stream_discard_input(shard, stream) : 0;

	if (r < 0) {
		stream_close(shard, stream, end_of_error(r));
		return;
	}
	if (stream->input == STREAM_INPUT_MAX && stream->state == STREAM_OPEN) {
		stream_close(shard, stream, END_TOO_MUCH_INPUT);
		return;
	}
	if (events & WIRE_ROOM && stream->blocked)
		stream_on_writable(shard, stream);
}

/* All in one write: the response head, the greeting, the snapshot. */
static int stream_greet(
	struct shard *shard, struct stream *stream, const struct hub_arrival *arrival)
{
	char buffer[BUFFER_SIZE];
	size_t length = arrival->head.length;
	int r;

	if (length + FRAME_GREETING_SIZE > sizeof(buffer))
		return -EMSGSIZE;
	memcpy(buffer, arrival->head.data, length);
	length += frame_format_greeting(arrival->retry_ms, arrival->encoding, buffer + length);
	if (arrival->snapshot) {
		struct span event = frame_bytes(arrival->snapshot, arrival->encoding);

		if (length + event.length > sizeof(buffer))
			return -EMSGSIZE;
		memcpy(buffer + length, event.data, event.length);
		length += event.length;
	}
	r = stream_write(shard, stream, (struct span){buffer, length});
	/* A wire so full that it takes nothing at all has been used by somebody else. */
	return r == 0 ? -EBUSY : r;
}

void stream_set_end(struct shard *shard, struct stream *stream, int64_t end_ms)
{
	int64_t after_ms = end_ms - shard->start_ms;

	stream->end_tick = (uint32_t)(after_ms > 0 ? after_ms / WHEEL_TICK_MS : 0) + 1;
	/* One whose time is over ends at the next tick. */
	if (stream->end_tick <= shard->tick)
		stream->end_tick = shard->tick + 1;
	LIST_INSERT_HEAD(&shard->wheel[stream->end_tick % WHEEL_SLOTS], stream, of_wheel);
}

/* The stream's place in the shard.  NULL: out of memory, or of epoll's watches; the wire is to be
 * dismissed, as it may be watched already. */
static struct stream *stream_new(
	struct shard *shard, struct wire wire, const struct hub_arrival *arrival)
{
	_cleanup_(freep) struct stream *stream = calloc(1, sizeof(*stream));
	struct environment *environment;

	if (!stream)
		return NULL;
	stream->wire = wire;
	stream->chunked = arrival->encoding == ENCODING_CHUNKED;
	stream->close_after_update = arrival->close_after_update;
	if (wire_watch(&stream->wire, shard->epoll_fd, stream_awaits(stream), stream) < 0)
		return NULL;
	environment = environment_get(shard, &arrival->key);
	if (!environment)
		return NULL;
	environment_attach(environment, stream);
	stream->state = STREAM_OPEN;
	stream->last_ms = shard->now_ms;
	keepalive_enter(shard, stream);
	if (arrival->lifetime_ms > 0)
		stream_set_end(shard, stream, shard->now_ms + arrival->lifetime_ms);
	metrics_add(&shard->metrics, COUNT_STREAMS_OPENED, 1);
	return TAKE_PTR(stream);
}

/* Nothing of the connection can be kept, so it gets a clean, empty answer, after which its client
 * comes back. */
static void refuse(struct shard *shard, const struct wire *wire, const struct hub_arrival *arrival)
{
	struct span last = frame_last(arrival->encoding);
	char buffer[BUFFER_SIZE];
	struct span answer = {buffer, 0};

	if (arrival->head.length + last.length <= sizeof(buffer)) {
		answer.length = append(buffer, answer.length, arrival->head);
		answer.length = append(buffer, answer.length, last);
	}
	wire_dismiss(wire, shard->epoll_fd, answer);
	shard_count_end(shard, END_REFUSED);
	shard_unsubscribe(shard, table_hash(arrival->key.text, arrival->key.length));
	atomic_fetch_sub(&shard->n_streams, 1);
}

void stream_begin(struct shard *shard, struct hub_arrival *arrival)
{
	struct wire wire = wire_of_socket(arrival->fd);
	struct stream *stream;
	int r = 0;

	wire_set_user_timeout(&wire, shard->settings.user_timeout_ms);
	stream = stream_new(shard, wire, arrival);
	if (stream)
		r = stream_greet(shard, stream, arrival);
	if (!stream)
		refuse(shard, &wire, arrival);
	else if (r < 0)
		stream_close(shard, stream, end_of_error(r));
	else if (arrival->snapshot)
		metrics_add(&shard->metrics, COUNT_EVENTS_SENT, 1);
	arrival->snapshot = frame_unref(arrival->snapshot);
}
