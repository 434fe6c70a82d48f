/* SPDX-License-Identifier: BSD-3-Clause */
/* The body of a publisher's request: what is taken from it comes out at all other ends as it was.
 */
#include <errno.h>

#include "fuzz.h"
#include "update/frame.h"
#include "update/timestamp.h"
#include "update/update-internal.h"
#include "update/update.h"

static void require_event(int64_t time_us)
{
	_cleanup_(frame_unrefp) struct frame *frame = frame_new_update(time_us);
	char payload[UPDATE_PAYLOAD_SIZE], event[256];
	struct span bytes;

	FUZZ_REQUIRE(frame && frame_id(frame) == time_us);
	update_format_payload(time_us, payload);
	snprintf(event, sizeof(event), "id: %lld\nevent: environment_updated\ndata: %s\n\n",
		(long long)time_us, payload);
	bytes = frame_bytes(frame, ENCODING_IDENTITY);
	FUZZ_REQUIRE(bytes.length == strlen(event));
	FUZZ_REQUIRE(memcmp(bytes.data, event, bytes.length) == 0);
}

/* By way of NATS. */
static void require_same_on_bus(int64_t time_us)
{
	char payload[UPDATE_PAYLOAD_SIZE];
	size_t length = update_format_payload(time_us, payload);
	const char *problem = NULL;
	int64_t again = -1;

	FUZZ_REQUIRE(update_parse_message(payload, length, &again, &problem) == 0);
	FUZZ_REQUIRE(again == time_us);
}

/* What is read without json-c is what json-c would have read. */
static void require_same_by_json(const char *body, size_t size, update_read_number *from_number)
{
	const char *problem = NULL;
	int64_t plain = -1, json = -1;

	if (!update_parse_plain(body, size, from_number, &plain)) {
		FUZZ_REQUIRE(plain == -1);
		return;
	}
	FUZZ_REQUIRE(update_parse_json(body, size, from_number, &json, &problem) == 0);
	FUZZ_REQUIRE(plain == json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *problem = NULL;
	int64_t time_us = -1;
	int r = update_parse_payload((const char *)data, size, &time_us, &problem);

	require_same_by_json((const char *)data, size, update_number_of_payload);
	require_same_by_json((const char *)data, size, update_number_of_message);
	if (r < 0) {
		FUZZ_REQUIRE(r == -EBADMSG && problem && *problem && time_us == -1);
		return 0;
	}
	FUZZ_REQUIRE(time_us >= TIMESTAMP_MIN_US && time_us <= TIMESTAMP_MAX_US);
	require_event(time_us);
	require_same_on_bus(time_us);
	return 0;
}
