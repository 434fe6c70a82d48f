/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams leave one shard and go on in another, over real connections, with a clock of our own. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "client-fixture.h"
#include "runner.h"
#include "shard-fixture.h"

static struct shard *make_shard(void)
{
	return new_shard((struct shard_settings){.keepalive_ms = 15000});
}

static void start(void)
{
	now_ms = 1000000;
}

/* A stream that has been greeted; returns the client's socket. */
static int open_stream(struct shard *shard, struct hub_arrival arrival, const char *environment)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	arrival.fd = pair[0];
	arrival.key = make_key(environment);
	arrival.head = (struct span){HEAD, strlen(HEAD)};
	ck_assert_int_eq(shard_adopt(shard, &arrival), 0);
	step(shard, 2);
	receive(pair[1]);
	return pair[1];
}

static void publish(struct shard *shard, const char *environment, int64_t time_us)
{
	struct key key = make_key(environment);

	ck_assert(shard_is_subscribed(shard, &key)); /* or hub_publish() would pass it over */
	deliver(shard, environment, time_us);
}

/* As hub_restore() does it, for one shard. */
static void restore_all(
	struct shard *shard, const struct handover *state, const struct handover_item items[])
{
	for (size_t i = 0; i < state->n_streams; i++) {
		struct handover_environment environment;
		struct handover_stream stream;
		struct shard_restored restored = {
			.stream = &stream,
			.fd = fcntl(items[i].fd, F_DUPFD_CLOEXEC, 3),
		};

		handover_get_stream(state, i, &stream);
		if (stream.environment != HANDOVER_NO_ENVIRONMENT) {
			handover_get_environment(state, stream.environment, &environment);
			restored.key = &environment.key;
			if (environment.latest_us > 0)
				restored.latest = frame_new_update(environment.latest_us);
		}
		shard_restore(shard, &restored);
		frame_unref(restored.latest);
	}
	ck_assert_uint_eq(shard_restored(shard, SIZE_MAX), 0);
}

/* The streams of `from`, which is freed, in a new shard, after a while. */
static struct shard *transfer(struct shard *from, int64_t while_ms)
{
	struct handover_writer *writer = NULL;
	const struct handover_item *items;
	struct handover state;
	const char *problem = "";
	struct shard *to;
	void *bytes = NULL;
	size_t size = 0, n_items;

	ck_assert_int_eq(handover_writer_new(&writer), 0);
	ck_assert_int_eq(shard_save(from, writer), 0);
	ck_assert_int_eq(handover_finish(writer, now_ms, &bytes, &size), 0);
	items = handover_items(writer, &n_items);
	now_ms += while_ms;
	ck_assert_msg(handover_read(bytes, size, now_ms, &state, &problem) == 0, "%s", problem);
	ck_assert_uint_eq(state.n_streams, n_items);
	to = make_shard();
	restore_all(to, &state, items);
	ck_assert_uint_eq(shard_streams(to), shard_streams(from));
	shard_free(from);
	handover_writer_free(writer);
	free(bytes);
	return to;
}

START_TEST(goes_on_in_silence)
{
	struct shard *shard = make_shard();
	int client = open_stream(shard, (struct hub_arrival){0}, "env");
	int other = open_stream(shard, (struct hub_arrival){.encoding = ENCODING_CHUNKED}, "other");

	publish(shard, "env", T0);
	step(shard, 3);
	ck_assert_str_eq(receive(client), event_text(T0, ENCODING_IDENTITY));
	shard = transfer(shard, 100);
	step(shard, 5);
	/* What it has got it does not get again. */
	ck_assert_str_eq(receive(client), "");
	ck_assert_str_eq(receive(other), "");
	publish(shard, "env", T0 + 1);
	publish(shard, "other", T0 + 2);
	step(shard, 3);
	ck_assert_str_eq(receive(client), event_text(T0 + 1, ENCODING_IDENTITY));
	ck_assert_str_eq(receive(other), event_text(T0 + 2, ENCODING_CHUNKED));
	close(client);
	close(other);
	step(shard, 3);
	ck_assert_uint_eq(shard_streams(shard), 0);
	ck_assert_uint_eq(shard_environments(shard), 0);
	shard_free(shard);
}
END_TEST

START_TEST(a_fan_out_under_way_is_finished)
{
	enum {
		N = SHARD_SLICE + 40
	};
	struct shard *shard = make_shard();
	int clients[N];

	for (int i = 0; i < N; i++)
		clients[i] = open_stream(shard, (struct hub_arrival){0}, "env");
	publish(shard, "env", T0);
	step(shard, 1); /* reads the mail */
	step(shard, 1); /* the first slice */
	ck_assert_uint_eq(TAILQ_FIRST(&shard->fan_outs)->sent, SHARD_SLICE);
	shard = transfer(shard, 0);
	step(shard, 4);
	ck_assert(TAILQ_EMPTY(&shard->fan_outs));
	for (int i = 0; i < N; i++) {
		ck_assert_str_eq(receive(clients[i]), event_text(T0, ENCODING_IDENTITY));
		close(clients[i]);
	}
	shard_free(shard);
}
END_TEST

START_TEST(finishes_what_is_half_written_and_then_the_latest)
{
	struct shard *shard = make_shard();
	int client = open_stream(shard, (struct hub_arrival){.encoding = ENCODING_CHUNKED}, "env");
	struct stream *stream = TAILQ_FIRST(&shard->open);
	struct frame *frame = frame_new_update(T0);
	struct span event = frame_bytes(frame, ENCODING_CHUNKED);
	char expected[512];

	/* As if the socket had taken ten bytes of it, and two of the rest later. */
	ck_assert_int_eq(send(stream->wire.fd, event.data, 12, 0), 12);
	stream->partial = frame_new_bytes(event.data + 10, event.length - 10);
	stream->partial_offset = 2;
	stream->blocked = true;
	frame_unref(frame);
	publish(shard, "env", T0 + 1);
	step(shard, 2);
	shard = transfer(shard, 0);
	step(shard, 3);
	snprintf(expected, sizeof(expected), "%s", event_text(T0, ENCODING_CHUNKED));
	strcat(expected, event_text(T0 + 1, ENCODING_CHUNKED));
	ck_assert_str_eq(receive(client), expected);
	close(client);
	shard_free(shard);
}
END_TEST

START_TEST(a_long_poll_stays_one)
{
	struct shard *shard = make_shard();
	int client = open_stream(shard, (struct hub_arrival){.close_after_update = true}, "env");
	char expected[512];

	publish(shard, "env", T0);
	step(shard, 1); /* reads the mail, and sends nothing yet */
	shard = transfer(shard, 0);
	step(shard, 3);
	snprintf(expected, sizeof(expected), "%sEOF", event_text(T0, ENCODING_IDENTITY));
	ck_assert_str_eq(receive(client), expected);
	close(client);
	shard_free(shard);
}
END_TEST

START_TEST(keeps_its_times)
{
	struct shard *shard = make_shard();
	int client = open_stream(shard, (struct hub_arrival){.lifetime_ms = 20000}, "env");

	shard = transfer(shard, 14000);
	step(shard, 2);
	ck_assert_str_eq(receive(client), "");
	now_ms += 1000; /* 15 s after the last byte */
	step(shard, 2);
	ck_assert_str_eq(receive(client), ":\n\n");
	now_ms += 4500;
	step(shard, 2);
	ck_assert_str_eq(receive(client), "");
	now_ms += 1000; /* 20 s after its begin */
	step(shard, 2);
	ck_assert_str_eq(receive(client), "EOF");
	close(client);
	shard_free(shard);
}
END_TEST

START_TEST(a_life_that_is_over_meanwhile_ends)
{
	struct shard *shard = make_shard();
	int client = open_stream(shard, (struct hub_arrival){.lifetime_ms = 1000}, "env");

	shard = transfer(shard, 5000);
	now_ms += 2 * WHEEL_TICK_MS;
	step(shard, 2);
	ck_assert_str_eq(receive(client), "EOF");
	close(client);
	shard_free(shard);
}
END_TEST

START_TEST(those_that_are_ending_end)
{
	struct shard *shard = make_shard();
	struct hub_arrival chunked = {.encoding = ENCODING_CHUNKED};
	int ending = open_stream(shard, chunked, "env");
	struct stream *stream = TAILQ_FIRST(&shard->open);
	int lingering;

	stream->partial = frame_new_bytes("rest", 4);
	stream->blocked = true;
	stream_close(shard, stream, END_DRAIN);
	ck_assert_ptr_eq(TAILQ_FIRST(&shard->ending), stream);
	lingering = open_stream(shard, chunked, "env");
	stream_close(shard, TAILQ_FIRST(&shard->open), END_DRAIN);
	ck_assert_str_eq(receive(lingering), "0\r\n\r\nEOF");

	shard = transfer(shard, 4000);
	step(shard, 2);
	ck_assert_uint_eq(shard_streams(shard), 2);
	ck_assert_str_eq(receive(ending), "rest0\r\n\r\nEOF");
	ck_assert_str_eq(receive(lingering), "EOF");
	/* It has not got five seconds anew. */
	now_ms += 1000;
	step(shard, 2);
	ck_assert_uint_eq(shard_streams(shard), 1);
	close(ending);
	step(shard, 2);
	ck_assert_uint_eq(shard_streams(shard), 0);
	close(lingering);
	shard_free(shard);
}
END_TEST

START_TEST(a_wire_that_cannot_leave_stops_the_hand_over)
{
	_cleanup_(handover_writer_freep) struct handover_writer *writer = NULL;
	struct shard *shard = make_shard();
	int client = open_stream(shard, (struct hub_arrival){0}, "env");
	struct stream *stream = TAILQ_FIRST(&shard->open);
	struct wire wire = stream->wire;

	ck_assert_int_eq(handover_writer_new(&writer), 0);
	stream->wire.fd = -EOPNOTSUPP;
	ck_assert_int_eq(shard_save(shard, writer), -EOPNOTSUPP);
	/* It goes on here. */
	stream->wire = wire;
	publish(shard, "env", T0);
	step(shard, 3);
	ck_assert_str_eq(receive(client), event_text(T0, ENCODING_IDENTITY));
	close(client);
	shard_free(shard);
}
END_TEST

static const struct {
	struct handover_stream stream;
	const char *received;
} given_up[] = {
	{{.phase = HANDOVER_OPEN}, "EOF"},
	{{.phase = HANDOVER_OPEN, .chunked = true}, "0\r\n\r\nEOF"},
	/* Nothing whole can follow what is cut off. */
	{{.phase = HANDOVER_OPEN, .chunked = true, .rest = {"rest", 4}}, "EOF"},
	{{.phase = HANDOVER_ENDING, .chunked = true, .rest = {"rest", 4}}, "EOF"},
	{{.phase = HANDOVER_LINGERING, .chunked = true}, "EOF"},
};

START_TEST(who_cannot_go_on_is_ended_without_a_reset)
{
	struct shard *shard = make_shard();
	struct key key = make_key("env");
	struct shard_restored restored = {.stream = &given_up[_i].stream};
	struct epoll_event event = {.events = EPOLLIN};
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	/* epoll does not take it twice, as if it had no room for one more. */
	ck_assert_int_eq(epoll_ctl(shard->epoll_fd, EPOLL_CTL_ADD, pair[0], &event), 0);
	restored.fd = pair[0];
	restored.key = restored.stream->phase == HANDOVER_OPEN ? &key : NULL;
	shard_restore(shard, &restored);
	ck_assert_str_eq(receive(pair[1]), given_up[_i].received);
	ck_assert_uint_eq(shard_streams(shard), 0);
	ck_assert_int_eq(fcntl(pair[0], F_GETFD), -1);
	close(pair[1]);
	shard_free(shard);
}
END_TEST

START_TEST(only_some_go_on_if_there_are_too_many)
{
	struct shard *from = make_shard(), *to;
	struct handover_stream stream = {.chunked = true, .last_ms = now_ms};
	struct key key = make_key("env");
	struct shard_restored restored = {.stream = &stream, .key = &key};
	int clients[6];

	to = make_shard();
	for (int i = 0; i < 6; i++) {
		int pair[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		clients[i] = pair[1];
		restored.fd = pair[0];
		stream.last_ms = now_ms - 6 + i;
		shard_restore(to, &restored);
	}
	ck_assert_uint_eq(shard_restored(to, 4), 2);
	for (int i = 0; i < 6; i++) {
		ck_assert_str_eq(receive(clients[i]), i < 4 ? "" : "0\r\n\r\nEOF");
		close(clients[i]);
	}
	shard_free(from);
	shard_free(to);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("transfer");
	TCase *tests = tcase_create("transfer");

	tcase_add_checked_fixture(tests, start, NULL);
	tcase_add_test(tests, goes_on_in_silence);
	tcase_add_test(tests, a_fan_out_under_way_is_finished);
	tcase_add_test(tests, finishes_what_is_half_written_and_then_the_latest);
	tcase_add_test(tests, a_long_poll_stays_one);
	tcase_add_test(tests, keeps_its_times);
	tcase_add_test(tests, a_life_that_is_over_meanwhile_ends);
	tcase_add_test(tests, those_that_are_ending_end);
	tcase_add_test(tests, a_wire_that_cannot_leave_stops_the_hand_over);
	tcase_add_loop_test(tests, who_cannot_go_on_is_ended_without_a_reset, 0,
		sizeof(given_up) / sizeof(given_up[0]));
	tcase_add_test(tests, only_some_go_on_if_there_are_too_many);
	suite_add_tcase(suite, tests);
	return suite;
}
