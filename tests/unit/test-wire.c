/* SPDX-License-Identifier: BSD-3-Clause */
/* The wire of a socket, over pairs: [0] is the wire's end, [1] the client's. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client-fixture.h"
#include "hub/wire.h"
#include "runner.h"

/* Far more than the buffers of a pair take. */
#define MUCH (1 << 20)

static char much[MUCH];
static int epoll_fd;
static int pair[2];
static struct wire wire;

static void make_pair(int type)
{
	ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	wire = wire_of_socket(pair[0]);
}

static void begin(void)
{
	memset(much, 'm', sizeof(much));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	ck_assert_int_ge(epoll_fd, 0);
	make_pair(SOCK_STREAM);
}

/* Those that have freed the wire, or closed the client's end, have set it to -1. */
static void end(void)
{
	if (wire.fd >= 0)
		wire_free(&wire, epoll_fd);
	if (pair[1] >= 0)
		close(pair[1]);
	close(epoll_fd);
}

static void client_closes(void)
{
	close(pair[1]);
	pair[1] = -1;
}

/* A pair of TCP in the place of the one that there is. */
static void use_tcp(void)
{
	wire_free(&wire, epoll_fd);
	close(pair[1]);
	connect_pair(pair, 0);
	wire = wire_of_socket(pair[0]);
}

/* The client's end goes by a reset. */
static void client_resets(void)
{
	struct linger at_once = {.l_onoff = 1};
	struct pollfd gone = {.fd = wire.fd, .events = POLLIN};

	ck_assert_int_eq(setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	client_closes();
	ck_assert_int_eq(poll(&gone, 1, 10000), 1);
}

static ssize_t send_text(const char *text)
{
	return wire_send(&wire, (struct span){text, strlen(text)});
}

/* Until there is no room; returns how much went. */
static size_t fill(void)
{
	size_t sent = 0;
	ssize_t n;

	while ((n = wire_send(&wire, (struct span){much, sizeof(much)})) > 0)
		sent += (size_t)n;
	ck_assert_int_eq(n, 0);
	return sent;
}

/* Reads that much of what fill() has sent. */
static void client_reads(size_t size)
{
	char bytes[4096];

	while (size > 0) {
		ssize_t n = recv(pair[1], bytes, size < sizeof(bytes) ? size : sizeof(bytes), 0);

		ck_assert_int_gt(n, 0);
		ck_assert_int_eq(bytes[n - 1], 'm');
		size -= (size_t)n;
	}
}

/* What the wire tells of now; `data` is what it has to come with. */
static unsigned told(const void *data)
{
	struct epoll_event event;
	int n = epoll_wait(epoll_fd, &event, 1, 0);

	ck_assert_int_ge(n, 0);
	if (n == 0)
		return 0;
	ck_assert_ptr_eq(event.data.ptr, data);
	return wire_events(event.events);
}

START_TEST(sends_all_in_one_piece)
{
	char text[64];

	wire_free(&wire, epoll_fd);
	close(pair[1]);
	make_pair(SOCK_SEQPACKET); /* one send(), one recv() */
	ck_assert_int_eq(send_text("an event\n\n"), 10);
	ck_assert_int_eq(send_text(":\n\n"), 3);
	ck_assert_int_eq(recv(pair[1], text, sizeof(text), 0), 10);
	ck_assert_int_eq(memcmp(text, "an event\n\n", 10), 0);
	ck_assert_int_eq(recv(pair[1], text, sizeof(text), 0), 3);
}
END_TEST

START_TEST(sends_a_part_and_then_nothing_yet)
{
	ssize_t n = wire_send(&wire, (struct span){much, sizeof(much)});

	ck_assert_int_gt(n, 0);
	ck_assert_int_lt(n, sizeof(much));
	ck_assert_int_eq(wire_send(&wire, (struct span){much, sizeof(much)}), 0);
	client_reads((size_t)n);
	ck_assert_str_eq(receive(pair[1]), "");
	ck_assert_int_eq(send_text("the rest"), 8);
	ck_assert_str_eq(receive(pair[1]), "the rest");
}
END_TEST

START_TEST(tells_of_room_once_there_is_some)
{
	int data;
	size_t sent = fill();

	ck_assert_int_eq(wire_watch(&wire, epoll_fd, WIRE_INPUT | WIRE_ROOM, &data), 0);
	ck_assert_uint_eq(told(&data), 0);
	client_reads(sent);
	ck_assert_uint_eq(told(&data), WIRE_ROOM);
}
END_TEST

START_TEST(tells_of_what_is_awaited_only)
{
	int data, other;

	ck_assert_int_eq(wire_watch(&wire, epoll_fd, WIRE_INPUT, &data), 0);
	ck_assert_uint_eq(told(&data), 0); /* though there is room */
	ck_assert_int_eq(wire_await(&wire, epoll_fd, WIRE_ROOM, &other), 0);
	ck_assert_int_eq(send(pair[1], "\r\n", 2, 0), 2);
	ck_assert_uint_eq(told(&other), WIRE_ROOM);
	ck_assert_int_eq(wire_await(&wire, epoll_fd, WIRE_INPUT | WIRE_ROOM, &data), 0);
	ck_assert_uint_eq(told(&data), WIRE_INPUT | WIRE_ROOM);
	ck_assert_int_eq(wire_await(&wire, epoll_fd, 0, &data), 0);
	ck_assert_uint_eq(told(&data), 0);
}
END_TEST

START_TEST(a_watch_that_cannot_be_is_told)
{
	ck_assert_int_eq(wire_await(&wire, epoll_fd, WIRE_ROOM, NULL), -ENOENT);
	ck_assert_int_eq(wire_watch(&wire, epoll_fd, WIRE_INPUT, NULL), 0);
	ck_assert_int_eq(wire_watch(&wire, epoll_fd, WIRE_INPUT, NULL), -EEXIST);
}
END_TEST

START_TEST(a_client_that_is_gone_is_told)
{
	int data;

	client_closes();
	ck_assert_int_eq(wire_watch(&wire, epoll_fd, 0, &data), 0);
	ck_assert_uint_eq(told(&data) & WIRE_INPUT, WIRE_INPUT); /* even if nothing is awaited */
	ck_assert_int_eq(wire_discard(&wire), -EPIPE);
	ck_assert_int_eq(send_text("an event"), -EPIPE); /* and no SIGPIPE */
}
END_TEST

START_TEST(a_client_that_resets_is_told)
{
	use_tcp();
	client_resets();
	/* The first call has it, the next ones find a connection that is no more. */
	ck_assert_int_eq(send_text("an event"), -ECONNRESET);
	ck_assert_int_eq(send_text("an event"), -EPIPE);
	ck_assert_int_eq(wire_end(&wire), -ENOTCONN);
}
END_TEST

START_TEST(a_reset_is_no_end_of_input)
{
	use_tcp();
	client_resets();
	ck_assert_int_eq(wire_discard(&wire), -ECONNRESET);
}
END_TEST

START_TEST(discards_what_has_come)
{
	ck_assert_int_eq(wire_discard(&wire), 0);
	ck_assert_int_eq(send(pair[1], "\r\n", 2, 0), 2);
	ck_assert_int_eq(wire_discard(&wire), 2);
	ck_assert_int_eq(wire_discard(&wire), 0);
	/* A bounded piece at a time. */
	ck_assert_int_eq(send(pair[1], much, 10000, 0), 10000);
	ck_assert_int_eq(wire_discard(&wire), 4096);
	ck_assert_int_eq(wire_discard(&wire), 4096);
	ck_assert_int_eq(wire_discard(&wire), 10000 - 2 * 4096);
	ck_assert_int_eq(shutdown(pair[1], SHUT_WR), 0);
	ck_assert_int_eq(wire_discard(&wire), -EPIPE);
	ck_assert_int_eq(send_text("it still reads"), 14);
}
END_TEST

static const struct {
	enum encoding encoding;
	const char *received;
} endings[] = {
	{ENCODING_IDENTITY, "the last eventEOF"},
	{ENCODING_CHUNKED, "the last event0\r\n\r\nEOF"},
};

START_TEST(ends_behind_what_was_sent)
{
	struct span last = frame_last(endings[_i].encoding);

	ck_assert_int_eq(send_text("the last event"), 14);
	if (last.length > 0)
		ck_assert_int_eq(wire_send(&wire, last), (ssize_t)last.length);
	ck_assert_int_eq(wire_end(&wire), 0);
	ck_assert_str_eq(receive(pair[1]), endings[_i].received);
	/* The client can still send, and is read until it ends, too. */
	ck_assert_int_eq(send(pair[1], "\r\n", 2, MSG_NOSIGNAL), 2);
	ck_assert_int_eq(wire_discard(&wire), 2);
	ck_assert_int_eq(wire_discard(&wire), 0);
	client_closes();
	ck_assert_int_eq(wire_discard(&wire), -EPIPE);
	ck_assert_int_eq(send_text("more"), -EPIPE);
}
END_TEST

START_TEST(dismisses_with_a_clean_end)
{
	char text[64];

	ck_assert_int_eq(wire_watch(&wire, epoll_fd, WIRE_ROOM, NULL), 0);
	snprintf(text, sizeof(text), "the last event%s",
		endings[_i].encoding == ENCODING_CHUNKED ? "0\r\n\r\n" : "");
	wire_dismiss(&wire, epoll_fd, (struct span){text, strlen(text)});
	wire.fd = -1;
	ck_assert_str_eq(receive(pair[1]), endings[_i].received);
	ck_assert_uint_eq(told(NULL), 0);
}
END_TEST

/* Another process may have the connection yet, as after a hand-over, so closing does not end it. */
START_TEST(dismisses_while_the_connection_lives_elsewhere)
{
	int elsewhere = dup(wire.fd);

	wire_dismiss(&wire, epoll_fd, (struct span){NULL, 0});
	wire.fd = -1;
	ck_assert_str_eq(receive(pair[1]), "EOF");
	close(elsewhere);
}
END_TEST

START_TEST(what_is_saved_goes_on_elsewhere)
{
	int saved = wire_save(&wire), data;
	struct wire next;

	ck_assert_int_ge(saved, 0);
	next = wire_of_socket(dup(saved)); /* as if sent to another process */
	ck_assert_int_eq(send_text("before, "), 8);
	wire_free(&wire, epoll_fd);
	wire.fd = -1;
	ck_assert_int_eq(wire_send(&next, (struct span){"after", 5}), 5);
	ck_assert_str_eq(receive(pair[1]), "before, after");
	ck_assert_int_eq(wire_watch(&next, epoll_fd, WIRE_INPUT, &data), 0);
	ck_assert_int_eq(send(pair[1], "\r\n", 2, 0), 2);
	ck_assert_uint_eq(told(&data), WIRE_INPUT);
	wire_free(&next, epoll_fd);
}
END_TEST

START_TEST(tells_nothing_once_it_is_free)
{
	int elsewhere = dup(wire.fd);

	ck_assert_int_eq(wire_watch(&wire, epoll_fd, WIRE_INPUT | WIRE_ROOM, &wire), 0);
	wire_free(&wire, epoll_fd);
	wire.fd = -1;
	ck_assert_uint_eq(told(NULL), 0);
	client_closes();
	ck_assert_uint_eq(told(NULL), 0);
	close(elsewhere);
}
END_TEST

START_TEST(free_closes_the_connection)
{
	wire_free(&wire, epoll_fd);
	ck_assert_int_eq(fcntl(wire.fd, F_GETFD), -1);
	wire.fd = -1;
	ck_assert_str_eq(receive(pair[1]), "EOF");
}
END_TEST

START_TEST(sets_how_long_bytes_may_be_unacknowledged)
{
	int timeout = 0;
	socklen_t length = sizeof(timeout);

	wire_set_user_timeout(&wire, 120000); /* a unix socket has no such thing */
	ck_assert_int_eq(send_text("an event"), 8);
	use_tcp();
	wire_set_user_timeout(&wire, 120000);
	ck_assert_int_eq(getsockopt(wire.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, &length), 0);
	ck_assert_int_eq(timeout, 120000);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("wire");
	TCase *tests = tcase_create("wire");
	const int n_endings = sizeof(endings) / sizeof(endings[0]);

	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, sends_all_in_one_piece);
	tcase_add_test(tests, sends_a_part_and_then_nothing_yet);
	tcase_add_test(tests, tells_of_room_once_there_is_some);
	tcase_add_test(tests, tells_of_what_is_awaited_only);
	tcase_add_test(tests, a_watch_that_cannot_be_is_told);
	tcase_add_test(tests, a_client_that_is_gone_is_told);
	tcase_add_test(tests, a_client_that_resets_is_told);
	tcase_add_test(tests, a_reset_is_no_end_of_input);
	tcase_add_test(tests, discards_what_has_come);
	tcase_add_loop_test(tests, ends_behind_what_was_sent, 0, n_endings);
	tcase_add_loop_test(tests, dismisses_with_a_clean_end, 0, n_endings);
	tcase_add_test(tests, dismisses_while_the_connection_lives_elsewhere);
	tcase_add_test(tests, what_is_saved_goes_on_elsewhere);
	tcase_add_test(tests, tells_nothing_once_it_is_free);
	tcase_add_test(tests, free_closes_the_connection);
	tcase_add_test(tests, sets_how_long_bytes_may_be_unacknowledged);
	suite_add_tcase(suite, tests);
	return suite;
}
