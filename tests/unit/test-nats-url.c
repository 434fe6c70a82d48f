/* SPDX-License-Identifier: BSD-3-Clause */
/* URLs of NATS servers taken apart: nats.c never sees the user information.  And nats.c's errors.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "bus/nats/library-internal.h"
#include "bus/nats/url.h"
#include "runner.h"

static const struct {
	const char *text, *address, *user, *password;
} urls[] = {
	{"nats://h:1", "nats://h:1", NULL, NULL},
	{"tls://[::1]", "tls://[::1]", NULL, NULL},
	{"nats://u:p@h:1", "nats://h:1", "u", "p"},
	{"tls://t0ken@h", "tls://h", "t0ken", NULL},
	{"nats://u:@h", "nats://h", "u", ""},
	/* Nobody has to encode what may stand there as it is. */
	{"nats://u:p@ss:word@h:1", "nats://h:1", "u", "p@ss:word"},
	{"nats://u:p%40ss@h:1", "nats://h:1", "u", "p@ss"},
	{"nats://a%3ab:c%2Fd@h", "nats://h", "a:b", "c/d"},
	{"nats://u:%e4%F6@h", "nats://h", "u", "\xe4\xf6"},
	{"nats://u:50%@h", "nats://h", "u", "50%"},
	{"nats://u:50%x@h", "nats://h", "u", "50%x"},
	{"nats://u:%4@h", "nats://h", "u", "%4"},
	{"nats://u:%zz%25@h", "nats://h", "u", "%zz%"},
	{"nats://u:a%00b@h", "nats://h", "u", "a%00b"},
};

static void check_text(const char *is, const char *expected)
{
	if (expected)
		ck_assert_str_eq(is, expected);
	else
		ck_assert_ptr_null(is);
}

START_TEST(test_parse)
{
	struct nats_url url;

	ck_assert_int_eq(nats_url_parse(urls[_i].text, &url), 0);
	check_text(url.address, urls[_i].address);
	check_text(url.user, urls[_i].user);
	check_text(url.password, urls[_i].password);
	nats_url_deinit(&url);
	ck_assert_ptr_null(url.password);
}
END_TEST

/* What nats.c 3.4 and 3.10, OpenSSL 3.0 and nats-server say; the beginning of what we make of it.
 */
static const struct {
	natsStatus status;
	const char *said, *words;
} failures[] = {
	{NATS_CONNECTION_AUTH_FAILED, "(conn.c:1905): Authorization Violation",
		"it refuses the user"},
	{NATS_ERR, "(conn.c:1905): maximum connections exceeded", "it takes no more connections"},
	{NATS_ERR, "maximum account active connections exceeded", "the account takes no more"},
	{NATS_SECURE_CONNECTION_WANTED, "Secure Connection not available", "it does not offer TLS"},
	{NATS_SECURE_CONNECTION_REQUIRED, NULL, "it wants TLS"},
	{NATS_SSL_ERROR, "SSL handshake error: 10:certificate has expired:depth=0",
		"its certificate has expired"},
	{NATS_SSL_ERROR, "SSL handshake error: 62:hostname mismatch:expected=h",
		"its certificate is for another"},
	{NATS_SSL_ERROR, "SSL handshake error: 64:IP address mismatch",
		"its certificate is for another"},
	{NATS_SSL_ERROR, "SSL handshake error: 20:unable to get local issuer certificate",
		"this machine does not"},
	{NATS_SSL_ERROR, "SSL handshake error: 18:self signed certificate",
		"this machine does not"},
	{NATS_SSL_ERROR, "SSL read error: tlsv13 alert certificate required",
		"it wants a certificate"},
	{NATS_PROTOCOL_ERROR, "(conn.c:1909): Expected 'PONG', got ''", "it wants a certificate"},
	{NATS_PROTOCOL_ERROR, "(conn.c:1): something new", "Protocol Error: something new"},
	{NATS_TIMEOUT, "(conn.c:1): Timeout", "Timeout"},
	{NATS_TIMEOUT, NULL, "Timeout"},
	{NATS_NO_SERVER, NULL, "Connection refused"},
};

START_TEST(test_failure)
{
	struct nats_problem problem;

	nats_failure_describe(
		"tls://127.0.0.1:1", failures[_i].status, failures[_i].said, &problem);
	ck_assert_msg(strncmp(problem.text, failures[_i].words, strlen(failures[_i].words)) == 0,
		"%s", problem.text);
}
END_TEST

/* Which is an end as any other where there is no TLS. */
START_TEST(test_end_without_tls)
{
	struct nats_problem problem;

	nats_failure_describe("nats://h", NATS_PROTOCOL_ERROR, "Expected 'PONG', got ''", &problem);
	ck_assert_ptr_null(strstr(problem.text, "certificate"));
	ck_assert_ptr_nonnull(strstr(problem.text, "maximum connections exceeded"));
}
END_TEST

/* It may name hosts. */
START_TEST(test_what_others_say_is_not_for_everybody)
{
	struct nats_problem problem;

	nats_failure_describe("nats://h", NATS_ERR, "sorry, I am db7.example.org", &problem);
	ck_assert_ptr_nonnull(strstr(problem.text, "db7"));
	ck_assert_str_eq(problem.open_text, natsStatus_GetText(NATS_ERR));
}
END_TEST

/* What the session makes of them; see wire.h. */
static const struct {
	natsStatus status;
	jsErrCode code;
	int error;
} errors[] = {
	{NATS_TIMEOUT, 0, -ETIMEDOUT},
	{NATS_NO_RESPONDERS, 0, -EHOSTUNREACH},
	{NATS_ERR, JSNotEnabledErr, -EHOSTUNREACH},
	{NATS_ERR, JSNotEnabledForAccountErr, -EOPNOTSUPP},
	{NATS_NOT_FOUND, 0, -ENOENT},
	{NATS_NOT_FOUND, JSStreamNotFoundErr, -ENOENT},
	{NATS_ERR, JSStreamNotFoundErr, -ENOENT},
	{NATS_ERR, JSStreamNameExistErr, -EEXIST},
	{NATS_NO_MEMORY, 0, -ENOMEM},
	{NATS_ERR, JSInsufficientResourcesErr, -EIO},
	{NATS_CONNECTION_CLOSED, 0, -EIO},
};

START_TEST(test_errors)
{
	struct nats_error error;

	ck_assert_int_eq(nats_Open(0), NATS_OK);
	ck_assert_int_eq(
		nats_failure_read(errors[_i].status, errors[_i].code, &error), errors[_i].error);
	ck_assert_int_eq(error.error, errors[_i].error);
	ck_assert_int_eq(error.code, (int)errors[_i].code);
	ck_assert_str_eq(error.name, natsStatus_GetText(errors[_i].status));
	ck_assert_str_eq(error.text, error.name); /* nothing has been said */
	nats_Close();
}
END_TEST

START_TEST(test_names)
{
	ck_assert_str_eq(nats_server_name("nats://u:p@h:1"), "h:1");
	ck_assert_str_eq(nats_server_name("tls://[::1]"), "[::1]");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("nats-url");
	TCase *cases = tcase_create("all");

	tcase_add_loop_test(cases, test_parse, 0, sizeof(urls) / sizeof(urls[0]));
	tcase_add_loop_test(cases, test_failure, 0, sizeof(failures) / sizeof(failures[0]));
	tcase_add_test(cases, test_end_without_tls);
	tcase_add_test(cases, test_what_others_say_is_not_for_everybody);
	tcase_add_loop_test(cases, test_errors, 0, sizeof(errors) / sizeof(errors[0]));
	tcase_add_test(cases, test_names);
	suite_add_tcase(suite, cases);
	return suite;
}
