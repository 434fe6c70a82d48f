/* SPDX-License-Identifier: BSD-3-Clause */
/* A shard's streams go into the state of a hand-over, and come out of one.  Its thread does not run
 * meanwhile. */
#include <errno.h>
#include <string.h>

#include "hub/shard-internal.h"

/* ---- Into a state ---- */

static int save_environment(struct environment *environment, struct handover_writer *writer)
{
	struct handover_environment saved = {
		.key.length = environment->key_length,
		.latest_us = environment->latest ? frame_id(environment->latest) : 0,
	};

	memcpy(saved.key.text, environment->key, environment->key_length);
	return handover_add_environment(writer, &saved, &environment->index);
}

/* When its life ends: the first moment of its tick. */
static int64_t end_of(const struct shard *shard, const struct stream *stream)
{
	if (stream->end_tick == 0)
		return 0;
	return shard->start_ms + (int64_t)(stream->end_tick - 1) * WHEEL_TICK_MS;
}

static enum handover_phase phase_of(const struct stream *stream)
{
	switch (stream->state) {
	case STREAM_OPEN:
		return HANDOVER_OPEN;
	case STREAM_ENDING:
		return HANDOVER_ENDING;
	default:
		return HANDOVER_LINGERING;
	}
}

static int save_stream(
	const struct shard *shard, const struct stream *stream, struct handover_writer *writer)
{
	struct handover_stream saved = {
		.environment =
			stream->environment ? stream->environment->index : HANDOVER_NO_ENVIRONMENT,
		.phase = phase_of(stream),
		.chunked = stream->chunked,
		.close_after_update = stream->close_after_update,
		.behind = stream->state == STREAM_OPEN && stream_is_behind(stream),
		.last_ms = stream->last_ms,
		.end_ms = stream->state == STREAM_OPEN ? end_of(shard, stream) : 0,
		.rest = stream_rest(stream),
	};
	int fd = wire_save(&stream->wire);

	return fd < 0 ? fd : handover_add_stream(writer, &saved, fd);
}

int shard_save(struct shard *shard, struct handover_writer *writer)
{
	const struct stream_queue *queues[] = {&shard->open, &shard->ending, &shard->lingering};
	struct environment *environment, *next;
	const struct stream *stream;
	int r;

	if (shard->is_left)
		return 0;
	TABLE_FOREACH (environment, next, &shard->environments, node) {
		r = save_environment(environment, writer);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
		TAILQ_FOREACH (stream, queues[i], of_state) {
			r = save_stream(shard, stream, writer);
			if (r < 0)
				return r;
		}
	return 0;
}

/* ---- Out of a state ---- */

/* The environment with its latest update.  NULL: out of memory. */
static struct environment *restore_environment(
	struct shard *shard, const struct key *key, struct frame *latest)
{
	struct environment *environment = environment_get(shard, key);

	if (environment && latest && !environment->latest) {
		environment->latest = frame_ref(latest);
		environment->version++;
		/* Those that came before had the same one: they were not behind. */
		for (struct stream *stream = LIST_FIRST(&environment->streams); stream;
			stream = LIST_NEXT(stream, of_environment))
			stream->version = environment->version;
	}
	return environment;
}

static struct stream *restore_stream(struct shard *shard, const struct shard_restored *restored)
{
	const struct handover_stream *saved = restored->stream;
	_cleanup_(freep) struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->wire = wire_of_socket(restored->fd);
	stream->chunked = saved->chunked;
	stream->close_after_update = saved->close_after_update;
	stream->last_ms = saved->last_ms;
	stream->blocked = saved->rest.length > 0 || saved->phase == HANDOVER_ENDING;
	if (stream->blocked)
		stream->partial = frame_new_bytes(saved->rest.data, saved->rest.length);
	if ((stream->blocked && !stream->partial) ||
		wire_watch(&stream->wire, shard->epoll_fd, stream_awaits(stream), stream) < 0) {
		frame_unref(stream->partial);
		return NULL;
	}
	return TAKE_PTR(stream);
}

static void restore_open(
	struct shard *shard, struct stream *stream, const struct handover_stream *saved)
{
	stream->state = STREAM_OPEN;
	keepalive_enter(shard, stream);
	if (saved->end_ms > 0)
		stream_set_end(shard, stream, saved->end_ms);
	if (saved->behind) {
		stream->version--;
		stream->environment->again = true;
	}
}

/* Out of memory.  Its client gets an end without a reset and, if nothing is half written, with the
 * last chunk.  `stream` may be NULL. */
static void give_up(
	struct shard *shard, struct stream *stream, const struct shard_restored *restored)
{
	const struct handover_stream *saved = restored->stream;
	struct wire wire = wire_of_socket(restored->fd);
	struct span last = {NULL, 0};

	if (saved->phase == HANDOVER_OPEN && saved->rest.length == 0)
		last = frame_last(saved->chunked ? ENCODING_CHUNKED : ENCODING_IDENTITY);
	if (stream)
		frame_unref(stream->partial);
	free(stream);
	wire_dismiss(&wire, shard->epoll_fd, last);
	shard_count_end(shard, END_REFUSED);
}

void shard_restore(struct shard *shard, const struct shard_restored *restored)
{
	const struct handover_stream *saved = restored->stream;
	bool open = saved->phase == HANDOVER_OPEN;
	struct environment *environment = NULL;
	struct stream *stream;

	stream = restore_stream(shard, restored);
	if (stream && open)
		environment = restore_environment(shard, restored->key, restored->latest);
	if (!stream || (open && !environment)) {
		give_up(shard, stream, restored);
		return;
	}
	if (environment) {
		shard_subscribe(shard, environment->node.hash);
		environment_attach(environment, stream);
		restore_open(shard, stream, saved);
	} else if (saved->phase == HANDOVER_ENDING) {
		stream->state = STREAM_ENDING;
		TAILQ_INSERT_TAIL(&shard->ending, stream, of_state);
	} else {
		stream->state = STREAM_LINGERING;
		TAILQ_INSERT_TAIL(&shard->lingering, stream, of_state);
	}
	if (!open)
		shard_count_end(shard, END_TAKEN_UP_ENDING);
	atomic_fetch_add(&shard->n_streams, 1);
	metrics_add(&shard->metrics, COUNT_STREAMS_OPENED, 1);
}

size_t shard_restored(struct shard *shard, size_t keep)
{
	struct environment *environment, *next_environment;
	struct stream *stream, *next;
	size_t n_open = 0, n_ended = 0;

	shard->now_ms = shard->settings.clock_ms();
	for (stream = TAILQ_FIRST(&shard->open); stream; stream = next) {
		next = TAILQ_NEXT(stream, of_state);
		if (n_open++ < keep)
			continue;
		stream_close(shard, stream, END_SURPLUS);
		n_ended++;
	}
	TABLE_FOREACH (environment, next_environment, &shard->environments, node)
		if (environment->again)
			environment_resume(shard, environment);
	return n_ended;
}
