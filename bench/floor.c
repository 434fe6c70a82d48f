/* SPDX-License-Identifier: BSD-3-Clause */
/* The floor of the bench: a loop of send() over all sockets, and nothing else.  What a delivery
 * costs here no server can save.
 *
 * Usage: floor PORT
 *
 * It speaks just enough HTTP for the bench's client, and writes the same bytes as flagsse.  There
 * is one environment, whatever the path says.  To be a fair one it sets TCP_NODELAY, and answers
 * the publisher after the loop: an answer before it wakes the client, which then competes with it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#define EVENTS_PER_TURN 256
#define REQUEST_SIZE    4096
#define FRAME_SIZE      256
#define SOCKETS_MAX     65536
#define BACKLOG         4096

static const char greeting[] = "HTTP/1.1 200 OK\r\n"
			       "Content-Type: text/event-stream\r\n"
			       "Cache-Control: no-cache, no-transform\r\n"
			       "X-Accel-Buffering: no\r\n"
			       "Connection: close\r\n"
			       "Access-Control-Allow-Origin: *\r\n"
			       "Access-Control-Expose-Headers: Retry-After\r\n"
			       "Transfer-Encoding: chunked\r\n"
			       "\r\n"
			       "17\r\n"
			       ": flagsse\n"
			       "retry: 3000\n"
			       "\n\r\n";

static const char answer[] = "HTTP/1.1 200 OK\r\n"
			     "Connection: close\r\n"
			     "Content-Length: 0\r\n"
			     "\r\n";

static int streams[SOCKETS_MAX];
static size_t n_streams;

static void fail(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		fail("socket");
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(fd, BACKLOG) < 0)
		fail("bind");
	return fd;
}

static void watch(int epoll_fd, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		fail("epoll_ctl");
}

static void accept_all(int epoll_fd, int listener)
{
	int one = 1, fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
			fail("setsockopt");
		watch(epoll_fd, fd);
	}
	if (errno != EAGAIN)
		fail("accept4");
}

/* The event of an update that came as {"updated_at": SECONDS.MICROSECONDS}. */
static size_t format_frame(const char *body, char ret_frame[static FRAME_SIZE])
{
	char event[FRAME_SIZE - 16], seconds[16], microseconds[8];
	int n;

	if (sscanf(body, "{\"updated_at\": %15[0-9].%7[0-9]}", seconds, microseconds) != 2)
		return 0;
	n = snprintf(event, sizeof(event), "id: %s%s\nevent: environment_updated\ndata: %s\n\n",
		seconds, microseconds, body);
	return (size_t)snprintf(ret_frame, FRAME_SIZE, "%x\r\n%s\r\n", (unsigned)n, event);
}

static void broadcast(const char *frame, size_t length)
{
	for (size_t i = 0; i < n_streams; i++)
		if (streams[i] >= 0 && send(streams[i], frame, length, MSG_NOSIGNAL) < 0 &&
			errno != EPIPE && errno != ECONNRESET)
			fail("send");
}

static void drop(int fd)
{
	for (size_t i = 0; i < n_streams; i++)
		if (streams[i] == fd)
			streams[i] = -1;
	close(fd);
}

static void subscribe(int fd)
{
	if (n_streams == SOCKETS_MAX)
		fail("too many streams");
	streams[n_streams++] = fd;
	if (send(fd, greeting, strlen(greeting), MSG_NOSIGNAL) < 0)
		fail("send");
}

static void publish(int fd, const char *request)
{
	const char *body = strstr(request, "\r\n\r\n");
	char frame[FRAME_SIZE];
	size_t length = body ? format_frame(body + strlen("\r\n\r\n"), frame) : 0;

	broadcast(frame, length);
	(void)send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
	close(fd);
}

static void on_readable(int fd)
{
	char request[REQUEST_SIZE];
	ssize_t n = recv(fd, request, sizeof(request) - 1, 0);

	if (n <= 0) {
		drop(fd);
		return;
	}
	request[n] = '\0';
	if (strncmp(request, "GET ", strlen("GET ")) == 0)
		subscribe(fd);
	else
		publish(fd, request);
}

int main(int argc, char *argv[])
{
	struct epoll_event events[EVENTS_PER_TURN];
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), listener;
	struct rlimit limit;

	if (argc != 2) {
		fprintf(stderr, "Usage: floor PORT\n");
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		fail("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (epoll_fd < 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
		fail("setrlimit");
	listener = listen_on((uint16_t)strtoul(argv[1], NULL, 10));
	watch(epoll_fd, listener);
	for (;;) {
		int n = epoll_wait(epoll_fd, events, EVENTS_PER_TURN, -1);

		if (n < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < n; i++)
			if (events[i].data.fd == listener)
				accept_all(epoll_fd, listener);
			else
				on_readable(events[i].data.fd);
	}
}
