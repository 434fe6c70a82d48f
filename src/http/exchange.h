/* SPDX-License-Identifier: BSD-3-Clause */
/* An exchange: a request, and the way to answer it exactly once, now or later.  It knows no HTTP
 * library: an adapter fills in the request, and turns the answer into what its library wants. Main
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/routes.h"
#include "net/listeners.h"
#include "update/frame.h"

struct exchange;
struct http;

/* A header field of an answer. */
struct reply_field {
	const char *name;
	const char *value;
};

/* An answer; replies.h builds them.  All of it is borrowed for the call. */
struct answer {
	unsigned status;
	const struct reply_field *fields; /* the last has no name */
	const char *body;
	size_t length;
	int64_t hold_ms; /* how long it is held before it goes out; 0: not at all */
};

/* What an adapter does for its exchanges. */
struct exchange_adapter {
	/* The value of a field of the request's header, the first if several; NULL: not there.
	 * Valid until the exchange is answered. */
	const char *(*field)(const struct exchange *exchange, const char *name);

	/* Sends the answer, without its body if the method is HEAD, and ends the connection behind
	 * it if exchange->close is set.  It adds Date, Content-Length and what concerns the
	 * connection.  Like the others, it is called from within exchange_begin() or
	 * exchange_handle(), or at any time later.  0, or -errno: nothing has been sent. */
	int (*answer)(struct exchange *exchange, const struct answer *answer);

	/* A second descriptor of the connection, which is the caller's; or -errno.  The exchange
	 * still has to be answered. */
	int (*detach)(struct exchange *exchange);

	/* The connection belongs to the owner of that descriptor now: lets go of it, as it is. */
	void (*leave)(struct exchange *exchange);

	/* Ends the connection without a word. */
	void (*drop)(struct exchange *exchange);
};

/* An update that is with the owner of the HTTP side, until that answers it; see http_answer(). */
struct http_publish {
	bool is_open;
	int64_t begun_us; /* CLOCK_MONOTONIC: when the request was whole */
};

struct exchange {
	struct http *http;
	const struct exchange_adapter *adapter;
	const struct origin *origin; /* the peer, and the listener that it came by */

	/* By exchange_start(), of the target. */
	struct route_match match;
	int64_t query_event_id; /* -1: none that could be one of ours */

	/* By the adapter, before exchange_begin(). */
	enum method method;
	bool is_1_0;             /* HTTP/1.0; anything else is taken as HTTP/1.1 */
	size_t header_size;      /* bytes of the request line and the fields; 0: unknown */
	uint64_t content_length; /* 0: there is no body */

	char *body;         /* NULL: none is wanted; content_length bytes */
	size_t body_length; /* as received */
	bool close;         /* the connection ends with the answer */
	bool answered;      /* there is an answer; the exchange can't be given another */
	bool has_published; /* it has brought an update, with the right token */
	struct http_publish publish;
};

/* ---- For adapters, in this order ---- */

/* The target of a request has arrived, as it came over the wire.  Begins an exchange, and forgets
 * any former one.  `origin` must live as long as the exchange. */
void exchange_start(struct exchange *exchange, struct http *http,
	const struct exchange_adapter *adapter, const struct origin *origin, const char *target);

/* The header has arrived.  Either answers now (if there is a body, that is the connection's last
 * answer), or wants all of the body, by exchange_take_body(). */
void exchange_begin(struct exchange *exchange);

/* ... or the request cannot be served: answers with `problem`, and ends the connection. */
void exchange_refuse(struct exchange *exchange, unsigned status, const char *problem);

/* Takes a piece of the body; drops what is beyond content_length. */
void exchange_take_body(struct exchange *exchange, const char *data, size_t length);

/* The request is whole.  Answers it now, or later by the adapter's answer().  Only that answer and
 * then exchange_end() may follow. */
void exchange_handle(struct exchange *exchange);

/* The exchange is over.  Frees what it has; takes a zeroed one, too. */
void exchange_end(struct exchange *exchange);

/* ---- For resources ---- */

/* A field of the request's header; NULL: not there; the first, if several.  *ret_length leaves out
 * blanks at its end, which the text still has. */
const char *exchange_field(const struct exchange *exchange, const char *name, size_t *ret_length);

/* The id of an update: of the field Last-Event-ID, or else of what `reconnecting-eventsource`
 * appends to the URL.  -1: none, or none that could be one of ours. */
int64_t exchange_last_event_id(const struct exchange *exchange);

/* Whether the request is for a stream, by its path or by what it accepts. */
bool exchange_is_subscriber(const struct exchange *exchange);

/* At the debug level: "WHAT of environment KEY, by CLIENT." */
void exchange_log(const struct exchange *exchange, const char *what);

/* The answers.  Each exchange gets one of them, once. */

/* Sends what replies.h has built.  If that fails, logs it and drops the connection. */
void exchange_answer(struct exchange *exchange, const struct answer *answer);

/* Sends these bytes as they stand, the head of the answer included, and ends the connection: for
 * what an HTTP library would write differently.  0; -errno: the exchange has not been answered. */
int exchange_finish(struct exchange *exchange, struct span bytes);

/* A second descriptor of the connection, for the part that goes on with it; or -errno.  The
 * exchange still has to be answered: by exchange_leave(), or, if nobody wants the descriptor, by
 * any other answer once it is closed. */
int exchange_detach(struct exchange *exchange);

/* Leaves the connection to the owner of that descriptor. */
void exchange_leave(struct exchange *exchange);

/* No answer can be made: out of memory.  The connection ends without a word. */
void exchange_drop(struct exchange *exchange);
