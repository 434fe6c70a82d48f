/* SPDX-License-Identifier: BSD-3-Clause */
/* How a session with NATS begins: JetStream, the stream, the consumer; and what the operator is
 * told where that fails. */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "nats-fixture.h"
#include "runner.h"

/* ---- The stream ---- */

START_TEST(a_stream_that_is_there_is_used)
{
	fixture_connect();
	ck_assert_uint_eq(made_up.n_get_stream, 1);
	ck_assert_uint_eq(made_up.n_make_stream, 0);
	ck_assert(bus->standard_shape);
}
END_TEST

START_TEST(a_stream_that_is_not_there_is_made)
{
	const struct nats_stream_settings *made = &made_up.made;

	bus->replicas = 3;
	made_up.get_stream = -ENOENT;
	fixture_connect();
	ck_assert_uint_eq(made_up.n_make_stream, 1);
	ck_assert_uint_eq(made_up.n_get_stream, 2);
	ck_assert_int_eq(made->n_subjects, 1);
	ck_assert_str_eq(made->subjects[0], "flagsmith.environment.>");
	ck_assert_int_eq(made->retention, NATS_RETENTION_LIMITS);
	ck_assert_int_eq(made->discard, NATS_DISCARD_OLD);
	ck_assert_int_eq(made->storage, NATS_STORAGE_FILE);
	ck_assert_int_eq(made->replicas, 3);
	ck_assert_int_eq(made->max_messages_per_subject, 1);
	ck_assert_int_eq(made->max_messages, -1);
	ck_assert_int_eq(made->max_bytes, -1);
	ck_assert_int_eq(made->max_age_ns, INT64_C(3600000000000));
	ck_assert_int_eq(made->duplicates_ns, INT64_C(120000000000));
	ck_assert(!made->no_ack);
	ck_assert_ptr_nonnull(bus->wire);
}
END_TEST

START_TEST(another_node_may_make_it_first)
{
	made_up.get_stream = -ENOENT;
	made_up.make_stream = -EEXIST;
	fixture_connect();
	ck_assert_ptr_nonnull(bus->wire);
	ck_assert_uint_eq(made_up.n_get_stream, 2);
}
END_TEST

/* It may still be about to be removed. */
START_TEST(one_that_is_gone_is_made_anew_after_a_while)
{
	int64_t before_ms;

	fixture_come_up(0);
	made_up.get_stream = -ENOENT;
	before_ms = clock_monotonic_ms();
	nats_session_check(bus);
	ck_assert_int_ge(clock_monotonic_ms() - before_ms, 300);
	ck_assert_uint_eq(made_up.n_make_stream, 1);
}
END_TEST

static const char *one[] = {"flagsmith.environment.>"}, *star[] = {"a", "flagsmith.environment.*"},
		  *all[] = {">"}, *flagsmith[] = {"flagsmith.>"}, *other[] = {"orders.>", "a.*"},
		  *one_environment[] = {"flagsmith.environment.k"};

static const struct {
	const char **subjects;
	int n;
	bool fits, is_standard;
} subjects[] = {
	{one, 1, true, true},
	{star, 2, true, false},
	{all, 1, true, false},
	{flagsmith, 1, true, false},
	{other, 2, false, false},
	{one_environment, 1, false, false},
	{NULL, 0, false, false},
};

START_TEST(the_stream_has_to_be_for_environments)
{
	made_up.stream.settings.subjects = subjects[_i].subjects;
	made_up.stream.settings.n_subjects = subjects[_i].n;
	fixture_connect();
	ck_assert_int_eq(bus->standard_shape, subjects[_i].is_standard);
	if (subjects[_i].fits)
		ck_assert_ptr_nonnull(bus->wire);
	else
		ck_assert_str_eq(fixture_expect(BUS_DOWN).text,
			"the stream environments-stream on NATS is not for the subjects "
			"flagsmith.environment.>. Add them to it, or delete it.");
}
END_TEST

/* One whose settings are others is left as it is; that it has fewer messages than it should have
 * says nothing then. */
START_TEST(the_stream_may_have_another_shape)
{
	struct nats_stream_settings *settings = &made_up.stream.settings;

	switch (_i) {
	case 0:
		settings->retention = NATS_RETENTION_INTEREST;
		break;
	case 1:
		settings->discard = NATS_DISCARD_NEW;
		break;
	case 2:
		settings->storage = NATS_STORAGE_MEMORY;
		break;
	case 3:
		settings->replicas = 3;
		break;
	case 4:
		settings->max_messages_per_subject = 2;
		break;
	case 5:
		settings->max_messages = 1000;
		break;
	case 6:
		settings->max_bytes = 1000;
		break;
	case 7:
		settings->max_age_ns /= 2;
		break;
	case 8:
		settings->duplicates_ns *= 2;
		break;
	default:
		ck_abort();
	}
	fixture_come_up(2);
	ck_assert(!bus->standard_shape);
	made_up.stream.n_messages = 0;
	nats_session_check(bus);
	ck_assert(!bus->syncing);
	fixture_expect_no_event();
}
END_TEST

#define NO_ACK                                                                                     \
	"The stream environments-stream on NATS has no_ack set: it does not say what it has "      \
	"stored. Set it to false, or delete the stream."

START_TEST(a_stream_may_acknowledge_nothing)
{
	made_up.stream.settings.no_ack = true;
	fixture_connect();
	ck_assert_str_eq(fixture_expect(BUS_FAULT).text, NO_ACK);
	fixture_expect(BUS_SYNC_BEGIN);
	ck_assert(bus->no_acks);
}
END_TEST

START_TEST(that_is_noticed_later_too_and_when_it_is_over)
{
	fixture_come_up(0);
	made_up.stream.settings.no_ack = true;
	nats_session_check(bus);
	ck_assert_str_eq(fixture_expect(BUS_FAULT).text, NO_ACK);
	nats_session_check(bus);
	fixture_expect_no_event();
	made_up.stream.settings.no_ack = false;
	nats_session_check(bus);
	ck_assert_str_eq(fixture_expect(BUS_FAULT).text, "");
	fixture_expect_no_event();
}
END_TEST

/* ---- Time for the answers ---- */

/* Twice as much after each that did not come; any other error is an answer. */
START_TEST(is_more_patient_after_each_time_out)
{
	static const struct {
		int error;
		int64_t wait_ms;
	} answers[] = {
		{-EIO, 1000},
		{-ETIMEDOUT, 1000},
		{-EIO, 2000},
		{-ETIMEDOUT, 2000},
		{-ETIMEDOUT, 4000},
		{-ETIMEDOUT, 4000},
		{-EIO, 4000},
	};

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		made_up.get_stream = answers[i].error;
		fixture_connect();
		ck_assert_int_eq(made_up.wait_ms, answers[i].wait_ms);
	}
}
END_TEST

/* 1 ms for each 100 that it had when last looked. */
START_TEST(is_more_patient_where_there_are_many_messages)
{
	fixture_come_up(0);
	nats_session_check(bus); /* asks for the consumer, too, once */
	made_up.stream.n_messages = 1000000;
	nats_session_check(bus);
	/* The made-up one is quick, unless this machine is very slow. */
	ck_assert_int_ge(made_up.wait_ms, 1000 + 10);
	ck_assert_int_le(made_up.wait_ms, 4000 + 10);
	nats_session_check(bus);
	ck_assert_int_ge(made_up.wait_ms, 1000 + 10000);
	ck_assert_int_le(made_up.wait_ms, 4000 + 10000);
}
END_TEST

START_TEST(to_make_the_consumer_may_take_longer)
{
	int64_t before_ms = clock_monotonic_ms();

	made_up.stream.n_messages = 1000000;
	fixture_connect();
	ck_assert_int_ge(nats_consumer_deadline_ms(bus), before_ms + 1000 + 2 * 10000);
	ck_assert_int_le(nats_consumer_deadline_ms(bus), clock_monotonic_ms() + 1000 + 2 * 10000);
	nats_consumer_expire(bus, nats_consumer_deadline_ms(bus) - 1);
	ck_assert_ptr_nonnull(bus->wire);
	nats_consumer_expire(bus, nats_consumer_deadline_ms(bus));
	ck_assert_ptr_null(bus->wire);
	before_ms = clock_monotonic_ms();
	fixture_connect();
	ck_assert_int_ge(nats_consumer_deadline_ms(bus), before_ms + 2000 + 2 * 10000);
}
END_TEST

/* ---- What fails, and what is said then ---- */

enum step {
	OPEN,
	GET_STREAM,
	MAKE_STREAM,
	MAKE_INBOX,
	ASK_FOR_CONSUMER,
	CONSUMER_ANSWER,
	SUBSCRIBE,
	READ,
};

#define OFF                                                                                        \
	"NATS%s has JetStream switched off: start nats-server with `jetstream {}`. If it is a "    \
	"leaf node, connect to the servers that have JetStream (nats.url)."
#define OFF_FOR_ACCOUNT                                                                            \
	"NATS%s has JetStream switched off for the account of flagsse's user. Add `jetstream: "    \
	"enabled` to that account in nats-server's configuration."
#define FAILED(what) "NATS%s: " what " failed: made up for the test (JetStream's code 10000)."
#define LATE(what)   "JetStream%s does not answer in time (" what "). A cluster needs a majority."

static const struct {
	enum step step;
	int error;
	const char *text;
} failures[] = {
	{OPEN, -ENOMEM, FAILED("opening JetStream")},
	{OPEN, -EOPNOTSUPP, OFF_FOR_ACCOUNT},
	{GET_STREAM, -EIO, FAILED("asking for the stream environments-stream")},
	{GET_STREAM, -ETIMEDOUT, LATE("asking for the stream environments-stream")},
	{GET_STREAM, -EHOSTUNREACH, OFF},
	{GET_STREAM, -EOPNOTSUPP, OFF_FOR_ACCOUNT},
	{MAKE_STREAM, -EIO, FAILED("making the stream environments-stream")},
	{MAKE_STREAM, -ETIMEDOUT, LATE("making the stream environments-stream")},
	{MAKE_INBOX, -ENOMEM, FAILED("making a consumer")},
	{ASK_FOR_CONSUMER, -EIO, FAILED("making a consumer")},
	{CONSUMER_ANSWER, NATS_ACK_NO_STREAM, OFF},
	{CONSUMER_ANSWER, NATS_ACK_REFUSED,
		"NATS%s: making a consumer, as NATS says it failed: Error (JetStream's code 0)."},
	{CONSUMER_ANSWER, -ETIMEDOUT, LATE("making a consumer")},
	{SUBSCRIBE, -EIO, FAILED("subscribing to the consumer")},
	{READ, -EIO, FAILED("asking for the consumer")},
	{READ, -ETIMEDOUT, LATE("asking for the consumer")},
};

static void make_it_fail(enum step step, int error)
{
	switch (step) {
	case OPEN:
		made_up.open = error;
		break;
	case GET_STREAM:
		made_up.get_stream = error;
		break;
	case MAKE_STREAM:
		made_up.get_stream = -ENOENT;
		made_up.make_stream = error;
		break;
	case MAKE_INBOX:
		made_up.make_inbox = error;
		break;
	case ASK_FOR_CONSUMER:
		made_up.send = error;
		break;
	case CONSUMER_ANSWER:
		break;
	case SUBSCRIBE:
		made_up.subscribe = error;
		break;
	case READ:
		made_up.get_consumer = error;
		break;
	}
}

/* From the connection until the last values come. */
static void go_as_far_as_it_goes(enum step step, int error)
{
	fixture_connect();
	if (!bus->wire)
		return;
	if (step == CONSUMER_ANSWER && error < 0)
		nats_consumer_expire(bus, nats_consumer_deadline_ms(bus));
	else if (step == CONSUMER_ANSWER)
		fixture_consumer((enum nats_ack_outcome)error, 0, bus->creations);
	else
		fixture_consumer(NATS_ACK_STORED, 2, bus->creations);
	if (!bus->wire)
		return;
	fixture_consumer(NATS_ACK_STORED, 2, bus->creations);
	if (!bus->wire)
		return;
	bus->sync_seen = bus->delivered; /* none has come since the last check */
	nats_session_check(bus);
}

/* The log is told where; everybody is told the rest. */
START_TEST(a_failure_ends_the_session)
{
	char text[BUS_TEXT_SIZE], open_text[BUS_TEXT_SIZE];
	struct bus_event event;

	make_it_fail(failures[_i].step, failures[_i].error);
	go_as_far_as_it_goes(failures[_i].step, failures[_i].error);
	ck_assert_ptr_null(bus->wire);
	if (failures[_i].step >= MAKE_INBOX)
		fixture_expect(BUS_SYNC_BEGIN);
	event = fixture_expect(BUS_DOWN);
	snprintf(text, sizeof(text), failures[_i].text, " at one:4222, two:4222");
	snprintf(open_text, sizeof(open_text), failures[_i].text, "");
	ck_assert_str_eq(event.text, text);
	ck_assert_str_eq(event.open_text, open_text);
	fixture_expect_no_event();
}
END_TEST

/* ---- What nothing has answered, as it was denied ---- */

#define VIOLATION "Permissions Violation for "

static const struct {
	const char *said;
	bool counts;
} denials[] = {
	{VIOLATION "Publish to \"$JS.API.STREAM.INFO.environments-stream\"", true},
	{VIOLATION "Subscription to \"_INBOX.abc.*\"", true},
	{VIOLATION "Publish to \"flagsmith.environment.k\"", false}, /* something else */
	{VIOLATION "Publish to \"$JS.API.STREAM.MSG.GET.environments-stream\"", false},
	{"something else", false},
};

START_TEST(a_denial_is_the_reason)
{
	int64_t before_ms = clock_monotonic_ms();
	struct bus_event event;

	fixture_come_up(0);
	made_up.get_stream = -ETIMEDOUT;
	made_up.denied = denials[_i].said;
	nats_session_check(bus);
	ck_assert_ptr_null(bus->wire);
	event = fixture_expect(BUS_DOWN);
	ck_assert_int_eq(strncmp(event.text, "JetStream at", 12) != 0, denials[_i].counts);
	ck_assert_int_eq(
		strncmp(event.text, VIOLATION, strlen(VIOLATION)) == 0, denials[_i].counts);
	ck_assert_int_eq(bus->denied, denials[_i].counts);
	ck_assert_int_eq(
		bus->next_attempt_ms >= before_ms + NATS_DENIED_PAUSE_MS, denials[_i].counts);
}
END_TEST

/* Only a request that is not answered; what was said before may be about something else. */
START_TEST(a_denial_is_no_reason_for_an_answer)
{
	fixture_come_up(0);
	made_up.get_stream = -EIO;
	made_up.denied = denials[0].said;
	nats_session_check(bus);
	ck_assert(!bus->denied);
}
END_TEST

/* It is asked for again a second later at the earliest, of the next server; or as late as it is
 * where something is denied. */
START_TEST(pauses_if_the_consumer_is_not_made)
{
	int64_t before_ms = clock_monotonic_ms(), pause_ms = _i == 0 ? 1000 : 5000;

	fixture_connect();
	if (_i == 1)
		made_up.denied = denials[0].said;
	if (_i == 0)
		fixture_consumer(NATS_ACK_REFUSED, 0, bus->creations);
	else
		nats_consumer_expire(bus, nats_consumer_deadline_ms(bus));
	ck_assert_ptr_null(bus->wire);
	ck_assert_int_ge(bus->next_attempt_ms, before_ms + pause_ms);
	ck_assert_int_le(bus->next_attempt_ms, clock_monotonic_ms() + pause_ms);
	ck_assert_int_eq(bus->server, 1);
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

static TCase *new_case(const char *name)
{
	TCase *tests = tcase_create(name);

	tcase_add_checked_fixture(tests, fixture_set_up, fixture_tear_down);
	return tests;
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("nats-stream");
	TCase *stream = new_case("stream"), *failure = new_case("failure");

	tcase_add_test(stream, a_stream_that_is_there_is_used);
	tcase_add_test(stream, a_stream_that_is_not_there_is_made);
	tcase_add_test(stream, another_node_may_make_it_first);
	tcase_add_test(stream, one_that_is_gone_is_made_anew_after_a_while);
	tcase_add_loop_test(stream, the_stream_has_to_be_for_environments, 0, N_OF(subjects));
	tcase_add_loop_test(stream, the_stream_may_have_another_shape, 0, 9);
	tcase_add_test(stream, a_stream_may_acknowledge_nothing);
	tcase_add_test(stream, that_is_noticed_later_too_and_when_it_is_over);
	tcase_add_test(stream, is_more_patient_after_each_time_out);
	tcase_add_test(stream, is_more_patient_where_there_are_many_messages);
	tcase_add_test(stream, to_make_the_consumer_may_take_longer);
	tcase_add_loop_test(failure, a_failure_ends_the_session, 0, N_OF(failures));
	tcase_add_loop_test(failure, a_denial_is_the_reason, 0, N_OF(denials));
	tcase_add_test(failure, a_denial_is_no_reason_for_an_answer);
	tcase_add_loop_test(failure, pauses_if_the_consumer_is_not_made, 0, 2);
	suite_add_tcase(suite, stream);
	suite_add_tcase(suite, failure);
	return suite;
}
