/* SPDX-License-Identifier: BSD-3-Clause */
/* HTTP as a whole, in-process: what it answers, publishes that wait, the hand-over of streams. */
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "http-cases.h"
#include "http-fixture.h"
#include "http/exchange.h"
#include "runner.h"

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
static void assert_common_fields(void)
{
	ck_assert_msg(heard_has("\r\nAccess-Control-Allow-Origin: *\r\n"), "%s", fixture.heard);
	ck_assert(heard_has("\r\nAccess-Control-Expose-Headers: Retry-After\r\n"));
	ck_assert(heard_has("\r\nCache-Control: no-store\r\n"));
	ck_assert(heard_has("\r\nDate: "));
}

START_TEST(answers_requests)
{
	ask(answers[_i].request);
	assert_status(answers[_i].status);
	assert_common_fields();
	for (int i = 0; i < 4 && answers[_i].has[i]; i++)
		ck_assert_msg(heard_has(answers[_i].has[i]), "no '%s' in: %s", answers[_i].has[i],
			fixture.heard);
	ck_assert_msg(!heard_has("Connection: close"), "%s", fixture.heard);
}
END_TEST

START_TEST(refuses_what_is_ambiguous)
{
	int fd = call();

	/* What follows must not be taken for a request. */
	say(fd, ambiguous[_i]);
	hear_end(fd);
	ck_assert_msg(
		heard_has("HTTP/1.1 400 ") || heard_has("HTTP/1.1 411 "), "%s", fixture.heard);
	ck_assert(heard_has("Connection: close"));
	ck_assert_int_eq(fixture.n_publishes, 0);
	close(fd);
}
END_TEST

START_TEST(refuses_a_nul)
{
	char request[512];
	size_t length = strlen(with_nul[_i]);
	int fd = call();

	for (size_t i = 0; i < length; i++)
		request[i] = with_nul[_i][i] == '@' ? '\0' : with_nul[_i][i];
	say_bytes(fd, request, length);
	hear_end(fd);
	/* Some versions of libmicrohttpd end the connection without a word. */
	if (fixture.heard_length > 0)
		assert_status(400);
	ck_assert_int_eq(fixture.n_publishes, 0);
	close(fd);
}
END_TEST

START_TEST(answers_without_the_body)
{
	static const char more[50000];
	int fd = call();

	say(fd, last_answers[_i].request);
	say_bytes(fd, more, sizeof(more)); /* it is not taken for anything, and costs no reset */
	hear_end(fd);
	assert_status(last_answers[_i].status);
	assert_common_fields();
	ck_assert(heard_has("\r\nConnection: close\r\n"));
	if (last_answers[_i].has)
		ck_assert_msg(heard_has(last_answers[_i].has), "%s", fixture.heard);
	ck_assert_int_eq(fixture.n_publishes, 0);
	ck_assert_uint_eq(http_connections(fixture.http), 0);
	close(fd);
}
END_TEST

START_TEST(lets_refused_subscribers_wait)
{
	int64_t begun_ms = clock_monotonic_ms();
	int fd = call();
	const char *body;

	say(fd, held_answers[_i].request);
	turn_ms(50);
	ck_assert(is_open(fd));
	ck_assert_uint_eq(http_held(fixture.http), 1);
	ck_assert_uint_eq(http_connections(fixture.http), 0);
	hear_end(fd);
	ck_assert_int_ge(clock_monotonic_ms() - begun_ms, HOLD_MIN_MS);
	assert_status(held_answers[_i].status);
	assert_common_fields();
	ck_assert(heard_has("\r\nConnection: close\r\n"));
	body = strstr(fixture.heard, "\r\n\r\n") + 4;
	ck_assert_msg(strncmp(body, held_answers[_i].body, strlen(held_answers[_i].body)) == 0,
		"%s", fixture.heard);
	ck_assert_uint_eq(http_held(fixture.http), 0);
	close(fd);
}
END_TEST

START_TEST(lets_refused_subscribers_go)
{
	int fd = call();

	say(fd, "GET /sse/environments/a.b/stream" HOST "\r\n");
	turn_ms(50);
	ck_assert_uint_eq(http_held(fixture.http), 1);
	close(fd);
	turn_ms(50);
	ck_assert_uint_eq(http_held(fixture.http), 0);
}
END_TEST

/* Only its own side has ended: it is not told from one that has left, but it gets its answer. */
START_TEST(answers_a_refused_subscriber_that_has_said_all)
{
	int fd = call();

	say(fd, "GET /sse/environments/a.b/stream" HOST "\r\n");
	turn_ms(20);
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	hear_end(fd);
	assert_status(400);
	close(fd);
}
END_TEST

/* All streams that are allowed are open: what is left for requests is left for refusals, too. */
START_TEST(holds_while_streams_are_full)
{
	int fds[3];

	fixture.streams = MAX_DESCRIPTORS - 8;
	fixture.subscribe_result = -EAGAIN;
	for (int i = 0; i < 3; i++) {
		fds[i] = call();
		say(fds[i], GET_STREAM);
		turn_ms(5);
	}
	turn_ms(HOLD_MIN_MS / 3);
	ck_assert_uint_eq(http_held(fixture.http), 3);
	ask(POST);
	assert_status(200);
	for (int i = 0; i < 3; i++) {
		hear_end(fds[i]);
		assert_status(503);
		close(fds[i]);
	}
}
END_TEST

START_TEST(answers_whom_it_holds_when_it_stops)
{
	int64_t begun_ms = clock_monotonic_ms();
	int fd = call();

	say(fd, "GET /sse/environments/a.b/stream" HOST "\r\n");
	turn_ms(20);
	ck_assert_uint_eq(http_held(fixture.http), 1);
	http_stop_accepting(fixture.http);
	hear_end(fd);
	ck_assert_int_lt(clock_monotonic_ms() - begun_ms, HOLD_MIN_MS);
	assert_status(400);
	close(fd);
}
END_TEST

START_TEST(answers_a_query_of_any_length)
{
	static char request[MAX_HEADER_SIZE], query[MAX_HEADER_SIZE];
	int fd = call();

	for (int i = 0; i < 900; i++)
		strcat(query, "&a");
	snprintf(request, sizeof(request), "GET " STREAM "?x%s&lastEventId=5" HOST "\r\n", query);
	say(fd, request);
	turn_until_subscribed();
	ck_assert_int_eq(fixture.subscription.last_event_id, 5);
	close(fixture.subscription.fd);
	close(fd);
}
END_TEST

START_TEST(is_ready_or_says_why_not)
{
	fixture.not_ready = "no bus";
	ask("GET /readyz" HOST "\r\n");
	assert_status(503);
	ck_assert(heard_has("\r\n\r\n{\"detail\":\"no bus\"}"));
	fixture.not_ready = NULL;
	ask("GET /readyz" HOST "\r\n");
	assert_status(200);
	ck_assert(heard_has("\r\n\r\n{\"status\":\"ready\"}"));
	fixture.warning = "no \"outbox\"";
	ask("GET /readyz" HOST "\r\n");
	assert_status(200);
	ck_assert(heard_has("\r\n\r\n{\"status\":\"ready\",\"warning\":\"no \\\"outbox\\\"\"}"));
	ask(GET_LIVE);
	assert_status(200);
}
END_TEST

START_TEST(answers_head_without_a_body)
{
	int fd = call();

	say(fd, "HEAD " STREAM HOST "\r\n");
	ck_assert_str_eq(hear_end(fd), HEAD_1_1);
	close(fd);
	fd = call();
	say(fd, "HEAD " STREAM " HTTP/1.0\r\n\r\n");
	ck_assert_str_eq(hear_end(fd), HEAD_1_0);
	close(fd);
	ck_assert_int_eq(fixture.subscriptions, 0);
}
END_TEST

static int option_of(int fd, int option)
{
	int value = -1;
	socklen_t length = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, option, &value, &length), 0);
	return value;
}

START_TEST(hands_a_stream_over)
{
	char byte;
	int fd = call();

	say(fd, "GET " STREAM HOST "User-Agent: Dart/3\r\nAccept: */*\r\n\r\n");
	turn_until_subscribed();
	ck_assert_str_eq(fixture.subscription.key.text, "abc");
	ck_assert_int_eq(fixture.subscription.encoding, ENCODING_CHUNKED);
	ck_assert_str_eq(fixture.subscription.user_agent, "Dart/3");
	ck_assert_uint_eq(fixture.subscription.head.length, strlen(HEAD_1_1));
	ck_assert_int_eq(memcmp(fixture.subscription.head.data, HEAD_1_1, strlen(HEAD_1_1)), 0);
	ck_assert_uint_eq(http_connections(fixture.http), 0);
	/* Inherited from the listener. */
	ck_assert_int_eq(option_of(fixture.subscription.fd, TCP_NODELAY), 1);
	ck_assert_int_eq(option_of(fixture.subscription.fd, TCP_NOTSENT_LOWAT), 512);
	/* No deadline has a hold on it any more. */
	turn_ms(REQUEST_TIMEOUT_MS + IDLE_TIMEOUT_MS + 600);
	ck_assert(is_open(fd));
	ck_assert_int_eq(send(fixture.subscription.fd, "x", 1, MSG_NOSIGNAL), 1);
	ck_assert_int_eq(recv(fd, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'x');
	close(fixture.subscription.fd);
	close(fd);
}
END_TEST

START_TEST(knows_what_http_1_0_needs)
{
	int fd = call();

	say(fd, "GET " STREAM " HTTP/1.0\r\n\r\n");
	turn_until_subscribed();
	ck_assert_int_eq(fixture.subscription.encoding, ENCODING_IDENTITY);
	ck_assert_ptr_null(fixture.subscription.user_agent);
	ck_assert_uint_eq(fixture.subscription.head.length, strlen(HEAD_1_0));
	ck_assert_int_eq(memcmp(fixture.subscription.head.data, HEAD_1_0, strlen(HEAD_1_0)), 0);
	close(fixture.subscription.fd);
	close(fd);
}
END_TEST

START_TEST(reads_the_last_id)
{
	char request[256];
	int fd = call();

	snprintf(request, sizeof(request), "GET " STREAM "%s" HOST "%s\r\n", ids[_i].query,
		ids[_i].field);
	say(fd, request);
	turn_until_subscribed();
	ck_assert_int_eq(fixture.subscription.last_event_id, ids[_i].id);
	close(fixture.subscription.fd);
	close(fd);
}
END_TEST

START_TEST(turns_streams_away)
{
	int fd = call(), seconds;
	const char *retry;

	fixture.subscribe_result = -EAGAIN;
	say(fd, GET_STREAM);
	hear_end(fd);
	assert_status(503);
	ck_assert(heard_has("Connection: close\r\n"));
	assert_common_fields();
	retry = strstr(fixture.heard, "\r\nRetry-After: ");
	ck_assert_ptr_nonnull(retry);
	seconds = (int)strtol(retry + strlen("\r\nRetry-After: "), NULL, 10);
	ck_assert(seconds >= 3 && seconds <= 10);
	close(fd);
	fixture.subscribe_result = -EIO;
	ask(GET_STREAM);
	assert_status(500);
	assert_common_fields();
	turn_ms(50);
	ck_assert_uint_eq(http_connections(fixture.http), 0);
}
END_TEST

/* Clean, with nothing in it: no status but 200 brings each client back. */
START_TEST(ends_streams_that_do_not_begin)
{
	static const char request_1_0[] = "GET /sse/environments/abc/stream HTTP/1.0\r\n\r\n";

	fixture.subscribe_result = -ESHUTDOWN;
	ask(_i == 0 ? GET_STREAM : request_1_0);
	assert_status(200);
	ck_assert(heard_has("Content-Type: text/event-stream\r\n"));
	ck_assert_str_eq(
		strstr(fixture.heard, "\r\n\r\n"), _i == 0 ? "\r\n\r\n0\r\n\r\n" : "\r\n\r\n");
	turn_ms(50);
	ck_assert_uint_eq(http_connections(fixture.http), 0);
	ck_assert_uint_eq(http_held(fixture.http), 0);
}
END_TEST

START_TEST(answers_when_the_bus_has)
{
	int fd = call();

	fixture.answer_at_once = false;
	say(fd, POST);
	turn_ms(50);
	ck_assert_int_eq(fixture.n_publishes, 1);
	ck_assert_int_eq(fixture.time_us, 1700000000500000);
	ck_assert(is_open(fd));
	http_answer(fixture.publishes[0], outcomes[_i].status, 7, outcomes[_i].detail);
	hear(fd, 1);
	assert_status(outcomes[_i].code);
	assert_common_fields();
	ck_assert_msg(heard_has(outcomes[_i].end), "%s", fixture.heard);
	if (outcomes[_i].code == 503)
		ck_assert(heard_has("\r\nRetry-After: 1\r\n"));
	/* The connection is as good as before. */
	fixture.answer_at_once = true;
	say(fd, POST);
	hear(fd, 1);
	assert_status(200);
	close(fd);
}
END_TEST

static void assert_origin(const struct http_publish *publish, int client)
{
	const struct exchange *exchange = container_of(publish, const struct exchange, publish);
	char name[LISTEN_NAME_SIZE], expected[LISTEN_NAME_SIZE];

	peer_name(&exchange->origin->peer, name);
	listen_name(client, expected);
	ck_assert_str_eq(name, expected);
	snprintf(expected, sizeof(expected), "127.0.0.1:%d", fixture.port);
	ck_assert_str_eq(exchange->origin->listener->name, expected);
}

START_TEST(knows_where_requests_come_from)
{
	int fds[2] = {call(), call()};

	fixture.answer_at_once = false;
	for (int i = 0; i < 2; i++) {
		say(fds[i], POST);
		while (fixture.n_publishes == i)
			turn_ms(1);
	}
	/* The listener is known when it is closed, too. */
	http_stop_accepting(fixture.http);
	for (int i = 0; i < 2; i++) {
		assert_origin(fixture.publishes[i], fds[i]);
		http_answer(fixture.publishes[i], HTTP_STALE, 0, NULL);
		hear_end(fds[i]);
		close(fds[i]);
	}
}
END_TEST

START_TEST(answers_pipelined_requests_in_order)
{
	enum {
		N = 40
	};
	static char many[N * sizeof(POST)];
	const char *at;
	char expected[32];
	int fd = call();

	for (int i = 0; i < N; i++)
		strcat(many, POST);
	say(fd, many);
	at = hear(fd, N);
	for (int i = 1; i <= N; i++) {
		snprintf(expected, sizeof(expected), "\"sequence\":%d}", i);
		at = strstr(at, expected);
		ck_assert_msg(at, "no %s in: %s", expected, fixture.heard);
	}
	close(fd);
}
END_TEST

START_TEST(answers_pipelined_requests_that_wait)
{
	int fd = call();

	fixture.answer_at_once = false;
	say(fd, POST POST GET_LIVE);
	for (int i = 0; i < 2; i++) {
		turn_ms(50);
		ck_assert_int_eq(fixture.n_publishes, i + 1);
		http_answer(fixture.publishes[i], HTTP_STALE, 0, NULL);
	}
	hear(fd, 3);
	ck_assert(heard_has("{\"status\":\"ok\"}"));
	close(fd);
}
END_TEST

START_TEST(hands_over_behind_a_publish)
{
	socklen_t length = sizeof(int);
	int corked = -1, fd = call();

	say(fd, POST GET_STREAM);
	hear(fd, 1);
	assert_status(200);
	turn_until_subscribed();
	ck_assert_int_eq(
		getsockopt(fixture.subscription.fd, IPPROTO_TCP, TCP_CORK, &corked, &length), 0);
	ck_assert_msg(corked == 0, "libmicrohttpd has left the socket corked: what a stream sends "
				   "would wait in the kernel");
	ck_assert(is_open(fd));
	close(fixture.subscription.fd);
	close(fd);
}
END_TEST

static void post_of_size(int fd, int size)
{
	static char body[128 * 1024];
	char head[256];

	memset(body, ' ', sizeof(body));
	memcpy(body, POST_BODY, sizeof(POST_BODY) - 1);
	snprintf(head, sizeof(head), POST_HEAD "Content-Length: %d\r\n\r\n", size);
	say(fd, head);
	say_bytes(fd, body, (size_t)size);
}

START_TEST(limits_the_body)
{
	int fd = call();

	post_of_size(fd, 4096);
	hear(fd, 1);
	assert_status(200);
	post_of_size(fd, 4097);
	hear_end(fd);
	assert_status(413);
	assert_common_fields();
	close(fd);
	/* Read to its end, so that the answer is not lost in a reset. */
	fd = call();
	post_of_size(fd, 60000);
	hear_end(fd);
	assert_status(413);
	close(fd);
	/* Not wanted at all: the answer does not wait for it. */
	fd = call();
	say(fd, POST_HEAD "Content-Length: 1000000\r\n\r\n");
	hear_end(fd);
	assert_status(413);
	close(fd);
	ck_assert_int_eq(fixture.n_publishes, 1);
}
END_TEST

START_TEST(lets_a_client_ask_before_it_sends)
{
	int fd = call();

	say(fd, POST_HEAD "Content-Length: 28\r\nExpect: 100-continue\r\n\r\n");
	hear(fd, 1);
	assert_status(100);
	say(fd, POST_BODY);
	hear(fd, 1);
	assert_status(200);
	close(fd);
}
END_TEST

static void get_with_header_of_size(int fd, size_t size)
{
	static const char head[] = "GET /livez" HOST "X: ";
	static char filler[4 * MAX_HEADER_SIZE];

	memset(filler, 'a', sizeof(filler));
	say(fd, head);
	say_bytes(fd, filler, size - strlen(head) - 4);
	say(fd, "\r\n\r\n");
}

START_TEST(limits_the_header)
{
	int fd = call();

	get_with_header_of_size(fd, MAX_HEADER_SIZE);
	hear(fd, 1);
	assert_status(200);
	get_with_header_of_size(fd, MAX_HEADER_SIZE + 1);
	hear_end(fd);
	assert_status(431);
	assert_common_fields();
	close(fd);
}
END_TEST

START_TEST(counts)
{
	const struct metrics *metrics = http_metrics(fixture.http);
	int fd = call();

	say(fd, GET_LIVE "GET /x" HOST "\r\n" POST GET_STREAM);
	hear(fd, 3);
	turn_ms(50);
	ck_assert_uint_eq(metrics_get(metrics, COUNT_HTTP_ACCEPTED), 1);
	ck_assert_uint_eq(http_requests(fixture.http), 4);
	ck_assert_uint_eq(metrics_get(metrics, COUNT_RESPONSES_2XX), 3);
	ck_assert_uint_eq(metrics_get(metrics, COUNT_RESPONSES_4XX), 1);
	ck_assert_uint_eq(metrics_get(metrics, COUNT_RESPONSES_5XX), 0);
	close(fixture.subscription.fd);
	close(fd);
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_loop_test(tests, answers_requests, 0, N_OF(answers));
	tcase_add_loop_test(tests, refuses_what_is_ambiguous, 0, N_OF(ambiguous));
	tcase_add_loop_test(tests, refuses_a_nul, 0, N_OF(with_nul));
	tcase_add_loop_test(tests, answers_without_the_body, 0, N_OF(last_answers));
	tcase_add_loop_test(tests, lets_refused_subscribers_wait, 0, N_OF(held_answers));
	tcase_add_test(tests, lets_refused_subscribers_go);
	tcase_add_test(tests, answers_a_refused_subscriber_that_has_said_all);
	tcase_add_test(tests, holds_while_streams_are_full);
	tcase_add_test(tests, answers_whom_it_holds_when_it_stops);
	tcase_add_test(tests, answers_a_query_of_any_length);
	tcase_add_test(tests, is_ready_or_says_why_not);
	tcase_add_test(tests, answers_head_without_a_body);
	tcase_add_test(tests, hands_a_stream_over);
	tcase_add_test(tests, knows_what_http_1_0_needs);
	tcase_add_loop_test(tests, reads_the_last_id, 0, N_OF(ids));
	tcase_add_test(tests, turns_streams_away);
	tcase_add_loop_test(tests, ends_streams_that_do_not_begin, 0, 2);
	tcase_add_loop_test(tests, answers_when_the_bus_has, 0, N_OF(outcomes));
	tcase_add_test(tests, knows_where_requests_come_from);
	tcase_add_test(tests, answers_pipelined_requests_in_order);
	tcase_add_test(tests, answers_pipelined_requests_that_wait);
	tcase_add_test(tests, hands_over_behind_a_publish);
	tcase_add_test(tests, limits_the_body);
	tcase_add_test(tests, lets_a_client_ask_before_it_sends);
	tcase_add_test(tests, limits_the_header);
	tcase_add_test(tests, counts);
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("http");
	TCase *tests = tcase_create("http");

	tcase_add_checked_fixture(tests, fixture_start, fixture_stop);
	add_tests(tests);
	suite_add_tcase(suite, tests);
	return suite;
}
