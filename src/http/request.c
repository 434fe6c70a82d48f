/* SPDX-License-Identifier: BSD-3-Clause */
/* A request, from its first line to its answer. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "http/http-internal.h"
#include "http/replies.h"
#include "net/listen.h"

#define ID_DIGITS_MAX 18 /* 18 digits of microseconds go far beyond TIMESTAMP_MAX_US */

static void request_reset(struct request *request)
{
	free(request->body);
	free(request->publish.detail);
	*request = (struct request){0};
}

int64_t request_id_parse(const char *text, size_t length)
{
	int64_t id = 0;

	if (length == 0 || length > ID_DIGITS_MAX)
		return -1;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		id = id * 10 + (text[i] - '0');
	}
	return id;
}

int64_t request_id_of_query(const char *query)
{
	static const char name[] = "lastEventId=";

	for (;; query++) {
		size_t length = strcspn(query, "&");

		if (length >= strlen(name) && strncmp(query, name, strlen(name)) == 0)
			return request_id_parse(query + strlen(name), length - strlen(name));
		query += length;
		if (!*query)
			return -1;
	}
}

/* libmicrohttpd before 1.0 has no answer where a query has more parameters than fit into its
 * memory: it neither serves nor refuses the request.  We need one of them, so it is given none. The
 * text is its own, and as this is called before it looks for parameters it finds an empty query. */
static void request_take_query(struct request *request, const char *target)
{
	char *mark = (char *)(uintptr_t)strchr(target, '?');

	request->last_event_id = mark ? request_id_of_query(mark + 1) : -1;
	if (mark)
		mark[1] = '\0';
}

void *request_start(void *userdata, const char *target, struct MHD_Connection *mhd)
{
	struct http *http = userdata;
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *connection = info ? info->socket_context : NULL;

	http->n_calls++;
	http->counters.requests++;
	if (!connection)
		return NULL;
	request_reset(&connection->request);
	connection->request.target = target;
	connection->request.target_length = strlen(target);
	route_find(target, &connection->request.match);
	request_take_query(&connection->request, target);
	connection_wait(connection, WAITING_REQUEST);
	return connection;
}

void request_end(void *userdata, struct MHD_Connection *mhd, void **context,
	enum MHD_RequestTerminationCode why)
{
	struct connection *connection = *context;

	(void)mhd;
	((struct http *)userdata)->n_calls++;
	if (!connection)
		return;
	request_reset(&connection->request);
	if (connection->waiting != WAITING_GONE && why == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		connection_answered(connection);
	*context = NULL;
}

const char *request_header(
	const struct connection *connection, const char *name, size_t *ret_length)
{
	const char *value = MHD_lookup_connection_value(connection->mhd, MHD_HEADER_KIND, name);
	size_t length;

	if (!value)
		return NULL;
	length = strlen(value);
	while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t'))
		length--;
	*ret_length = length;
	return value;
}

void request_log(const struct connection *connection, const char *what)
{
	char peer[LISTEN_NAME_SIZE];
	struct log_fields fields = {
		.environment = connection->request.match.key.text, .client = peer};

	if (!log_enabled(LOG_DEBUG))
		return;
	listen_peer_name(connection_fd(connection), peer);
	log_with(
		LOG_DEBUG, &fields, "%s of environment %s, by %s.", what, fields.environment, peer);
}

bool request_is_subscriber(const struct connection *connection)
{
	const struct request *request = &connection->request;
	const char *accept;
	size_t length;

	if ((request->match.route && request->match.route->subscribes) ||
		request->match.names_stream)
		return true;
	accept = request_header(connection, "Accept", &length);
	return request->method == METHOD_GET && accept && strstr(accept, "text/event-stream");
}

static enum MHD_Result refuse_method(struct connection *connection, const char *allow)
{
	struct reply_field field = {"Allow", allow};

	return reply_error(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
		"this path does not have this method; the Allow field names those it has", &field);
}

/* What can be said of a request without its resource; false: nothing, its resource is to answer. */
static bool answer_generally(struct connection *connection, enum MHD_Result *ret)
{
	const struct request *request = &connection->request;
	const struct route *route = request->match.route;

	if (request->match.is_asterisk)
		*ret = request->method == METHOD_OPTIONS
			       ? reply_preflight(connection, "GET, HEAD, POST, OPTIONS")
			       : reply_error(connection, MHD_HTTP_BAD_REQUEST,
					 "the request target * is for OPTIONS only", NULL);
	else if (!route)
		*ret = reply_error(connection, MHD_HTTP_NOT_FOUND,
			"there is nothing at this path; expected "
			"/sse/environments/{key}/stream or /sse/environments/{key}/queue-change",
			NULL);
	else if (request->method == METHOD_OPTIONS)
		*ret = reply_preflight(connection, route->allow);
	else if (!(route->methods & request->method))
		*ret = refuse_method(connection, route->allow);
	else
		return false;
	return true;
}

/* The request is whole, or its rest is not wanted. */
static enum MHD_Result request_answer(struct connection *connection)
{
	enum MHD_Result result;

	return answer_generally(connection, &result)
		       ? result
		       : connection->request.match.route->answer(connection);
}

static bool header_is_too_large(const struct connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	return info && info->header_size > connection->http->settings.max_header_size;
}

/* A body follows.  It is read only where one is wanted: whoever sends one elsewhere, or without the
 * right to, has the answer now. */
static enum MHD_Result request_admit_body(struct connection *connection, uint64_t length)
{
	struct request *request = &connection->request;
	enum MHD_Result result;

	request->close = true;
	if (answer_generally(connection, &result))
		return result;
	if (!request->match.route->admit)
		return reply_error(connection, MHD_HTTP_CONTENT_TOO_LARGE,
			"this path takes no body; expected a request without one", NULL);
	result = request->match.route->admit(connection);
	if (result != MHD_YES || request->answered)
		return result;
	if (length > BODY_MAX)
		return reply_error(connection, MHD_HTTP_CONTENT_TOO_LARGE,
			"the body is too large; expected at most 4096 bytes", NULL);
	request->close = false;
	request->body = malloc(length);
	return request->body ? MHD_YES : MHD_NO;
}

/* The header has arrived.  An answer now is the connection's last: libmicrohttpd reads no body
 * after it. */
static enum MHD_Result request_begin(
	struct connection *connection, const char *method, const char *version)
{
	struct request *request = &connection->request;
	uint64_t content_length;
	const char *problem =
		"not an absolute path, nor a URL with http: or https:, as a request target";
	unsigned status;

	request->begun = true;
	request->method = method_parse(method);
	request->is_1_0 = strcmp(version, "HTTP/1.0") == 0;
	status = framing_check(connection, method, version, &content_length, &problem);
	if (status == 0 && request->match.is_malformed)
		status = MHD_HTTP_BAD_REQUEST;
	if (status == 0 && header_is_too_large(connection)) {
		status = MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE;
		problem = "the request line and header fields are too large together; the setting "
			  "http.max_header_size limits them";
	}
	if (status != 0) {
		request->close = true;
		return reply_error(connection, status, problem, NULL);
	}
	return content_length > 0 ? request_admit_body(connection, content_length) : MHD_YES;
}

static void request_take_body(struct request *request, const char *body, size_t length)
{
	/* libmicrohttpd gives no more than the Content-Length. */
	if (length > BODY_MAX - request->body_length)
		length = BODY_MAX - request->body_length;
	memcpy(request->body + request->body_length, body, length);
	request->body_length += length;
}

enum MHD_Result request_handle(void *userdata, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *body, size_t *body_length,
	void **context)
{
	struct connection *connection = *context;

	(void)mhd;
	(void)url; /* request_start() has seen the target as it came */
	((struct http *)userdata)->n_calls++;
	if (!connection)
		return MHD_NO;
	if (!connection->request.begun)
		return request_begin(connection, method, version);
	if (*body_length > 0 && connection->request.body) {
		request_take_body(&connection->request, body, *body_length);
		*body_length = 0;
		return MHD_YES;
	}
	return request_answer(connection);
}
