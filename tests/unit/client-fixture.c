/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of what is tested. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client-fixture.h"

#define MOMENT_MS   30
#define QUIET_MS    10
#define PATIENCE_MS 10000

static char text[1 << 20];

void connect_pair(int ret[2], int receive_buffer)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	ret[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (receive_buffer > 0)
		ck_assert_int_eq(setsockopt(ret[1], SOL_SOCKET, SO_RCVBUF, &receive_buffer,
					 sizeof(receive_buffer)),
			0);
	ck_assert_int_eq(connect(ret[1], (struct sockaddr *)&address, length), 0);
	ret[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ck_assert_int_ge(ret[0], 0);
	close(listener);
}

/* Appends what comes within the time.  Whether more may come. */
static bool receive_more(int fd, size_t *length, int timeout_ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	size_t room = sizeof(text) - sizeof("EOF") - *length;
	ssize_t n;

	if (room == 0 || poll(&wait, 1, timeout_ms) <= 0)
		return false;
	n = recv(fd, text + *length, room, MSG_DONTWAIT);
	ck_assert_msg(n >= 0, "the connection was reset: %s", strerror(errno));
	strcpy(text + *length + n, n == 0 ? "EOF" : "");
	*length += (size_t)n;
	return n > 0;
}

const char *receive(int fd)
{
	size_t length = 0;

	text[0] = '\0';
	while (receive_more(fd, &length, MOMENT_MS))
		;
	return text;
}

const char *receive_expected(int fd, const char *expected)
{
	size_t length = 0;

	text[0] = '\0';
	while (receive_more(fd, &length, strcmp(text, expected) == 0 ? QUIET_MS : PATIENCE_MS))
		;
	return text;
}
