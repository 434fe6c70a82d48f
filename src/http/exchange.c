/* SPDX-License-Identifier: BSD-3-Clause */
/* Exchanges: what a request says, and that it is answered once. */
#include "http/exchange.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "http/http-internal.h"

#define ID_DIGITS_MAX 18 /* 18 digits of microseconds go far beyond TIMESTAMP_MAX_US */

/* ---- The request ---- */

/* An id of an update, in digits; -1: it could not be one of ours. */
static int64_t parse_id(const char *text, size_t length)
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

/* The value of `lastEventId` in a query ("a=b&c=d"), as the id of an update; -1: none. */
static int64_t id_of_query(const char *query)
{
	static const char name[] = "lastEventId=";

	for (;; query++) {
		size_t length = strcspn(query, "&");

		if (length >= strlen(name) && strncmp(query, name, strlen(name)) == 0)
			return parse_id(query + strlen(name), length - strlen(name));
		query += length;
		if (!*query)
			return -1;
	}
}

void exchange_start(struct exchange *exchange, struct http *http,
	const struct exchange_adapter *adapter, const struct origin *origin, const char *target)
{
	const char *mark = strchr(target, '?');

	exchange_end(exchange);
	exchange->http = http;
	exchange->adapter = adapter;
	exchange->origin = origin;
	exchange->query_event_id = mark ? id_of_query(mark + 1) : -1;
	route_find(target, &exchange->match);
}

void exchange_take_body(struct exchange *exchange, const char *data, size_t length)
{
	size_t room = (size_t)exchange->content_length - exchange->body_length;

	if (length > room)
		length = room;
	memcpy(exchange->body + exchange->body_length, data, length);
	exchange->body_length += length;
}

void exchange_end(struct exchange *exchange)
{
	free(exchange->body);
	*exchange = (struct exchange){0};
}

const char *exchange_field(const struct exchange *exchange, const char *name, size_t *ret_length)
{
	const char *value = exchange->adapter->field(exchange, name);
	size_t length;

	if (!value)
		return NULL;
	length = strlen(value);
	while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t'))
		length--;
	*ret_length = length;
	return value;
}

int64_t exchange_last_event_id(const struct exchange *exchange)
{
	size_t length;
	const char *id = exchange_field(exchange, "Last-Event-ID", &length);

	return id ? parse_id(id, length) : exchange->query_event_id;
}

bool exchange_is_subscriber(const struct exchange *exchange)
{
	const struct route_match *match = &exchange->match;
	const char *accept;
	size_t length;

	if ((match->route && match->route->subscribes) || match->names_stream)
		return true;
	if (exchange->method != METHOD_GET)
		return false;
	accept = exchange_field(exchange, "Accept", &length);
	return accept && strstr(accept, "text/event-stream");
}

void exchange_log(const struct exchange *exchange, const char *what)
{
	char peer[LISTEN_NAME_SIZE];
	struct log_fields fields = {.environment = exchange->match.key.text, .client = peer};

	if (!log_enabled(LOG_DEBUG))
		return;
	peer_name(&exchange->origin->peer, peer);
	log_with(
		LOG_DEBUG, &fields, "%s of environment %s, by %s.", what, fields.environment, peer);
}

/* ---- The answer ---- */

static void note_answered(struct exchange *exchange)
{
	assert(!exchange->answered);
	exchange->answered = true;
}

void exchange_answer(struct exchange *exchange, const struct answer *answer)
{
	note_answered(exchange);
	if (exchange->adapter->answer(exchange, answer) < 0) {
		log_warning("Cannot answer a request (status %u), the connection is dropped: "
			    "out of memory?",
			answer->status);
		exchange->adapter->drop(exchange);
		return;
	}
	http_count_response(exchange->http, answer->status, 1);
}

int exchange_finish(struct exchange *exchange, struct span bytes)
{
	_cleanup_(closep) int fd = exchange_detach(exchange);
	int r;

	if (fd < 0)
		return fd;
	r = farewell_give(&exchange->http->farewells, fd, bytes.data, bytes.length, 0);
	if (r < 0)
		return r;
	TAKE_FD(fd);
	exchange_leave(exchange);
	return 0;
}

int exchange_detach(struct exchange *exchange)
{
	return exchange->adapter->detach(exchange);
}

void exchange_leave(struct exchange *exchange)
{
	note_answered(exchange);
	exchange->adapter->leave(exchange);
	http_count_response(exchange->http, 200, 1);
}

void exchange_drop(struct exchange *exchange)
{
	note_answered(exchange);
	exchange->adapter->drop(exchange);
}
