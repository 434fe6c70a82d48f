/* SPDX-License-Identifier: BSD-3-Clause */
/* What comes to a consumer's deliver subject: the reply subjects of messages, and statuses. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "bus/nats/library-internal.h"
#include "runner.h"

static const struct {
	const char *reply;
	uint64_t sequence, number; /* 0: it is none */
	int64_t stored_us;
	const char *consumer;
} replies[] = {
	{"$JS.ACK.environments-stream.Yv3kQ1aB.1.7.3.1673546928028060123.12", 7, 3,
		1673546928028060, "Yv3kQ1aB"},
	{"$JS.ACK._.acc.environments-stream.Yv3kQ1aB.1.7.3.1673546928028060123.12", 7, 3,
		1673546928028060, "Yv3kQ1aB"},
	{"$JS.ACK.hub.acc.environments-stream.c.1.7.3.1000.0.random", 7, 3, 1, "c"},
	{"$JS.ACK.hub.acc.environments-stream.c.1.7.3.1000.0.random.and.more", 7, 3, 1, "c"},
	{"$JS.ACK.s.c.1.18446744073709551615.18446744073709551614.9223372036854775807.0",
		UINT64_MAX, UINT64_MAX - 1, INT64_MAX / 1000, "c"},
	{"$JS.ACK.s.c.1.18446744073709551616.3.1000.0", .consumer = ""},
	{"$JS.ACK.s.c.1.7.3.9223372036854775808.0", .consumer = ""},
	{"$JS.ACK.s.c.1.7.3.1000", .consumer = ""},
	{"$JS.ACK.one.s.c.1.7.3.1000.0", .consumer = ""}, /* neither form */
	{"$JS.ACK.s.c.1.-7.3.1000.0", .consumer = ""},
	{"$JS.ACK.s.c.1.7. 3.1000.0", .consumer = ""},
	{"$JS.ACK.s.c.1.7.3x.1000.0", .consumer = ""},
	{"$JS.ACK.s.c.1.7..1000.0", .consumer = ""},
	{"$JS.ACK.......", .consumer = ""},
	{"$JS.ACK.", .consumer = ""},
	{"$JS.ACK", .consumer = ""},
	{"$JS.FC.environments-stream.Yv3kQ1aB.abcd", .consumer = ""},
	{"", .consumer = ""},
	{NULL, .consumer = ""},
};

START_TEST(reply_subject)
{
	struct nats_mail mail = {.type = NATS_MAIL_MESSAGE};
	bool is_message = nats_delivery_parse(replies[_i].reply, &mail);

	ck_assert_int_eq(is_message, replies[_i].sequence != 0);
	ck_assert_str_eq(mail.consumer, replies[_i].consumer);
	if (!is_message)
		return;
	ck_assert_uint_eq(mail.update.sequence, replies[_i].sequence);
	ck_assert_uint_eq(mail.number, replies[_i].number);
	ck_assert_int_eq(mail.update.stored_us, replies[_i].stored_us);
}
END_TEST

/* Which keeps a thread's last error. */
static void open_library(void)
{
	ck_assert_int_eq(nats_Open(0), NATS_OK);
}

#define INBOX "_INBOX.deliver"
#define FLOW  "$JS.FC.environments-stream.Yv3kQ1aB.abcd"

static const struct {
	const char *reply, *body, *status, *last, *stalled;
	bool is_status;
	uint64_t number;
	const char *answer;
} statuses[] = {
	{NULL, "", "100", "17", NULL, true, 17, ""}, /* a heartbeat */
	{NULL, "", "100", "0", NULL, true, 0, ""},
	{NULL, "", "100", "17", FLOW, true, 17, FLOW},
	{FLOW, "", "100", NULL, NULL, true, NATS_NUMBER_UNTOLD, FLOW}, /* flow control */
	{NULL, "", "100", NULL, NULL, true, NATS_NUMBER_UNTOLD, ""},
	{NULL, "", "100", "seventeen", NULL, .is_status = false},
	{NULL, "", "100", "", NULL, .is_status = false},
	{NULL, "", "409", NULL, NULL, .is_status = false},
	{NULL, "", "1000", NULL, NULL, .is_status = false},
	{NULL, "", "", NULL, NULL, .is_status = false},
	{NULL, "", NULL, "17", NULL, .is_status = false},
	{NULL, "", NULL, NULL, NULL, .is_status = false}, /* no header */
	{NULL, "{}", "100", "17", NULL, .is_status = false},
};

static void set_header(natsMsg *message, const char *name, const char *value)
{
	if (value)
		ck_assert_int_eq(natsMsgHeader_Set(message, name, value), NATS_OK);
}

START_TEST(status)
{
	struct nats_mail mail = {.type = NATS_MAIL_MESSAGE};
	natsMsg *message = NULL;

	ck_assert_int_eq(natsMsg_Create(&message, INBOX, statuses[_i].reply, statuses[_i].body,
				 (int)strlen(statuses[_i].body)),
		NATS_OK);
	set_header(message, "Status", statuses[_i].status);
	set_header(message, "Nats-Last-Consumer", statuses[_i].last);
	set_header(message, "Nats-Consumer-Stalled", statuses[_i].stalled);
	ck_assert_int_eq(nats_message_read_status(message, &mail), statuses[_i].is_status);
	if (statuses[_i].is_status) {
		ck_assert_uint_eq(mail.number, statuses[_i].number);
		ck_assert_str_eq(mail.text, statuses[_i].answer);
		ck_assert_str_eq(mail.consumer, INBOX);
	}
	natsMsg_Destroy(message);
}
END_TEST

/* Cut off it would be another subject. */
START_TEST(subject_too_long)
{
	char subject[NATS_TEXT_SIZE + 1] = {0};
	struct nats_mail mail = {.type = NATS_MAIL_MESSAGE};

	for (size_t length = NATS_TEXT_SIZE - 1; length <= NATS_TEXT_SIZE; length++) {
		natsMsg *message = NULL;

		memset(subject, 'x', length);
		ck_assert_int_eq(natsMsg_Create(&message, INBOX, subject, "", 0), NATS_OK);
		set_header(message, "Status", "100");
		ck_assert_int_eq(nats_message_read_status(message, &mail), length < NATS_TEXT_SIZE);
		natsMsg_Destroy(message);
	}
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	TCase *tests = tcase_create("nats-delivery");
	Suite *suite = suite_create("nats-delivery");

	tcase_add_loop_test(tests, reply_subject, 0, N_OF(replies));
	tcase_add_loop_test(tests, status, 0, N_OF(statuses));
	tcase_add_test(tests, subject_too_long);
	tcase_add_checked_fixture(tests, open_library, nats_Close);
	suite_add_tcase(suite, tests);
	return suite;
}
