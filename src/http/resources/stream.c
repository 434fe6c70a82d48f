/* SPDX-License-Identifier: BSD-3-Clause */
/* GET /sse/environments/{key}/stream: the connection leaves HTTP as a socket. */
#include <errno.h>
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

static void refuse(struct exchange *exchange, int error)
{
	/* It is to come back in a while, not to keep its place until then. */
	exchange->close = true;
	if (error == -EAGAIN || error == -EMFILE || error == -ENFILE || error == -ENOMEM) {
		reply_unavailable(
			exchange, "no more streams can be served for now; try again later");
		return;
	}
	log_error("Cannot begin a stream: %s", strerror(-error));
	reply_error(exchange, STATUS_INTERNAL_SERVER_ERROR,
		"the stream could not be begun; the service's log has the reason", NULL);
}

/* This alone, and the end.  Not as an answer like others: to a HEAD of unknown length libmicrohttpd
 * sends the last chunk of a body that it must not have. */
static void answer_bytes(struct exchange *exchange, struct span bytes)
{
	int r = exchange_finish(exchange, bytes);

	if (r < 0)
		refuse(exchange, r);
}

/* As if the stream had ended at once: some clients never come back after anything else.  By the
 * time they do, nobody listens here. */
static void answer_ended(struct exchange *exchange, enum encoding encoding)
{
	static const struct span chunked = {chunked_end, sizeof(chunked_end) - 1};

	answer_bytes(exchange, encoding == ENCODING_CHUNKED ? chunked : head_for(encoding));
}

static const char *whole_field(const struct exchange *exchange, const char *name)
{
	size_t length;

	return exchange_field(exchange, name, &length);
}

static int hand_over(struct exchange *exchange, enum encoding encoding)
{
	const struct http *http = exchange->http;
	_cleanup_(closep) int fd = exchange_detach(exchange);
	int r;

	if (fd < 0)
		return fd;
	struct http_subscription subscription = {
		.fd = fd,
		.key = exchange->match.key,
		.encoding = encoding,
		.head = head_for(encoding),
		.user_agent = whole_field(exchange, "User-Agent"),
		.accept = whole_field(exchange, "Accept"),
		.last_event_id = exchange_last_event_id(exchange),
	};
	r = http->operations.subscribe(&subscription, http->userdata);
	if (r < 0)
		return r;
	TAKE_FD(fd);
	return 0;
}

void stream_handle(struct exchange *exchange)
{
	enum encoding encoding = exchange->is_1_0 ? ENCODING_IDENTITY : ENCODING_CHUNKED;
	int r;

	if (exchange->method == METHOD_HEAD) {
		answer_bytes(exchange, head_for(encoding));
		return;
	}
	r = hand_over(exchange, encoding);
	if (r == -ESHUTDOWN) {
		answer_ended(exchange, encoding);
	} else if (r < 0) {
		refuse(exchange, r);
	} else {
		exchange_log(exchange, "Stream");
		exchange_leave(exchange);
	}
}
