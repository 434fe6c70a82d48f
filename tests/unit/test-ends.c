/* SPDX-License-Identifier: BSD-3-Clause */
/* Each way in which a stream ends counts under its own reason, once. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hub/shard-internal.h"
#include "runner.h"

#define HEAD        "HTTP/1.1 200 OK\r\n\r\n"
#define N_OF(table) ((int)(sizeof(table) / sizeof((table)[0])))

static int64_t now_ms;
static struct shard *shard;
static int client; /* the other end of the stream; -1: closed */

static int64_t test_clock(void)
{
	return now_ms;
}

static void step(void)
{
	ck_assert_int_eq(shard_step(shard, false), 0);
	ck_assert_int_eq(shard_step(shard, false), 0);
}

static void make_shard(void)
{
	struct shard_settings settings = {.keepalive_ms = 15000, .clock_ms = test_clock};

	now_ms = 1000000;
	client = -1;
	ck_assert_int_eq(shard_new(&settings, &shard), 0);
}

static void adopt(struct hub_arrival arrival)
{
	arrival.encoding = ENCODING_CHUNKED;
	arrival.head = (struct span){HEAD, strlen(HEAD)};
	ck_assert_int_eq(key_parse("env", 3, &arrival.key), 0);
	ck_assert_int_eq(shard_adopt(shard, &arrival), 0);
	step();
}

static int make_pair(void)
{
	int pair[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	client = pair[1];
	return pair[0];
}

/* A stream of which the client has read all that was sent. */
static void open_stream(struct hub_arrival arrival)
{
	char bytes[4096];

	arrival.fd = make_pair();
	adopt(arrival);
	ck_assert_int_gt(recv(client, bytes, sizeof(bytes), 0), 0);
}

static void hang_up(void)
{
	close(client);
	client = -1;
}

static void publish(void)
{
	_cleanup_(frame_unrefp) struct frame *frame = frame_new_update(1700000000000000);
	struct key key;

	ck_assert_int_eq(key_parse("env", 3, &key), 0);
	shard_deliver(shard, shard_prepare_update(&key, frame, HUB_UNTIMED));
}

static void close_it(void)
{
	open_stream((struct hub_arrival){0});
	hang_up();
}

/* With bytes unread, which makes a reset. */
static void reset_it(void)
{
	open_stream((struct hub_arrival){0});
	publish();
	step();
	hang_up();
}

static void talk(void)
{
	open_stream((struct hub_arrival){0});
	for (unsigned i = 0; i < STREAM_INPUT_MAX; i++) {
		ck_assert_int_eq(send(client, "x", 1, 0), 1);
		step();
	}
}

static void grow_old(void)
{
	open_stream((struct hub_arrival){.lifetime_ms = 1000});
	now_ms += 2000;
}

static void poll_long(void)
{
	open_stream((struct hub_arrival){.close_after_update = true});
	publish();
}

static void drain(void)
{
	open_stream((struct hub_arrival){0});
	shard_drain(shard, 0);
}

static void keep_none(void)
{
	open_stream((struct hub_arrival){0});
	ck_assert_uint_eq(shard_restored(shard, 0), 1);
}

static void take_up(void)
{
	struct handover_stream stream = {
		.environment = HANDOVER_NO_ENVIRONMENT,
		.phase = HANDOVER_LINGERING,
		.last_ms = now_ms,
	};
	struct shard_restored restored = {.stream = &stream, .fd = make_pair()};

	shard_restore(shard, &restored);
}

/* No epoll watches a file. */
static void be_refused(void)
{
	int fd = memfd_create("no-socket", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	adopt((struct hub_arrival){.fd = fd});
}

static const struct ended {
	const char *word;
	void (*happens)(void);
	unsigned n_opened;
} ways[] = {
	{"client_closed", close_it, 1},
	{"client_gone", reset_it, 1},
	{"too_much_input", talk, 1},
	{"max_age", grow_old, 1},
	{"long_poll", poll_long, 1},
	{"drain", drain, 1},
	{"surplus", keep_none, 1},
	{"taken_up_ending", take_up, 1},
	{"refused", be_refused, 0},
};

static void assert_counted(const struct ended *ended)
{
	ck_assert_uint_eq(metrics_get(shard_metrics(shard), COUNT_STREAMS_OPENED), ended->n_opened);
	for (unsigned i = 0; i < END_REASONS; i++)
		ck_assert_msg(shard_ended(shard, i) == (strcmp(end_word(i), ended->word) == 0),
			"%s: %s counts %u", ended->word, end_word(i),
			(unsigned)shard_ended(shard, i));
}

START_TEST(counts_once_under_its_reason)
{
	const struct ended *ended = &ways[_i];

	make_shard();
	ended->happens();
	step();
	assert_counted(ended);
	/* What follows is no second end: it lingers, and is given up. */
	now_ms += SHARD_ENDING_MS;
	step();
	ck_assert_uint_eq(shard_streams(shard), 0);
	assert_counted(ended);
	if (client >= 0)
		close(client);
	shard_free(shard);
}
END_TEST

static const struct failure {
	int error;
	enum end_reason reason;
} failures[] = {
	{-EPIPE, END_CLIENT_CLOSED},
	{-ECONNRESET, END_CLIENT_GONE},
	{-EHOSTUNREACH, END_CLIENT_GONE},
	{-ETIMEDOUT, END_TIMED_OUT},
	{-ENOMEM, END_OUT_OF_MEMORY},
};

START_TEST(tells_a_reason_by_the_error)
{
	ck_assert_int_eq(end_of_error(failures[_i].error), failures[_i].reason);
	ck_assert(!end_is_clean(failures[_i].reason));
}
END_TEST

START_TEST(has_a_word_of_its_own_for_each)
{
	for (unsigned i = 0; i < END_REASONS; i++)
		for (unsigned j = 0; j < i; j++)
			ck_assert_str_ne(end_word(i), end_word(j));
}
END_TEST

START_TEST(is_among_the_cases)
{
	for (int i = 0; i < N_OF(ways); i++)
		if (strcmp(ways[i].word, end_word(_i)) == 0)
			return;
	for (int i = 0; i < N_OF(failures); i++)
		if (failures[i].reason == (enum end_reason)_i)
			return;
	/* This one happens as the shard is freed, its counts included. */
	ck_assert_msg(_i == END_STOPPED, "no case of %s", end_word(_i));
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("ends");
	TCase *cases = tcase_create("ends");

	tcase_add_loop_test(cases, counts_once_under_its_reason, 0, N_OF(ways));
	tcase_add_loop_test(cases, tells_a_reason_by_the_error, 0, N_OF(failures));
	tcase_add_test(cases, has_a_word_of_its_own_for_each);
	tcase_add_loop_test(cases, is_among_the_cases, 0, END_REASONS);
	suite_add_tcase(all, cases);
	return all;
}
