/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening sockets: the forms of an address, and what is opened for them. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/listen.h"
#include "net/peer.h"
#include "runner.h"

/* What names stand for, in place of the C library's: this machine's own addresses are as they are.
 * Documentation's are nobody's (EADDRNOTAVAIL), and this kernel may lack any family that is made up
 * (EAFNOSUPPORT), as it may lack IPv6. */
#define FAMILY_OF_NOBODY 99

static const struct {
	const char *name, *addresses[4]; /* "": of a family that is not there */
} names[] = {
	{"twice", {"127.0.0.1", "127.0.0.1", "::1", "::1"}},
	{"partly", {"2001:db8::1", "", "127.0.0.1"}},
	{"nowhere", {"", "2001:db8::1", "192.0.2.1"}},
	{"127.0.0.1", {"127.0.0.1"}},
	{"::1", {"::1"}},
};

static struct addrinfo *make_address(const char *text, const char *port)
{
	struct addrinfo *item = calloc(1, sizeof(*item) + sizeof(struct sockaddr_in6));
	struct sockaddr_in *ipv4 = (void *)(item + 1);
	struct sockaddr_in6 *ipv6 = (void *)(item + 1);
	in_port_t number = htons((in_port_t)atoi(port));

	item->ai_addr = (void *)(item + 1);
	if (inet_pton(AF_INET, text, &ipv4->sin_addr) == 1) {
		ipv4->sin_family = AF_INET;
		ipv4->sin_port = number;
		item->ai_addrlen = sizeof(*ipv4);
		return item;
	}
	ipv6->sin6_port = number;
	item->ai_addrlen = sizeof(*ipv6);
	ipv6->sin6_family =
		inet_pton(AF_INET6, text, &ipv6->sin6_addr) == 1 ? AF_INET6 : FAMILY_OF_NOBODY;
	return item;
}

int getaddrinfo(
	const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	struct addrinfo **end = ret;

	(void)hints;
	*ret = NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		for (size_t k = 0; strcmp(names[i].name, name) == 0 && k < 4; k++)
			if (names[i].addresses[k]) {
				*end = make_address(names[i].addresses[k], service);
				end = &(*end)->ai_next;
			}
	return *ret ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *list)
{
	struct addrinfo *next;

	for (; list; list = next) {
		next = list->ai_next;
		free(list);
	}
}

static const struct {
	const char *address;
	int r;
} forms[] = {
	{":8088", 0},
	{"127.0.0.1:8088", 0},
	{"0.0.0.0:1", 0},
	{"[::1]:8088", 0},
	{"[::]:65535", 0},
	{"localhost:80", 0},
	{"host.example.org:8088", 0},
	{"unix:/run/x.sock", 0},
	{"", -EINVAL},
	{"8088", -EINVAL},
	{":", -EINVAL},
	{":0", -EINVAL},
	{":65536", -EINVAL},
	{":123456", -EINVAL},
	{":-1", -EINVAL},
	{":+1", -EINVAL},
	{":80x", -EINVAL},
	{": 80", -EINVAL},
	{"127.0.0.1", -EINVAL},
	{"127.0.0.1:", -EINVAL},
	{"::1:8088", -EINVAL},
	{"[::1]8088", -EINVAL},
	{"[::1:8088", -EINVAL},
	{"[127.0.0.1]:8088", -EINVAL},
	{"[]:8088", -EINVAL},
	{"[x]:8088", -EINVAL},
	{"http://host:80", -EINVAL},
	{"a b:80", -EINVAL},
	{"unix:", -EINVAL},
	{"unix:x.sock", -EINVAL},
};

START_TEST(knows_the_forms)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		ck_assert_msg(
			listen_check(forms[i].address) == forms[i].r, "'%s'", forms[i].address);
}
END_TEST

START_TEST(refuses_a_path_that_is_too_long)
{
	struct sockaddr_un address;
	char text[sizeof(address.sun_path) + 6];

	memset(text, 'x', sizeof(text));
	memcpy(text, "unix:/", 6);
	text[sizeof(text) - 1] = '\0';
	ck_assert_int_eq(listen_check(text), -EINVAL);
	text[sizeof(text) - 2] = '\0';
	ck_assert_int_eq(listen_check(text), 0);
}
END_TEST

/* A port that is free for now, on all addresses. */
static unsigned free_port(void)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	close(fd);
	return ntohs(address.sin6_port);
}

static int connect_ipv4(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), r;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r = connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	return r;
}

static int connect_ipv6(unsigned port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6,
		.sin6_port = htons((in_port_t)port),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM, 0), r;

	r = connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	return r;
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	free(fds);
}

START_TEST(opens_a_list)
{
	unsigned everywhere = free_port(), ipv4_only = free_port(), ipv6_only = free_port();
	char text[256], name[LISTEN_NAME_SIZE], expected[64], *problem = NULL;
	int *fds = NULL;
	size_t n = 0;

	snprintf(
		text, sizeof(text), ":%u, 127.0.0.1:%u,[::1]:%u", everywhere, ipv4_only, ipv6_only);
	ck_assert_int_eq(listen_open(text, &fds, &n, &problem), 0);
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(connect_ipv4(everywhere), 0);
	ck_assert_int_eq(connect_ipv6(everywhere), 0);
	ck_assert_int_eq(connect_ipv4(ipv4_only), 0);
	ck_assert_int_ne(connect_ipv6(ipv4_only), 0);
	ck_assert_int_ne(connect_ipv4(ipv6_only), 0);
	ck_assert_int_eq(connect_ipv6(ipv6_only), 0);
	listen_name(fds[1], name);
	snprintf(expected, sizeof(expected), "127.0.0.1:%u", ipv4_only);
	ck_assert_str_eq(name, expected);
	listen_name(fds[2], name);
	snprintf(expected, sizeof(expected), "[::1]:%u", ipv6_only);
	ck_assert_str_eq(name, expected);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(accept4(fds[i], NULL, NULL, SOCK_CLOEXEC) >= 0, 1);
	/* Non-blocking: a second one is not waited for. */
	ck_assert_int_eq(accept4(fds[1], NULL, NULL, SOCK_CLOEXEC), -1);
	ck_assert_int_eq(errno, EAGAIN);
	close_all(fds, n);
}
END_TEST

START_TEST(opens_each_address_of_a_name_once)
{
	unsigned port = free_port();
	char text[128], *problem = NULL;
	int *fds = NULL;
	size_t n = 0;

	snprintf(text, sizeof(text), "twice:%u,127.0.0.1:%u", port, port);
	ck_assert_msg(listen_open(text, &fds, &n, &problem) == 0, "%s", problem);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_eq(connect_ipv4(port), 0);
	ck_assert_int_eq(connect_ipv6(port), 0);
	close_all(fds, n);
}
END_TEST

START_TEST(opens_what_the_machine_has_of_a_name)
{
	unsigned port = free_port();
	char text[128], expected[192], *problem = NULL;
	int *fds = NULL;
	size_t n = 0;

	snprintf(text, sizeof(text), "partly:%u", port);
	ck_assert_msg(listen_open(text, &fds, &n, &problem) == 0, "%s", problem);
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(connect_ipv4(port), 0);
	close_all(fds, n);

	/* None: the first one's reason. */
	snprintf(text, sizeof(text), "nowhere:%u", port);
	ck_assert_int_eq(listen_open(text, &fds, &n, &problem), -EAFNOSUPPORT);
	snprintf(expected, sizeof(expected),
		"Cannot listen on nowhere:%u: Address family not supported by protocol.", port);
	ck_assert_str_eq(problem, expected);
	free(problem);
}
END_TEST

/* Half of a name would serve half of the clients, and somebody else the others. */
START_TEST(refuses_a_name_of_which_somebody_else_has_an_address)
{
	unsigned port = free_port();
	char text[128], *problem = NULL;
	int *fds = NULL, *more = NULL;
	size_t n = 0, m = 0;

	snprintf(text, sizeof(text), "[::1]:%u", port);
	ck_assert_int_eq(listen_open(text, &fds, &n, &problem), 0);
	snprintf(text, sizeof(text), "twice:%u", port);
	ck_assert_int_eq(listen_open(text, &more, &m, &problem), -EADDRINUSE);
	free(problem);
	ck_assert_int_ne(connect_ipv4(port), 0);
	close_all(fds, n);
}
END_TEST

START_TEST(says_what_it_cannot_open_and_leaves_nothing_open)
{
	unsigned taken = free_port(), other = free_port();
	char text[128], expected[192], *problem = NULL;
	int *fds = NULL, *more = NULL;
	size_t n = 0, m = 0;

	snprintf(text, sizeof(text), "127.0.0.1:%u", taken);
	ck_assert_int_eq(listen_open(text, &fds, &n, &problem), 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u,127.0.0.1:%u", other, taken);
	ck_assert_int_eq(listen_open(text, &more, &m, &problem), -EADDRINUSE);
	snprintf(expected, sizeof(expected),
		"Cannot listen on 127.0.0.1:%u: another program listens there (`ss -ltnp` shows "
		"it); end it, or take another port.",
		taken);
	ck_assert_str_eq(problem, expected);
	free(problem);
	ck_assert_int_ne(connect_ipv4(other), 0);
	close_all(fds, n);
}
END_TEST

START_TEST(replaces_a_unix_socket_that_is_left_over_but_no_other_file)
{
	char directory[] = "/tmp/flagsse-listen-XXXXXX", text[128], name[LISTEN_NAME_SIZE];
	char *problem = NULL;
	const char *path = text + 5;
	struct stat status;
	int *fds = NULL, *more = NULL;
	size_t n = 0, m = 0;
	FILE *file;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(text, sizeof(text), "unix:%s/x.sock", directory);
	ck_assert_int_eq(listen_open(text, &fds, &n, &problem), 0);
	listen_name(fds[0], name);
	ck_assert_str_eq(name, text);
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 0777, 0666);
	ck_assert_int_eq(listen_open(text, &more, &m, &problem), -EADDRINUSE);
	free(problem);
	close_all(fds, n); /* as after a crash: the file stays */
	ck_assert_int_eq(listen_open(text, &fds, &n, &problem), 0);
	close_all(fds, n);
	ck_assert_int_eq(unlink(path), 0);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fclose(file);
	ck_assert_int_eq(listen_open(text, &fds, &n, &problem), -EADDRINUSE);
	free(problem);
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert(S_ISREG(status.st_mode));
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

/* Whose backlog is full, as it does not accept for the moment: to ask it must not wait for it.  (A
 * test that waits is ended by Check.) */
START_TEST(leaves_a_unix_socket_alone_whose_owner_is_busy)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int owner = socket(AF_UNIX, SOCK_STREAM, 0), clients[2], *fds = NULL;
	char text[128], *problem = NULL;
	struct stat status;
	size_t n = 0;

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/flagsse-busy-%ld.sock",
		(long)getpid());
	ck_assert_int_eq(bind(owner, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(owner, 0), 0);
	for (size_t i = 0; i < 2; i++)
		clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(connect(clients[0], (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(connect(clients[1], (struct sockaddr *)&address, sizeof(address)), -1);
	ck_assert_int_eq(errno, EAGAIN);

	snprintf(text, sizeof(text), "unix:%s", address.sun_path);
	ck_assert_int_eq(listen_open(text, &fds, &n, &problem), -EADDRINUSE);
	free(problem);
	ck_assert_int_eq(stat(address.sun_path, &status), 0);
	for (size_t i = 0; i < 2; i++)
		close(clients[i]);
	close(owner);
	ck_assert_int_eq(unlink(address.sun_path), 0);
}
END_TEST

/* Listens, connects, and looks what the client is called. */
static void check_peer_name(
	const char *text, const struct sockaddr *server, socklen_t length, const char *expected)
{
	char *problem = NULL, name[LISTEN_NAME_SIZE];
	int client = socket(server->sa_family, SOCK_STREAM, 0), accepted;
	struct peer peer = {.length = sizeof(peer.address)};
	int *fds = NULL;
	size_t n = 0;

	ck_assert_int_eq(listen_open(text, &fds, &n, &problem), 0);
	ck_assert_int_eq(connect(client, server, length), 0);
	accepted = accept(fds[0], (struct sockaddr *)&peer.address, &peer.length);
	ck_assert_int_ge(accepted, 0);
	peer_name(&peer, name);
	ck_assert_msg(strncmp(name, expected, strlen(expected)) == 0, "'%s'", name);
	close(accepted);
	close(client);
	close_all(fds, n);
}

START_TEST(names_the_peer)
{
	const unsigned port = free_port();
	const struct sockaddr_in ipv4 = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)port),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	char text[128];

	snprintf(text, sizeof(text), ":%u", port);
	/* Not "[::ffff:127.0.0.1]:". */
	check_peer_name(text, (const struct sockaddr *)&ipv4, sizeof(ipv4), "127.0.0.1:");
	check_peer_name(text, (const struct sockaddr *)&ipv6, sizeof(ipv6), "[::1]:");

	snprintf(local.sun_path, sizeof(local.sun_path), "/tmp/flagsse-peer-%ld.sock",
		(long)getpid());
	snprintf(text, sizeof(text), "unix:%s", local.sun_path);
	check_peer_name(text, (const struct sockaddr *)&local, sizeof(local), "unix");
	ck_assert_int_eq(unlink(local.sun_path), 0);
}
END_TEST

START_TEST(takes_from_systemd_what_listens)
{
	char *problem = NULL;
	int listening = socket(AF_INET, SOCK_STREAM, 0), fds[] = {listening, -1};

	ck_assert_int_eq(listen(listening, 1), 0);
	ck_assert_int_eq(listen_check_all(fds, 1, &problem), 0);
	ck_assert_int_ne(fcntl(listening, F_GETFL) & O_NONBLOCK, 0);

	fds[1] = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(listen_check_all(fds, 2, &problem), -EINVAL);
	ck_assert_ptr_nonnull(strstr(problem, "ListenStream="));
	free(problem);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("listen");
	TCase *tests = tcase_create("listen");

	tcase_add_test(tests, knows_the_forms);
	tcase_add_test(tests, refuses_a_path_that_is_too_long);
	tcase_add_test(tests, opens_a_list);
	tcase_add_test(tests, opens_each_address_of_a_name_once);
	tcase_add_test(tests, opens_what_the_machine_has_of_a_name);
	tcase_add_test(tests, refuses_a_name_of_which_somebody_else_has_an_address);
	tcase_add_test(tests, says_what_it_cannot_open_and_leaves_nothing_open);
	tcase_add_test(tests, replaces_a_unix_socket_that_is_left_over_but_no_other_file);
	tcase_add_test(tests, leaves_a_unix_socket_alone_whose_owner_is_busy);
	tcase_add_test(tests, names_the_peer);
	tcase_add_test(tests, takes_from_systemd_what_listens);
	suite_add_tcase(suite, tests);
	return suite;
}
