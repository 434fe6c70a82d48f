/* SPDX-License-Identifier: BSD-3-Clause */
/* Holds the installed libmicrohttpd to what the hand-over of sockets stands on: with MHD_USE_TURBO,
 * a handler that duplicates the connection's descriptor and returns MHD_NO makes libmicrohttpd
 * forget the connection without a word to the client, and without shutting the connection down. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "runner.h"

#define REQUEST "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"

static struct MHD_Daemon *daemon_under_test;
static int handed_over[8];
static size_t n_handed_over;

static enum MHD_Result hand_over(void *userdata, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *body, size_t *body_length,
	void **context)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	(void)userdata;
	(void)url;
	(void)method;
	(void)version;
	(void)body;
	(void)body_length;
	if (!*context) {
		*context = &n_handed_over;
		return MHD_YES;
	}
	handed_over[n_handed_over] = fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 3);
	ck_assert_int_ge(handed_over[n_handed_over], 0);
	n_handed_over++;
	return MHD_NO;
}

static void silence(void *userdata, const char *format, va_list arguments)
{
	(void)userdata;
	(void)format;
	(void)arguments;
}

static void start(void)
{
	/* As src/http/http.c has it. */
	daemon_under_test = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ITC |
						     MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO |
						     MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG,
		0, NULL, NULL, hand_over, NULL, MHD_OPTION_EXTERNAL_LOGGER, silence, NULL,
		MHD_OPTION_END);
	ck_assert_ptr_nonnull(daemon_under_test);
	n_handed_over = 0;
}

static void stop(void)
{
	MHD_stop_daemon(daemon_under_test);
}

/* Runs the daemon until it has nothing more to do. */
static void run(void)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	for (int i = 0; i < 20; i++) {
		MHD_run(daemon_under_test);
		if (MHD_get_timeout(daemon_under_test, &timeout) != MHD_YES || timeout > 0)
			poll(NULL, 0, 2);
	}
}

/* A client's connection, given to the daemon with a request in it.  Returns the client's end. */
static int request(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0),
	    fd;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&address, length), 0);
	length = sizeof(address);
	fd = accept4(listener, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	close(listener);
	ck_assert_int_eq(send(client, REQUEST, strlen(REQUEST), 0), (ssize_t)strlen(REQUEST));
	ck_assert_int_eq(
		MHD_add_connection(daemon_under_test, fd, (struct sockaddr *)&address, length),
		MHD_YES);
	run();
	return client;
}

/* What the client has got: its length, 0 for the end, -EAGAIN for nothing yet. */
static ssize_t receive(int client, char *text, size_t size)
{
	struct pollfd wait = {.fd = client, .events = POLLIN};
	ssize_t n;

	poll(&wait, 1, 50);
	n = recv(client, text, size, MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

START_TEST(the_connection_lives_on)
{
	char text[64];
	int client = request();
	ssize_t n;

	ck_assert_msg(n_handed_over == 1, "the handler was not called");
	n = receive(client, text, sizeof(text));
	ck_assert_msg(n != 0,
		"libmicrohttpd %s shuts down a connection that its handler has "
		"refused with MHD_NO, in spite of MHD_USE_TURBO",
		MHD_get_version());
	ck_assert_msg(n == -EAGAIN,
		"libmicrohttpd %s sends something, or resets, on a connection "
		"that its handler has refused with MHD_NO (%zd)",
		MHD_get_version(), n);
	ck_assert_int_eq(send(handed_over[0], "hello", 5, MSG_NOSIGNAL), 5);
	ck_assert_int_eq(receive(client, text, sizeof(text)), 5);
	ck_assert_int_eq(send(client, "more", 4, MSG_NOSIGNAL), 4);
	run();
	n = receive(handed_over[0], text, sizeof(text));
	ck_assert_msg(n == 4, "libmicrohttpd %s reads from a connection that it has given up (%zd)",
		MHD_get_version(), n);
	close(handed_over[0]);
	close(client);
}
END_TEST

START_TEST(its_end_is_ours)
{
	char text[64];
	int client = request();

	close(handed_over[0]);
	ck_assert_msg(receive(client, text, sizeof(text)) == 0,
		"libmicrohttpd %s keeps its own descriptor of a connection that it has given up "
		"open: such a stream would never end",
		MHD_get_version());
	close(client);
}
END_TEST

START_TEST(libmicrohttpd_keeps_nothing)
{
	const union MHD_DaemonInfo *info;
	struct pollfd wait = {.events = POLLIN};
	int clients[8];

	for (int i = 0; i < 8; i++)
		clients[i] = request();
	ck_assert_uint_eq(n_handed_over, 8);
	info = MHD_get_daemon_info(daemon_under_test, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
	ck_assert_msg(info->num_connections == 0,
		"libmicrohttpd %s still counts %u of 8 connections that it has given up",
		MHD_get_version(), info->num_connections);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(send(clients[i], "x", 1, MSG_NOSIGNAL), 1);
	poll(NULL, 0, 50);
	info = MHD_get_daemon_info(daemon_under_test, MHD_DAEMON_INFO_EPOLL_FD);
	wait.fd = info->epoll_fd;
	ck_assert_msg(poll(&wait, 1, 0) == 0,
		"libmicrohttpd %s leaves connections that it has given up in its epoll set: it "
		"would be woken by each byte on them",
		MHD_get_version());
	for (int i = 0; i < 8; i++) {
		close(handed_over[i]);
		close(clients[i]);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("handover");
	TCase *tests = tcase_create("handover");

	tcase_add_checked_fixture(tests, start, stop);
	tcase_add_test(tests, the_connection_lives_on);
	tcase_add_test(tests, its_end_is_ours);
	tcase_add_test(tests, libmicrohttpd_keeps_nothing);
	suite_add_tcase(suite, tests);
	return suite;
}
