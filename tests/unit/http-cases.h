/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to the HTTP side, and what must come of them. */
#pragma once

#include <errno.h>

#include "http-fixture.h"

#define STREAM "/sse/environments/abc/stream"
#define CHANGE "/sse/environments/abc/queue-change"
#define HOST   " HTTP/1.1\r\nHost: x\r\n"
#define TOKEN  "Authorization: Token secret\r\n"

#define HEAD_FIELDS                                                                                \
	"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"                                   \
	"Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\nConnection: close\r\n"  \
	"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Retry-After\r\n"
#define HEAD_1_1 HEAD_FIELDS "Transfer-Encoding: chunked\r\n\r\n"
#define HEAD_1_0 HEAD_FIELDS "\r\n"

/* clang-format off */
static const struct {
	const char *request;
	int status;
	const char *has[4]; /* besides what all answers have */
} answers[] = {
	{"GET /livez" HOST "\r\n", 200, {"\r\n\r\n{\"status\":\"ok\"}"}},
	{"GET /readyz" HOST "\r\n", 200, {"\r\n\r\n{\"status\":\"ready\"}"}},
	{"GET /health" HOST "\r\n", 200, {"{\"status\":\"ready\"}"}},
	{"GET /health/liveness/" HOST "\r\n", 200, {"{\"status\":\"ok\"}"}},
	{"GET /sse/health" HOST "\r\n", 200, {"{\"status\":\"ready\"}"}},
	{"GET http://x/livez HTTP/1.1\r\nHost: x\r\n\r\n", 200, {"{\"status\":\"ok\"}"}},
	{"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, {"{\"status\":\"ok\"}"}},
	{"GET /metrics" HOST "\r\n", 200,
		{"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n", "\r\n\r\na_metric 1\n"}},
	{"GET /nothing" HOST "\r\n", 404, {"application/json", "{\"detail\":\""}},
	{"OPTIONS /nothing" HOST "\r\n", 404, {"{\"detail\":\""}},
	{"GET " CHANGE HOST "\r\n", 405, {"Allow: POST, OPTIONS\r\n", "{\"detail\":\""}},
	{"BREW /livez" HOST "\r\n", 405, {"Allow: GET, HEAD, OPTIONS\r\n"}},
	{"OPTIONS " STREAM HOST "\r\n", 204, {"Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS\r\n",
		"Access-Control-Allow-Headers: Authorization, Cache-Control, Content-Type, Last-Event-ID, "
		"X-Requested-With\r\n", "Access-Control-Max-Age: 86400\r\n"}},
	{"OPTIONS " CHANGE HOST "Access-Control-Request-Headers: a, b\r\n\r\n", 204,
		{"Access-Control-Allow-Headers: a, b\r\n", "Allow: POST, OPTIONS\r\n"}},
	{"OPTIONS " STREAM HOST "Access-Control-Request-Private-Network: true\r\n\r\n", 204,
		{"Access-Control-Allow-Private-Network: true\r\n"}},
	{"OPTIONS *" HOST "\r\n", 204, {"Allow: GET, HEAD, POST, OPTIONS\r\n"}},
	{"GET HTTP://x/livez" HOST "\r\n", 200, {"{\"status\":\"ok\"}"}},
	{"POST /sse/environments/a.b/queue-change" HOST "Content-Length: 0\r\n\r\n", 400, {"{\"detail\":\""}},
	{"POST " CHANGE HOST "Content-Length: 0\r\n\r\n", 401,
		{"WWW-Authenticate: Token\r\n", "\r\n\r\n{\"detail\":\"Invalid authorization header\"}"}},
	{"POST " CHANGE HOST "Authorization: Token secre\r\nContent-Length: 0\r\n\r\n", 401, {0}},
	{"POST " CHANGE HOST "Authorization: Token secrets\r\nContent-Length: 0\r\n\r\n", 401, {0}},
	{"POST " CHANGE HOST "Authorization: Token secretsecret\r\nContent-Length: 0\r\n\r\n", 401, {0}},
	{"POST " CHANGE HOST "Authorization: Tokensecret\r\nContent-Length: 0\r\n\r\n", 401, {0}},
	{"POST " CHANGE HOST "Authorization: Token\r\nContent-Length: 0\r\n\r\n", 401, {0}},
	{"POST " CHANGE HOST "Authorization: Basic secret\r\nContent-Length: 0\r\n\r\n", 401, {0}},
	{"POST " CHANGE HOST "Authorization: secret\r\nContent-Length: 0\r\n\r\n", 401, {0}},
	{POST, 200, {"\r\n\r\n{\"status\":\"published\",\"sequence\":1}"}},
	{"POST " CHANGE HOST "aUTHORIZATION: bEARER  secret \r\nContent-Length: 28\r\n\r\n" POST_BODY, 200, {0}},
	{"POST " CHANGE HOST "Authorization: token secret\r\nContent-Length: 28\r\n\r\n" POST_BODY, 200, {0}},
	{POST_HEAD "Content-Length: 28\r\nContent-Length: 28\r\n\r\n" POST_BODY, 200, {0}},
	{POST_HEAD "Content-Length: 0\r\n\r\n", 422, {"{\"detail\":\""}},
	{POST_HEAD "\r\n", 422, {"{\"detail\":\""}},
	{POST_HEAD "Content-Length: 2\r\n\r\n{}", 422, {"{\"detail\":\""}},
	{POST_HEAD "Content-Length: 3\r\n\r\nnot", 422, {"{\"detail\":\""}},
};

/* A body that is not wanted, or a request that is none: the answer does not wait for more, and then
 * there is an end.  By now it has come, or it comes later, or never. */
static const struct {
	const char *request;
	int status;
	const char *has;
} last_answers[] = {
	{"POST " CHANGE HOST "Content-Length: 28\r\n\r\n" POST_BODY, 401,
		"\r\n\r\n{\"detail\":\"Invalid authorization header\"}"},
	{"POST " CHANGE HOST "Content-Length: 28\r\n\r\n", 401, "WWW-Authenticate: Token\r\n"},
	{"POST " CHANGE HOST "Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n", 401, NULL},
	{"POST /sse/environments/a.b/queue-change" HOST TOKEN "Content-Length: 28\r\n\r\n", 400, NULL},
	{POST_HEAD "Content-Length: 4097\r\n\r\n", 413, "at most 4096 bytes"},
	{"POST /livez" HOST "Content-Length: 1000\r\n\r\n", 405, "Allow: GET, HEAD, OPTIONS\r\n"},
	{"POST /nothing" HOST "Content-Length: 1\r\n\r\n", 404, NULL},
	{"GET /livez" HOST "Content-Length: 1\r\n\r\n", 413, "takes no body"},
	{"OPTIONS /livez" HOST "Content-Length: 1\r\n\r\n", 204, "Allow: GET, HEAD, OPTIONS\r\n"},
	{POST_HEAD "Transfer-Encoding: Chunked\r\n\r\n", 411, "expected a Content-Length"},
	{"GET /livez" HOST "Transfer-Encoding: chunked\r\n\r\n0", 411, NULL},
	{"POST /x" HOST "Transfer-Encoding: chunked\r\n\r\n5;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 411, NULL},
	{"GET *?://h/livez" HOST "\r\n", 400, "request target"},
	{"GET *" HOST "Content-Length: 1\r\n\r\n", 400, "OPTIONS"},
	{"GET livez" HOST "\r\n", 400, "request target"},
	{"GET h/livez" HOST "\r\n", 400, NULL},
	{"GET ftp://h/livez" HOST "\r\n", 400, NULL},
	{"GET http:///livez" HOST "\r\n", 400, NULL},
	{"GET http:/livez" HOST "\r\n", 400, NULL},
};

/* Of subscribers: the answer comes after a while. */
static const struct {
	const char *request;
	int status;
	const char *body; /* how it begins */
} held_answers[] = {
	{"GET /sse/environments/a.b/stream" HOST "\r\n", 400, "{\"detail\":\""},
	{"GET /sse/environments/a%00/stream" HOST "\r\n", 400, "{\"detail\":\""},
	{"GET /sse/environments/ser.b/stream" HOST "\r\n", 400, "{\"detail\":\"this"},
	{"GET " STREAM HOST "Content-Length: 1\r\n\r\n", 413, "{\"detail\":\""},
	{"POST " STREAM HOST "Content-Length: 2\r\n\r\n{}", 405, "{\"detail\":\""},
	{"GET " STREAM HOST "Transfer-Encoding: chunked\r\n\r\n", 411, "{\"detail\":\""},
	{"GET /sse/environments//stream" HOST "\r\n", 404, "{\"detail\":\""},
	{"GET /api/v1/sse/environments/abc/stream/?x=y" HOST "\r\n", 404, "{\"detail\":\""},
	{"GET /nothing" HOST "Accept: text/event-stream\r\n\r\n", 404, "{\"detail\":\""},
	{"GET /nothing" HOST "Accept: application/json, text/event-stream\r\n\r\n", 404, "{\"detail\":\""},
	{"GET /sse/environments/a.b/stream" HOST "Accept: application/json , text/event-stream\r\n\r\n", 400, ": "},
	{"GET /sse/environments/a.b/stream" HOST "User-Agent: Dart/3.4 (dart:io)\r\n\r\n", 400, ": "},
	{"HEAD /sse/environments/a.b/stream" HOST "\r\n", 400, ""},
};

/* Where the end of the request is in doubt: the answer, and the end.  Some versions of libmicrohttpd
 * refuse some of these themselves, as plainly. */
static const char *const ambiguous[] = {
	"GET /livez HTTP/1.1\r\n\r\n",
	"GET /livez" HOST "Host: y\r\n\r\n",
	POST_HEAD "Content-Length: 28\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	POST_HEAD "Content-Length: 28\r\nContent-Length: 3\r\n\r\n" POST_BODY,
	POST_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	POST_HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
	"GET /livez" HOST "X y: z\r\n\r\n",
	POST_HEAD "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	POST_HEAD "Content-Length: 28\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
	POST_HEAD "Content-Length: 2x\r\n\r\n0\r\n\r\n",
	"POST " CHANGE " HTTP/1.0\r\n" TOKEN "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"GET /livez" HOST "X: y\r\n z\r\n\r\n",
	POST_HEAD "Transfer-Encoding: x\r\n\r\n",
};

/* The same, with a NUL for each `@`. */
static const char *const with_nul[] = {
	POST_HEAD "Content-Length: 28@\r\n\r\n" POST_BODY,
	POST_HEAD "Content-Length: 28@0\r\n\r\n" POST_BODY,
	POST_HEAD "Content-Length: @28\r\n\r\n" POST_BODY,
	POST_HEAD "Content-Length: 28\r\nTransfer-Encoding: @chunked\r\n\r\n0\r\n\r\n",
	POST_HEAD "Content-Length: 28\r\nTransfer-Encoding@: chunked\r\n\r\n0\r\n\r\n",
	POST_HEAD "Content-Length: 28\r\nX: y@Transfer-Encoding: chunked\r\n\r\n" POST_BODY,
	"GET /livez" HOST "X: y@\r\n\r\n",
	"GET /livez" HOST "X: y\r\nY: @\r\nZ: z\r\n\r\n",
	"GET /livez" HOST "X@: y\r\n\r\n",
	"GET /livez@" HOST "\r\n",
	"GET /livez@x" HOST "\r\n",
	"GET /livez?a@b" HOST "\r\n",
	"GET @/livez" HOST "\r\n",
};

static const struct {
	const char *query;
	const char *field;
	int64_t id;
} ids[] = {
	{"", "", -1},
	{"?lastEventId=1673546928028060", "", 1673546928028060},
	{"?a=b&lastEventId=5&c", "", 5},
	{"", "Last-Event-ID: 1673546928028060\r\n", 1673546928028060},
	{"?lastEventId=5", "Last-Event-ID: 6\r\n", 6},
	{"?lastEventId=5", "Last-Event-ID: x\r\n", -1},
	{"", "Last-Event-ID: 0\r\n", 0},
	{"", "Last-Event-ID: 999999999999999999\r\n", 999999999999999999},
	{"", "Last-Event-ID: 1000000000000000000\r\n", -1},
	{"", "Last-Event-ID: -1\r\n", -1},
	{"", "Last-Event-ID: +1\r\n", -1},
	{"", "Last-Event-ID: 1.5\r\n", -1},
	{"", "Last-Event-ID: 0x1\r\n", -1},
	{"", "Last-Event-ID: 1 2\r\n", -1},
	{"?lastEventId=", "", -1},
	{"?lastEventId", "", -1},
	{"?lastEventId=%31", "", -1},
	{"?lastEventId=5&lastEventId=6", "", 5},
	{"?xlastEventId=5", "", -1},
	{"?", "", -1},
	{"?&&lastEventId=5", "", 5},
};

static const struct {
	enum http_publish_status status;
	int code;
	const char *detail;
	const char *end;
} outcomes[] = {
	{HTTP_PUBLISHED, 200, NULL, "\r\n\r\n{\"status\":\"published\",\"sequence\":7}"},
	{HTTP_STALE, 200, NULL, "\r\n\r\n{\"status\":\"stale\"}"},
	{HTTP_QUEUED, 202, NULL, "\r\n\r\n{\"status\":\"queued\"}"},
	{HTTP_UNAVAILABLE, 503, "no \"bus\"", "\r\n\r\n{\"detail\":\"no \\\"bus\\\"\"}"},
};
/* clang-format on */
