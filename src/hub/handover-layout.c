/* SPDX-License-Identifier: BSD-3-Clause */
/* What writer and reader of a state have in common. */
#include "hub/handover-layout.h"

#include "hub/handover.h"
#include "update/key.h"

#define CHECKED_FROM (offsetof(struct handover_header, checksum) + sizeof(uint64_t))

_Static_assert(sizeof(((struct key_record *)0)->text) >= KEY_MAX_LENGTH, "a key has to fit in");

const struct handover_record_size handover_record_sizes[N_SECTIONS] = {
	[SECTION_UPDATES] = {sizeof(struct update_record), sizeof(struct update_record)},
	[SECTION_ENVIRONMENTS] = {sizeof(struct environment_record),
		sizeof(struct environment_record)},
	[SECTION_STREAMS] = {offsetof(struct stream_record, end_ms), sizeof(struct stream_record)},
	[SECTION_RESTS] = {1, 1},
};

/* FNV-1a: against damage, not against attackers: only systemd and we handle the state. */
uint64_t handover_checksum(const void *state, size_t size)
{
	const unsigned char *bytes = state;
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = CHECKED_FROM; i < size; i++)
		sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
	return sum;
}
