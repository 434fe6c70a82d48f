/* SPDX-License-Identifier: BSD-3-Clause */
/* The wire of a socket. */
#include "hub/wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* How much input, which is of no interest, is thrown away at a time. */
#define DISCARD_SIZE 4096

void wire_set_user_timeout(const struct wire *wire, int64_t timeout_ms)
{
	int timeout = (int)timeout_ms;

	/* A failure is of no consequence: a unix socket does not have it. */
	(void)setsockopt(wire->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
}

static int control(
	const struct wire *wire, int epoll_fd, int operation, unsigned events, void *data)
{
	struct epoll_event event = {
		.events =
			(events & WIRE_INPUT ? EPOLLIN : 0u) | (events & WIRE_ROOM ? EPOLLOUT : 0u),
		.data.ptr = data,
	};

	return epoll_ctl(epoll_fd, operation, wire->fd, &event) < 0 ? -errno : 0;
}

int wire_watch(const struct wire *wire, int epoll_fd, unsigned events, void *data)
{
	return control(wire, epoll_fd, EPOLL_CTL_ADD, events, data);
}

int wire_await(const struct wire *wire, int epoll_fd, unsigned events, void *data)
{
	return control(wire, epoll_fd, EPOLL_CTL_MOD, events, data);
}

unsigned wire_events(uint32_t epoll_events)
{
	/* epoll tells of errors even if no event is awaited. */
	return (epoll_events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? WIRE_INPUT : 0u) |
	       (epoll_events & EPOLLOUT ? WIRE_ROOM : 0u);
}

ssize_t wire_send(const struct wire *wire, struct span span)
{
	ssize_t n;

	do
		n = send(wire->fd, span.data, span.length, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	return n;
}

ssize_t wire_discard(const struct wire *wire)
{
	char input[DISCARD_SIZE];
	ssize_t n = recv(wire->fd, input, sizeof(input), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n > 0 ? n : -EPIPE;
}

int wire_end(const struct wire *wire)
{
	return shutdown(wire->fd, SHUT_WR) < 0 ? -errno : 0;
}

int wire_save(const struct wire *wire)
{
	return wire->fd;
}

void wire_free(const struct wire *wire, int epoll_fd)
{
	/* Closing alone would leave the watch on, as long as HTTP has not closed its own descriptor
	 * of the same connection: an event would then lead to freed memory. */
	(void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, wire->fd, NULL);
	close(wire->fd);
}

void wire_dismiss(const struct wire *wire, int epoll_fd, struct span span)
{
	if (span.length > 0)
		(void)wire_send(wire, span);
	(void)wire_end(wire);
	wire_free(wire, epoll_fd);
}
