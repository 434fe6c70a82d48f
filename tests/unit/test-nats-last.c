/* SPDX-License-Identifier: BSD-3-Clause */
/* JetStream's answers to what the last message of a subject is, and their reply subjects. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/nats/nats-internal.h"
#include "runner.h"

#define TYPE "\"type\":\"io.nats.jetstream.api.v1.stream_msg_get_response\","

/* {"updated_at": 1673546928.028060} */
#define DATA "eyJ1cGRhdGVkX2F0IjogMTY3MzU0NjkyOC4wMjgwNjB9"

#define MESSAGE(data, time)                                                                        \
	"{" TYPE "\"message\":{\"subject\":\"flagsmith.environment.k\",\"seq\":7,\"hdrs\":"        \
	"\"TkFUUy8xLjANCg==\",\"data\":\"" data "\",\"time\":\"" time "\"}}"

static struct nats_mail parse(const char *body)
{
	struct nats_mail mail = {.type = NATS_MAIL_LAST};

	ck_assert_int_eq(nats_last_parse(body, strlen(body), &mail), 0);
	return mail;
}

/* Cut off, as the consumer's times are. */
static const struct {
	const char *body;
	int64_t stored_us;
} messages[] = {
	{MESSAGE(DATA, "2023-01-12T18:08:48.028060999Z"), 1673546928028060},
	{MESSAGE(DATA, "2023-01-12T18:08:48.02806Z"), 1673546928028060},
	{MESSAGE(DATA, "2023-01-12T18:08:48.5Z"), 1673546928500000},
	{MESSAGE(DATA, "2023-01-12T18:08:48Z"), 1673546928000000},
	{MESSAGE(DATA, "2023-01-12T20:08:48.028060999+02:00"), 1673546928028060},
};

START_TEST(message)
{
	struct nats_mail mail = parse(messages[_i].body);

	ck_assert_int_eq(mail.ack.outcome, NATS_ACK_STORED);
	ck_assert_uint_eq(mail.update.sequence, 7);
	ck_assert_int_eq(mail.update.time_us, 1673546928028060);
	ck_assert_int_eq(mail.update.stored_us, messages[_i].stored_us);
	ck_assert_ptr_null(mail.problem);
}
END_TEST

/* When the node that wrote it had accepted it. */
static const struct {
	const char *headers;
	int64_t first_us, last_us;
} accepted[] = {
	{"NATS/1.0\r\nFlagsse-Accepted: 1673546928028060\r\n\r\n", 1673546928028060,
		1673546928028060},
	{"NATS/1.0\r\nA: b\r\nFlagsse-Accepted:7\r\nC: d\r\n\r\n", 7, 7},
	{"NATS/1.0\r\nFlagsse-Accepted:   7", 7, 7},
	{"NATS/1.0\r\n\r\n", 0, 0},
	{"NATS/1.0\r\nA: Flagsse-Accepted: 7\r\n\r\n", 0, 0},
	{"NATS/1.0\r\nFlagsse-Accepted: \r\n\r\n", 0, 0},
	{"NATS/1.0\r\nFlagsse-Accepted: -7\r\n\r\n", 0, 0},
	{"NATS/1.0\r\nFlagsse-Accepted: 7 8\r\n\r\n", 7, 8},
	{"NATS/1.0\r\nFlagsse-Accepted: 7 6\r\n\r\n", 0, 0},
	{"NATS/1.0\r\nFlagsse-Accepted: 7 x\r\n\r\n", 0, 0},
	{"NATS/1.0\r\nFlagsse-Accepted: 7 8 9\r\n\r\n", 0, 0},
	{"NATS/1.0\r\nFlagsse-Accepted: soon\r\n\r\n", 0, 0},
	{"NATS/1.0\r\nFlagsse-Accepted: 9223372036854775808\r\n\r\n", 0, 0},
	{"NATS/1.0\r\nFlagsse-Accepted: 111111111111111111111111111111111111\r\n\r\n", 0, 0},
	{"", 0, 0},
};

/* From memory of exactly that length, so that a sanitizer sees whoever reads beyond it. */
static void parse_headers(const char *text, size_t length, struct nats_mail *mail)
{
	char *copy = malloc(length > 0 ? length : 1);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, text, length);
	nats_accepted_parse(copy, length, mail);
	free(copy);
}

START_TEST(headers)
{
	const char *text = accepted[_i].headers;
	struct nats_mail mail = {.told_us = 1, .update = {.accepted_us = 2}};

	parse_headers(text, strlen(text), &mail);
	ck_assert_int_eq(mail.told_us, accepted[_i].first_us);
	ck_assert_int_eq(mail.update.accepted_us, accepted[_i].last_us);
}
END_TEST

#define WITH_HEADERS(headers)                                                                      \
	"{" TYPE "\"message\":{\"subject\":\"flagsmith.environment.k\",\"seq\":7,\"hdrs\":"        \
	"\"" headers "\",\"data\":\"" DATA "\",\"time\":\"2023-01-12T18:08:48Z\"}}"

START_TEST(writes_what_it_reads)
{
	struct nats_mail mail;
	char value[NATS_ACCEPTED_SIZE], text[128];

	for (int64_t last_us = INT64_MAX - 1; last_us > 0; last_us++) {
		nats_accepted_format(INT64_MAX - 1, last_us, value);
		snprintf(text, sizeof(text), "NATS/1.0\r\nFlagsse-Accepted: %s\r\n\r\n", value);
		nats_accepted_parse(text, strlen(text), &mail);
		ck_assert_int_eq(mail.told_us, INT64_MAX - 1);
		ck_assert_int_eq(mail.update.accepted_us, last_us);
		if (last_us == INT64_MAX)
			break;
	}
}
END_TEST

START_TEST(message_with_headers)
{
	struct nats_mail mail = parse(
		WITH_HEADERS("TkFUUy8xLjANCk5hdHMtRXhwZWN0ZWQtTGFzdC1TdWJqZWN0LVNlcXVlbmNlOiAz"
			     "DQpGbGFnc3NlLUFjY2VwdGVkOiAxNjczNTQ2OTI4MDI4MDYwDQoNCg=="));

	ck_assert_int_eq(mail.ack.outcome, NATS_ACK_STORED);
	ck_assert_int_eq(mail.told_us, 1673546928028060);
	ck_assert_int_eq(mail.update.accepted_us, 1673546928028060);
	mail = parse(WITH_HEADERS("!"));
	ck_assert_int_eq(mail.ack.outcome, NATS_ACK_STORED);
	ck_assert_int_eq(mail.told_us, 0);
}
END_TEST

START_TEST(message_that_is_no_update)
{
	struct nats_mail mail = parse(MESSAGE("aGVsbG8=", "2023-01-12T18:08:48Z"));

	ck_assert_int_eq(mail.ack.outcome, NATS_ACK_STORED);
	ck_assert_uint_eq(mail.update.sequence, 7);
	ck_assert_ptr_nonnull(mail.problem);
}
END_TEST

START_TEST(none)
{
	struct nats_mail mail = parse("{" TYPE "\"error\":{\"code\":404,\"err_code\":10037,"
				      "\"description\":\"no message found\"}}");

	ck_assert_int_eq(mail.ack.outcome, NATS_ACK_STORED);
	ck_assert_uint_eq(mail.update.sequence, 0);
}
END_TEST

static const char *const unusable[] = {
	"",
	"+OK",
	"{}",
	"{\"message\":null}",
	"{\"message\":{}}",
	"{\"message\":{\"seq\":0,\"data\":\"\",\"time\":\"2023-01-12T18:08:48Z\"}}",
	"{\"message\":{\"seq\":7,\"data\":\"\",\"time\":\"yesterday\"}}",
	"{\"message\":{\"seq\":7,\"data\":\"\"}}",
	MESSAGE("aGVsbG8", "2023-01-12T18:08:48Z"),
	MESSAGE("aGVs*G8=", "2023-01-12T18:08:48Z"),
	"{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}",
	"{\"error\":{\"code\":503,\"err_code\":10008,\"description\":\"unavailable\"}}",
	"{\"error\":null}",
};

START_TEST(no_message)
{
	struct nats_mail mail = parse(unusable[_i]);

	ck_assert_int_ne(mail.ack.outcome, NATS_ACK_STORED);
}
END_TEST

static const struct {
	const char *text, *data; /* NULL: none */
} encoded[] = {
	{"", ""},
	{"Zg==", "f"},
	{"Zm8=", "fo"},
	{"Zm9v", "foo"},
	{"Zm9vYmFy", "foobar"},
	{"+/+/", "\xfb\xff\xbf"},
	{"Zg", NULL},
	{"Zm9v\n", NULL},
	{"Z===Zg==", NULL},
};

START_TEST(base64)
{
	const char *expected = encoded[_i].data;
	char *data = NULL;
	size_t length = 0;
	int r = nats_last_decode(encoded[_i].text, &data, &length);

	ck_assert_int_eq(r, expected ? 0 : -EBADMSG);
	if (expected) {
		ck_assert_uint_eq(length, strlen(expected));
		ck_assert_mem_eq(data, expected, length);
	}
	free(data);
}
END_TEST

static const struct {
	const char *subject;
	uint64_t flight; /* 0: it is another one's */
} replies[] = {
	{"_INBOX.NxRkd0Yf6mJTqTrHmFFGmX.last.17.load_test", 17},
	{"_INBOX.NxRkd0Yf6mJTqTrHmFFGmX.last.17.last", 17},
	{"_INBOX.NxRkd0Yf6mJTqTrHmFFGmX.17.load_test", 0},
	{"_INBOX.NxRkd0Yf6mJTqTrHmFFGmX.17.last", 0},
	{"_INBOX.NxRkd0Yf6mJTqTrHmFFGmX.create.17", 0},
	{"_INBOX.NxRkd0Yf6mJTqTrHmFFGmX.last.17", 0},
	{"_INBOX.NxRkd0Yf6mJTqTrHmFFGmX.last.0.k", 0},
	{"_INBOX.NxRkd0Yf6mJTqTrHmFFGmX.last.x.k", 0},
};

START_TEST(reply_subject)
{
	struct key key;
	uint64_t flight = 0;
	bool is_ours = nats_last_parse_reply(replies[_i].subject, &key, &flight);

	ck_assert_int_eq(is_ours, replies[_i].flight > 0);
	if (is_ours)
		ck_assert_uint_eq(flight, replies[_i].flight);
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	TCase *tests = tcase_create("nats-last");
	Suite *suite = suite_create("nats-last");

	tcase_add_loop_test(tests, message, 0, N_OF(messages));
	tcase_add_test(tests, message_that_is_no_update);
	tcase_add_loop_test(tests, headers, 0, sizeof(accepted) / sizeof(accepted[0]));
	tcase_add_test(tests, writes_what_it_reads);
	tcase_add_test(tests, message_with_headers);
	tcase_add_test(tests, none);
	tcase_add_loop_test(tests, no_message, 0, N_OF(unusable));
	tcase_add_loop_test(tests, base64, 0, N_OF(encoded));
	tcase_add_loop_test(tests, reply_subject, 0, N_OF(replies));
	suite_add_tcase(suite, tests);
	return suite;
}
