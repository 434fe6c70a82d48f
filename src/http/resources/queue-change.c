/* SPDX-License-Identifier: BSD-3-Clause */
/* POST /sse/environments/{key}/queue-change: an update goes to the bus, and the answer waits for
 * it. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/messages.h"
#include "http/http-internal.h"
#include "http/replies.h"
#include "net/listen.h"
#include "update/update.h"

#define PUBLISHED_SIZE 64

/* Takes the same time for a right and a wrong one, whatever the length of the right one is. */
static bool token_is_right(const char *token, const char *given, size_t length)
{
	size_t token_length = strlen(token);
	volatile unsigned char difference = length != token_length;

	for (size_t i = 0; i < length; i++)
		/* The token's NUL is compared as well: token_length + 1 is never 0. */
		difference |= (unsigned char)(given[i] ^ token[i % (token_length + 1)]);
	return difference == 0;
}

/* "Token SECRET", as Flagsmith sends it, or "Bearer SECRET". */
static bool is_authorized(const struct connection *connection)
{
	static const char *const schemes[] = {"Token ", "Bearer "};
	size_t length;
	const char *field = request_header(connection, "Authorization", &length);

	if (!field)
		return false;
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t skip = strlen(schemes[i]);

		if (length <= skip || strncasecmp(field, schemes[i], skip) != 0)
			continue;
		while (field[skip] == ' ')
			skip++;
		return token_is_right(
			connection->http->settings.token, field + skip, length - skip);
	}
	return false;
}

/* Logs the first, the second, the fourth, and so on: who has a wrong token tries it again. */
static enum MHD_Result refuse_unauthorized(struct connection *connection)
{
	static const struct reply_field scheme = {"WWW-Authenticate", "Token"};
	uint64_t n = ++connection->http->unauthorized;
	char peer[LISTEN_NAME_SIZE];
	struct log_fields fields = {
		.environment = connection->request.match.key.text,
		.client = peer,
		.message_id = MESSAGE_UNAUTHORIZED,
	};

	if ((n & (n - 1)) == 0) {
		listen_peer_name(connection_fd(connection), peer);
		log_with(LOG_WARNING, &fields,
			"Refused an update of environment %s from %s: a wrong token, or none (%llu "
			"so far). SSE_AUTHENTICATION_TOKEN of Flagsmith's API and task processor "
			"has to be the token of this service.",
			fields.environment, peer, (unsigned long long)n);
	}
	return reply_error(
		connection, MHD_HTTP_UNAUTHORIZED, "Invalid authorization header", &scheme);
}

static enum MHD_Result reply_published(struct connection *connection, uint64_t sequence)
{
	char json[PUBLISHED_SIZE];

	snprintf(json, sizeof(json), "{\"status\":\"published\",\"sequence\":%" PRIu64 "}",
		sequence);
	return reply_json(connection, MHD_HTTP_OK, json);
}

static enum MHD_Result reply_answer(struct connection *connection)
{
	static const struct reply_field retry = {"Retry-After", "1"};
	const struct http_publish *publish = &connection->request.publish;

	switch (publish->status) {
	case HTTP_PUBLISHED:
		return reply_published(connection, publish->sequence);
	case HTTP_STALE:
		return reply_json(connection, MHD_HTTP_OK, "{\"status\":\"stale\"}");
	case HTTP_QUEUED:
		return reply_json(connection, MHD_HTTP_ACCEPTED, "{\"status\":\"queued\"}");
	case HTTP_UNAVAILABLE:
		break;
	}
	return reply_error(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
		publish->detail ? publish->detail : "the update could not be stored; try again",
		&retry);
}

static enum MHD_Result publish(struct connection *connection, int64_t time_us)
{
	const struct http *http = connection->http;
	struct request *request = &connection->request;

	connection->has_published = true;
	connection_wait(connection, WAITING_BUS);
	request_log(connection, "Update");
	http->operations.publish(&request->publish, &request->match.key, time_us, http->userdata);
	if (request->publish.answered)
		return reply_answer(connection);
	request->publish.suspended = true;
	MHD_suspend_connection(connection->mhd);
	return MHD_YES;
}

enum MHD_Result queue_change_admit(struct connection *connection)
{
	const struct request *request = &connection->request;

	if (request->match.key_error < 0)
		return reply_error(connection, MHD_HTTP_BAD_REQUEST,
			key_problem(request->match.key_error), NULL);
	if (!is_authorized(connection))
		return refuse_unauthorized(connection);
	return MHD_YES;
}

enum MHD_Result queue_change_answer(struct connection *connection)
{
	struct request *request = &connection->request;
	const char *problem;
	int64_t time_us;
	int r;

	if (request->publish.answered)
		return reply_answer(connection);
	if (request->publish.suspended)
		return MHD_YES;
	if (!request->body) { /* or it would have been asked about with the header */
		enum MHD_Result result = queue_change_admit(connection);

		if (result != MHD_YES || request->answered)
			return result;
	}
	r = update_parse_payload(
		request->body ? request->body : "", request->body_length, &time_us, &problem);
	if (r == -ENOMEM)
		return reply_unavailable(connection, "out of memory; try again");
	if (r < 0)
		return reply_error(connection, MHD_HTTP_UNPROCESSABLE_CONTENT, problem, NULL);
	return publish(connection, time_us);
}

void http_answer(struct http_publish *publish, enum http_publish_status status, uint64_t sequence,
	const char *detail)
{
	struct request *request = container_of(publish, struct request, publish);
	struct connection *connection = container_of(request, struct connection, request);

	assert(!publish->answered);
	publish->answered = true;
	publish->status = status;
	publish->sequence = sequence;
	publish->detail = detail ? strdup(detail) : NULL; /* without memory: a general text */
	if (!publish->suspended)
		return; /* publish() is still at it */
	publish->suspended = false;
	connection_wait(connection, WAITING_ANSWER);
	MHD_resume_connection(connection->mhd);
	http_kick(connection->http);
}
