/* SPDX-License-Identifier: BSD-3-Clause */
/* JetStream's answers to the request to make a consumer, and the reply subjects that they come by.
 */
#include <check.h>
#include <string.h>

#include "bus/nats/parse.h"
#include "runner.h"

static struct nats_mail parse(const char *body)
{
	struct nats_mail mail = {.type = NATS_MAIL_CONSUMER};

	ck_assert_int_eq(nats_consumer_parse(body, strlen(body), &mail), 0);
	return mail;
}

START_TEST(made)
{
	struct nats_mail mail = parse(
		"{\"type\":\"io.nats.jetstream.api.v1.consumer_create_response\",\"stream_name\":"
		"\"environments-stream\",\"name\":\"Yv3kQ1aB\",\"config\":{\"name\":\"other\"},"
		"\"delivered\":{\"consumer_seq\":2,\"stream_seq\":7},\"num_pending\":1000000}");

	ck_assert_int_eq(mail.ack.outcome, NATS_ACK_STORED);
	ck_assert_str_eq(mail.consumer, "Yv3kQ1aB");
	ck_assert_uint_eq(mail.ack.sequence, 1000002);
}
END_TEST

START_TEST(made_for_an_empty_stream)
{
	struct nats_mail mail = parse("{\"name\":\"c\"}");

	ck_assert_int_eq(mail.ack.outcome, NATS_ACK_STORED);
	ck_assert_uint_eq(mail.ack.sequence, 0);
}
END_TEST

static const char *const refusals[][2] = {
	{"{\"error\":{\"code\":400,\"err_code\":10026,\"description\":\"maximum consumers limit "
	 "reached\"}}",
		"maximum consumers limit reached"},
	{"{\"name\":\"c\",\"error\":{}}", "an error without a description"},
	{"{\"name\":\"c\",\"error\":null}", "an error without a description"},
	{"{\"num_pending\":7}", "an answer without a name"},
	{"{\"name\":7}", "an answer without a name"},
	{"", "an answer that is not JSON"},
	{"+OK", "an answer that is not JSON"},
};

START_TEST(refused)
{
	struct nats_mail mail = parse(refusals[_i][0]);

	ck_assert_int_ne(mail.ack.outcome, NATS_ACK_STORED);
	ck_assert_str_eq(mail.ack.text, refusals[_i][1]);
	ck_assert_str_eq(mail.consumer, "");
}
END_TEST

static const struct {
	const char *subject;
	uint64_t number; /* 0: it is none */
} replies[] = {
	{"_INBOX.abc.create.1", 1},
	{"_INBOX.abc.create.18446744073709551615", UINT64_MAX},
	{"_INBOX.abc.create.0", 0},
	{"_INBOX.abc.create.", 0},
	{"_INBOX.abc.create.1x", 0},
	{"_INBOX.abc.created.1", 0},
	{"_INBOX.abc.17.env-1", 0},
	{"create.1", 0},
	{".", 0},
	{"", 0},
};

START_TEST(reply_subject)
{
	uint64_t number = 0, flight;
	struct key key;
	bool is_reply = nats_consumer_parse_reply(replies[_i].subject, &number);

	ck_assert_int_eq(is_reply, replies[_i].number != 0);
	if (!is_reply)
		return;
	ck_assert_uint_eq(number, replies[_i].number);
	/* And it is not taken for an acknowledgement. */
	ck_assert(!nats_ack_parse_reply(replies[_i].subject, &key, &flight));
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	TCase *tests = tcase_create("nats-consumer");
	Suite *suite = suite_create("nats-consumer");

	tcase_add_test(tests, made);
	tcase_add_test(tests, made_for_an_empty_stream);
	tcase_add_loop_test(tests, refused, 0, N_OF(refusals));
	tcase_add_loop_test(tests, reply_subject, 0, N_OF(replies));
	suite_add_tcase(suite, tests);
	return suite;
}
