/* SPDX-License-Identifier: BSD-3-Clause */
/* One datagram to the service manager: to whom it goes, and that nobody waits for it. */
#include <check.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/notify-send.h"
#include "runner.h"

static int manager; /* its socket */

/* A name that the kernel chooses, in the abstract namespace. */
static void set_up(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = sizeof(address);
	char name[sizeof(address.sun_path)] = "@";

	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_ge(manager, 0);
	ck_assert_int_eq(
		bind(manager, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path)),
		0);
	ck_assert_int_eq(getsockname(manager, (struct sockaddr *)&address, &size), 0);
	memcpy(name + 1, address.sun_path + 1, size - offsetof(struct sockaddr_un, sun_path) - 1);
	setenv("NOTIFY_SOCKET", name, 1);
}

static void tear_down(void)
{
	close(manager);
	unsetenv("NOTIFY_SOCKET");
}

static const char *received(void)
{
	static char text[2048];
	ssize_t n = recv(manager, text, sizeof(text) - 1, 0);

	if (n < 0)
		return NULL;
	text[n] = '\0';
	return text;
}

START_TEST(test_sends)
{
	ck_assert_int_eq(notify_send("STATUS=%d streams", 3), 0);
	ck_assert_str_eq(received(), "STATUS=3 streams");
	ck_assert_ptr_null(received());
}
END_TEST

START_TEST(test_path)
{
	char directory[] = "/tmp/test-notify-send-XXXXXX";
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", directory);
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	ck_assert_int_eq(notify_send("READY=1"), -ENOENT);
	close(manager);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(manager, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(notify_send("READY=1"), 0);
	ck_assert_str_eq(received(), "READY=1");
	unlink(address.sun_path);
	rmdir(directory);
}
END_TEST

START_TEST(test_nobody_to_be_told)
{
	unsetenv("NOTIFY_SOCKET");
	ck_assert_int_eq(notify_send("READY=1"), 0);
	ck_assert_ptr_null(received());
}
END_TEST

START_TEST(test_no_address)
{
	char name[300];

	memset(name, 'x', sizeof(name) - 1);
	name[0] = '/';
	name[sizeof(name) - 1] = '\0';
	setenv("NOTIFY_SOCKET", name, 1);
	ck_assert_int_eq(notify_send("READY=1"), -EINVAL);
	setenv("NOTIFY_SOCKET", "@", 1);
	ck_assert_int_eq(notify_send("READY=1"), -EINVAL);
	setenv("NOTIFY_SOCKET", "nonsense", 1);
	ck_assert_int_lt(notify_send("READY=1"), 0);
}
END_TEST

/* Nobody reads: it says so at once, and there is room again afterwards. */
START_TEST(test_full)
{
	int n = 0, r;

	while ((r = notify_send("%d", n)) == 0)
		ck_assert_int_lt(n++, 100000);
	ck_assert_int_eq(r, -EAGAIN);
	ck_assert_str_eq(received(), "0");
	ck_assert_int_eq(notify_send("again"), 0);
}
END_TEST

START_TEST(test_too_long)
{
	ck_assert_int_eq(notify_send("%01022d", 0), 0);
	ck_assert_uint_eq(strlen(received()), 1022);
	ck_assert_int_eq(notify_send("%01024d", 0), -EMSGSIZE);
	ck_assert_ptr_null(received());
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("notify-send");
	TCase *cases = tcase_create("notify-send");

	tcase_add_checked_fixture(cases, set_up, tear_down);
	tcase_add_test(cases, test_sends);
	tcase_add_test(cases, test_path);
	tcase_add_test(cases, test_nobody_to_be_told);
	tcase_add_test(cases, test_no_address);
	tcase_add_test(cases, test_full);
	tcase_add_test(cases, test_too_long);
	suite_add_tcase(all, cases);
	return all;
}
