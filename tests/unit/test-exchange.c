/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests and their answers, without an HTTP library: routes, methods, token, body; what resources
 * answer, now or later. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "exchange-cases.h"
#include "histogram.h"
#include "runner.h"

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* ---- Each with its answer ---- */

static void assert_common_fields(void)
{
	ck_assert_msg(answer_has("Access-Control-Allow-Origin: *"), "%s", stand_in.fields);
	ck_assert(answer_has("Access-Control-Expose-Headers: Retry-After"));
	ck_assert(answer_has("Cache-Control: no-store"));
}

static void assert_answered(unsigned status)
{
	ck_assert_int_eq(stand_in.n_ends, 1);
	ck_assert_int_eq(stand_in.outcome, ANSWERED);
	ck_assert_uint_eq(stand_in.status, status);
	assert_common_fields();
}

START_TEST(answers)
{
	ask(&cases[_i].asked);
	ck_assert_int_eq(stand_in.outcome, cases[_i].outcome);
	ck_assert_int_eq(stand_in.n_ends, stand_in.outcome != WAITS);
	ck_assert_int_eq(stand_in.n_publishes, stand_in.outcome == WAITS);
	if (stand_in.outcome != ANSWERED)
		return;
	assert_answered(cases[_i].status);
	ck_assert_int_eq(stand_in.closes, cases[_i].then != GOES_ON);
	ck_assert_msg(strncmp(stand_in.body, cases[_i].body, strlen(cases[_i].body)) == 0, "%s",
		stand_in.body);
	if (cases[_i].field)
		ck_assert_msg(answer_has(cases[_i].field), "%s", stand_in.fields);
	if (cases[_i].then != HELD)
		ck_assert_int_eq(stand_in.hold_ms, 0);
	else
		ck_assert(stand_in.hold_ms >= HOLD_MIN_MS && stand_in.hold_ms <= HOLD_MAX_MS);
}
END_TEST

static resource_handler *const handlers[] = {
#define READS(path, handle)               handle,
#define SUBSCRIBES(path, handle)          handle,
#define PUBLISHES(path, handle, body_max) handle,
#include "http/routes.def"
};

/* Among the cases is one in which the route's function does what it is for. */
START_TEST(is_among_the_cases)
{
	for (int i = 0; i < N_OF(cases); i++) {
		struct route_match match;

		route_find(cases[i].asked.target, &match);
		if (match.route && match.route->handle == handlers[_i] && cases[i].status < 300)
			return;
	}
	ck_abort_msg("exchange-cases.h has none for row %d of routes.def", _i);
}
END_TEST

/* ---- All with all ---- */

static const char *const targets[] = {STREAM, CHANGE, "/livez", "/readyz", "/health",
	"/health/liveness", "/health/readiness", "/sse/health", "/metrics", "/metricsz", "/nothing",
	"*", "malformed", "/sse/environments/a.b/stream", "/sse/environments/a.b/queue-change"};
static const char *const methods[] = {"GET", "HEAD", "POST", "OPTIONS", "BREW"};
static const char *const tokens[] = {"", "Token wrong", "Token secret"};
static const char *const bodies[] = {NULL, BODY, "not"};

static void check_any(const struct asked *asked, bool has_token)
{
	bool may_publish = strcmp(asked->target, CHANGE) == 0 &&
			   strcmp(asked->method, "POST") == 0 && has_token;
	bool publishes = may_publish && asked->body && strcmp(asked->body, BODY) == 0;

	ask(asked);
	ck_assert_int_eq(stand_in.outcome == WAITS, publishes);
	ck_assert_int_eq(stand_in.exchange.has_published, publishes);
	ck_assert_int_eq(stand_in.body_was_wanted, may_publish && asked->body);
	if (publishes)
		http_answer(stand_in.publish, HTTP_QUEUED, 0, NULL);
	ck_assert_int_eq(stand_in.n_ends, 1);
	if (stand_in.outcome == LEFT)
		ck_assert(strcmp(asked->target, STREAM) == 0 && !asked->body);
	else
		assert_answered(stand_in.status);
	/* Where the body is not read, there can't be another request. */
	if (asked->body && !stand_in.body_was_wanted)
		ck_assert(stand_in.closes);
}

/* One of each: the number says which. */
START_TEST(answers_each_once)
{
	struct asked asked = ASK(methods[_i / N_OF(targets)], targets[_i % N_OF(targets)]);

	for (int i = 0; i < N_OF(tokens) * N_OF(bodies); i++) {
		const char *token = tokens[i % N_OF(tokens)];

		asked.fields[0] = (struct reply_field){*token ? "Authorization" : NULL, token};
		asked.body = bodies[i / N_OF(tokens)];
		check_any(&asked, strcmp(token, "Token secret") == 0);
	}
}
END_TEST

/* ---- Publications ---- */

static const struct asked publication = ASK("POST", CHANGE, .fields = {TOKEN_FIELD}, .body = BODY);

START_TEST(answers_later)
{
	ask(&publication);
	ck_assert_int_eq(stand_in.time_us, 1700000000500000);
	ck_assert_int_eq(stand_in.n_ends, 0);
	http_answer(stand_in.publish, outcomes[_i].result, UINT64_MAX, outcomes[_i].detail);
	assert_answered(outcomes[_i].status);
	ck_assert_str_eq(stand_in.body, outcomes[_i].body);
	ck_assert(!outcomes[_i].field || answer_has(outcomes[_i].field));
	ck_assert(!stand_in.closes);
}
END_TEST

/* Its wait, under its status only: 700 ms and what the test takes, on a busy machine too. */
START_TEST(times_the_wait)
{
	static const enum timing timings[] = {
		[HTTP_PUBLISHED] = TIMING_PUBLISHED,
		[HTTP_STALE] = TIMING_STALE,
		[HTTP_QUEUED] = TIMING_QUEUED,
		[HTTP_UNAVAILABLE] = TIMING_UNAVAILABLE,
	};
	const struct histogram *histograms = stand_in.http.metrics.histograms;

	ask(&publication);
	stand_in.publish->begun_us -= 700 * US_PER_MS;
	http_answer(stand_in.publish, outcomes[_i].result, 1, outcomes[_i].detail);
	for (enum timing timing = 0; timing < TIMINGS; timing++) {
		bool is_its = timing == timings[outcomes[_i].result];
		uint64_t sum_us = counter_get(&histograms[timing].sum_us);

		ck_assert_uint_eq(count_of(&histograms[timing]), is_its);
		ck_assert(is_its ? sum_us >= 700000 && sum_us < 10700000 : sum_us == 0);
	}
}
END_TEST

START_TEST(times_no_refused_publication)
{
	static const struct asked asked =
		ASK("POST", CHANGE, .fields = {TOKEN_FIELD}, .body = "not");

	ask(&asked);
	assert_answered(422);
	for (enum timing timing = 0; timing < TIMINGS; timing++)
		ck_assert_uint_eq(count_of(&stand_in.http.metrics.histograms[timing]), 0);
}
END_TEST

START_TEST(answers_at_once)
{
	stand_in.answer_at_once = true;
	ask(&publication);
	assert_answered(200);
	ck_assert_str_eq(stand_in.body, "{\"status\":\"published\",\"sequence\":7}");
}
END_TEST

START_TEST(cannot_be_answered_twice)
{
	ask(&publication);
	http_answer(stand_in.publish, HTTP_STALE, 0, NULL);
	stand_in.publish->is_open = true;
	http_answer(stand_in.publish, HTTP_STALE, 0, NULL);
}
END_TEST

START_TEST(counts_those_without_the_token)
{
	static const struct asked asked = ASK("POST", CHANGE, .body = BODY);

	for (int i = 0; i < 3; i++)
		ask(&asked);
	ask(&publication);
	ck_assert_uint_eq(stand_in.http.unauthorized, 3);
}
END_TEST

START_TEST(takes_no_more_than_was_announced)
{
	static const struct asked asked = ASK("POST", CHANGE, .fields = {TOKEN_FIELD},
		.body = BODY " and more", .content_length = sizeof(BODY) - 1);

	ask(&asked);
	ck_assert_int_eq(stand_in.outcome, WAITS);
	ck_assert_uint_eq(stand_in.exchange.body_length, strlen(BODY));
}
END_TEST

/* ---- Streams ---- */

static const struct asked stream_1_1 = ASK(
	"GET", STREAM "?lastEventId=5", .fields = {{"User-Agent", "Dart/3"}, {"Accept", "*/*"}});
static const struct asked stream_1_0 =
	ASK("GET", STREAM, .fields = {{"Last-Event-ID", "6"}}, .is_1_0 = true);

static void assert_head(const char *head)
{
	const struct span *given = &stand_in.subscription.head;

	ck_assert_uint_eq(given->length, strlen(head));
	ck_assert_int_eq(memcmp(given->data, head, strlen(head)), 0);
}

START_TEST(hands_a_stream_over)
{
	ask(&stream_1_1);
	ck_assert_int_eq(stand_in.outcome, LEFT);
	ck_assert_int_eq(stand_in.n_subscriptions, 1);
	ck_assert_str_eq(stand_in.subscription.key.text, "abc");
	ck_assert_int_eq(stand_in.subscription.encoding, ENCODING_CHUNKED);
	ck_assert_str_eq(stand_in.subscription.user_agent, "Dart/3");
	ck_assert_str_eq(stand_in.subscription.accept, "*/*");
	ck_assert_int_eq(stand_in.subscription.last_event_id, 5);
	assert_head(HEAD_1_1);
	/* Nothing but what the owner does with it. */
	ck_assert_str_eq(hear_end(), "");
	ck_assert_uint_eq(metrics_get(&stand_in.http.metrics, COUNT_RESPONSES_2XX), 1);

	ask(&stream_1_0);
	ck_assert_int_eq(stand_in.subscription.encoding, ENCODING_IDENTITY);
	ck_assert_ptr_null(stand_in.subscription.user_agent);
	ck_assert_int_eq(stand_in.subscription.last_event_id, 6);
	assert_head(HEAD_1_0);
}
END_TEST

START_TEST(answers_head_as_a_stream)
{
	static const struct asked asked = ASK("HEAD", STREAM),
				  old = ASK("HEAD", STREAM, .is_1_0 = true);

	ask(&asked);
	ck_assert_str_eq(hear_end(), HEAD_1_1);
	ask(&old);
	ck_assert_str_eq(hear_end(), HEAD_1_0);
	ck_assert_int_eq(stand_in.n_subscriptions, 0);
	ck_assert_uint_eq(metrics_get(&stand_in.http.metrics, COUNT_RESPONSES_2XX), 2);
}
END_TEST

START_TEST(ends_streams_that_do_not_begin)
{
	stand_in.subscribe_result = -ESHUTDOWN;
	ask(&stream_1_1);
	ck_assert_int_eq(stand_in.outcome, LEFT);
	ck_assert_str_eq(hear_end(), HEAD_1_1 "0\r\n\r\n");
	ask(&stream_1_0);
	ck_assert_str_eq(hear_end(), HEAD_1_0);
}
END_TEST

/* What the owner, or the system, says of a stream, and the answer. */
static const struct {
	int error;
	unsigned status;
} refusals[] = {
	{-EAGAIN, 503},
	{-EMFILE, 503},
	{-ENFILE, 503},
	{-ENOMEM, 503},
	{-EIO, 500},
};

static void assert_refused(const struct asked *asked, int i)
{
	ask(asked);
	assert_answered(refusals[i].status);
	ck_assert(stand_in.closes && stand_in.hold_ms >= HOLD_MIN_MS);
	ck_assert_int_eq(
		strstr(stand_in.fields, "\nRetry-After: ") != NULL, refusals[i].status == 503);
}

START_TEST(refuses_streams)
{
	stand_in.subscribe_result = refusals[_i].error;
	assert_refused(&stream_1_0, _i);
	ck_assert_int_eq(stand_in.n_subscriptions, 1);
	/* The descriptor that nobody has wanted is closed. */
	ck_assert_int_eq(fcntl(stand_in.subscription.fd, F_GETFD), -1);
	ck_assert_str_eq(hear_end(), "");
}
END_TEST

START_TEST(refuses_streams_without_a_descriptor)
{
	static const struct asked asked = ASK("HEAD", STREAM);

	stand_in.detach_result = refusals[_i].error;
	assert_refused(&stream_1_0, _i);
	assert_refused(&asked, _i);
	ck_assert_int_eq(stand_in.n_subscriptions, 0);
}
END_TEST

START_TEST(holds_nobody_at_the_end)
{
	static const struct asked asked = ASK("GET", "/x/stream");

	stand_in.http.stopping = true;
	ask(&asked);
	assert_answered(404);
	ck_assert_int_eq(stand_in.hold_ms, 0);
	ck_assert(!stand_in.closes);
	stand_in.subscribe_result = -EAGAIN;
	ask(&stream_1_1);
	assert_answered(503);
	ck_assert_int_eq(stand_in.hold_ms, 0);
	ck_assert(stand_in.closes);
}
END_TEST

/* ---- The rest ---- */

START_TEST(is_ready_or_says_why_not)
{
	static const struct asked asked = ASK("GET", "/readyz");

	stand_in.not_ready = "no bus";
	ask(&asked);
	assert_answered(503);
	ck_assert_str_eq(stand_in.body, "{\"detail\":\"no bus\"}");
	stand_in.not_ready = NULL;
	stand_in.warning = "no \"outbox\"\n";
	ask(&asked);
	ck_assert_str_eq(
		stand_in.body, "{\"status\":\"ready\",\"warning\":\"no \\\"outbox\\\"?\"}");
}
END_TEST

START_TEST(drops_what_cannot_be_answered)
{
	static const struct asked asked = ASK("GET", "/livez");

	stand_in.answer_result = -ENOMEM;
	ask(&asked);
	ck_assert_int_eq(stand_in.n_ends, 1);
	ck_assert_int_eq(stand_in.outcome, DROPPED);
	ck_assert_uint_eq(metrics_get(&stand_in.http.metrics, COUNT_RESPONSES_2XX), 0);
	stand_in.answer_result = 0;
	ask(&asked);
	assert_answered(200);
	ck_assert_uint_eq(metrics_get(&stand_in.http.metrics, COUNT_RESPONSES_2XX), 1);
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_loop_test(tests, answers, 0, N_OF(cases));
	tcase_add_loop_test(tests, is_among_the_cases, 0, N_OF(handlers));
	tcase_add_loop_test(tests, answers_each_once, 0, N_OF(targets) * N_OF(methods));
	tcase_add_loop_test(tests, answers_later, 0, N_OF(outcomes));
	tcase_add_loop_test(tests, times_the_wait, 0, N_OF(outcomes));
	tcase_add_test(tests, times_no_refused_publication);
	tcase_add_test(tests, answers_at_once);
	tcase_add_test(tests, counts_those_without_the_token);
	tcase_add_test(tests, takes_no_more_than_was_announced);
	tcase_add_test(tests, hands_a_stream_over);
	tcase_add_test(tests, answers_head_as_a_stream);
	tcase_add_test(tests, ends_streams_that_do_not_begin);
	tcase_add_loop_test(tests, refuses_streams, 0, N_OF(refusals));
	tcase_add_loop_test(tests, refuses_streams_without_a_descriptor, 0, N_OF(refusals));
	tcase_add_test(tests, holds_nobody_at_the_end);
	tcase_add_test(tests, is_ready_or_says_why_not);
	tcase_add_test(tests, drops_what_cannot_be_answered);
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("exchange");
	TCase *tests = tcase_create("exchange"), *aborts = tcase_create("aborts");

	tcase_add_checked_fixture(tests, stand_in_start, stand_in_stop);
	add_tests(tests);
	suite_add_tcase(suite, tests);

	tcase_set_tags(aborts, "not-in-valgrind"); /* which has no process to spare for it */
	tcase_add_checked_fixture(aborts, stand_in_start, stand_in_stop);
	tcase_add_test_raise_signal(aborts, cannot_be_answered_twice, SIGABRT);
	suite_add_tcase(suite, aborts);
	return suite;
}
