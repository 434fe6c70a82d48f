/* SPDX-License-Identifier: BSD-3-Clause */
/* From a request to its resource: answers what needs no resource, checks who may use it, and says
 * whether a body is wanted. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/authorize.h"
#include "http/http-internal.h"
#include "http/replies.h"

#define PROBLEM_SIZE 80

static void refuse_method(struct exchange *exchange, const char *allow)
{
	struct reply_field field = {"Allow", allow};

	reply_error(exchange, STATUS_METHOD_NOT_ALLOWED,
		"this path does not have this method; the Allow field names those it has", &field);
}

/* What can be said of a request without its resource; false: nothing, its resource is to answer. */
static bool answer_generally(struct exchange *exchange)
{
	const struct route *route = exchange->match.route;

	if (exchange->match.is_asterisk && exchange->method == METHOD_OPTIONS)
		reply_preflight(exchange, "GET, HEAD, POST, OPTIONS");
	else if (exchange->match.is_asterisk)
		reply_error(exchange, STATUS_BAD_REQUEST,
			"the request target * is for OPTIONS only", NULL);
	else if (!route)
		reply_error(exchange, STATUS_NOT_FOUND,
			"there is nothing at this path; expected "
			"/sse/environments/{key}/stream or /sse/environments/{key}/queue-change",
			NULL);
	else if (exchange->method == METHOD_OPTIONS)
		reply_preflight(exchange, route->allow);
	else if (!(route->methods & exchange->method))
		refuse_method(exchange, route->allow);
	else
		return false;
	return true;
}

/* Whether the request names what there can be, and its sender may ask for that; else it has its
 * answer now. */
static bool admit(struct exchange *exchange)
{
	if (exchange->match.key_error < 0) {
		reply_error(
			exchange, STATUS_BAD_REQUEST, key_problem(exchange->match.key_error), NULL);
		return false;
	}
	return authorize(exchange, exchange->match.route->who_may);
}

static void refuse_large_body(struct exchange *exchange, size_t body_max)
{
	char problem[PROBLEM_SIZE];

	snprintf(problem, sizeof(problem), "the body is too large; expected at most %zu bytes",
		body_max);
	reply_error(exchange, STATUS_CONTENT_TOO_LARGE, problem, NULL);
}

/* A body follows.  It is read only where one is wanted: whoever sends one elsewhere, or without the
 * right to, has the answer now. */
static void begin_body(struct exchange *exchange)
{
	const struct route *route = exchange->match.route;

	exchange->close = true;
	if (answer_generally(exchange))
		return;
	if (route->body_max == 0) {
		reply_error(exchange, STATUS_CONTENT_TOO_LARGE,
			"this path takes no body; expected a request without one", NULL);
		return;
	}
	if (!admit(exchange))
		return;
	if (exchange->content_length > route->body_max) {
		refuse_large_body(exchange, route->body_max);
		return;
	}
	exchange->close = false;
	exchange->body = malloc((size_t)exchange->content_length);
	if (!exchange->body)
		exchange_drop(exchange);
}

void exchange_begin(struct exchange *exchange)
{
	if (exchange->match.is_malformed)
		exchange_refuse(exchange, STATUS_BAD_REQUEST,
			"not an absolute path, nor a URL with http: or https:, as a request "
			"target");
	else if (exchange->header_size > exchange->http->settings.max_header_size)
		exchange_refuse(exchange, STATUS_HEADER_FIELDS_TOO_LARGE,
			"the request line and header fields are too large together; the setting "
			"http.max_header_size limits them");
	else if (exchange->content_length > 0)
		begin_body(exchange);
}

void exchange_refuse(struct exchange *exchange, unsigned status, const char *problem)
{
	exchange->close = true;
	reply_error(exchange, status, problem, NULL);
}

void exchange_handle(struct exchange *exchange)
{
	if (answer_generally(exchange))
		return;
	/* Who has sent a body has been asked with the header. */
	if (exchange->body || admit(exchange))
		exchange->match.route->handle(exchange);
}
