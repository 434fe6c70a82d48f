/* SPDX-License-Identifier: BSD-3-Clause */
/* POST /sse/environments/{key}/queue-change: an update goes to the bus, and the answer waits for
 * it. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "http/http-internal.h"
#include "http/replies.h"
#include "update/update.h"

#define PUBLISHED_SIZE 64

static void reply_published(struct exchange *exchange, uint64_t sequence)
{
	char json[PUBLISHED_SIZE];

	snprintf(json, sizeof(json), "{\"status\":\"published\",\"sequence\":%" PRIu64 "}",
		sequence);
	reply_json(exchange, STATUS_OK, json);
}

static void publish(struct exchange *exchange, int64_t time_us)
{
	const struct http *http = exchange->http;

	exchange->has_published = true;
	exchange->publish.is_open = true;
	exchange->publish.begun_us = clock_monotonic_us();
	exchange_log(exchange, "Update");
	http->operations.publish(&exchange->publish, &exchange->match.key, time_us, http->userdata);
}

void queue_change_handle(struct exchange *exchange)
{
	const char *problem;
	int64_t time_us;
	int r = update_parse_payload(
		exchange->body ? exchange->body : "", exchange->body_length, &time_us, &problem);

	if (r == -ENOMEM)
		reply_unavailable(exchange, "out of memory; try again");
	else if (r < 0)
		reply_error(exchange, STATUS_UNPROCESSABLE_CONTENT, problem, NULL);
	else
		publish(exchange, time_us);
}

static void note_wait(
	struct http *http, const struct http_publish *publish, enum http_publish_status status)
{
	static const enum timing timings[] = {
		[HTTP_PUBLISHED] = TIMING_PUBLISHED,
		[HTTP_STALE] = TIMING_STALE,
		[HTTP_QUEUED] = TIMING_QUEUED,
		[HTTP_UNAVAILABLE] = TIMING_UNAVAILABLE,
	};

	metrics_observe(&http->metrics, timings[status], clock_monotonic_us() - publish->begun_us);
}

void http_answer(struct http_publish *publish, enum http_publish_status status, uint64_t sequence,
	const char *detail)
{
	static const struct reply_field retry = {"Retry-After", "1"};
	struct exchange *exchange = container_of(publish, struct exchange, publish);

	assert(publish->is_open);
	publish->is_open = false;
	note_wait(exchange->http, publish, status);
	switch (status) {
	case HTTP_PUBLISHED:
		reply_published(exchange, sequence);
		break;
	case HTTP_STALE:
		reply_json(exchange, STATUS_OK, "{\"status\":\"stale\"}");
		break;
	case HTTP_QUEUED:
		reply_json(exchange, STATUS_ACCEPTED, "{\"status\":\"queued\"}");
		break;
	case HTTP_UNAVAILABLE:
		reply_error(exchange, STATUS_SERVICE_UNAVAILABLE,
			detail ? detail : "the update could not be stored; try again", &retry);
	}
}
