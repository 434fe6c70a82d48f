/* SPDX-License-Identifier: BSD-3-Clause */
/* The route table: which resource a request target names, however it is written; and that the
 * manual page has every route. */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "http/routes.h"
#include "runner.h"

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define STREAM      "/sse/environments/{key}/stream"
#define CHANGE      "/sse/environments/{key}/queue-change"

/* clang-format off */
static const struct {
	const char *target;
	const char *path; /* NULL: nothing */
	const char *key;  /* NULL: none, or key_error */
	int key_error;
} targets[] = {
	{"/sse/environments/abc/stream", STREAM, "abc", 0},
	{"/sse/environments/abc/stream/", STREAM, "abc", 0},
	{"//sse/environments/abc/stream", STREAM, "abc", 0},
	{"///sse//environments//abc//stream//", STREAM, "abc", 0},
	{"/sse/environments/abc/stream?lastEventId=7", STREAM, "abc", 0},
	{"/sse/environments/abc/stream/?", STREAM, "abc", 0},
	{"/sse/environments/abc/stream?a=/livez", STREAM, "abc", 0},
	{"/sse/environments/abc/stream?a=http://b", STREAM, "abc", 0},
	{"http://host/sse/environments/abc/stream", STREAM, "abc", 0},
	{"https://host:80//sse/environments/abc/stream?x", STREAM, "abc", 0},
	{"/sse/environments/a%62c/stream", STREAM, "abc", 0},
	{"/sse/environments/stream/stream", STREAM, "stream", 0},
	{"/sse/environments/abc/queue-change", CHANGE, "abc", 0},
	{"/sse/environments/abc/queue-change/", CHANGE, "abc", 0},
	{"/sse/environments/a.b/stream", STREAM, NULL, -EINVAL},
	{"/sse/environments/a%2Fb/stream", STREAM, NULL, -EINVAL},
	{"/sse/environments/a%00/stream", STREAM, NULL, -EINVAL},
	{"/sse/environments/%3E/stream", STREAM, NULL, -EINVAL},
	{"/sse/environments/../stream", STREAM, NULL, -EINVAL},
	{"/sse/environments/a b/stream", STREAM, NULL, -EINVAL},
	{"/sse/environments/a%/stream", STREAM, NULL, -EINVAL},
	{"/sse/environments/{key}/stream", STREAM, NULL, -EINVAL},
	{"/sse/environments/ser.abc/stream", STREAM, NULL, -EPERM},
	{"/livez", "/livez", NULL, 0},
	{"/livez/", "/livez", NULL, 0},
	{"/readyz", "/readyz", NULL, 0},
	{"/health", "/health", NULL, 0},
	{"/health/liveness/", "/health/liveness", NULL, 0},
	{"/health/readiness", "/health/readiness", NULL, 0},
	{"/sse/health", "/sse/health", NULL, 0},
	{"/metrics", "/metrics", NULL, 0},
	{"/metricsz?x=y", "/metricsz", NULL, 0},
	{"", NULL, NULL, 0},
	{"/", NULL, NULL, 0},
	{"//", NULL, NULL, 0},
	{"*", NULL, NULL, 0},
	{"?", NULL, NULL, 0},
	{"livez", NULL, NULL, 0},
	{"host/livez", NULL, NULL, 0},
	{"://", NULL, NULL, 0},
	{"http://", NULL, NULL, 0},
	{"http://host", NULL, NULL, 0},
	{"http://host?/livez", NULL, NULL, 0},
	{"http://h-o.s_t:/livez", "/livez", NULL, 0},
	{"http://[::1]:80/livez", "/livez", NULL, 0},
	{"http://[::1/livez", NULL, NULL, 0},
	{"http://[]x/livez", NULL, NULL, 0},
	{"http://:80/livez", NULL, NULL, 0},
	{"http://h:8a/livez", NULL, NULL, 0},
	{"http://u@h/livez", NULL, NULL, 0},
	{"http://h#/livez", NULL, NULL, 0},
	{"http://h\\/livez", NULL, NULL, 0},
	{"http://h%2f/livez", NULL, NULL, 0},
	{"/LIVEZ", NULL, NULL, 0},
	{"/live", NULL, NULL, 0},
	{"/livezz", NULL, NULL, 0},
	{"/livez/x", NULL, NULL, 0},
	{"/%6Civez", NULL, NULL, 0},
	{"/sse", NULL, NULL, 0},
	{"/sse/environments", NULL, NULL, 0},
	{"/sse/environments/abc", NULL, NULL, 0},
	{"/sse/environments//stream", NULL, NULL, 0},
	{"/sse/environments/abc/streams", NULL, NULL, 0},
	{"/sse/environments/abc/stream/x", NULL, NULL, 0},
	{"/sse/environments/a/b/stream", NULL, NULL, 0},
	{"/./livez", NULL, NULL, 0},
	{"/x/../livez", NULL, NULL, 0},
};

static const struct {
	const char *name;
	enum method method;
} methods[] = {
	{"GET", METHOD_GET},
	{"HEAD", METHOD_HEAD},
	{"POST", METHOD_POST},
	{"OPTIONS", METHOD_OPTIONS},
	{"PUT", METHOD_OTHER},
	{"get", METHOD_OTHER},
	{"GETS", METHOD_OTHER},
	{"", METHOD_OTHER},
};
/* clang-format on */

START_TEST(finds_the_route)
{
	struct route_match match = {.key_error = 1};

	route_find(targets[_i].target, &match);
	if (!targets[_i].path) {
		ck_assert_msg(!match.route, "'%s'", targets[_i].target);
		return;
	}
	ck_assert_msg(match.route, "'%s'", targets[_i].target);
	ck_assert_str_eq(match.route->path, targets[_i].path);
	ck_assert_int_eq(match.key_error, targets[_i].key_error);
	if (targets[_i].key)
		ck_assert_str_eq(match.key.text, targets[_i].key);
}
END_TEST

START_TEST(knows_the_methods)
{
	ck_assert_int_eq(method_parse(methods[_i].name), methods[_i].method);
}
END_TEST

START_TEST(allows_what_it_has)
{
	struct route_match match;

	route_find("/sse/environments/abc/stream", &match);
	ck_assert_uint_eq(match.route->methods, METHOD_GET | METHOD_HEAD);
	ck_assert_str_eq(match.route->allow, "GET, HEAD, OPTIONS");
	route_find("/sse/environments/abc/queue-change", &match);
	ck_assert_uint_eq(match.route->methods, METHOD_POST);
	ck_assert_str_eq(match.route->allow, "POST, OPTIONS");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("routes");
	TCase *tests = tcase_create("routes");

	tcase_add_loop_test(tests, finds_the_route, 0, N_OF(targets));
	tcase_add_loop_test(tests, knows_the_methods, 0, N_OF(methods));
	tcase_add_test(tests, allows_what_it_has);
	suite_add_tcase(suite, tests);
	return suite;
}
