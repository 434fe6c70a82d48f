/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames: their bytes, in both encodings, and their references. */
#include <check.h>
#include <pthread.h>
#include <string.h>

#include "runner.h"
#include "update/frame.h"
#include "update/timestamp.h"

#define TIME_US INT64_C(1673546928028060)
#define EVENT                                                                                      \
	"id: 1673546928028060\n"                                                                   \
	"event: environment_updated\n"                                                             \
	"data: {\"updated_at\": 1673546928.028060}\n"                                              \
	"\n"

static void assert_span(struct span span, const char *expected)
{
	ck_assert_uint_eq(span.length, strlen(expected));
	ck_assert_mem_eq(span.data, expected, span.length);
}

START_TEST(test_update)
{
	struct frame *frame = frame_new_update(TIME_US);

	ck_assert_ptr_nonnull(frame);
	assert_span(frame_bytes(frame, ENCODING_IDENTITY), EVENT);
	assert_span(frame_bytes(frame, ENCODING_CHUNKED), "59\r\n" EVENT "\r\n");
	ck_assert_int_eq(frame_id(frame), TIME_US);
	ck_assert_uint_eq(strlen(EVENT), 0x59);
	ck_assert_ptr_null(frame_unref(frame));
}
END_TEST

/* The size of the chunk follows the number of digits. */
START_TEST(test_sizes)
{
	static const int64_t times[] = {
		TIMESTAMP_MIN_US, TIMESTAMP_MAX_US, 0, INT64_MAX, INT64_MIN};

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		_cleanup_(frame_unrefp) struct frame *frame = frame_new_update(times[i]);
		struct span identity = frame_bytes(frame, ENCODING_IDENTITY);
		struct span chunked = frame_bytes(frame, ENCODING_CHUNKED);
		char text[512];
		int n;

		n = snprintf(text, sizeof(text), "%zx\r\n%.*s\r\n", identity.length,
			(int)identity.length, identity.data);
		ck_assert_uint_eq(chunked.length, n);
		ck_assert_mem_eq(chunked.data, text, chunked.length);
	}
}
END_TEST

START_TEST(test_bytes)
{
	static const char data[] = "ne\0xt}\n\n\r\n";
	char copy[sizeof(data)];
	struct frame *frame;

	memcpy(copy, data, sizeof(data));
	frame = frame_new_bytes(copy, sizeof(data));
	ck_assert_ptr_nonnull(frame);
	memset(copy, 'x', sizeof(copy));
	for (int encoding = 0; encoding < 2; encoding++) {
		struct span span = frame_bytes(frame, (enum encoding)encoding);

		ck_assert_uint_eq(span.length, sizeof(data));
		ck_assert_mem_eq(span.data, data, sizeof(data));
	}
	ck_assert_int_eq(frame_id(frame), 0);
	frame_unref(frame);

	frame = frame_new_bytes(NULL, 0);
	ck_assert_ptr_nonnull(frame);
	ck_assert_uint_eq(frame_bytes(frame, ENCODING_CHUNKED).length, 0);
	frame_unref(frame);
}
END_TEST

START_TEST(test_comments)
{
	char text[FRAME_GREETING_SIZE];

	assert_span(frame_keepalive(ENCODING_IDENTITY), ":\n\n");
	assert_span(frame_keepalive(ENCODING_CHUNKED), "3\r\n:\n\n\r\n");
	assert_span(frame_last(ENCODING_IDENTITY), "");
	assert_span(frame_last(ENCODING_CHUNKED), "0\r\n\r\n");

	ck_assert_uint_eq(frame_format_greeting(1234, ENCODING_IDENTITY, text), 23);
	ck_assert_str_eq(text, ": flagsse\nretry: 1234\n\n");
	ck_assert_uint_eq(frame_format_greeting(1234, ENCODING_CHUNKED, text), 29);
	ck_assert_str_eq(text, "17\r\n: flagsse\nretry: 1234\n\n\r\n");
	ck_assert_uint_eq(frame_format_greeting(UINT32_MAX, ENCODING_CHUNKED, text), 35);
	ck_assert_str_eq(text, "1d\r\n: flagsse\nretry: 4294967295\n\n\r\n");
}
END_TEST

static void *use_frame(void *userdata)
{
	struct frame *frame = userdata;

	for (int i = 0; i < 10000; i++) {
		frame_ref(frame);
		if (frame_bytes(frame, ENCODING_IDENTITY).data[0] != 'i')
			abort();
		frame_unref(frame);
	}
	return frame_unref(frame);
}

/* The last of several threads frees it: whether too early or never, a sanitizer tells. */
START_TEST(test_threads)
{
	struct frame *frame = frame_new_update(TIME_US);
	pthread_t threads[4];

	ck_assert_ptr_nonnull(frame);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, use_frame, frame_ref(frame)), 0);
	frame_unref(frame);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(test_null)
{
	ck_assert_ptr_null(frame_unref(NULL));
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("frame");
	TCase *cases = tcase_create("frame");

	tcase_add_test(cases, test_update);
	tcase_add_test(cases, test_sizes);
	tcase_add_test(cases, test_bytes);
	tcase_add_test(cases, test_comments);
	tcase_add_test(cases, test_threads);
	tcase_add_test(cases, test_null);
	suite_add_tcase(all, cases);
	return all;
}
