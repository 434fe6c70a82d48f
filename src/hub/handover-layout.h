/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of a state that is handed over: a header, then the records of each kind, then the bytes
 * that are left of writes.  Numbers are the machine's own: no other reads them.  For the files of
 * handover.h and the tests. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HANDOVER_MAGIC "flagsse"

/* To be raised with each change of the layout.  2 is the first that was released: 1 stands for the
 * version before, in the tests.  3 says when the state was made. */
#define HANDOVER_VERSION 3
#define HANDOVER_OLDEST  1

enum {
	SECTION_UPDATES,
	SECTION_ENVIRONMENTS,
	SECTION_STREAMS,
	SECTION_RESTS, /* bytes */
	N_SECTIONS
};

struct handover_section {
	uint32_t record_size;
	uint32_t count;
};

struct handover_header {
	char magic[8];
	uint64_t checksum; /* of all that follows it */
	uint32_t version;
	uint32_t header_size;
	struct handover_section sections[N_SECTIONS];
	int64_t made_ms; /* when, by CLOCK_MONOTONIC; not before version 3 */
};

/* Of the versions before 3. */
#define HANDOVER_SHORT_HEADER offsetof(struct handover_header, made_ms)

struct key_record {
	uint8_t length;
	char text[103];
};

struct update_record {
	int64_t time_us;
	int64_t stored_us;
	struct key_record key;
};

struct environment_record {
	int64_t latest_us;
	struct key_record key;
};

enum {
	STREAM_FLAG_CHUNKED = 1 << 0,
	STREAM_FLAG_CLOSE_AFTER_UPDATE = 1 << 1,
	STREAM_FLAG_BEHIND = 1 << 2,
	STREAM_FLAGS = (1 << 3) - 1,
};

struct stream_record {
	int64_t last_ms;
	uint32_t environment;
	uint32_t rest_at; /* where its rest begins among the bytes */
	uint16_t rest_length;
	uint8_t phase;
	uint8_t flags;
	uint32_t unused;
	int64_t end_ms; /* not in version 1 */
};

/* What the records of a section may have: version 1's size at least, ours at most. */
extern const struct handover_record_size {
	size_t oldest, ours;
} handover_record_sizes[N_SECTIONS];
