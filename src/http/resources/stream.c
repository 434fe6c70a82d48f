/* SPDX-License-Identifier: BSD-3-Clause */
/* GET /sse/environments/{key}/stream: the connection leaves HTTP as a socket.  libmicrohttpd, told
 * to drop the connection, closes its own descriptor only (that is what MHD_USE_TURBO is for). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/log.h"
#include "http/http-internal.h"
#include "http/replies.h"

/* Status lines say 1.1 to clients of 1.0, too (RFC 9110, section 6.2). */
#define HEAD                                                                                       \
	"HTTP/1.1 200 OK\r\n"                                                                      \
	"Content-Type: text/event-stream\r\n"                                                      \
	"Cache-Control: no-cache, no-transform\r\n"                                                \
	"X-Accel-Buffering: no\r\n"                                                                \
	"Connection: close\r\n"                                                                    \
	"Access-Control-Allow-Origin: *\r\n"                                                       \
	"Access-Control-Expose-Headers: Retry-After\r\n"

static const char head_identity[] = HEAD "\r\n";
static const char head_chunked[] = HEAD "Transfer-Encoding: chunked\r\n\r\n";
static const char chunked_end[] = HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"; /* no body */

static struct span head_for(enum encoding encoding)
{
	if (encoding == ENCODING_CHUNKED)
		return (struct span){head_chunked, sizeof(head_chunked) - 1};
	return (struct span){head_identity, sizeof(head_identity) - 1};
}

/* The field, or else what `reconnecting-eventsource` appends to the URL. */
static int64_t last_event_id(const struct connection *connection)
{
	size_t length;
	const char *id = request_header(connection, "Last-Event-ID", &length);

	return id ? request_id_parse(id, length) : connection->request.last_event_id;
}

static enum MHD_Result refuse(struct connection *connection, int error)
{
	/* It is to come back in a while, not to keep its place until then. */
	connection->request.close = true;
	if (error == -EAGAIN || error == -EMFILE || error == -ENFILE || error == -ENOMEM)
		return reply_unavailable(
			connection, "no more streams can be served for now; try again later");
	log_error("Cannot begin a stream: %s", strerror(-error));
	return reply_error(connection, MHD_HTTP_INTERNAL_SERVER_ERROR,
		"the stream could not be begun; the service's log has the reason", NULL);
}

/* This alone, and the end.  Not by libmicrohttpd, whose answer to HEAD of unknown length has the
 * last chunk of a body that it must not have. */
static enum MHD_Result answer_bytes(struct connection *connection, struct span bytes)
{
	int r = farewell_give(&connection->http->farewells, connection_fd(connection), bytes.data,
		bytes.length, 0);

	if (r < 0)
		return refuse(connection, r);
	connection_wait(connection, WAITING_GONE);
	connection->http->counters.responses[2]++;
	return MHD_NO;
}

/* As if the stream had ended at once: some clients never come back after anything else.  By the
 * time they do, nobody listens here. */
static enum MHD_Result answer_ended(struct connection *connection, enum encoding encoding)
{
	return encoding == ENCODING_CHUNKED
		       ? answer_bytes(
				 connection, (struct span){chunked_end, sizeof(chunked_end) - 1})
		       : answer_bytes(connection, head_for(encoding));
}

static int hand_over(struct connection *connection, enum encoding encoding)
{
	const struct http *http = connection->http;
	_cleanup_(closep) int fd = fcntl(connection_fd(connection), F_DUPFD_CLOEXEC, 3);
	int r;

	if (fd < 0)
		return -errno;
	struct http_subscription subscription = {
		.fd = fd,
		.key = connection->request.match.key,
		.encoding = encoding,
		.head = head_for(encoding),
		.user_agent =
			MHD_lookup_connection_value(connection->mhd, MHD_HEADER_KIND, "User-Agent"),
		.accept = MHD_lookup_connection_value(connection->mhd, MHD_HEADER_KIND, "Accept"),
		.last_event_id = last_event_id(connection),
	};
	r = http->operations.subscribe(&subscription, http->userdata);
	if (r < 0)
		return r;
	TAKE_FD(fd);
	return 0;
}

enum MHD_Result stream_answer(struct connection *connection)
{
	const struct request *request = &connection->request;
	enum encoding encoding = request->is_1_0 ? ENCODING_IDENTITY : ENCODING_CHUNKED;
	int r;

	if (request->match.key_error < 0)
		return reply_error(connection, MHD_HTTP_BAD_REQUEST,
			key_problem(request->match.key_error), NULL);
	if (request->method == METHOD_HEAD)
		return answer_bytes(connection, head_for(encoding));
	r = hand_over(connection, encoding);
	if (r == -ESHUTDOWN)
		return answer_ended(connection, encoding);
	if (r < 0)
		return refuse(connection, r);
	request_log(connection, "Stream");
	/* A deadline would shut down the socket, which is no longer ours. */
	connection_wait(connection, WAITING_GONE);
	connection->http->counters.responses[2]++;
	return MHD_NO;
}
