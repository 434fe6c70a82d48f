/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections of HTTP, in-process: their deadlines, their number, and the end. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "http-fixture.h"
#include "runner.h"

/* Until the other side ends the connection. */
static int64_t lasts_ms(int fd)
{
	int64_t begun_ms = clock_monotonic_ms();

	hear_end(fd);
	return clock_monotonic_ms() - begun_ms;
}

static void assert_about(int64_t ms, int64_t expected_ms)
{
	ck_assert_msg(ms > expected_ms - 100 && ms < expected_ms + 1500, "%lld ms instead of %lld",
		(long long)ms, (long long)expected_ms);
}

START_TEST(ends_what_says_nothing)
{
	int fd = call();

	assert_about(lasts_ms(fd), REQUEST_TIMEOUT_MS);
	ck_assert_uint_eq(fixture.heard_length, 0);
	turn_ms(50);
	ck_assert_uint_eq(http_connections(fixture.http), 0);
	close(fd);
}
END_TEST

START_TEST(ends_what_trickles)
{
	int64_t begun_ms = clock_monotonic_ms();
	int fd = call();

	say(fd, "GET /livez HTTP/1.1\r\nHost: x\r\n");
	while (is_open(fd) && clock_monotonic_ms() - begun_ms < 5000) {
		say(fd, "X: y\r\n");
		turn_ms(50);
	}
	assert_about(clock_monotonic_ms() - begun_ms, REQUEST_TIMEOUT_MS);
	close(fd);
}
END_TEST

START_TEST(gives_each_request_its_own_time)
{
	int fd = call();

	say(fd, GET_LIVE);
	hear(fd, 1);
	turn_ms(IDLE_TIMEOUT_MS - 200);
	say(fd, "GET /livez HTTP/1.1\r\n");
	assert_about(lasts_ms(fd), REQUEST_TIMEOUT_MS);
	close(fd);
}
END_TEST

START_TEST(ends_what_idles)
{
	int fd = call();

	say(fd, GET_LIVE);
	hear(fd, 1);
	assert_about(lasts_ms(fd), IDLE_TIMEOUT_MS);
	close(fd);
}
END_TEST

START_TEST(waits_for_the_bus_without_a_deadline)
{
	int fd = call();

	fixture.answer_at_once = false;
	say(fd, POST);
	turn_ms(REQUEST_TIMEOUT_MS + IDLE_TIMEOUT_MS + 600);
	ck_assert(is_open(fd));
	http_answer(fixture.publishes[0], HTTP_STALE, 0, NULL);
	hear(fd, 1);
	assert_status(200);
	close(fd);
}
END_TEST

START_TEST(sleeps_when_there_is_nothing_to_do)
{
	int fd = call();

	turn_ms(50);
	say(fd, GET_LIVE);
	hear(fd, 1);
	turn_ms(50);
	/* A look now and then whether the client is still there, and no more. */
	ck_assert_int_le(turn_ms(300), 2);
	close(fd);
	turn_ms(1000);
	ck_assert_int_eq(turn_ms(IDLE_TIMEOUT_MS + 500), 0);
}
END_TEST

/* All places taken by publishes that wait for the bus: nobody has to go. */
START_TEST(lets_those_beyond_its_number_wait)
{
	int fds[MAX_CONNECTIONS], late;

	fixture.answer_at_once = false;
	for (int i = 0; i < MAX_CONNECTIONS; i++) {
		fds[i] = call();
		say(fds[i], POST);
	}
	turn_ms(50);
	ck_assert_uint_eq(http_connections(fixture.http), MAX_CONNECTIONS);
	ck_assert_int_eq(fixture.n_publishes, MAX_CONNECTIONS);
	late = call();
	say(late, GET_LIVE);
	turn_ms(50);
	ck_assert_uint_eq(http_connections(fixture.http), MAX_CONNECTIONS);
	ck_assert_int_le(turn_ms(50), 2); /* it does not spin */
	ck_assert(is_open(late));
	for (int i = 0; i < MAX_CONNECTIONS; i++)
		http_answer(fixture.publishes[i], HTTP_STALE, 0, NULL);
	hear(late, 1);
	assert_status(200);
	for (int i = 0; i < MAX_CONNECTIONS; i++) {
		hear(fds[i], 1);
		assert_status(200);
		close(fds[i]);
	}
	close(late);
}
END_TEST

static int half_request(void)
{
	int fd = call();

	say(fd, "GET /livez HTTP/1.1\r\n");
	turn_ms(5);
	return fd;
}

static int slow_body(void)
{
	int fd = call();

	say(fd, POST_HEAD "Content-Length: 28\r\n\r\n{");
	turn_ms(5);
	return fd;
}

/* Asks for more than fits into the buffers between, and reads nothing. */
static int unread_answer(void)
{
	int fd = call(), small = 2048;

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	for (int i = 0; i < 400; i++)
		if (send(fd, GET_LIVE, strlen(GET_LIVE), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
	turn_ms(20);
	return fd;
}

static int idle_one(void)
{
	int fd = call();

	say(fd, GET_LIVE);
	hear(fd, 1);
	return fd;
}

static int idle_publisher(void)
{
	int fd = call();

	say(fd, POST);
	hear(fd, 1);
	return fd;
}

static bool was_ended(int fd)
{
	char bytes[65536];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return n == 0 || errno == ECONNRESET;
}

/* In this order they go where places run out. */
START_TEST(ends_those_without_progress_first)
{
	static int (*const kinds[])(void) = {half_request, slow_body, unread_answer};
	int64_t begun_ms = clock_monotonic_ms();
	int fds[MAX_CONNECTIONS], n = 0, late[3];

	/* One less than there is room for: nobody has to go while some are young. */
	fds[n++] = idle_one();
	for (int kind = 2; kind >= 0; kind--)
		for (int i = 0; i < 2; i++)
			fds[n++] = kinds[kind]();
	turn_ms(100); /* until they are not young any more */
	for (int i = 0; i < 3; i++) {
		late[i] = call();
		say(late[i], POST);
		hear(late[i], 1);
		assert_status(200);
		if (i < 2)
			ck_assert_msg(was_ended(fds[5]) + was_ended(fds[6]) >= i + 1, "%d", i);
	}
	ck_assert_int_ge(was_ended(fds[3]) + was_ended(fds[4]), 1);
	if (clock_monotonic_ms() - begun_ms < IDLE_TIMEOUT_MS - 300)
		ck_assert(!was_ended(fds[0]));
	for (int i = 0; i < 3; i++)
		close(late[i]);
	for (int i = 0; i < n; i++)
		close(fds[i]);
}
END_TEST

/* Of those that wait for their next request. */
START_TEST(spares_publishers)
{
	int64_t begun_ms = clock_monotonic_ms();
	int fds[MAX_CONNECTIONS], n = MAX_CONNECTIONS - 1, late[3];

	for (int i = 0; i < n; i++)
		fds[i] = i < 3 ? idle_publisher() : idle_one();
	turn_ms(100); /* until they are not young any more */
	for (int i = 0; i < 3; i++) {
		late[i] = idle_publisher();
		turn_ms(60);
	}
	ck_assert_int_ge(
		was_ended(fds[3]) + was_ended(fds[4]) + was_ended(fds[5]) + was_ended(fds[6]), 3);
	for (int i = 0; i < 3; i++)
		if (clock_monotonic_ms() - begun_ms < IDLE_TIMEOUT_MS - 300)
			ck_assert(!was_ended(fds[i]));
	for (int i = 0; i < n; i++)
		close(fds[i]);
	for (int i = 0; i < 3; i++)
		close(late[i]);
}
END_TEST

START_TEST(ends_what_does_not_read_its_answer)
{
	int fd = unread_answer();

	ck_assert_uint_eq(http_connections(fixture.http), 1);
	turn_ms(ANSWER_TIMEOUT_MS + 800);
	ck_assert_uint_eq(http_connections(fixture.http), 0);
	ck_assert(was_ended(fd));
	close(fd);
}
END_TEST

START_TEST(waits_for_who_reads_slowly)
{
	char bytes[4096];
	int fd = unread_answer(), n = 0;

	for (int64_t end_ms = clock_monotonic_ms() + 2 * ANSWER_TIMEOUT_MS;
		clock_monotonic_ms() < end_ms; n++) {
		ck_assert_int_gt(recv(fd, bytes, sizeof(bytes), 0), 0);
		turn_ms(ANSWER_TIMEOUT_MS / 6);
	}
	ck_assert_uint_eq(http_connections(fixture.http), 1);
	close(fd);
}
END_TEST

START_TEST(lets_an_idle_one_make_room)
{
	int fds[MAX_CONNECTIONS], late;
	int64_t begun_ms;

	for (int i = 0; i < MAX_CONNECTIONS; i++) {
		fds[i] = call();
		say(fds[i], GET_LIVE);
		hear(fds[i], 1);
	}
	begun_ms = clock_monotonic_ms();
	late = call();
	say(late, POST);
	hear(late, 1);
	assert_status(200);
	ck_assert_int_lt(clock_monotonic_ms() - begun_ms, IDLE_TIMEOUT_MS / 2);
	for (int i = 0; i < MAX_CONNECTIONS; i++)
		close(fds[i]);
	close(late);
}
END_TEST

START_TEST(notices_an_end_that_comes_with_the_last_bytes)
{
	int fd = call();

	turn_ms(50); /* libmicrohttpd watches it by now */
	ck_assert_int_eq(send(fd, GET_LIVE, strlen(GET_LIVE), 0), (ssize_t)strlen(GET_LIVE));
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	ck_assert_int_lt(lasts_ms(fd), IDLE_TIMEOUT_MS - 200);
	assert_status(200);
	close(fd);
}
END_TEST

START_TEST(waits_when_descriptors_run_out)
{
	struct rlimit limit, none;
	int fd = call();

	say(fd, GET_LIVE);
	hear(fd, 1);
	close(fd);
	turn_ms(50);
	fd = call();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)fd; /* the lowest that is free is higher */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(send(fd, GET_LIVE, strlen(GET_LIVE), 0), (ssize_t)strlen(GET_LIVE));
	ck_assert_int_lt(turn_ms(500), 30); /* it does not spin */
	ck_assert_uint_eq(http_connections(fixture.http), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	hear(fd, 1);
	assert_status(200);
	close(fd);
}
END_TEST

START_TEST(stops)
{
	int waits = call(), half = call(), idle = call();

	fixture.answer_at_once = false;
	say(idle, GET_LIVE);
	hear(idle, 1);
	say(waits, POST);
	say(half, "GET /livez HTTP/1.1\r\n");
	turn_ms(50);
	http_stop_accepting(fixture.http);
	hear_end(idle);
	say(half, "Host: x\r\n\r\n");
	hear_end(half);
	assert_status(200);
	ck_assert(heard_has("Connection: close\r\n"));
	http_answer(fixture.publishes[0], HTTP_STALE, 0, NULL);
	hear_end(waits);
	assert_status(200);
	ck_assert(heard_has("Connection: close\r\n"));
	turn_ms(50);
	ck_assert_uint_eq(http_connections(fixture.http), 0);
	close(waits);
	close(half);
	close(idle);
}
END_TEST

/* Into the kernel; the loop does not go on. */
static void say_unseen(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

/* More at once than libmicrohttpd may ever have. */
START_TEST(loses_none_of_a_crowd)
{
	enum {
		N = 5 * MAX_CONNECTIONS
	};
	int fds[N];

	for (int i = 0; i < N; i++) {
		fds[i] = call();
		say_unseen(fds[i], GET_LIVE);
	}
	for (int i = 0; i < N; i++) {
		hear(fds[i], 1);
		assert_status(200);
		close(fds[i]);
	}
}
END_TEST

START_TEST(accepts_the_rest_before_it_stops)
{
	int fds[MAX_CONNECTIONS];

	for (int i = 0; i < MAX_CONNECTIONS; i++) {
		fds[i] = call();
		say_unseen(fds[i], POST);
	}
	http_accept_rest(fixture.http);
	http_stop_accepting(fixture.http);
	for (int i = 0; i < MAX_CONNECTIONS; i++) {
		hear_end(fds[i]);
		assert_status(200);
		close(fds[i]);
	}
	ck_assert_int_eq(fixture.n_publishes, MAX_CONNECTIONS);
}
END_TEST

/* Over a connection that seems idle: the request is in the kernel. */
START_TEST(a_request_is_not_lost_by_a_stop)
{
	int asking = call(), idle = call();

	say(asking, POST);
	hear(asking, 1);
	say(idle, POST);
	hear(idle, 1);
	turn_ms(50);
	fixture.answer_at_once = false;
	say_unseen(asking, POST);
	http_stop_accepting(fixture.http);
	turn_ms(50);
	ck_assert_int_eq(fixture.n_publishes, 3);
	http_answer(fixture.publishes[2], HTTP_STALE, 0, NULL);
	hear_end(asking);
	assert_status(200);
	ck_assert(heard_has("Connection: close\r\n"));
	ck_assert_str_eq(hear_end(idle), "");
	close(asking);
	close(idle);
}
END_TEST

START_TEST(an_answer_is_not_lost_by_a_stop)
{
	int fd = call();

	fixture.answer_at_once = false;
	say(fd, POST);
	turn_ms(50);
	http_answer(fixture.publishes[0], HTTP_STALE, 0, NULL);
	http_stop_accepting(fixture.http);
	hear_end(fd);
	assert_status(200);
	close(fd);
}
END_TEST

START_TEST(can_be_freed_with_an_answer_on_its_way)
{
	int fd = call();

	fixture.answer_at_once = false;
	say(fd, POST);
	turn_ms(50);
	ck_assert_int_eq(fixture.n_publishes, 1);
	http_answer(fixture.publishes[0], HTTP_QUEUED, 0, NULL);
	close(fd);
	/* fixture_stop() is the test. */
}
END_TEST

START_TEST(survives_a_client_that_leaves_before_the_answer)
{
	int fd = call();

	fixture.answer_at_once = false;
	say(fd, POST);
	turn_ms(50);
	ck_assert_int_eq(fixture.n_publishes, 1);
	close(fd);
	turn_ms(50);
	http_answer(fixture.publishes[0], HTTP_UNAVAILABLE, 0, "gone");
	turn_ms(50);
	ck_assert_uint_eq(http_connections(fixture.http), 0);
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_test(tests, ends_what_says_nothing);
	tcase_add_test(tests, ends_what_trickles);
	tcase_add_test(tests, gives_each_request_its_own_time);
	tcase_add_test(tests, ends_what_idles);
	tcase_add_test(tests, waits_for_the_bus_without_a_deadline);
	tcase_add_test(tests, sleeps_when_there_is_nothing_to_do);
	tcase_add_test(tests, lets_those_beyond_its_number_wait);
	tcase_add_test(tests, lets_an_idle_one_make_room);
	tcase_add_test(tests, ends_those_without_progress_first);
	tcase_add_test(tests, spares_publishers);
	tcase_add_test(tests, ends_what_does_not_read_its_answer);
	tcase_add_test(tests, waits_for_who_reads_slowly);
	tcase_add_test(tests, notices_an_end_that_comes_with_the_last_bytes);
	tcase_add_test(tests, stops);
	tcase_add_test(tests, loses_none_of_a_crowd);
	tcase_add_test(tests, accepts_the_rest_before_it_stops);
	tcase_add_test(tests, a_request_is_not_lost_by_a_stop);
	tcase_add_test(tests, an_answer_is_not_lost_by_a_stop);
	tcase_add_test(tests, can_be_freed_with_an_answer_on_its_way);
	tcase_add_test(tests, survives_a_client_that_leaves_before_the_answer);
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("http-connection");
	TCase *tests = tcase_create("http-connection");

	tcase_add_checked_fixture(tests, fixture_start, fixture_stop);
	add_tests(tests);
	suite_add_tcase(suite, tests);

	tests = tcase_create("limits");
	tcase_set_tags(tests, "not-in-valgrind"); /* it has a limit of descriptors of its own */
	tcase_add_checked_fixture(tests, fixture_start, fixture_stop);
	tcase_add_test(tests, waits_when_descriptors_run_out);
	suite_add_tcase(suite, tests);
	return suite;
}
