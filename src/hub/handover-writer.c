/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes the state that is handed over. */
#include <errno.h>
#include <string.h>

#include "base/table.h"
#include "hub/handover-layout.h"
#include "hub/handover.h"

struct buffer {
	char *data;
	size_t length, size;
};

/* An environment that has been added. */
struct added {
	struct table_node node; /* by the key */
	struct key key;
	uint32_t index;
};

struct handover_writer {
	struct buffer sections[N_SECTIONS];
	struct buffer items;
	struct table added; /* of struct added */
};

int handover_writer_new(struct handover_writer **ret)
{
	struct handover_writer *writer = calloc(1, sizeof(*writer));

	if (!writer)
		return -ENOMEM;
	table_init(&writer->added);
	*ret = writer;
	return 0;
}

struct handover_writer *handover_writer_free(struct handover_writer *writer)
{
	struct added *added, *next;

	if (!writer)
		return NULL;
	TABLE_FOREACH (added, next, &writer->added, node) {
		table_remove(&writer->added, &added->node);
		free(added);
	}
	for (int i = 0; i < N_SECTIONS; i++)
		free(writer->sections[i].data);
	free(writer->items.data);
	free(writer);
	return NULL;
}

static int buffer_add(struct buffer *buffer, const void *data, size_t length)
{
	if (length == 0)
		return 0;
	if (buffer->size - buffer->length < length) {
		size_t size = 2 * buffer->size + length + 4096;
		char *larger = realloc(buffer->data, size);

		if (!larger)
			return -ENOMEM;
		buffer->data = larger;
		buffer->size = size;
	}
	memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
	return 0;
}

static struct key_record key_to_record(const struct key *key)
{
	struct key_record record = {.length = key->length};

	memcpy(record.text, key->text, key->length);
	return record;
}

int handover_add_update(struct handover_writer *writer, const struct update *update)
{
	struct update_record record = {
		.time_us = update->time_us,
		.stored_us = update->stored_us,
		.key = key_to_record(&update->key),
	};

	return buffer_add(&writer->sections[SECTION_UPDATES], &record, sizeof(record));
}

/* Notes that it has been added under this index. */
static int note_added(struct handover_writer *writer, const struct key *key, uint32_t index)
{
	struct added *added = calloc(1, sizeof(*added));

	if (!added)
		return -ENOMEM;
	added->key = *key;
	added->index = index;
	if (table_add(&writer->added, &added->node, added->key.text, added->key.length) == 0)
		return 0;
	free(added);
	return -ENOMEM;
}

/* One shard may know of a latest frame, and another not, whose streams have all begun after it. */
static void merge_latest(struct buffer *section, uint32_t index, int64_t latest_us)
{
	char *at = section->data + index * sizeof(struct environment_record);
	struct environment_record record;

	memcpy(&record, at, sizeof(record));
	if (record.latest_us == 0)
		record.latest_us = latest_us;
	memcpy(at, &record, sizeof(record));
}

int handover_add_environment(struct handover_writer *writer,
	const struct handover_environment *environment, uint32_t *ret_index)
{
	struct buffer *section = &writer->sections[SECTION_ENVIRONMENTS];
	struct environment_record record = {
		.latest_us = environment->latest_us,
		.key = key_to_record(&environment->key),
	};
	uint32_t index = (uint32_t)(section->length / sizeof(record));
	struct added *added;
	int r;

	added = TABLE_ITEM(
		table_find(&writer->added, environment->key.text, environment->key.length),
		struct added, node);
	if (added) {
		merge_latest(section, added->index, environment->latest_us);
		*ret_index = added->index;
		return 0;
	}
	r = note_added(writer, &environment->key, index);
	if (r >= 0)
		r = buffer_add(section, &record, sizeof(record));
	if (r < 0)
		return r;
	*ret_index = index;
	return 0;
}

static uint8_t kind_of(const struct handover_stream *stream)
{
	uint8_t kind = stream->chunked ? HANDOVER_CHUNKED : 0;

	if (stream->phase == HANDOVER_LINGERING)
		kind |= HANDOVER_OVER;
	else if (stream->phase == HANDOVER_ENDING || stream->rest.length > 0)
		kind |= HANDOVER_CUT;
	return kind;
}

int handover_add_stream(
	struct handover_writer *writer, const struct handover_stream *stream, int fd)
{
	struct buffer *rests = &writer->sections[SECTION_RESTS];
	struct handover_item item = {.fd = fd, .kind = kind_of(stream)};
	struct stream_record record = {
		.last_ms = stream->last_ms,
		.environment = stream->environment,
		.rest_at = (uint32_t)rests->length,
		.rest_length = (uint16_t)stream->rest.length,
		.phase = (uint8_t)stream->phase,
		.flags = (uint8_t)((stream->chunked ? STREAM_FLAG_CHUNKED : 0) |
				   (stream->close_after_update ? STREAM_FLAG_CLOSE_AFTER_UPDATE
							       : 0) |
				   (stream->behind ? STREAM_FLAG_BEHIND : 0)),
		.end_ms = stream->end_ms,
	};
	int r;

	if (rests->length > UINT32_MAX - HANDOVER_REST_MAX)
		return -ENOMEM;
	r = buffer_add(&writer->items, &item, sizeof(item));
	if (r >= 0)
		r = buffer_add(rests, stream->rest.data, stream->rest.length);
	if (r >= 0)
		r = buffer_add(&writer->sections[SECTION_STREAMS], &record, sizeof(record));
	return r;
}

int handover_finish(
	const struct handover_writer *writer, int64_t now_ms, void **ret_state, size_t *ret_size)
{
	struct handover_header header = {
		.magic = HANDOVER_MAGIC,
		.version = HANDOVER_VERSION,
		.header_size = sizeof(header),
		.made_ms = now_ms,
	};
	size_t size = sizeof(header), at = sizeof(header);
	char *state;

	for (int i = 0; i < N_SECTIONS; i++) {
		const struct buffer *section = &writer->sections[i];

		header.sections[i].record_size = (uint32_t)handover_record_sizes[i].ours;
		header.sections[i].count =
			(uint32_t)(section->length / handover_record_sizes[i].ours);
		size += section->length;
	}
	state = malloc(size);
	if (!state)
		return -ENOMEM;
	memcpy(state, &header, sizeof(header));
	for (int i = 0; i < N_SECTIONS; i++) {
		if (writer->sections[i].length > 0)
			memcpy(state + at, writer->sections[i].data, writer->sections[i].length);
		at += writer->sections[i].length;
	}
	header.checksum = handover_checksum(state, size);
	memcpy(state, &header, sizeof(header));
	*ret_state = state;
	*ret_size = size;
	return 0;
}

size_t handover_environments(const struct handover_writer *writer)
{
	return table_count(&writer->added);
}

const struct handover_item *handover_items(const struct handover_writer *writer, size_t *ret_n)
{
	*ret_n = writer->items.length / sizeof(struct handover_item);
	return (const struct handover_item *)(const void *)writer->items.data;
}
