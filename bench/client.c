/* SPDX-License-Identifier: BSD-3-Clause */
/* The client of the bench: opens streams, publishes updates, and tells when each stream had them.
 *
 * Usage: client PORT KEY [TOKEN]
 *
 * A '#' in KEY stands for the stream's number, so that each has an environment of its own.  It is
 * told what to do by lines on standard input and answers each with a line of JSON:
 *
 *   open N AT_ONCE    opens N streams, so many of them on their way at a time
 *   update [I]        publishes an update of the I-th stream's environment (the first's), and waits
 *                     until all of its streams have it
 *   watch SECONDS     counts what comes meanwhile, in bins of 100 ms
 *
 * It is one thread that sleeps in epoll_wait() until something has come: whatever it did besides
 * would take time from the server that it measures. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define EVENTS_PER_TURN 512
#define DIALS_PER_TURN  64
#define READ_SIZE       16384 /* more than is ever sent to a stream between two reads */
#define LINE_SIZE       256
#define REQUEST_SIZE    1024
#define MARK_SIZE       32
#define TIMEOUT_US      (60 * US_PER_S) /* after which nothing will come any more */
#define BIN_US          (100 * US_PER_MS)
#define BINS_MAX        1200
#define LOST_TOLD_MAX   3

/* Streams from one address, 127.0.0.2 and on: each has some 28,000 ports. */
#define STREAMS_PER_ADDRESS 10000

enum state {
	STATE_CONNECTING,
	STATE_WAITING, /* for the response head */
	STATE_OPEN,
	STATE_LOST,
};

struct connection {
	int fd;
	enum state state;
};

struct client {
	uint16_t port;
	const char *key;
	const char *token;
	int epoll_fd;
	struct connection publisher; /* a connection for each update */
	struct connection *streams;
	size_t n_streams, n_open, n_lost;

	/* The update under way: */
	char mark[MARK_SIZE]; /* what its event has in it, and no other */
	int64_t begun_us;
	int64_t answered_us; /* since begun_us; 0: not yet */
	int status;          /* of the publisher's response */
	uint32_t *latencies; /* microseconds; one for each stream that has it */
	size_t n_latencies;

	/* What is watched: */
	unsigned bins[BINS_MAX];
	size_t n_bins; /* 0: nothing */
};

static void fail(const char *what)
{
	fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The path of a stream's environment. */
static void format_path(const struct client *client, size_t i, char *ret_path, size_t size)
{
	const char *number = strchr(client->key, '#');
	int before = number ? (int)(number - client->key) : (int)strlen(client->key);
	int n = snprintf(ret_path, size, "/sse/environments/%.*s", before, client->key);

	if (number)
		snprintf(ret_path + n, size - (size_t)n, "%zu%s", i, number + 1);
}

/* A non-blocking connection to the server that is under way. */
static int dial(const struct client *client, size_t i)
{
	struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
	struct linger reset = {.l_onoff = 1};

	if (fd < 0)
		fail("socket");
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(i / STREAMS_PER_ADDRESS));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons(client->port);
	/* Closed by a reset, it leaves nothing behind that the next round would meet. */
	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0 ||
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) < 0 ||
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		fail("setsockopt");
	if (bind(fd, (const struct sockaddr *)&from, sizeof(from)) < 0)
		fail("bind");
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		fail("connect");
	return fd;
}

static void watch(
	struct client *client, struct connection *connection, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events | EPOLLET, .data.ptr = connection};

	if (epoll_ctl(client->epoll_fd, operation, connection->fd, &event) < 0)
		fail("epoll_ctl");
}

static void send_all(const struct connection *connection, const char *data, size_t length)
{
	if (send(connection->fd, data, length, MSG_NOSIGNAL) != (ssize_t)length)
		fail("send");
}

/* Says why; of many, the first ones. */
static void lose(struct client *client, struct connection *connection, const char *why)
{
	if (client->n_lost < LOST_TOLD_MAX)
		fprintf(stderr, "client: lost stream %td: %s\n", connection - client->streams, why);
	if (connection->state == STATE_OPEN)
		client->n_open--;
	connection->state = STATE_LOST;
	client->n_lost++;
	close(connection->fd);
}

/* ---- What comes ---- */

static void subscribe(struct client *client, struct connection *stream)
{
	char path[LINE_SIZE], request[REQUEST_SIZE];
	int n;

	format_path(client, (size_t)(stream - client->streams), path, sizeof(path));
	n = snprintf(request, sizeof(request),
		"GET %s/stream HTTP/1.1\r\n"
		"Host: 127.0.0.1:%u\r\n"
		"User-Agent: flagsse-bench\r\n"
		"Accept: text/event-stream\r\n"
		"Cache-Control: no-cache\r\n"
		"\r\n",
		path, client->port);
	send_all(stream, request, (size_t)n);
	stream->state = STATE_WAITING;
	watch(client, stream, EPOLL_CTL_MOD, EPOLLIN);
}

static void on_answer(struct client *client, const char *data, int64_t now_us)
{
	if (client->answered_us != 0)
		return;
	client->answered_us = now_us - client->begun_us;
	if (sscanf(data, "HTTP/1.1 %d", &client->status) != 1)
		client->status = -1;
}

static void on_data(struct client *client, struct connection *connection, const char *data,
	size_t length, int64_t now_us)
{
	if (connection == &client->publisher) {
		on_answer(client, data, now_us);
	} else if (connection->state == STATE_WAITING) {
		if (strncmp(data, "HTTP/1.1 200 ", strlen("HTTP/1.1 200 ")) != 0) {
			lose(client, connection, data);
			return;
		}
		connection->state = STATE_OPEN;
		client->n_open++;
	} else if (client->n_bins > 0) {
		int64_t bin = (now_us - client->begun_us) / BIN_US;

		if (bin < (int64_t)client->n_bins)
			client->bins[bin]++;
	} else if (client->mark[0] != '\0' &&
		   memmem(data, length, client->mark, strlen(client->mark))) {
		client->latencies[client->n_latencies++] = (uint32_t)(now_us - client->begun_us);
	}
}

static void receive(struct client *client, struct connection *connection)
{
	char data[READ_SIZE];
	ssize_t n = recv(connection->fd, data, sizeof(data) - 1, 0);

	if (n > 0) {
		data[n] = '\0';
		on_data(client, connection, data, (size_t)n, clock_monotonic_us());
	} else if (connection != &client->publisher && (n == 0 || errno != EAGAIN)) {
		lose(client, connection, n == 0 ? "it has ended" : strerror(errno));
	}
}

/* Sleeps until something has come, and takes it.  False: nothing has in `wait_us`. */
static bool turn(struct client *client, int64_t wait_us)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int n = epoll_wait(client->epoll_fd, events, EVENTS_PER_TURN,
		wait_us > 0 ? (int)(wait_us / US_PER_MS) + 1 : 0);

	if (n < 0 && errno != EINTR)
		fail("epoll_wait");
	for (int i = 0; i < n; i++) {
		struct connection *connection = events[i].data.ptr;

		if (connection->state == STATE_LOST)
			continue;
		if (connection->state == STATE_CONNECTING && events[i].events & EPOLLOUT)
			subscribe(client, connection);
		if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			receive(client, connection);
	}
	return n > 0;
}

/* ---- Commands ---- */

/* Begins some more connections, if there may be more on their way.  True: and more could be. */
static bool dial_some(struct client *client, size_t n, size_t at_once)
{
	for (int i = 0; i < DIALS_PER_TURN; i++) {
		struct connection *stream = &client->streams[client->n_streams];

		if (client->n_streams == n ||
			client->n_streams - client->n_open - client->n_lost >= at_once)
			return false;
		stream->fd = dial(client, client->n_streams++);
		watch(client, stream, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
	}
	return true;
}

static void do_open(struct client *client, size_t n, size_t at_once)
{
	int64_t begun_us = clock_monotonic_us();
	bool going_on = true;

	client->streams = calloc(n, sizeof(client->streams[0]));
	client->latencies = calloc(n, sizeof(client->latencies[0]));
	if (!client->streams || !client->latencies)
		fail("calloc");
	while (going_on && client->n_open + client->n_lost < n) {
		bool more = dial_some(client, n, at_once);

		/* Those that are connected send their requests before the next ones are. */
		going_on = turn(client, more ? 0 : TIMEOUT_US) || more;
	}
	printf("{\"open\": %zu, \"lost\": %zu, \"us\": %" PRId64 "}\n", client->n_open,
		client->n_lost, clock_monotonic_us() - begun_us);
}

static int compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static void report_update(struct client *client, size_t expected)
{
	size_t n = client->n_latencies;

	qsort(client->latencies, n, sizeof(client->latencies[0]), compare);
	printf("{\"status\": %d, \"expected\": %zu, \"got\": %zu, \"begun_us\": %" PRId64
	       ", \"answer_us\": %" PRId64 ", \"p50_us\": %u, \"p99_us\": %u, \"last_us\": %u}\n",
		client->status, expected, n, client->begun_us, client->answered_us,
		n > 0 ? client->latencies[n / 2] : 0, n > 0 ? client->latencies[n * 99 / 100] : 0,
		n > 0 ? client->latencies[n - 1] : 0);
}

/* The connection is there before the clock starts, and the server has had time to accept it. */
static void connect_publisher(struct client *client)
{
	struct timespec moment = {.tv_nsec = 10 * US_PER_MS * NS_PER_US};

	client->publisher.fd = dial(client, 0);
	client->publisher.state = STATE_OPEN;
	nanosleep(&moment, NULL);
	watch(client, &client->publisher, EPOLL_CTL_ADD, EPOLLIN);
}

static void publish(struct client *client, size_t i)
{
	char path[LINE_SIZE], request[REQUEST_SIZE], body[LINE_SIZE];
	int64_t wall_us = clock_wall_us();
	int n_body, n;

	snprintf(client->mark, sizeof(client->mark), "%" PRId64 ".%06" PRId64, wall_us / US_PER_S,
		wall_us % US_PER_S);
	n_body = snprintf(body, sizeof(body), "{\"updated_at\": %s}", client->mark);
	format_path(client, i, path, sizeof(path));
	n = snprintf(request, sizeof(request),
		"POST %s/queue-change HTTP/1.1\r\n"
		"Host: 127.0.0.1:%u\r\n"
		"Authorization: Token %s\r\n"
		"Content-Type: application/json\r\n"
		"Connection: close\r\n"
		"Content-Length: %d\r\n"
		"\r\n"
		"%s",
		path, client->port, client->token, n_body, body);
	client->status = -1;
	client->answered_us = 0;
	client->n_latencies = 0;
	client->begun_us = clock_monotonic_us();
	send_all(&client->publisher, request, (size_t)n);
}

static void do_update(struct client *client, size_t i)
{
	size_t expected = strchr(client->key, '#') ? 1 : client->n_open;
	bool going_on = true;

	connect_publisher(client);
	publish(client, i);
	while (going_on && (client->n_latencies < expected || client->answered_us == 0))
		going_on = turn(client, TIMEOUT_US);
	close(client->publisher.fd);
	client->mark[0] = '\0';
	report_update(client, expected);
}

static void do_watch(struct client *client, int64_t seconds)
{
	int64_t bins = seconds * US_PER_S / BIN_US, left_us;

	client->n_bins = bins < BINS_MAX ? (size_t)bins : BINS_MAX;
	memset(client->bins, 0, sizeof(client->bins));
	client->begun_us = clock_monotonic_us();
	while ((left_us = client->begun_us + (int64_t)client->n_bins * BIN_US -
			  clock_monotonic_us()) > 0)
		(void)turn(client, left_us);
	printf("{\"open\": %zu, \"bins\": [", client->n_open);
	for (size_t i = 0; i < client->n_bins; i++)
		printf("%s%u", i > 0 ? ", " : "", client->bins[i]);
	printf("]}\n");
	client->n_bins = 0;
}

static bool do_command(struct client *client, const char *line)
{
	size_t a = 0, b = 0;

	if (sscanf(line, "open %zu %zu", &a, &b) == 2 && !client->streams)
		do_open(client, a, b);
	else if (strncmp(line, "update", strlen("update")) == 0 && client->n_streams > 0 &&
		 sscanf(line, "update %zu", &a) != 0 && a < client->n_streams)
		do_update(client, a);
	else if (sscanf(line, "watch %zu", &a) == 1)
		do_watch(client, (int64_t)a);
	else
		return false;
	fflush(stdout);
	return true;
}

int main(int argc, char *argv[])
{
	struct client client = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	struct rlimit limit;
	char line[LINE_SIZE];

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "Usage: client PORT KEY [TOKEN]\n");
		return 2;
	}
	client.port = (uint16_t)strtoul(argv[1], NULL, 10);
	client.key = argv[2];
	client.token = argc > 3 ? argv[3] : "";
	if (client.epoll_fd < 0)
		fail("epoll_create1");
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		fail("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		fail("setrlimit");
	while (fgets(line, sizeof(line), stdin))
		if (!do_command(&client, line)) {
			fprintf(stderr, "client: cannot do: %s", line);
			return 2;
		}
	return 0;
}
