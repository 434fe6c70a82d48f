/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads the state that is handed over, once all of it has been checked. */
#include <errno.h>
#include <string.h>

#include "hub/handover-layout.h"
#include "hub/handover.h"
#include "update/timestamp.h"

/* How far ahead a stream's life may end: what streams.max_age allows, and a day. */
#define END_MAX_MS INT64_C(691200000)

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

		if (section->record_size < handover_record_sizes[i].oldest ||
			section->record_size > handover_record_sizes[i].ours)
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
