/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests, and what must come of them, whatever HTTP library they come by. */
#pragma once

#include "exchange-fixture.h"

#define STREAM "/sse/environments/abc/stream"
#define CHANGE "/sse/environments/abc/queue-change"
#define BODY   "{\"updated_at\": 1700000000.5}"

#define HEAD                                                                                       \
	"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"                                   \
	"Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\nConnection: close\r\n"  \
	"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Retry-After\r\n"
#define HEAD_1_1 HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define HEAD_1_0 HEAD "\r\n"

/* What comes of the connection by the answer. */
enum then {
	GOES_ON,
	LAST, /* it ends */
	HELD, /* ... and the answer goes out after a while */
};

/* clang-format off */
static const struct {
	struct asked asked;
	enum outcome outcome;
	unsigned status;
	enum then then;
	const char *body;  /* how it begins */
	const char *field; /* one that it has */
} cases[] = {
	/* What there is. */
	{ASK("GET", "/livez"), ANSWERED, 200, GOES_ON, "{\"status\":\"ok\"}", "Content-Type: application/json"},
	{ASK("HEAD", "/livez"), ANSWERED, 200, GOES_ON, "{\"status\":\"ok\"}", NULL},
	{ASK("GET", "/health/liveness/"), ANSWERED, 200, GOES_ON, "{\"status\":\"ok\"}", NULL},
	{ASK("GET", "/readyz"), ANSWERED, 200, GOES_ON, "{\"status\":\"ready\"}", NULL},
	{ASK("GET", "/sse/health"), ANSWERED, 200, GOES_ON, "{\"status\":\"ready\"}", NULL},
	{ASK("GET", "/metrics"), ANSWERED, 200, GOES_ON, "a_metric 1\n",
		"Content-Type: text/plain; version=0.0.4; charset=utf-8"},
	{ASK("GET", STREAM), LEFT, 0, GOES_ON, NULL, NULL},
	{ASK("HEAD", STREAM), LEFT, 0, GOES_ON, NULL, NULL},
	{ASK("POST", CHANGE, .fields = {TOKEN_FIELD}, .body = BODY), WAITS, 0, GOES_ON, NULL, NULL},
	{ASK("POST", CHANGE, .fields = {{"Authorization", "bEARER  secret \t"}}, .body = BODY), WAITS, 0, GOES_ON, NULL, NULL},

	/* No such path, or not by this method. */
	{ASK("GET", "/nothing"), ANSWERED, 404, GOES_ON, "{\"detail\":\"there is nothing", NULL},
	{ASK("OPTIONS", "/nothing"), ANSWERED, 404, GOES_ON, "{\"detail\":\"", NULL},
	{ASK("GET", CHANGE), ANSWERED, 405, GOES_ON, "{\"detail\":\"", "Allow: POST, OPTIONS"},
	{ASK("BREW", "/livez"), ANSWERED, 405, GOES_ON, "{\"detail\":\"", "Allow: GET, HEAD, OPTIONS"},
	{ASK("GET", "*"), ANSWERED, 400, GOES_ON, "{\"detail\":\"the request target *", NULL},

	/* From browsers, of other origins. */
	{ASK("OPTIONS", "*"), ANSWERED, 204, GOES_ON, "", "Allow: GET, HEAD, POST, OPTIONS"},
	{ASK("OPTIONS", STREAM), ANSWERED, 204, GOES_ON, "", "Access-Control-Allow-Headers: Authorization, "
		"Cache-Control, Content-Type, Last-Event-ID, X-Requested-With"},
	{ASK("OPTIONS", CHANGE, .fields = {{"Access-Control-Request-Headers", "a, b "}}), ANSWERED, 204, GOES_ON, "",
		"Access-Control-Allow-Headers: a, b"},
	{ASK("OPTIONS", CHANGE, .fields = {{"Access-Control-Request-Headers", "a\rb"}}), ANSWERED, 204, GOES_ON, "",
		"Access-Control-Allow-Headers: Authorization, Cache-Control, Content-Type, Last-Event-ID, X-Requested-With"},
	{ASK("OPTIONS", STREAM, .fields = {{"Access-Control-Request-Private-Network", "true"}}), ANSWERED, 204, GOES_ON, "",
		"Access-Control-Allow-Private-Network: true"},

	/* Publishers: the key, then the token, then the body. */
	{ASK("POST", "/sse/environments/a.b/queue-change"), ANSWERED, 400, GOES_ON, "{\"detail\":\"", NULL},
	{ASK("POST", "/sse/environments/ser.b/queue-change", .fields = {TOKEN_FIELD}), ANSWERED, 400, GOES_ON, "{\"detail\":\"this", NULL},
	{ASK("POST", "/sse/environments/a.b/queue-change", .body = BODY), ANSWERED, 400, LAST, "{\"detail\":\"", NULL},
	{ASK("POST", CHANGE), ANSWERED, 401, GOES_ON, "{\"detail\":\"Invalid authorization header\"}", "WWW-Authenticate: Token"},
	{ASK("POST", CHANGE, .body = BODY), ANSWERED, 401, LAST, "{\"detail\":\"Invalid authorization header\"}", "WWW-Authenticate: Token"},
	{ASK("POST", CHANGE, .fields = {{"Authorization", "Token secre"}}, .body = BODY), ANSWERED, 401, LAST, "{\"detail\":\"", NULL},
	{ASK("POST", CHANGE, .fields = {{"Authorization", "Token secrets"}}, .body = BODY), ANSWERED, 401, LAST, "{\"detail\":\"", NULL},
	{ASK("POST", CHANGE, .fields = {{"Authorization", "Basic secret"}}, .body = BODY), ANSWERED, 401, LAST, "{\"detail\":\"", NULL},
	{ASK("POST", CHANGE, .fields = {{"Authorization", "Token"}}, .body = BODY), ANSWERED, 401, LAST, "{\"detail\":\"", NULL},
	{ASK("POST", CHANGE, .fields = {TOKEN_FIELD}, .content_length = 4097), ANSWERED, 413, LAST, "{\"detail\":\"the body is too large; expected at most 4096 bytes\"}", NULL},
	{ASK("POST", CHANGE, .content_length = 4097), ANSWERED, 401, LAST, "{\"detail\":\"", NULL},
	{ASK("POST", CHANGE, .fields = {TOKEN_FIELD}), ANSWERED, 422, GOES_ON, "{\"detail\":\"", NULL},
	{ASK("POST", CHANGE, .fields = {TOKEN_FIELD}, .body = "not"), ANSWERED, 422, GOES_ON, "{\"detail\":\"", NULL},

	/* A body that nobody wants. */
	{ASK("GET", "/livez", .body = "x"), ANSWERED, 413, LAST, "{\"detail\":\"this path takes no body", NULL},
	{ASK("POST", "/livez", .body = "x"), ANSWERED, 405, LAST, "{\"detail\":\"", NULL},
	{ASK("POST", "/nothing", .body = "x"), ANSWERED, 404, LAST, "{\"detail\":\"", NULL},
	{ASK("OPTIONS", "/livez", .body = "x"), ANSWERED, 204, LAST, "", NULL},

	/* No request that could be answered. */
	{ASK("GET", "livez"), ANSWERED, 400, LAST, "{\"detail\":\"not an absolute path", NULL},
	{ASK("GET", "/livez", .header_size = HEADER_MAX), ANSWERED, 200, GOES_ON, "{\"status\":\"ok\"}", NULL},
	{ASK("GET", "/livez", .header_size = HEADER_MAX + 1), ANSWERED, 431, LAST, "{\"detail\":\"the request line", NULL},
	{ASK("GET", "livez", .header_size = HEADER_MAX + 1), ANSWERED, 400, LAST, "{\"detail\":\"not an", NULL},

	/* Subscribers that are refused. */
	{ASK("GET", "/sse/environments/a.b/stream"), ANSWERED, 400, HELD, "{\"detail\":\"", NULL},
	{ASK("HEAD", "/sse/environments/ser.b/stream"), ANSWERED, 400, HELD, "{\"detail\":\"this", NULL},
	{ASK("GET", STREAM, .body = "x"), ANSWERED, 413, HELD, "{\"detail\":\"", NULL},
	{ASK("POST", STREAM), ANSWERED, 405, HELD, "{\"detail\":\"", "Allow: GET, HEAD, OPTIONS"},
	{ASK("GET", "/api/v1/sse/environments/abc/stream/?x"), ANSWERED, 404, HELD, "{\"detail\":\"", NULL},
	{ASK("GET", "/nothing", .fields = {{"Accept", "x, text/event-stream"}}), ANSWERED, 404, HELD, "{\"detail\":\"", NULL},
	{ASK("POST", "/nothing", .fields = {{"Accept", "text/event-stream"}}), ANSWERED, 404, GOES_ON, "{\"detail\":\"", NULL},
	{ASK("GET", "/sse/environments/a.b/stream", .fields = {{"User-Agent", "Dart/3.4 (dart:io)"}}), ANSWERED, 400, HELD, ": ",
		"Content-Type: text/plain; charset=utf-8"},
	{ASK("GET", "/x/stream", .fields = {{"Accept", "application/json , text/event-stream"}}), ANSWERED, 404, HELD, ": there is nothing", NULL},
};

/* What the owner says of a publication, and the answer that becomes of it. */
static const struct {
	enum http_publish_status result;
	const char *detail;
	unsigned status;
	const char *body;
	const char *field;
} outcomes[] = {
	{HTTP_PUBLISHED, NULL, 200, "{\"status\":\"published\",\"sequence\":18446744073709551615}", NULL},
	{HTTP_STALE, NULL, 200, "{\"status\":\"stale\"}", NULL},
	{HTTP_QUEUED, NULL, 202, "{\"status\":\"queued\"}", NULL},
	{HTTP_UNAVAILABLE, "no \"bus\"", 503, "{\"detail\":\"no \\\"bus\\\"\"}", "Retry-After: 1"},
	{HTTP_UNAVAILABLE, NULL, 503, "{\"detail\":\"the update could not be stored; try again\"}", "Retry-After: 1"},
};
/* clang-format on */
