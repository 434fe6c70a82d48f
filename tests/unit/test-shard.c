/* SPDX-License-Identifier: BSD-3-Clause */
/* A shard, stepped in this process over real TCP connections, with a clock of our own. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "client-fixture.h"
#include "runner.h"
#include "shard-fixture.h"

static struct shard *make_shard(int64_t spread_ms)
{
	now_ms = 1000000;
	return new_shard((struct shard_settings){
		.keepalive_ms = 15000, .user_timeout_ms = 120000, .spread_ms = spread_ms});
}

/* With small buffers, so that a test can fill them. */
static void connect_small_pair(int ret[2])
{
	int small = 2048, lowat = 512;

	connect_pair(ret, small);
	ck_assert_int_eq(setsockopt(ret[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	ck_assert_int_eq(
		setsockopt(ret[0], IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat)), 0);
}

static struct hub_arrival make_arrival(int fd, const char *environment)
{
	return (struct hub_arrival){
		.fd = fd,
		.key = make_key(environment),
		.encoding = ENCODING_IDENTITY,
		.head = {HEAD, strlen(HEAD)},
		.retry_ms = 2000,
	};
}

static int adopt(struct shard *shard, const struct hub_arrival *arrival)
{
	ck_assert_int_eq(shard_adopt(shard, arrival), 0);
	step(shard, 2);
	return 0;
}

/* A stream; returns the client's socket. */
static int open_stream(struct shard *shard, const char *environment)
{
	struct hub_arrival arrival;
	int pair[2];

	connect_small_pair(pair);
	arrival = make_arrival(pair[0], environment);
	adopt(shard, &arrival);
	return pair[1];
}

static size_t count(const char *text, const char *part)
{
	size_t n = 0;

	while ((text = strstr(text, part))) {
		text += strlen(part);
		n++;
	}
	return n;
}

START_TEST(greets_and_sends_the_snapshot_in_one)
{
	struct shard *shard = make_shard(0);
	struct hub_arrival arrival;
	char expected[512];
	int pair[2];

	connect_small_pair(pair);
	arrival = make_arrival(pair[0], "env");
	arrival.snapshot = frame_new_update(T0);
	adopt(shard, &arrival);
	frame_unref(arrival.snapshot);
	snprintf(expected, sizeof(expected), HEAD ": flagsse\nretry: 2000\n\n%s",
		event_text(T0, ENCODING_IDENTITY));
	ck_assert_str_eq(receive(pair[1]), expected);
	ck_assert_uint_eq(shard_streams(shard), 1);
	ck_assert_uint_eq(shard_environments(shard), 1);
	close(pair[1]);
	step(shard, 2);
	ck_assert_uint_eq(shard_streams(shard), 0);
	ck_assert_uint_eq(shard_environments(shard), 0);
	shard_free(shard);
}
END_TEST

static const struct {
	enum encoding encoding;
	const char *received;
} refusals[] = {
	{ENCODING_IDENTITY, HEAD "EOF"},
	{ENCODING_CHUNKED, HEAD "0\r\n\r\nEOF"},
};

START_TEST(who_cannot_be_served_gets_a_clean_end)
{
	struct shard *shard = make_shard(0);
	struct epoll_event event = {.events = EPOLLIN};
	struct hub_arrival arrival;
	int pair[2];

	connect_small_pair(pair);
	/* epoll does not take it twice, as if it had no room for one more. */
	ck_assert_int_eq(epoll_ctl(shard->epoll_fd, EPOLL_CTL_ADD, pair[0], &event), 0);
	arrival = make_arrival(pair[0], "env");
	arrival.encoding = refusals[_i].encoding;
	arrival.snapshot = frame_new_update(T0);
	adopt(shard, &arrival);
	frame_unref(arrival.snapshot);
	ck_assert_str_eq(receive(pair[1]), refusals[_i].received);
	ck_assert_uint_eq(shard_streams(shard), 0);
	ck_assert_uint_eq(shard_environments(shard), 0);
	ck_assert(!shard_is_subscribed(shard, &arrival.key));
	ck_assert_int_eq(fcntl(pair[0], F_GETFD), -1);
	close(pair[1]);
	shard_free(shard);
}
END_TEST

START_TEST(sends_an_update_to_its_environment_only)
{
	struct shard *shard = make_shard(0);
	int a = open_stream(shard, "a"), b = open_stream(shard, "b"), c = open_stream(shard, "a");

	receive(a);
	receive(b);
	receive(c);
	deliver(shard, "a", T0);
	deliver(shard, "nobody", T0);
	step(shard, 3);
	ck_assert_str_eq(receive(a), event_text(T0, ENCODING_IDENTITY));
	ck_assert_str_eq(receive(c), event_text(T0, ENCODING_IDENTITY));
	ck_assert_str_eq(receive(b), "");
	close(a);
	close(b);
	close(c);
	shard_free(shard);
}
END_TEST

/* Updates until the socket takes no more. */
static int64_t fill(struct shard *shard, const char *environment, const struct stream *stream)
{
	int64_t time_us = T0;
	unsigned n_still = 0;

	/* The kernel makes room for some time: the receiver's buffer grows. */
	for (unsigned i = 0; i < 100000 && n_still < 5; i++) {
		n_still = stream->blocked ? n_still + 1 : 0;
		if (stream->blocked)
			usleep(10000);
		else
			deliver(shard, environment, ++time_us);
		step(shard, 2);
	}
	ck_assert_msg(stream->blocked, "the socket takes everything");
	return time_us;
}

/* From the moment it is given the stream to the one at which that is gone. */
START_TEST(knows_whose_updates_concern_it)
{
	static const struct siphash_key secret = {{1}}; /* with which "a" and "b" do not collide */
	struct shard *shard = make_shard(0);
	struct key a = make_key("a"), b = make_key("b");
	struct hub_arrival arrival;
	int first, second[2];

	table_set_secret(&secret);
	ck_assert(!shard_is_subscribed(shard, &a));
	first = open_stream(shard, "a");
	connect_small_pair(second);
	arrival = make_arrival(second[0], "b");
	ck_assert(!shard_is_subscribed(shard, &b));
	ck_assert_int_eq(shard_adopt(shard, &arrival), 0);
	ck_assert(shard_is_subscribed(shard, &b));
	step(shard, 2);
	ck_assert(shard_is_subscribed(shard, &a));
	close(second[1]);
	step(shard, 2);
	ck_assert(!shard_is_subscribed(shard, &b));
	ck_assert(shard_is_subscribed(shard, &a));
	close(first);
	step(shard, 2);
	ck_assert(!shard_is_subscribed(shard, &a));
	shard_free(shard);
}
END_TEST

START_TEST(conflates_before_a_slow_client)
{
	struct shard *shard = make_shard(0);
	int client = open_stream(shard, "env");
	struct stream *stream = TAILQ_FIRST(&shard->open);
	const struct metrics *metrics = shard_metrics(shard);
	int64_t last = fill(shard, "env", stream);
	size_t received = 0;
	bool has_last = false;

	for (int i = 0; i < 1000; i++)
		deliver(shard, "env", ++last);
	step(shard, 10);
	for (int i = 0; i < 200 && !has_last; i++) {
		const char *got = receive(client);
		size_t length = strlen(event_text(last, ENCODING_IDENTITY));

		received += count(got, "event: ");
		has_last =
			strlen(got) >= length && strcmp(got + strlen(got) - length,
							 event_text(last, ENCODING_IDENTITY)) == 0;
		step(shard, 1);
	}
	ck_assert_msg(has_last, "the latest update has not come");
	ck_assert_uint_eq(metrics_get(metrics, COUNT_EVENTS_SENT), received);
	ck_assert_uint_eq(metrics_get(metrics, COUNT_EVENTS_SENT) +
				  metrics_get(metrics, COUNT_EVENTS_REPLACED),
		(uint64_t)(last - T0));
	/* Of the thousand, but those for which the kernel had made room meanwhile. */
	ck_assert_uint_ge(metrics_get(metrics, COUNT_EVENTS_REPLACED), 900);
	close(client);
	shard_free(shard);
}
END_TEST

START_TEST(finishes_what_is_half_written)
{
	struct shard *shard = make_shard(0);
	int client = open_stream(shard, "env");
	struct stream *stream = TAILQ_FIRST(&shard->open);
	struct span event;
	struct frame *frame = frame_new_update(T0);
	char expected[512];

	receive(client);
	/* As if the socket had taken ten bytes of it. */
	event = frame_bytes(frame, ENCODING_IDENTITY);
	ck_assert_int_eq(send(stream->wire.fd, event.data, 10, 0), 10);
	stream->partial = frame_new_bytes(event.data + 10, event.length - 10);
	stream->blocked = true;
	deliver(shard, "env", T0 + 1);
	deliver(shard, "env", T0 + 2);
	step(shard, 2);
	stream_on_event(shard, stream, WIRE_ROOM);
	ck_assert_ptr_null(stream->partial);
	snprintf(expected, sizeof(expected), "%s", event_text(T0, ENCODING_IDENTITY));
	strcat(expected, event_text(T0 + 2, ENCODING_IDENTITY));
	ck_assert_str_eq(receive(client), expected);
	frame_unref(frame);
	close(client);
	shard_free(shard);
}
END_TEST

START_TEST(ends_after_what_is_half_written)
{
	struct shard *shard = make_shard(0);
	struct hub_arrival arrival;
	struct stream *stream;
	int pair[2];

	connect_small_pair(pair);
	arrival = make_arrival(pair[0], "env");
	arrival.encoding = ENCODING_CHUNKED;
	adopt(shard, &arrival);
	receive(pair[1]);
	stream = TAILQ_FIRST(&shard->open);
	stream->partial = frame_new_bytes("rest", 4);
	stream->blocked = true;
	stream_close(shard, stream, END_DRAIN);
	ck_assert_ptr_eq(TAILQ_FIRST(&shard->ending), stream);
	ck_assert_str_eq(receive(pair[1]), "");
	stream_on_event(shard, stream, WIRE_ROOM);
	ck_assert_str_eq(receive(pair[1]), "rest0\r\n\r\nEOF");
	ck_assert_ptr_eq(TAILQ_FIRST(&shard->lingering), stream);
	close(pair[1]);
	step(shard, 2);
	ck_assert_uint_eq(shard_streams(shard), 0);
	shard_free(shard);
}
END_TEST

START_TEST(a_newer_update_reaches_those_that_have_the_older_one)
{
	struct shard *shard = make_shard(0);
	enum {
		N = SHARD_SLICE + 40
	};
	int clients[N];

	for (int i = 0; i < N; i++)
		clients[i] = open_stream(shard, "env");
	for (int i = 0; i < N; i++)
		receive(clients[i]);
	deliver(shard, "env", T0);
	step(shard, 1); /* reads the mail */
	step(shard, 1); /* the first slice */
	ck_assert_uint_eq(TAILQ_FIRST(&shard->fan_outs)->sent, SHARD_SLICE);
	deliver(shard, "env", T0 + 1);
	step(shard, 4);
	ck_assert(TAILQ_EMPTY(&shard->fan_outs));
	for (int i = 0; i < N; i++) {
		const char *got = receive(clients[i]);
		bool had_first = strncmp(got, event_text(T0, ENCODING_IDENTITY),
					 strlen(event_text(T0, ENCODING_IDENTITY))) == 0;

		if (had_first)
			got += strlen(event_text(T0, ENCODING_IDENTITY));
		ck_assert_str_eq(got, event_text(T0 + 1, ENCODING_IDENTITY));
		/* New streams come in at the head: the last 256 were first in turn (and the slice
		 * that the mail was read after had gone on). */
		close(clients[i]);
	}
	shard_free(shard);
}
END_TEST

START_TEST(a_run_of_updates_starves_nobody)
{
	struct shard *shard = make_shard(0);
	enum {
		N = 3 * SHARD_SLICE
	};
	int clients[N];

	for (int i = 0; i < N; i++)
		clients[i] = open_stream(shard, "env");
	/* A newer one for each slice: a fan-out that began anew each time would never get further.
	 */
	for (int i = 0; i < 8; i++) {
		deliver(shard, "env", T0 + i);
		step(shard, 1);
	}
	/* Streams come in at the head, so the first one is the last in turn. */
	ck_assert_msg(strstr(receive(clients[0]), "event: "), "the last stream has got nothing");
	step(shard, 8);
	for (int i = 0; i < N; i++) {
		const char *got = receive(clients[i]);

		ck_assert_msg(i == 0 || strstr(got, event_text(T0 + 7, ENCODING_IDENTITY)),
			"stream %d has not got the latest", i);
		close(clients[i]);
	}
	ck_assert(TAILQ_EMPTY(&shard->fan_outs));
	shard_free(shard);
}
END_TEST

START_TEST(a_broadcast_does_not_delay_others)
{
	struct shard *shard = make_shard(0);
	enum {
		N = 4 * SHARD_SLICE
	};
	int clients[N], other = open_stream(shard, "other");

	for (int i = 0; i < N; i++)
		clients[i] = open_stream(shard, "env");
	receive(other);
	deliver(shard, "env", T0);
	step(shard, 2);
	deliver(shard, "other", T0);
	/* One turn to read the mail and go on with the broadcast, one in which the other one's turn
	 * comes. */
	step(shard, 3);
	ck_assert_str_eq(receive(other), event_text(T0, ENCODING_IDENTITY));
	ck_assert_msg(!TAILQ_EMPTY(&shard->fan_outs), "the broadcast went first");
	for (int i = 0; i < N; i++)
		close(clients[i]);
	close(other);
	shard_free(shard);
}
END_TEST

START_TEST(a_stream_that_leaves_takes_the_cursor_along)
{
	struct shard *shard = make_shard(0);
	int a = open_stream(shard, "env"), b = open_stream(shard, "env");

	receive(a);
	receive(b);
	deliver(shard, "env", T0);
	step(shard, 1); /* reads the mail: the cursor is at b, the newer one */
	ck_assert_ptr_eq(
		TAILQ_FIRST(&shard->fan_outs)->cursor, TAILQ_LAST(&shard->open, stream_queue));
	stream_close(shard, TAILQ_LAST(&shard->open, stream_queue), END_CLIENT_GONE);
	step(shard, 1);
	ck_assert_str_eq(receive(a), event_text(T0, ENCODING_IDENTITY));
	deliver(shard, "env", T0 + 1);
	step(shard, 1);
	stream_close(shard, TAILQ_FIRST(&shard->open), END_CLIENT_GONE);
	ck_assert_uint_eq(shard_environments(shard), 0);
	ck_assert(TAILQ_EMPTY(&shard->fan_outs));
	step(shard, 1);
	close(a);
	close(b);
	shard_free(shard);
}
END_TEST

/* Milliseconds until the next step. */
START_TEST(a_newer_update_in_the_middle_is_not_put_off)
{
	struct shard *shard = make_shard(0);
	int a = open_stream(shard, "env"), b = open_stream(shard, "env");

	receive(a);
	receive(b);
	deliver(shard, "env", T0);
	deliver(shard, "env", T0 + 1);
	step(shard, 1); /* reads the mail: the second comes while the first is on its way */
	ck_assert_int_eq(environments_fan_out(shard), 0);
	ck_assert_int_eq(environments_fan_out(shard), -1);
	ck_assert_str_eq(receive(a), event_text(T0 + 1, ENCODING_IDENTITY));
	ck_assert_str_eq(receive(b), event_text(T0 + 1, ENCODING_IDENTITY));
	close(a);
	close(b);
	shard_free(shard);
}
END_TEST

START_TEST(spreads_an_update_over_time)
{
	struct shard *shard = make_shard(1000);
	enum {
		N = 100
	};
	int clients[N], got = 0, got_half;

	for (int i = 0; i < N; i++)
		clients[i] = open_stream(shard, "env");
	for (int i = 0; i < N; i++)
		receive(clients[i]);
	deliver(shard, "env", T0);
	step(shard, 2);
	ck_assert_uint_le(TAILQ_FIRST(&shard->fan_outs)->sent, 3);
	now_ms += 500;
	step(shard, 2);
	got_half = (int)TAILQ_FIRST(&shard->fan_outs)->sent;
	ck_assert_int_ge(got_half, 45);
	ck_assert_int_le(got_half, 55);
	now_ms += 500;
	step(shard, 2);
	ck_assert(TAILQ_EMPTY(&shard->fan_outs));
	for (int i = 0; i < N; i++) {
		got += strcmp(receive(clients[i]), event_text(T0, ENCODING_IDENTITY)) == 0;
		close(clients[i]);
	}
	ck_assert_int_eq(got, N);
	shard_free(shard);
}
END_TEST

START_TEST(keeps_alive_in_order_of_the_last_write)
{
	struct shard *shard = make_shard(0);
	int a = open_stream(shard, "a"), b;

	now_ms += 5000;
	b = open_stream(shard, "b");
	receive(a);
	receive(b);
	now_ms += 5000;
	deliver(shard, "a", T0); /* a's last byte is now the younger one */
	step(shard, 2);
	receive(a);
	now_ms += 9999; /* 14.999 s after b's */
	step(shard, 2);
	ck_assert_str_eq(receive(b), "");
	now_ms += 1;
	step(shard, 2);
	ck_assert_str_eq(receive(b), ":\n\n");
	ck_assert_str_eq(receive(a), "");
	now_ms += 4999;
	step(shard, 2);
	ck_assert_str_eq(receive(a), "");
	now_ms += 1;
	step(shard, 2);
	ck_assert_str_eq(receive(a), ":\n\n");
	ck_assert_str_eq(receive(b), "");
	close(a);
	close(b);
	shard_free(shard);
}
END_TEST

START_TEST(takes_other_settings)
{
	struct shard *shard = make_shard(0);
	struct shard_settings settings = {
		.keepalive_ms = 2000, .user_timeout_ms = 5000, .clock_ms = test_clock};
	int old = open_stream(shard, "env"), pair[2], timeout;
	struct hub_arrival arrival;
	socklen_t length = sizeof(timeout);

	receive(old);
	shard_deliver(shard, shard_prepare_settings(&settings));
	now_ms += 2000;
	step(shard, 2);
	ck_assert_str_eq(receive(old), ":\n\n");

	connect_small_pair(pair);
	arrival = make_arrival(pair[0], "env");
	adopt(shard, &arrival);
	ck_assert_int_eq(getsockopt(pair[0], IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, &length), 0);
	ck_assert_int_eq(timeout, 5000);

	shard_discard(shard_prepare_settings(&settings));
	close(old);
	close(pair[1]);
	shard_free(shard);
}
END_TEST

START_TEST(ends_a_stream_at_its_age)
{
	/* Also one that outlasts a turn of the wheel. */
	static const int64_t lifetimes[] = {1000, 30000, INT64_C(2) * WHEEL_SLOTS * WHEEL_TICK_MS};

	for (size_t i = 0; i < sizeof(lifetimes) / sizeof(lifetimes[0]); i++) {
		struct shard *shard = make_shard(0);
		struct hub_arrival arrival;
		int pair[2];

		connect_small_pair(pair);
		arrival = make_arrival(pair[0], "env");
		arrival.lifetime_ms = lifetimes[i];
		adopt(shard, &arrival);
		receive(pair[1]);
		now_ms += lifetimes[i] / 2;
		step(shard, 1);
		now_ms += lifetimes[i] / 2 - 1;
		step(shard, 1);
		ck_assert_ptr_null(strstr(receive(pair[1]), "EOF"));
		now_ms += 2 * WHEEL_TICK_MS;
		step(shard, 1);
		ck_assert_ptr_nonnull(strstr(receive(pair[1]), "EOF"));
		close(pair[1]);
		shard_free(shard);
	}
}
END_TEST

START_TEST(a_client_that_does_not_close_is_given_up)
{
	struct shard *shard = make_shard(0);
	int client = open_stream(shard, "env");

	stream_close(shard, TAILQ_FIRST(&shard->open), END_DRAIN);
	now_ms += SHARD_LINGER_MS - 1;
	step(shard, 1);
	ck_assert_uint_eq(shard_streams(shard), 1);
	now_ms += 1;
	step(shard, 1);
	ck_assert_uint_eq(shard_streams(shard), 0);
	close(client);
	shard_free(shard);
}
END_TEST

START_TEST(a_freed_stream_has_no_events_while_its_socket_lives_elsewhere)
{
	struct shard *shard = make_shard(0);
	struct hub_arrival arrival;
	int pair[2], elsewhere;

	connect_small_pair(pair);
	elsewhere = dup(pair[0]); /* as HTTP has it for a moment */
	arrival = make_arrival(pair[0], "env");
	adopt(shard, &arrival);
	stream_close(shard, TAILQ_FIRST(&shard->open), END_CLIENT_GONE);
	ck_assert_int_eq(send(pair[1], "x", 1, 0), 1);
	receive(pair[1]);
	step(shard, 2); /* the address sanitizer would tell */
	ck_assert_int_eq(recv(elsewhere, &(char){0}, 1, MSG_DONTWAIT), 1);
	close(elsewhere);
	close(pair[1]);
	shard_free(shard);
}
END_TEST

START_TEST(a_stream_that_cannot_end_is_given_up)
{
	struct shard *shard = make_shard(0);
	int client = open_stream(shard, "env");

	fill(shard, "env", TAILQ_FIRST(&shard->open));
	stream_close(shard, TAILQ_FIRST(&shard->open), END_DRAIN);
	ck_assert(!TAILQ_EMPTY(&shard->ending));
	now_ms += 119999;
	step(shard, 1);
	ck_assert_uint_eq(shard_streams(shard), 1);
	now_ms += 1;
	step(shard, 1);
	ck_assert_uint_eq(shard_streams(shard), 0);
	close(client);
	shard_free(shard);
}
END_TEST

START_TEST(unread_input_does_not_reset_the_end)
{
	struct shard *shard = make_shard(0);
	int client = open_stream(shard, "env");

	receive(client);
	ck_assert_int_eq(send(client, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
	stream_close(shard, TAILQ_FIRST(&shard->open), END_DRAIN);
	ck_assert_int_eq(send(client, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
	step(shard, 3);
	ck_assert_str_eq(receive(client), "EOF"); /* and no reset: receive() looks for it */
	close(client);
	shard_free(shard);
}
END_TEST

/* Whether epoll has anything to tell: that would be work for the thread. */
static bool is_idle(const struct shard *shard)
{
	struct epoll_event event;

	return epoll_wait(shard->epoll_fd, &event, 1, 0) == 0;
}

/* Sends up to so much, while the shard takes it.  Returns how much that was. */
static size_t upload(struct shard *shard, int client, size_t size, size_t piece)
{
	static const char bytes[4096];
	size_t sent = 0, tries = 0;

	while (sent < size && tries++ < 10000) {
		size_t left = size - sent;
		ssize_t n = send(
			client, bytes, left < piece ? left : piece, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else if (is_idle(shard))
			break; /* nobody is going to read any more */
		step(shard, 1);
	}
	step(shard, 3);
	return sent;
}

#define INPUT_BOUND ((size_t)STREAM_INPUT_UNIT * STREAM_INPUT_MAX)

START_TEST(a_little_input_does_no_harm)
{
	struct shard *shard = make_shard(0);
	int client = open_stream(shard, "env");

	receive(client);
	/* Each read counts for as much as a unit. */
	ck_assert_uint_eq(upload(shard, client, STREAM_INPUT_MAX / 2, 1), STREAM_INPUT_MAX / 2);
	ck_assert_uint_eq(upload(shard, client, INPUT_BOUND / 4, 1024), INPUT_BOUND / 4);
	deliver(shard, "env", T0);
	step(shard, 3);
	ck_assert_str_eq(receive(client), event_text(T0, ENCODING_IDENTITY));
	ck_assert(!TAILQ_EMPTY(&shard->open));
	close(client);
	shard_free(shard);
}
END_TEST

/* Much at once, or a byte at a time, which would cost as much. */
static const size_t pieces[] = {4096, 1};

START_TEST(who_uploads_is_ended)
{
	struct shard *shard = make_shard(0);
	int client = open_stream(shard, "env");
	size_t piece = pieces[_i], sent;

	receive(client);
	sent = upload(shard, client, 64 * INPUT_BOUND, piece);
	ck_assert(TAILQ_EMPTY(&shard->open));
	/* What the sockets hold is not read any more, and costs nothing. */
	ck_assert_uint_lt(sent, 64 * INPUT_BOUND);
	ck_assert_int_eq(TAILQ_FIRST(&shard->lingering)->input, STREAM_INPUT_MAX);
	ck_assert(is_idle(shard));
	ck_assert_str_eq(receive(client), "EOF");
	now_ms += SHARD_LINGER_MS;
	step(shard, 2);
	ck_assert_uint_eq(shard_streams(shard), 0);
	close(client);
	shard_free(shard);
}
END_TEST

/* It does not read what it is sent either, so its end has to wait; then it does. */
START_TEST(who_uploads_and_does_not_read_is_ended)
{
	struct shard *shard = make_shard(0);
	int client = open_stream(shard, "env");
	const struct stream *stream = TAILQ_FIRST(&shard->open);
	static char text[2 << 20], end[300];
	int64_t last_us;

	last_us = fill(shard, "env", stream);
	upload(shard, client, 64 * INPUT_BOUND, 4096);
	ck_assert_int_eq(stream->state, STREAM_ENDING);
	ck_assert(is_idle(shard));
	strcpy(text, receive(client));
	step(shard, 3);
	ck_assert_int_eq(stream->state, STREAM_LINGERING);
	strcat(text, receive(client));
	snprintf(end, sizeof(end), "%sEOF", event_text(last_us, ENCODING_IDENTITY));
	ck_assert_uint_gt(strlen(text), strlen(end));
	ck_assert_str_eq(text + strlen(text) - strlen(end), end);
	/* Now it is read again, up to the bound. */
	upload(shard, client, 64 * INPUT_BOUND, 4096);
	ck_assert_int_eq(stream->input, STREAM_INPUT_MAX);
	ck_assert(is_idle(shard));
	now_ms += SHARD_LINGER_MS;
	step(shard, 2);
	ck_assert_uint_eq(shard_streams(shard), 0);
	close(client);
	shard_free(shard);
}
END_TEST

START_TEST(a_long_poll_ends_after_one_update)
{
	struct shard *shard = make_shard(0);
	struct hub_arrival arrival;
	char expected[512];
	int pair[2];

	connect_small_pair(pair);
	arrival = make_arrival(pair[0], "env");
	arrival.close_after_update = true;
	adopt(shard, &arrival);
	ck_assert_str_eq(receive(pair[1]), HEAD ": flagsse\nretry: 2000\n\n");
	deliver(shard, "env", T0);
	step(shard, 3);
	snprintf(expected, sizeof(expected), "%sEOF", event_text(T0, ENCODING_IDENTITY));
	ck_assert_str_eq(receive(pair[1]), expected);
	close(pair[1]);

	connect_small_pair(pair);
	arrival.fd = pair[0];
	arrival.snapshot = frame_new_update(T0);
	arrival.lifetime_ms = 1000;
	adopt(shard, &arrival);
	frame_unref(arrival.snapshot);
	ck_assert_ptr_null(strstr(receive(pair[1]), "EOF")); /* the snapshot does not end it */
	now_ms += 1250;
	step(shard, 3);
	ck_assert_str_eq(receive(pair[1]), "EOF");
	close(pair[1]);
	shard_free(shard);
}
END_TEST

START_TEST(drains_all_and_those_that_come_later)
{
	struct shard *shard = make_shard(0);
	enum {
		N = SHARD_SLICE + 10
	};
	int clients[N], late;

	for (int i = 0; i < N; i++)
		clients[i] = open_stream(shard, "env");
	shard_drain(shard, 0);
	step(shard, 3);
	for (int i = 0; i < N; i++)
		ck_assert_ptr_nonnull(strstr(receive(clients[i]), "EOF"));
	late = open_stream(shard, "env");
	step(shard, 1);
	ck_assert_str_eq(receive(late), HEAD ": flagsse\nretry: 2000\n\nEOF");
	for (int i = 0; i < N; i++)
		close(clients[i]);
	close(late);
	step(shard, 3);
	ck_assert_uint_eq(shard_streams(shard), 0);
	shard_free(shard);
}
END_TEST

static size_t count_ended(int clients[], size_t n)
{
	size_t ended = 0;

	for (size_t i = 0; i < n; i++)
		ended += strstr(receive(clients[i]), "EOF") != NULL;
	return ended;
}

START_TEST(drains_over_a_time_and_at_once_if_told_again)
{
	struct shard *shard = make_shard(0);
	int clients[20], late;

	for (int i = 0; i < 20; i++)
		clients[i] = open_stream(shard, "env");
	shard_drain(shard, 1000);
	step(shard, 3);
	ck_assert_uint_eq(count_ended(clients, 20), 0);
	now_ms += 500;
	step(shard, 2);
	late = open_stream(shard, "env");
	ck_assert_uint_eq(count_ended(clients, 20), 10);
	now_ms += 400;
	step(shard, 2);
	ck_assert_uint_eq(count_ended(clients, 20), 18);
	ck_assert_str_eq(receive(late), HEAD ": flagsse\nretry: 2000\n\n");
	if (_i == 0) {
		now_ms += 100;
		step(shard, 2);
		ck_assert_str_eq(receive(late), ""); /* until nobody can come back */
	}
	shard_drain(shard, 0);
	step(shard, 2);
	ck_assert_uint_eq(count_ended(clients, 20), 20);
	ck_assert_str_eq(receive(late), "EOF");
	for (int i = 0; i < 20; i++)
		close(clients[i]);
	close(late);
	shard_free(shard);
}
END_TEST

START_TEST(halts_after_its_mail_and_starts_again)
{
	struct shard_settings settings = {.keepalive_ms = 15000, .clock_ms = clock_monotonic_ms};
	struct shard *shard = NULL;
	struct hub_arrival arrival;
	int pair[2];

	ck_assert_int_eq(shard_new(&settings, &shard), 0);
	connect_small_pair(pair);
	arrival = make_arrival(pair[0], "env");
	ck_assert_int_eq(shard_adopt(shard, &arrival), 0);
	for (int i = 0; i < 3 * SHARD_SLICE; i++)
		deliver(shard, "env", T0 + i);
	ck_assert_int_eq(shard_start(shard, 0), 0);
	shard_halt(shard);
	ck_assert(STAILQ_EMPTY(&shard->mail));
	ck_assert_int_eq(
		frame_id(TAILQ_FIRST(&shard->open)->environment->latest), T0 + 3 * SHARD_SLICE - 1);
	shard_halt(shard); /* is halted */
	receive(pair[1]);
	deliver(shard, "env", T0 + 1000000);
	ck_assert_int_eq(shard_start(shard, 0), 0);
	for (int i = 0;
		i < 1000 && !strstr(receive(pair[1]), event_text(T0 + 1000000, ENCODING_IDENTITY));
		i++)
		ck_assert_int_lt(i, 999);
	close(pair[1]);
	shard_free(shard);
}
END_TEST

START_TEST(answers_pings_in_its_thread)
{
	struct shard_settings settings = {.keepalive_ms = 15000, .clock_ms = clock_monotonic_ms};
	struct shard *shard = NULL;

	ck_assert_int_eq(shard_new(&settings, &shard), 0);
	shard_ping(shard);
	ck_assert(!shard_is_alive(shard));
	ck_assert_int_eq(shard_start(shard, 0), 0);
	for (int i = 0; i < 1000 && !shard_is_alive(shard); i++)
		poll(NULL, 0, 10);
	ck_assert(shard_is_alive(shard));
	shard_free(shard);
}
END_TEST

static _Atomic bool clock_hangs;
static pthread_t tester;

/* As a call in a shard's thread that does not return. */
static int64_t clock_that_hangs(void)
{
	while (clock_hangs && !pthread_equal(pthread_self(), tester))
		poll(NULL, 0, 10);
	return clock_monotonic_ms();
}

START_TEST(is_left_behind_if_its_thread_hangs)
{
	struct shard_settings settings = {.keepalive_ms = 15000, .clock_ms = clock_that_hangs};
	_cleanup_(handover_writer_freep) struct handover_writer *writer = NULL;
	struct shard *shard = NULL;
	struct hub_arrival arrival;
	size_t n_items;
	int pair[2];

	tester = pthread_self();
	ck_assert_int_eq(handover_writer_new(&writer), 0);
	ck_assert_int_eq(shard_new(&settings, &shard), 0);
	connect_small_pair(pair);
	arrival = make_arrival(pair[0], "env");
	ck_assert_int_eq(shard_adopt(shard, &arrival), 0);
	clock_hangs = true;
	ck_assert_int_eq(shard_start(shard, 0), 0);
	shard_ping(shard);
	poll(NULL, 0, 20);
	ck_assert_int_gt(shard_silence_ms(shard), 0);
	ck_assert(!shard_halt(shard));
	ck_assert(!shard_halt(shard));
	/* Nobody touches what is its: neither what is handed over, nor another thread, nor the end.
	 */
	ck_assert_int_eq(shard_save(shard, writer), 0);
	handover_items(writer, &n_items);
	ck_assert_uint_eq(n_items, 0);
	ck_assert_int_eq(shard_start(shard, 0), 0);
	ck_assert_ptr_null(shard_free(shard));
	ck_assert_uint_eq(threads_left_behind(), 1);
	clock_hangs = false; /* it ends by itself */
	close(pair[1]);
}
END_TEST

START_TEST(a_stream_is_small)
{
	/* malloc() adds eight bytes and rounds up to sixteen. */
	ck_assert_uint_le((sizeof(struct stream) + 8 + 15) / 16 * 16, 96);
}
END_TEST

/* Both ends of more than a thousand streams are here. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("shard");
	TCase *tests = tcase_create("shard"), *left = tcase_create("left behind");

	tcase_add_unchecked_fixture(tests, raise_descriptor_limit, NULL);
	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, greets_and_sends_the_snapshot_in_one);
	tcase_add_loop_test(tests, who_cannot_be_served_gets_a_clean_end, 0, 2);
	tcase_add_test(tests, sends_an_update_to_its_environment_only);
	tcase_add_test(tests, knows_whose_updates_concern_it);
	tcase_add_test(tests, conflates_before_a_slow_client);
	tcase_add_test(tests, finishes_what_is_half_written);
	tcase_add_test(tests, ends_after_what_is_half_written);
	tcase_add_test(tests, a_newer_update_reaches_those_that_have_the_older_one);
	tcase_add_test(tests, a_run_of_updates_starves_nobody);
	tcase_add_test(tests, a_stream_that_cannot_end_is_given_up);
	tcase_add_test(tests, a_broadcast_does_not_delay_others);
	tcase_add_test(tests, a_stream_that_leaves_takes_the_cursor_along);
	tcase_add_test(tests, a_newer_update_in_the_middle_is_not_put_off);
	tcase_add_test(tests, spreads_an_update_over_time);
	tcase_add_test(tests, keeps_alive_in_order_of_the_last_write);
	tcase_add_test(tests, takes_other_settings);
	tcase_add_test(tests, ends_a_stream_at_its_age);
	tcase_add_test(tests, a_client_that_does_not_close_is_given_up);
	tcase_add_test(tests, a_freed_stream_has_no_events_while_its_socket_lives_elsewhere);
	tcase_add_test(tests, unread_input_does_not_reset_the_end);
	tcase_add_test(tests, a_little_input_does_no_harm);
	tcase_add_loop_test(tests, who_uploads_is_ended, 0, sizeof(pieces) / sizeof(pieces[0]));
	tcase_add_test(tests, who_uploads_and_does_not_read_is_ended);
	tcase_add_test(tests, a_long_poll_ends_after_one_update);
	tcase_add_test(tests, drains_all_and_those_that_come_later);
	tcase_add_loop_test(tests, drains_over_a_time_and_at_once_if_told_again, 0, 2);
	tcase_add_test(tests, halts_after_its_mail_and_starts_again);
	tcase_add_test(tests, answers_pings_in_its_thread);
	tcase_add_test(tests, a_stream_is_small);
	suite_add_tcase(suite, tests);
	/* It leaks on purpose. */
	tcase_set_tags(left, "not-in-valgrind");
	tcase_set_timeout(left, 60);
	tcase_add_test(left, is_left_behind_if_its_thread_hangs);
	suite_add_tcase(suite, left);
	return suite;
}
