/* SPDX-License-Identifier: BSD-3-Clause */
/* The state that is handed over, written and read. */
#include "hub/handover.h"

#include <errno.h>
#include <string.h>

#include "base/table.h"
#include "hub/handover-layout.h"
#include "update/timestamp.h"

/* A life may end so far ahead: what streams.max_age allows, and a day. */
#define END_MAX_MS INT64_C(691200000)

#define CHECKED_FROM (offsetof(struct handover_header, checksum) + sizeof(uint64_t))

_Static_assert(sizeof(((struct key_record *)0)->text) >= KEY_MAX_LENGTH, "a key has to fit in");

/* What the records of a section may have: version 1's size at least, ours at most. */
static const struct {
	size_t oldest, ours;
} record_sizes[N_SECTIONS] = {
	[SECTION_UPDATES] = {sizeof(struct update_record), sizeof(struct update_record)},
	[SECTION_ENVIRONMENTS] = {sizeof(struct environment_record),
		sizeof(struct environment_record)},
	[SECTION_STREAMS] = {offsetof(struct stream_record, end_ms), sizeof(struct stream_record)},
	[SECTION_RESTS] = {1, 1},
};

/* FNV-1a: against damage, not against attackers; only systemd and we have it in hands. */
uint64_t handover_checksum(const void *state, size_t size)
{
	const unsigned char *bytes = state;
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = CHECKED_FROM; i < size; i++)
		sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
	return sum;
}

/* ---- Writing ---- */

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

		header.sections[i].record_size = (uint32_t)record_sizes[i].ours;
		header.sections[i].count = (uint32_t)(section->length / record_sizes[i].ours);
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

/* ---- Reading ---- */

/* The i-th record of a section, in our size. */
static void get_record(const char *section, size_t i, size_t record_size, void *ret, size_t size)
{
	memset(ret, 0, size);
	memcpy(ret, section + i * record_size, record_size);
}

static void get_update_record(const struct handover *handover, size_t i, struct update_record *ret)
{
	get_record(handover->updates, i, handover->update_size, ret, sizeof(*ret));
}

static void get_environment_record(
	const struct handover *handover, size_t i, struct environment_record *ret)
{
	get_record(handover->environments, i, handover->environment_size, ret, sizeof(*ret));
}

static void get_stream_record(const struct handover *handover, size_t i, struct stream_record *ret)
{
	get_record(handover->streams, i, handover->stream_size, ret, sizeof(*ret));
}

static size_t header_size_of(uint32_t version)
{
	return version < 3 ? HANDOVER_SHORT_HEADER : sizeof(struct handover_header);
}

static const char *check_header(const void *state, size_t size, struct handover_header *ret)
{
	*ret = (struct handover_header){0};
	if (size < HANDOVER_SHORT_HEADER)
		return "it is too short";
	memcpy(ret, state, HANDOVER_SHORT_HEADER);
	if (memcmp(ret->magic, HANDOVER_MAGIC, sizeof(ret->magic)) != 0)
		return "it is none of flagsse";
	if (ret->version > HANDOVER_VERSION)
		return "it is of a newer version";
	if (ret->version < HANDOVER_OLDEST)
		return "it is of a version that is too old";
	if (ret->header_size != header_size_of(ret->version))
		return "its header has a wrong size";
	if (size < ret->header_size)
		return "it is too short";
	memcpy(ret, state, ret->header_size);
	return NULL;
}

static const char *check_sections(
	const struct handover_header *header, const char *state, size_t size, struct handover *ret)
{
	const char *starts[N_SECTIONS];
	uint64_t at = header->header_size;

	for (int i = 0; i < N_SECTIONS; i++) {
		const struct handover_section *section = &header->sections[i];

		if (section->record_size < record_sizes[i].oldest ||
			section->record_size > record_sizes[i].ours)
			return "its records have a wrong size";
		starts[i] = state + at;
		/* Neither overflows: factors of 32 bits, and of those less than 128 records. */
		at += (uint64_t)section->record_size * section->count;
		if (at > size)
			return "it is cut off";
	}
	if (at != size)
		return "it is too long";
	*ret = (struct handover){
		.updates = starts[SECTION_UPDATES],
		.environments = starts[SECTION_ENVIRONMENTS],
		.streams = starts[SECTION_STREAMS],
		.rests = starts[SECTION_RESTS],
		.n_updates = header->sections[SECTION_UPDATES].count,
		.n_environments = header->sections[SECTION_ENVIRONMENTS].count,
		.n_streams = header->sections[SECTION_STREAMS].count,
		.update_size = header->sections[SECTION_UPDATES].record_size,
		.environment_size = header->sections[SECTION_ENVIRONMENTS].record_size,
		.stream_size = header->sections[SECTION_STREAMS].record_size,
	};
	return NULL;
}

static bool is_key(const struct key_record *record)
{
	struct key key;

	return record->length <= sizeof(record->text) &&
	       key_parse(record->text, record->length, &key) == 0;
}

static bool is_time(int64_t us)
{
	return us >= TIMESTAMP_MIN_US && us <= TIMESTAMP_LIMIT_US;
}

static bool are_updates_valid(const struct handover *handover)
{
	struct update_record record;

	for (size_t i = 0; i < handover->n_updates; i++) {
		get_update_record(handover, i, &record);
		/* It was stored by the bus's clock, whatever that says. */
		if (!is_key(&record.key) || !is_time(record.time_us) || record.stored_us < 0 ||
			record.stored_us > TIMESTAMP_MAX_US)
			return false;
	}
	return true;
}

static bool are_environments_valid(const struct handover *handover)
{
	struct environment_record record;

	for (size_t i = 0; i < handover->n_environments; i++) {
		get_environment_record(handover, i, &record);
		if (!is_key(&record.key) || (record.latest_us != 0 && !is_time(record.latest_us)))
			return false;
	}
	return true;
}

/* Whether its parts fit each other. */
static bool is_phase_valid(const struct handover *handover, const struct stream_record *record)
{
	bool behind = record->flags & STREAM_FLAG_BEHIND;
	struct environment_record environment;

	if (record->phase > HANDOVER_LINGERING)
		return false;
	if (record->phase != HANDOVER_OPEN)
		return !behind && (record->phase != HANDOVER_LINGERING || record->rest_length == 0);
	if (record->environment >= handover->n_environments)
		return false;
	get_environment_record(handover, record->environment, &environment);
	return !behind || environment.latest_us != 0;
}

static bool are_streams_valid(const struct handover *handover, size_t n_rests, int64_t now_ms)
{
	struct stream_record record;

	for (size_t i = 0; i < handover->n_streams; i++) {
		get_stream_record(handover, i, &record);
		if (record.flags & ~STREAM_FLAGS || record.unused != 0 ||
			!is_phase_valid(handover, &record))
			return false;
		if (record.environment >= handover->n_environments &&
			record.environment != HANDOVER_NO_ENVIRONMENT)
			return false;
		if (record.rest_length > HANDOVER_REST_MAX || record.rest_at > n_rests ||
			record.rest_length > n_rests - record.rest_at)
			return false;
		if (record.last_ms < 0 || record.last_ms > now_ms || record.end_ms < 0 ||
			record.end_ms > now_ms + END_MAX_MS)
			return false;
	}
	return true;
}

static const char *check(const void *state, size_t size, int64_t now_ms, struct handover *ret)
{
	struct handover_header header;
	const char *problem = check_header(state, size, &header);

	if (problem)
		return problem;
	if (header.checksum != handover_checksum(state, size))
		return "its checksum is wrong";
	if (header.made_ms < 0 || header.made_ms > now_ms)
		return "it is of a time that has not come";
	problem = check_sections(&header, state, size, ret);
	if (problem)
		return problem;
	if (!are_updates_valid(ret))
		return "an update in it is none";
	if (!are_environments_valid(ret))
		return "an environment in it is none";
	if (!are_streams_valid(ret, header.sections[SECTION_RESTS].count, now_ms))
		return "a stream in it is none";
	return NULL;
}

int handover_read(const void *state, size_t size, int64_t now_ms, struct handover *ret,
	const char **ret_problem)
{
	struct handover handover;
	const char *problem = check(state, size, now_ms, &handover);

	if (problem) {
		*ret_problem = problem;
		return -EBADMSG;
	}
	*ret = handover;
	return 0;
}

int handover_read_head(const void *start, size_t size, struct handover_head *ret)
{
	struct handover_header header;

	if (check_header(start, size, &header))
		return -EBADMSG;
	*ret = (struct handover_head){
		.n_streams = header.sections[SECTION_STREAMS].count,
		.made_ms = header.made_ms,
	};
	return 0;
}

static void key_from_record(const struct key_record *record, struct key *ret)
{
	*ret = (struct key){.length = record->length};
	memcpy(ret->text, record->text, record->length);
}

void handover_get_update(const struct handover *handover, size_t i, struct update *ret)
{
	struct update_record record;

	get_update_record(handover, i, &record);
	*ret = (struct update){.time_us = record.time_us, .stored_us = record.stored_us};
	key_from_record(&record.key, &ret->key);
}

void handover_get_environment(
	const struct handover *handover, size_t i, struct handover_environment *ret)
{
	struct environment_record record;

	get_environment_record(handover, i, &record);
	ret->latest_us = record.latest_us;
	key_from_record(&record.key, &ret->key);
}

void handover_get_stream(const struct handover *handover, size_t i, struct handover_stream *ret)
{
	struct stream_record record;

	get_stream_record(handover, i, &record);
	*ret = (struct handover_stream){
		.environment = record.environment,
		.phase = record.phase,
		.chunked = record.flags & STREAM_FLAG_CHUNKED,
		.close_after_update = record.flags & STREAM_FLAG_CLOSE_AFTER_UPDATE,
		.behind = record.flags & STREAM_FLAG_BEHIND,
		.last_ms = record.last_ms,
		.end_ms = record.end_ms,
		.rest = {handover->rests + record.rest_at, record.rest_length},
	};
}
