/* SPDX-License-Identifier: BSD-3-Clause */
/* The pace of keep-alives, with a clock of our own. */
#include <check.h>
#include <sys/socket.h>

#include "runner.h"
#include "shard-fixture.h"

#define STREAMS      300
#define KEEPALIVE_MS 2000
#define WINDOW_MS    300 /* a millisecond for each stream, as that is less than a fifth */
#define STEP_MS      10
#define BATCH        10

static struct shard *make_shard(int64_t keepalive_ms)
{
	now_ms = 1000000;
	return new_shard((struct shard_settings){.keepalive_ms = keepalive_ms});
}

static void open_streams(struct shard *shard, int clients[], size_t n)
{
	struct hub_arrival arrival = {.key = make_key("env"), .head = {"", 0}, .retry_ms = 2000};
	int pair[2];

	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			0);
		arrival.fd = pair[0];
		clients[i] = pair[1];
		ck_assert_int_eq(shard_adopt(shard, &arrival), 0);
	}
	step(shard, 3);
}

static void close_streams(const int clients[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(clients[i]);
}

static void publish(struct shard *shard)
{
	deliver(shard, "env", T0);
	step(shard, 4);
}

static size_t sent(const struct shard *shard)
{
	return metrics_get(shard_metrics(shard), COUNT_KEEPALIVES_SENT);
}

/* Empties the sockets.  How many streams have had something. */
static size_t count_received(const int clients[], size_t n)
{
	char text[4096];
	size_t received = 0;

	for (size_t i = 0; i < n; i++)
		received += recv(clients[i], text, sizeof(text), 0) > 0;
	return received;
}

START_TEST(spreads_those_that_are_due_at_once)
{
	struct shard *shard = make_shard(KEEPALIVE_MS);
	int clients[STREAMS];
	size_t before, most = 0;

	open_streams(shard, clients, STREAMS);
	publish(shard);
	count_received(clients, STREAMS);
	now_ms += KEEPALIVE_MS - WINDOW_MS - 1;
	step(shard, 2);
	ck_assert_uint_eq(sent(shard), 0);
	for (int64_t i = 0; i <= WINDOW_MS; i += STEP_MS) {
		now_ms += STEP_MS;
		before = sent(shard);
		step(shard, 2);
		if (sent(shard) - before > most)
			most = sent(shard) - before;
	}
	ck_assert_uint_eq(count_received(clients, STREAMS), STREAMS);
	ck_assert_uint_eq(sent(shard), STREAMS);
	ck_assert_uint_le(most, 2 * STREAMS * STEP_MS / WINDOW_MS);
	close_streams(clients, STREAMS);
	shard_free(shard);
}
END_TEST

/* They stay spread, and none is late, when the shard sleeps for as long as it says; be they of one
 * instant, or of one after the other, as after an update that takes a while. */
START_TEST(none_is_late)
{
	struct shard *shard = make_shard(KEEPALIVE_MS);
	int clients[STREAMS];
	int64_t last_ms[STREAMS];
	char text[64];

	for (size_t i = 0; i < STREAMS; i += BATCH) {
		open_streams(shard, clients + i, BATCH);
		for (size_t k = i; k < i + BATCH; k++)
			last_ms[k] = now_ms;
		now_ms += _i;
	}
	count_received(clients, STREAMS);
	while (sent(shard) < (size_t)5 * STREAMS) {
		int64_t wait = keepalives_wait(shard, KEEPALIVE_MS);
		size_t before = sent(shard);

		now_ms += wait > 0 ? wait : 0;
		step(shard, 1);
		ck_assert_uint_le(sent(shard) - before, 4 * STREAMS * STEP_MS / WINDOW_MS);
		for (size_t i = 0; i < STREAMS; i++) {
			if (recv(clients[i], text, sizeof(text), 0) > 0)
				last_ms[i] = now_ms;
			ck_assert_int_lt(now_ms - last_ms[i], KEEPALIVE_MS + 1);
		}
	}
	close_streams(clients, STREAMS);
	shard_free(shard);
}
END_TEST

/* Whoever leaves at whatever moment, the count of those that may be sent to stays right. */
START_TEST(those_that_leave_are_not_counted)
{
	struct shard *shard = make_shard(KEEPALIVE_MS);
	int clients[STREAMS];

	open_streams(shard, clients, STREAMS);
	now_ms += KEEPALIVE_MS - WINDOW_MS / 2;
	step(shard, 1);
	ck_assert_uint_gt(shard->n_aging, 0);
	close_streams(clients, STREAMS / 2);
	step(shard, 3);
	close_streams(clients + STREAMS / 2, STREAMS - STREAMS / 2);
	step(shard, 3);
	ck_assert_uint_eq(shard_streams(shard), 0);
	ck_assert_uint_eq(shard->n_aging, 0);
	ck_assert_ptr_null(shard->young);
	shard_free(shard);
}
END_TEST

/* With few streams nothing has to be early, and the shard need not wake up for that. */
START_TEST(a_lone_one_is_on_time)
{
	struct shard *shard = make_shard(15000);
	int client;

	open_streams(shard, &client, 1);
	count_received(&client, 1);
	ck_assert_int_ge(keepalives_wait(shard, INT32_MAX), 14999);
	now_ms += 14999;
	step(shard, 2);
	ck_assert_uint_eq(sent(shard), 0);
	ck_assert_int_eq(keepalives_wait(shard, INT32_MAX), 1);
	now_ms += 1;
	step(shard, 1);
	ck_assert_uint_eq(sent(shard), 1);
	close(client);
	shard_free(shard);
}
END_TEST

Suite *test_suite(void)
{
	TCase *tests = tcase_create("keepalive");
	Suite *suite = suite_create("keepalive");

	tcase_add_test(tests, spreads_those_that_are_due_at_once);
	tcase_add_loop_test(tests, none_is_late, 0, 4);
	tcase_add_test(tests, those_that_leave_are_not_counted);
	tcase_add_test(tests, a_lone_one_is_on_time);
	suite_add_tcase(suite, tests);
	return suite;
}
