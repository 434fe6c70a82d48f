/* SPDX-License-Identifier: BSD-3-Clause */
/* A request, from its first line to its answer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "http/http-internal.h"
#include "http/listen.h"
#include "http/replies.h"
#include "log.h"

static void request_reset(struct request *request)
{
	free(request->body);
	free(request->publish.detail);
	*request = (struct request){0};
}

void *request_start(void *userdata, const char *target, struct MHD_Connection *mhd)
{
	struct http *http = userdata;
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *connection = info ? info->socket_context : NULL;

	http->counters.requests++;
	if (!connection)
		return NULL;
	request_reset(&connection->request);
	route_find(target, &connection->request.match);
	connection_wait(connection, WAITING_REQUEST);
	return connection;
}

void request_end(void *userdata, struct MHD_Connection *mhd, void **context,
	enum MHD_RequestTerminationCode why)
{
	struct connection *connection = *context;

	(void)userdata;
	(void)mhd;
	if (!connection)
		return;
	request_reset(&connection->request);
	/* The answer of a request has gone out: what follows is the next one, or the end. */
	connection_wait(connection,
		why == MHD_REQUEST_TERMINATED_COMPLETED_OK ? WAITING_IDLE : WAITING_NONE);
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

/* The request is whole (or its rest is not wanted): answers it. */
static enum MHD_Result request_answer(struct connection *connection)
{
	const struct request *request = &connection->request;
	const struct route *route = request->match.route;

	if (!route)
		return reply_error(connection, MHD_HTTP_NOT_FOUND,
			"there is nothing at this path; expected "
			"/sse/environments/{key}/stream or /sse/environments/{key}/queue-change",
			NULL);
	if (request->method == METHOD_OPTIONS)
		return reply_preflight(connection, route->allow);
	if (!(route->methods & request->method)) {
		struct reply_field allow = {"Allow", route->allow};

		return reply_error(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
			"this path does not have this method; the Allow field names those it has",
			&allow);
	}
	return route->answer(connection);
}

static bool header_is_too_large(const struct connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	return info && info->header_size > connection->http->settings.max_header_size;
}

/* The header has arrived.  An answer now means that libmicrohttpd reads no body and closes the
 * connection afterwards; so only where the end of the request is unknown or too far away. */
static enum MHD_Result request_begin(
	struct connection *connection, const char *method, const char *version)
{
	struct request *request = &connection->request;
	uint64_t content_length;
	const char *problem;
	unsigned status;

	request->begun = true;
	request->method = method_parse(method);
	request->is_1_0 = strcmp(version, "HTTP/1.0") == 0;
	status = framing_check(connection, &content_length, &problem);
	if (status != 0) {
		request->close = true;
		return reply_error(connection, status, problem, NULL);
	}
	if (header_is_too_large(connection)) {
		request->close = true;
		return reply_error(connection, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE,
			"the request line and header fields are too large together; the setting "
			"http.max_header_size limits them",
			NULL);
	}
	if (content_length > BODY_LENGTH) {
		request->body_length = BODY_LENGTH + 1;
		request->close = true;
		return request_answer(connection);
	}
	return MHD_YES;
}

/* A chunked body of which no end is in sight.  libmicrohttpd can't answer from here. */
static enum MHD_Result request_cut(struct connection *connection)
{
	static const char answer[] =
		"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\n"
		"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Retry-After\r\n"
		"Cache-Control: no-store\r\nConnection: close\r\nContent-Length: 30\r\n\r\n"
		"{\"detail\":\"body is too large\"}";

	if (send(connection_fd(connection), answer, sizeof(answer) - 1,
		    MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("Cannot tell a client that its body is too large: %s", strerror(errno));
	connection->http->counters.responses[4]++;
	return MHD_NO;
}

static enum MHD_Result request_take_body(
	struct connection *connection, const char *body, size_t length)
{
	struct request *request = &connection->request;
	size_t before = request->body_length;
	char *grown;

	request->body_length += length;
	if (request->body_length > BODY_LENGTH)
		return request_cut(connection);
	if (request->body_length > BODY_MAX || request->method != METHOD_POST)
		return MHD_YES;
	grown = realloc(request->body, request->body_length);
	if (!grown)
		return MHD_NO;
	memcpy(grown + before, body, length);
	request->body = grown;
	return MHD_YES;
}

enum MHD_Result request_handle(void *userdata, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *body, size_t *body_length,
	void **context)
{
	struct connection *connection = *context;

	(void)userdata;
	(void)mhd;
	(void)url; /* request_start() has seen the target as it came */
	if (!connection)
		return MHD_NO;
	if (!connection->request.begun)
		return request_begin(connection, method, version);
	if (*body_length > 0) {
		size_t length = *body_length;

		*body_length = 0;
		return request_take_body(connection, body, length);
	}
	connection_wait(connection, WAITING_IDLE);
	return request_answer(connection);
}
