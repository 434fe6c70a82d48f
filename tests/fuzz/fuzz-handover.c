/* SPDX-License-Identifier: BSD-3-Clause */
/* The state that another process, of whatever version, has handed over.  Its checksum is put right,
 * or nothing would get past that. */
#include <errno.h>

#include "fuzz.h"
#include "hub/handover-layout.h"
#include "hub/handover.h"

/* When it is read.  The corpus was written shortly before. */
#define NOW_MS 1000000

static void require_key(const struct key *key)
{
	struct key again;

	FUZZ_REQUIRE(key_parse(key->text, key->length, &again) == 0);
	FUZZ_REQUIRE(key->text[key->length] == '\0');
}

static void require_streams(const struct handover *handover, const char *state, size_t size)
{
	for (size_t i = 0; i < handover->n_streams; i++) {
		struct handover_stream stream;

		handover_get_stream(handover, i, &stream);
		FUZZ_REQUIRE(stream.phase <= HANDOVER_LINGERING);
		FUZZ_REQUIRE(stream.environment < handover->n_environments ||
			     (stream.environment == HANDOVER_NO_ENVIRONMENT &&
				     stream.phase != HANDOVER_OPEN));
		FUZZ_REQUIRE(stream.rest.length <= HANDOVER_REST_MAX);
		FUZZ_REQUIRE(stream.rest.length == 0 ||
			     (stream.rest.data >= state &&
				     stream.rest.data + stream.rest.length <= state + size));
	}
}

static void try_state(const void *state, size_t size)
{
	const char *problem = NULL;
	struct handover handover;
	struct handover_head head;
	int r = handover_read(state, size, NOW_MS, &handover, &problem);
	int r_head = handover_read_head(
		state, size < HANDOVER_HEAD_MAX ? size : HANDOVER_HEAD_MAX, &head);

	FUZZ_REQUIRE(r_head == 0 || r_head == -EBADMSG);
	if (r < 0) {
		FUZZ_REQUIRE(r == -EBADMSG && problem && *problem);
		return;
	}
	FUZZ_REQUIRE(r_head == 0 && head.n_streams == handover.n_streams);
	FUZZ_REQUIRE(head.made_ms >= 0 && head.made_ms <= NOW_MS);
	for (size_t i = 0; i < handover.n_updates; i++) {
		struct update update;

		handover_get_update(&handover, i, &update);
		require_key(&update.key);
	}
	for (size_t i = 0; i < handover.n_environments; i++) {
		struct handover_environment environment;

		handover_get_environment(&handover, i, &environment);
		require_key(&environment.key);
	}
	require_streams(&handover, state, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *state = fuzz_text(data, size);
	_cleanup_(freep) char *whole = NULL;
	uint64_t checksum;

	try_state(data, size);
	if (size < HANDOVER_SHORT_HEADER)
		return 0;
	checksum = handover_checksum(state, size);
	memcpy(state + offsetof(struct handover_header, checksum), &checksum, sizeof(checksum));
	/* Of its own size, so that a sanitizer sees a read beyond its end. */
	whole = malloc(size);
	FUZZ_REQUIRE(whole);
	memcpy(whole, state, size);
	try_state(whole, size);
	return 0;
}
