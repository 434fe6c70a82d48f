/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of shards share. */
#include <check.h>
#include <string.h>

#include "shard-fixture.h"

int64_t now_ms = 1000000;

int64_t test_clock(void)
{
	return now_ms;
}

struct shard *new_shard(struct shard_settings settings)
{
	struct shard *shard = NULL;

	settings.clock_ms = test_clock;
	ck_assert_int_eq(shard_new(&settings, &shard), 0);
	return shard;
}

void step(struct shard *shard, unsigned n)
{
	while (n-- > 0)
		ck_assert_int_eq(shard_step(shard, false), 0);
}

struct key make_key(const char *text)
{
	struct key key;

	ck_assert_int_eq(key_parse(text, strlen(text), &key), 0);
	return key;
}

void deliver(struct shard *shard, const char *environment, int64_t time_us)
{
	struct key key = make_key(environment);
	struct frame *frame = frame_new_update(time_us);

	ck_assert_ptr_nonnull(frame);
	shard_deliver(shard, shard_prepare_update(&key, frame, HUB_UNTIMED));
	frame_unref(frame);
}

const char *event_text(int64_t time_us, enum encoding encoding)
{
	static char text[256];
	struct frame *frame = frame_new_update(time_us);
	struct span span = frame_bytes(frame, encoding);

	snprintf(text, sizeof(text), "%.*s", (int)span.length, span.data);
	frame_unref(frame);
	return text;
}
