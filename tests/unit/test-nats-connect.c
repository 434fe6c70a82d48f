/* SPDX-License-Identifier: BSD-3-Clause */
/* Attempts to connect to NATS that are given up.  What they rest on is nothing that nats.c
 * promises: that its sockets can be told from all others, and that it fails once its socket is shut
 * down.  If these tests fail with another version of it, see is_of_nats() in connect.c. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "bus/nats/library-internal.h"
#include "runner.h"

#define WAIT_MS 20000 /* only matters where something has failed */

#define INFO                                                                                       \
	"INFO {\"server_id\":\"T\",\"version\":\"2.10.0\",\"proto\":1,\"host\":\"x\",\"port\":1,"  \
	"\"headers\":true,\"max_payload\":1048576%s}\r\n"

static int listener = -1, peer = -1; /* the server's, and its end of the connection */
static char url[64];
static char *servers[] = {url};
static struct nats_bus *bus;

static void set_up(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(address);

	listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(listener, 16), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	snprintf(url, sizeof(url), "nats://127.0.0.1:%u", ntohs(address.sin_port));
	bus = calloc(1, sizeof(*bus));
	bus->servers = servers;
	bus->n_servers = 1;
	bus->connect_timeout_ms = 60000; /* the tests give up earlier */
	TAILQ_INIT(&bus->stragglers);
	ck_assert_int_eq(nats_inlet_init(&bus->mail), 0);
	ck_assert_int_eq(nats_Open(-1), NATS_OK);
}

static void read_mail(struct nats_bus *unused)
{
	struct mail_list list;
	struct mail *mail;
	struct nats_wire *wire;
	struct nats_problem problem;
	unsigned session;

	mailbox_take(&unused->mail.mailbox, &list);
	while ((mail = STAILQ_FIRST(&list))) {
		struct nats_mail *letter = container_of(mail, struct nats_mail, mail);

		STAILQ_REMOVE_HEAD(&list, link);
		if (letter->type == NATS_MAIL_CONNECT_END)
			ck_assert(!nats_connect_on_end(unused, letter, &wire, &session, &problem));
		else
			free(letter);
	}
}

static void tear_down(void)
{
	nats_connect_end(bus, read_mail);
	ck_assert_uint_eq(bus->n_stragglers, 0);
	ck_assert_int_eq(nats_CloseAndWait(WAIT_MS), NATS_OK);
	read_mail(bus);
	nats_inlet_deinit(&bus->mail);
	free(bus);
	close(listener);
	if (peer >= 0)
		close(peer);
}

/* The server's end of a new connection, on which it has said this. */
static int accept_and_say(const char *text)
{
	struct pollfd pollfd = {.fd = listener, .events = POLLIN};
	int fd;

	ck_assert_int_eq(poll(&pollfd, 1, WAIT_MS), 1);
	fd = accept(listener, NULL, NULL);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
	return fd;
}

/* Whether the other end of the connection is gone, or goes soon. */
static bool is_over(int fd, int timeout_ms)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLRDHUP};

	return poll(&pollfd, 1, timeout_ms) == 1;
}

static void wait_for_mail(void)
{
	struct pollfd pollfd = {.fd = mailbox_fd(&bus->mail.mailbox), .events = POLLIN};

	ck_assert_msg(poll(&pollfd, 1, WAIT_MS) == 1, "natsConnection_Connect() goes on for ever");
}

/* Each of these holds up natsConnection_Connect() at another place. */
static const struct {
	const char *says, *more;
	bool tls;
} silences[] = {
	{"", "", false},
	{"INFO {\"server", "", false},
	{INFO, "", false},
	{INFO, ",\"tls_required\":true", false},
	{INFO, ",\"tls_required\":true", true},
};

static void with_tls(void)
{
	char plain[sizeof(url)];

	memcpy(plain, url, sizeof(plain));
	snprintf(url, sizeof(url), "tls%.40s", plain + strlen("nats"));
}

START_TEST(ends_when_it_is_cut_off)
{
	struct nats_problem problem;
	char text[512];

	snprintf(text, sizeof(text), silences[_i].says, silences[_i].more);
	if (silences[_i].tls)
		with_tls();
	ck_assert_int_eq(nats_connect_begin(bus, &problem), 0);
	peer = accept_and_say(text);
	poll(NULL, 0, 100); /* by then it waits for what does not come */
	nats_connect_give_up(bus, &problem);
	ck_assert_str_eq(problem.text, "Timeout");
	ck_assert_ptr_null(bus->attempt);
	ck_assert_uint_eq(bus->n_stragglers, 1);
	ck_assert(is_over(peer, WAIT_MS));
	wait_for_mail();
	read_mail(bus);
	ck_assert_uint_eq(bus->n_stragglers, 0);
}
END_TEST

/* A connection that is made: bus->wire. */
static void connect_session(void)
{
	struct mail_list list;
	char text[512], request[1024] = "";
	struct nats_problem problem;

	snprintf(text, sizeof(text), INFO, "");
	ck_assert_int_eq(nats_connect_begin(bus, &problem), 0);
	peer = accept_and_say(text);
	while (!strstr(request, "PING"))
		ck_assert_int_gt(recv(peer, request + strlen(request),
					 sizeof(request) - strlen(request) - 1, 0),
			0);
	ck_assert_int_eq(send(peer, "PONG\r\n", 6, 0), 6);
	wait_for_mail();
	mailbox_take(&bus->mail.mailbox, &list);
	ck_assert(
		nats_connect_on_end(bus, container_of(STAILQ_FIRST(&list), struct nats_mail, mail),
			&bus->wire, &bus->session, &problem));
	ck_assert_ptr_nonnull(bus->wire);
	ck_assert_uint_eq(bus->session, 1);
}

START_TEST(spares_all_but_its_sockets)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	int client = socket(AF_INET, SOCK_STREAM, 0), served, pair[2];

	/* A stream of ours, at both ends, and a socket of systemd's kind. */
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&address, length), 0);
	served = accept_and_say("");
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	connect_session();
	nats_connect_cut_off(bus);
	ck_assert_msg(!is_over(peer, 300), "the session has been cut off");
	ck_assert(!is_over(served, 0) && !is_over(client, 0) && !is_over(pair[0], 0));
	/* And this shows that it is by the session that it was spared. */
	nats_wire_free(TAKE_PTR(bus->wire));
	ck_assert(is_over(peer, WAIT_MS));
	close(client);
	close(served);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(cuts_off_what_is_no_session)
{
	struct nats_wire *former;

	connect_session();
	former = TAKE_PTR(bus->wire);
	nats_connect_cut_off(bus);
	ck_assert_msg(is_over(peer, WAIT_MS), "this nats.c's sockets are not known as such");
	nats_wire_free(former);
}
END_TEST

START_TEST(has_a_limit)
{
	int peers[NATS_STRAGGLERS_MAX];
	struct nats_problem problem;
	char text[512];

	snprintf(text, sizeof(text), INFO, "");
	for (int i = 0; i < NATS_STRAGGLERS_MAX; i++) {
		ck_assert_int_eq(nats_connect_begin(bus, &problem), 0);
		peers[i] = accept_and_say(text);
		nats_connect_give_up(bus, &problem); /* and their mail is not read */
	}
	ck_assert_int_eq(nats_connect_begin(bus, &problem), -ETIMEDOUT);
	ck_assert_ptr_null(bus->attempt);
	for (int64_t until = clock_monotonic_ms() + WAIT_MS; bus->n_stragglers > 0;) {
		ck_assert_int_lt(clock_monotonic_ms(), until);
		nats_connect_cut_off(bus);
		poll(NULL, 0, 20);
		read_mail(bus);
	}
	for (int i = 0; i < NATS_STRAGGLERS_MAX; i++)
		close(peers[i]);
}
END_TEST

/* What is called back about an attempt that was given up is never taken for the session's: no later
 * attempt gets its origin. */
START_TEST(has_an_origin_of_its_own)
{
	struct nats_attempt straggler = {.session = 3};

	TAILQ_INSERT_TAIL(&bus->stragglers, &straggler, link);
	for (unsigned i = 0; i < 3 * NATS_ORIGINS; i++) {
		struct nats_origin *origin = nats_connect_next_origin(bus);

		ck_assert_ptr_eq(origin, &bus->origins[bus->sessions % NATS_ORIGINS]);
		ck_assert_ptr_ne(origin, &bus->origins[3]);
		ck_assert_uint_eq(atomic_load(&origin->session), bus->sessions);
	}
	TAILQ_REMOVE(&bus->stragglers, &straggler, link);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("nats-connect");
	TCase *tests = tcase_create("nats-connect");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_loop_test(
		tests, ends_when_it_is_cut_off, 0, sizeof(silences) / sizeof(silences[0]));
	tcase_add_test(tests, spares_all_but_its_sockets);
	tcase_add_test(tests, cuts_off_what_is_no_session);
	tcase_add_test(tests, has_a_limit);
	tcase_add_test(tests, has_an_origin_of_its_own);
	suite_add_tcase(suite, tests);
	return suite;
}
