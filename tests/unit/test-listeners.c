/* SPDX-License-Identifier: BSD-3-Clause */
/* Listeners: who has connected, by which of them, and when nobody is accepted. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/log.h"
#include "loop-fixture.h"
#include "net/listeners.h"
#include "runner.h"

#define PATIENCE_MS 5000
#define TAKEN_MAX   128

static struct {
	sd_event *event;
	struct listeners *listeners;
	struct sockaddr_storage addresses[2];
	socklen_t lengths[2];

	/* What the owner does, and has got. */
	int room;
	int take_result;
	int n_tries, n_taken, n_after;
	int fds[TAKEN_MAX];
	struct origin origins[TAKEN_MAX];
} fixture;

static bool on_has_room(void *userdata)
{
	ck_assert_ptr_eq(userdata, &fixture);
	return fixture.n_taken < fixture.room;
}

static int on_take(int fd, const struct origin *origin, void *userdata)
{
	ck_assert_ptr_eq(userdata, &fixture);
	fixture.n_tries++;
	if (fixture.take_result < 0) {
		close(fd);
		return fixture.take_result;
	}
	ck_assert_int_lt(fixture.n_taken, TAKEN_MAX);
	fixture.fds[fixture.n_taken] = fd;
	fixture.origins[fixture.n_taken] = *origin;
	fixture.n_taken++;
	return 0;
}

static void on_after(void *userdata)
{
	ck_assert_ptr_eq(userdata, &fixture);
	fixture.n_after++;
	listeners_update(fixture.listeners);
}

static void listen_on(int i, const struct sockaddr *address, socklen_t length)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, address, length), 0);
	ck_assert_int_eq(listen(fd, 128), 0);
	fixture.lengths[i] = sizeof(fixture.addresses[i]);
	ck_assert_int_eq(
		getsockname(fd, (struct sockaddr *)&fixture.addresses[i], &fixture.lengths[i]), 0);
	ck_assert_int_eq(listeners_add(fixture.listeners, fd), 0);
}

static void start(void)
{
	static const struct listeners_operations operations = {on_has_room, on_take, on_after};
	struct sockaddr_in ipv4 = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	int length = snprintf(local.sun_path + 1, sizeof(local.sun_path) - 1,
		"flagsse-listeners-%ld", (long)getpid()); /* an abstract name: nothing is left */

	log_open();
	log_set_level(LOG_CRIT); /* what is provoked here need not be read */
	memset(&fixture, 0, sizeof(fixture));
	fixture.room = TAKEN_MAX;
	ck_assert_int_ge(sd_event_new(&fixture.event), 0);
	ck_assert_int_eq(
		listeners_new(fixture.event, &operations, &fixture, &fixture.listeners), 0);
	listen_on(0, (struct sockaddr *)&ipv4, sizeof(ipv4));
	listen_on(1, (struct sockaddr *)&local,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length));
}

static void stop(void)
{
	listeners_free(fixture.listeners);
	sd_event_unref(fixture.event);
	for (int i = 0; i < fixture.n_taken; i++)
		close(fixture.fds[i]);
}

/* Returns how many turns had something to do. */
static int turn_ms(int ms)
{
	return loop_turn_ms(fixture.event, ms);
}

static void turn_until_taken(int n)
{
	int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;

	while (fixture.n_taken < n && clock_monotonic_ms() < end_ms)
		turn_ms(1);
	ck_assert_int_eq(fixture.n_taken, n);
}

/* A client of the first or second listener, that has said something. */
static int call(int i)
{
	int fd = socket(fixture.addresses[i].ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(
		connect(fd, (struct sockaddr *)&fixture.addresses[i], fixture.lengths[i]), 0);
	ck_assert_int_eq(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	return fd;
}

static int option_of(int fd, int option)
{
	int value = -1;
	socklen_t length = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, option, &value, &length), 0);
	return value;
}

START_TEST(says_who_has_connected)
{
	char expected[LISTEN_NAME_SIZE], name[LISTEN_NAME_SIZE];
	int fd = call(0);

	turn_until_taken(1);
	listen_name(fd, expected);
	/* It is known when nobody is there to be asked. */
	close(fd);
	turn_ms(10);
	peer_name(&fixture.origins[0].peer, name);
	ck_assert_str_eq(name, expected);
	fd = call(1);
	turn_until_taken(2);
	peer_name(&fixture.origins[1].peer, name);
	ck_assert_str_eq(name, "unix");
	close(fd);
}
END_TEST

START_TEST(says_by_which_listener)
{
	char expected[LISTEN_NAME_SIZE];
	int fds[2];

	for (int i = 0; i < 2; i++) {
		fds[i] = call(i);
		turn_until_taken(i + 1);
	}
	ck_assert_ptr_ne(fixture.origins[0].listener, fixture.origins[1].listener);
	listen_name(fixture.origins[0].listener->fd, expected);
	ck_assert_str_eq(fixture.origins[0].listener->name, expected);
	ck_assert_int_eq(strncmp(expected, "127.0.0.1:", 10), 0);
	ck_assert_int_eq(strncmp(fixture.origins[1].listener->name, "unix:", 5), 0);
	for (int i = 0; i < 2; i++)
		close(fds[i]);
}
END_TEST

START_TEST(tunes_what_it_accepts)
{
	int fd = call(0);

	turn_until_taken(1);
	ck_assert_int_ne(fcntl(fixture.fds[0], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(fixture.fds[0], F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(option_of(fixture.fds[0], TCP_NODELAY), 1);
	ck_assert_int_eq(option_of(fixture.fds[0], TCP_NOTSENT_LOWAT), 512);
	close(fd);
}
END_TEST

START_TEST(lets_them_wait_while_there_is_no_room)
{
	int fds[3];

	fixture.room = 1;
	for (int i = 0; i < 3; i++)
		fds[i] = call(i % 2);
	turn_until_taken(1);
	ck_assert_int_lt(turn_ms(200), 20); /* it does not spin */
	ck_assert_int_eq(fixture.n_taken, 1);
	/* The owner has to say when there is room again. */
	fixture.room = TAKEN_MAX;
	turn_ms(20);
	ck_assert_int_eq(fixture.n_taken, 1);
	listeners_update(fixture.listeners);
	turn_until_taken(3);
	ck_assert_int_ge(fixture.n_after, 2);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}
END_TEST

START_TEST(pauses_when_the_owner_has_nothing_left)
{
	int fds[2] = {call(0), call(0)};

	fixture.take_result = -ENOMEM;
	while (fixture.n_tries == 0)
		turn_ms(0);
	ck_assert_int_eq(fixture.n_tries, 1);
	/* The first is lost: its descriptor was the owner's. */
	fixture.take_result = 0;
	turn_until_taken(1);
	ck_assert_int_ge(fixture.n_after, 2);
	for (int i = 0; i < 2; i++)
		close(fds[i]);
}
END_TEST

START_TEST(accepts_in_turns)
{
	int fds[80];

	for (int i = 0; i < 80; i++)
		fds[i] = call(0);
	while (fixture.n_after == 0)
		turn_ms(0);
	ck_assert_int_gt(fixture.n_taken, 1);
	ck_assert_int_le(fixture.n_taken, 64);
	turn_until_taken(80);
	for (int i = 0; i < 80; i++)
		close(fds[i]);
}
END_TEST

START_TEST(accepts_the_rest)
{
	int fds[6];

	for (int i = 0; i < 6; i++)
		fds[i] = call(i % 2);
	fixture.room = 4;
	listeners_accept_rest(fixture.listeners, 1);
	ck_assert_int_eq(fixture.n_taken, 2); /* one of each */
	listeners_accept_rest(fixture.listeners, 100);
	ck_assert_int_eq(fixture.n_taken, 4);
	fixture.room = TAKEN_MAX;
	listeners_accept_rest(fixture.listeners, 100);
	ck_assert_int_eq(fixture.n_taken, 6);
	for (int i = 0; i < 6; i++)
		close(fds[i]);
}
END_TEST

START_TEST(closes)
{
	char name[LISTEN_NAME_SIZE];
	int fd = call(0), late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	turn_until_taken(1);
	listen_name(fixture.origins[0].listener->fd, name);
	listeners_close(fixture.listeners);
	ck_assert_int_eq(
		connect(late, (struct sockaddr *)&fixture.addresses[0], fixture.lengths[0]), -1);
	ck_assert_int_eq(errno, ECONNREFUSED);
	listeners_update(fixture.listeners);
	listeners_accept_rest(fixture.listeners, 100);
	turn_ms(20);
	ck_assert_int_eq(fixture.n_taken, 1);
	/* Who has come by it still knows it. */
	ck_assert_str_eq(fixture.origins[0].listener->name, name);
	ck_assert_int_eq(fixture.origins[0].listener->fd, -1);
	close(fd);
	close(late);
}
END_TEST

START_TEST(waits_when_descriptors_run_out)
{
	struct rlimit limit, none;
	int fd = call(0);

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)fd; /* the lowest that is free is higher */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_lt(turn_ms(500), 30); /* it does not spin */
	ck_assert_int_eq(fixture.n_tries, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	turn_until_taken(1);
	close(fd);
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_test(tests, says_who_has_connected);
	tcase_add_test(tests, says_by_which_listener);
	tcase_add_test(tests, tunes_what_it_accepts);
	tcase_add_test(tests, lets_them_wait_while_there_is_no_room);
	tcase_add_test(tests, pauses_when_the_owner_has_nothing_left);
	tcase_add_test(tests, accepts_in_turns);
	tcase_add_test(tests, accepts_the_rest);
	tcase_add_test(tests, closes);
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("listeners");
	TCase *tests = tcase_create("listeners"), *limits = tcase_create("limits");

	tcase_add_checked_fixture(tests, start, stop);
	add_tests(tests);
	suite_add_tcase(suite, tests);

	tcase_set_tags(limits, "not-in-valgrind"); /* it has a limit of descriptors of its own */
	tcase_add_checked_fixture(limits, start, stop);
	tcase_add_test(limits, waits_when_descriptors_run_out);
	suite_add_tcase(suite, limits);
	return suite;
}
