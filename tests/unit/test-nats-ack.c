/* SPDX-License-Identifier: BSD-3-Clause */
/* JetStream's answers to publishes, and the reply subjects that they come by. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "bus/nats/nats-internal.h"
#include "runner.h"

static struct nats_ack parse(const char *body)
{
	struct nats_ack ack;

	ck_assert_int_eq(nats_ack_parse(body, strlen(body), &ack), 0);
	return ack;
}

START_TEST(stored)
{
	struct nats_ack ack = parse("{\"stream\":\"environments-stream\", \"seq\":17}");

	ck_assert_int_eq(ack.outcome, NATS_ACK_STORED);
	ck_assert_uint_eq(ack.sequence, 17);
	ack = parse("{\"stream\":\"s\",\"domain\":\"hub\",\"seq\":9223372036854775807,"
		    "\"duplicate\":true}");
	ck_assert_int_eq(ack.outcome, NATS_ACK_STORED);
	ck_assert_uint_eq(ack.sequence, INT64_MAX);
}
END_TEST

START_TEST(conflict)
{
	struct nats_ack ack = parse("{\"error\":{\"code\":400,\"err_code\":10071,\"description\":"
				    "\"wrong last sequence: 3\"},\"stream\":\"s\",\"seq\":0}");

	ck_assert_int_eq(ack.outcome, NATS_ACK_CONFLICT);
	ck_assert_str_eq(ack.text, "wrong last sequence: 3");
}
END_TEST

START_TEST(refused)
{
	struct nats_ack ack = parse("{\"error\":{\"code\":503,\"err_code\":10077,\"description\":"
				    "\"insufficient resources\"},\"stream\":\"s\",\"seq\":7}");

	ck_assert_int_eq(ack.outcome, NATS_ACK_REFUSED);
	ck_assert_str_eq(ack.text, "insufficient resources");
	ck_assert_uint_eq(ack.sequence, 0);
}
END_TEST

/* What each error means.  The texts are nats-server's. */
static const struct {
	int64_t code;
	const char *description;
	enum nats_ack_outcome outcome;
} errors[] = {
	{10071, "wrong last sequence: 17", NATS_ACK_CONFLICT},
	{10164, "wrong last sequence", NATS_ACK_CONFLICT},
	{10008, "JetStream system temporarily unavailable", NATS_ACK_LATER},
	{10009, "JetStream cluster can not handle request", NATS_ACK_LATER},
	{10007, "JetStream cluster not assigned to this server", NATS_ACK_LATER},
	{10002, "resource limits exceeded for account", NATS_ACK_REFUSED},
	{10023, "insufficient resources", NATS_ACK_REFUSED},
	{10028, "insufficient memory resources available", NATS_ACK_REFUSED},
	{10047, "insufficient storage resources available", NATS_ACK_REFUSED},
	{10054, "message size exceeds maximum allowed", NATS_ACK_REFUSED},
	{10060, "expected stream does not match", NATS_ACK_REFUSED},
	{10077, "maximum messages exceeded", NATS_ACK_REFUSED},
	{10077, "maximum bytes exceeded", NATS_ACK_REFUSED},
	{10077, "maximum messages per subject exceeded", NATS_ACK_REFUSED_ONE},
	{10077, "no space left on device", NATS_ACK_REFUSED},
	{10109, "invalid operation on sealed stream", NATS_ACK_REFUSED},
	{10071 + 100000, "of a server to come", NATS_ACK_REFUSED},
	{0, "", NATS_ACK_REFUSED},
	{-1, "", NATS_ACK_REFUSED},
};

START_TEST(meaning_of_errors)
{
	char body[300];
	struct nats_ack ack;

	snprintf(body, sizeof(body),
		"{\"error\":{\"code\":500,\"err_code\":%lld,\"description\":\"%s\"},"
		"\"stream\":\"s\",\"seq\":7}",
		(long long)errors[_i].code, errors[_i].description);
	ack = parse(body);
	ck_assert_msg(ack.outcome == errors[_i].outcome, "%s is %d", body, ack.outcome);
	ck_assert_str_eq(ack.text, errors[_i].description);
	ck_assert_uint_eq(ack.sequence, 0);
}
END_TEST

static const char *const unreadable[] = {
	"",
	"null",
	"7",
	"[]",
	"{",
	"{}",
	"+OK",
	"{\"stream\":\"s\"}",
	"{\"stream\":\"s\",\"seq\":0}",
	"{\"stream\":\"s\",\"seq\":-1}",
	"{\"stream\":\"s\",\"seq\":1.5}",
	"{\"stream\":\"s\",\"seq\":\"1\"}",
	"{\"seq\":1,\"error\":null}",
	"{\"seq\":1,\"error\":[]}",
	"{\"seq\":1,\"error\":{\"err_code\":\"10071\",\"description\":7}}",
};

START_TEST(unreadable_counts_as_refused)
{
	struct nats_ack ack = parse(unreadable[_i]);

	ck_assert_int_eq(ack.outcome, NATS_ACK_REFUSED);
	ck_assert_uint_eq(ack.sequence, 0);
	ck_assert_uint_gt(strlen(ack.text), 0);
}
END_TEST

START_TEST(long_description)
{
	char body[600] = "{\"error\":{\"description\":\"";
	struct nats_ack ack;

	memset(body + strlen(body), 'x', 500);
	strcat(body, "\"}}");
	ack = parse(body);
	ck_assert_int_eq(ack.outcome, NATS_ACK_REFUSED);
	ck_assert_uint_eq(strlen(ack.text), sizeof(ack.text) - 1);
}
END_TEST

/* As nats-server writes it, with a number, and with one character of it replaced. */
#define PLAIN "{\"stream\":\"environments-stream\", \"seq\":%s}"

static const char *const plain_numbers[] = {"1", "17", "90", "1234567890", "999999999999999999"};

static const char *const no_plain_numbers[] = {"", "0", "01", "-1", "1.5", "1e3",
	"1000000000000000000", "9223372036854775808", " 1", "1 "};

static bool compare(const char *body, size_t length)
{
	struct nats_ack plain, json;

	if (!nats_ack_parse_plain(body, length, &plain))
		return false;
	ck_assert_int_eq(nats_ack_parse_json(body, length, &json), 0);
	ck_assert_int_eq(plain.outcome, NATS_ACK_STORED);
	ck_assert_msg(json.outcome == NATS_ACK_STORED && json.sequence == plain.sequence,
		"%.*s is %llu without json-c, by it %d, %llu", (int)length, body,
		(unsigned long long)plain.sequence, json.outcome,
		(unsigned long long)json.sequence);
	return true;
}

/* Whatever is read without json-c is what json-c reads. */
START_TEST(plain_is_json)
{
	char body[100];
	int n = snprintf(body, sizeof(body), PLAIN, plain_numbers[_i]);

	ck_assert(compare(body, (size_t)n));
	for (int at = 0; at < n; at++) {
		char as_it_was = body[at];

		ck_assert(!compare(body, (size_t)at));
		for (int c = 0; c < 256; c++) {
			body[at] = (char)c;
			compare(body, (size_t)n);
		}
		body[at] = as_it_was;
	}
}
END_TEST

START_TEST(not_plain)
{
	char body[100];
	int n = snprintf(body, sizeof(body), PLAIN, no_plain_numbers[_i]);

	ck_assert(!compare(body, (size_t)n));
}
END_TEST

START_TEST(reply_subject)
{
	static const struct nats_bus bus = {.ack_inbox = "_INBOX.abc"};
	char text[NATS_REPLY_SIZE];
	struct key key, again;
	uint64_t flight;

	ck_assert_int_eq(key_parse("env-1", 5, &key), 0);
	nats_ack_format_reply(&bus, &key, UINT64_MAX, text);
	ck_assert_str_eq(text, "_INBOX.abc.18446744073709551615.env-1");
	ck_assert(nats_ack_parse_reply(text, &again, &flight));
	ck_assert_str_eq(again.text, "env-1");
	ck_assert_uint_eq(flight, UINT64_MAX);
}
END_TEST

START_TEST(longest_reply_subject)
{
	char name[KEY_MAX_LENGTH], text[NATS_REPLY_SIZE];
	struct nats_bus bus = {0};
	struct key key, again;
	uint64_t flight;

	memset(bus.ack_inbox, 'i', sizeof(bus.ack_inbox) - 1);
	memset(name, 'k', sizeof(name));
	ck_assert_int_eq(key_parse(name, sizeof(name), &key), 0);
	nats_ack_format_reply(&bus, &key, UINT64_MAX, text);
	ck_assert(nats_ack_parse_reply(text, &again, &flight));
	ck_assert_uint_eq(again.length, KEY_MAX_LENGTH);
	ck_assert_uint_eq(flight, UINT64_MAX);
}
END_TEST

static const char *const no_replies[] = {
	"",
	".",
	"env",
	"1.env",
	"_INBOX.abc.1.",
	"_INBOX.abc.1.*",
	"_INBOX.abc..env",
	"_INBOX.abc.0.env",
	"_INBOX.abc.x.env",
	"_INBOX.abc.1x.env",
};

START_TEST(no_reply_subject)
{
	struct key key;
	uint64_t flight;

	ck_assert(!nats_ack_parse_reply(no_replies[_i], &key, &flight));
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	TCase *tests = tcase_create("nats-ack");
	Suite *suite = suite_create("nats-ack");

	tcase_add_test(tests, stored);
	tcase_add_test(tests, conflict);
	tcase_add_test(tests, refused);
	tcase_add_loop_test(tests, meaning_of_errors, 0, N_OF(errors));
	tcase_add_loop_test(tests, unreadable_counts_as_refused, 0, N_OF(unreadable));
	tcase_add_test(tests, long_description);
	tcase_add_loop_test(tests, plain_is_json, 0, N_OF(plain_numbers));
	tcase_add_loop_test(tests, not_plain, 0, N_OF(no_plain_numbers));
	tcase_add_test(tests, reply_subject);
	tcase_add_test(tests, longest_reply_subject);
	tcase_add_loop_test(tests, no_reply_subject, 0, N_OF(no_replies));
	suite_add_tcase(suite, tests);
	return suite;
}
