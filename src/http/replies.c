/* SPDX-License-Identifier: BSD-3-Clause */
/* Builds answers and queues them at libmicrohttpd. */
#include "http/replies.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "http/http-internal.h"
#include "log.h"
#include "text.h"

#define REQUESTED_FIELDS_MAX 1024

/* Of browsers that ask for no particular one; these are what the SDKs send. */
#define ALLOWED_FIELDS "Authorization, Cache-Control, Content-Type, Last-Event-ID, X-Requested-With"

DEFINE_CLEANUP(struct MHD_Response *, MHD_destroy_response)
DEFINE_CLEANUP(struct json_object *, json_object_put)

static enum MHD_Result add_fields(struct MHD_Response *response, const struct reply_field *fields)
{
	for (; fields->name; fields++)
		if (MHD_add_response_header(response, fields->name, fields->value) != MHD_YES)
			return MHD_NO;
	return MHD_YES;
}

static enum MHD_Result add_common_fields(
	struct MHD_Response *response, const struct connection *connection)
{
	static const struct reply_field common[] = {
		{"Access-Control-Allow-Origin", "*"},
		{"Access-Control-Expose-Headers", "Retry-After"},
		{"Cache-Control", "no-store"},
		{0},
	};
	static const struct reply_field last[] = {{"Connection", "close"}, {0}};

	if (connection->http->stopping || connection->request.close)
		if (add_fields(response, last) != MHD_YES)
			return MHD_NO;
	return add_fields(response, common);
}

static enum MHD_Result queue(struct connection *connection, unsigned status,
	struct MHD_Response *response, const struct reply_field *fields)
{
	struct http *http = connection->http;

	if (!response || add_common_fields(response, connection) != MHD_YES ||
		add_fields(response, fields) != MHD_YES ||
		MHD_queue_response(connection->mhd, status, response) != MHD_YES) {
		log_warning("Cannot answer a request (status %u), the connection is dropped: "
			    "out of memory?",
			status);
		return MHD_NO;
	}
	http->counters.responses[status / 100]++;
	return MHD_YES;
}

static struct MHD_Response *response_new(const char *body, size_t length)
{
	/* It is copied, not written to: the prototype lacks a const. */
	return MHD_create_response_from_buffer(
		length, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
}

enum MHD_Result reply_body(struct connection *connection, unsigned status, const char *type,
	const char *body, size_t length, const struct reply_field *field)
{
	_cleanup_(MHD_destroy_responsep) struct MHD_Response *response = response_new(body, length);
	struct reply_field fields[3] = {{"Content-Type", type}};

	if (field)
		fields[1] = *field;
	return queue(connection, status, response, fields);
}

enum MHD_Result reply_json(struct connection *connection, unsigned status, const char *json)
{
	return reply_body(connection, status, "application/json", json, strlen(json), NULL);
}

/* One more member; its value may come from anywhere.  False: out of memory. */
static bool add_text(struct json_object *object, const char *name, const char *value)
{
	_cleanup_(freep) char *clean = text_clean_copy(value);
	struct json_object *text = clean ? json_object_new_string(clean) : NULL;

	if (object && text && json_object_object_add(object, name, text) == 0)
		return true;
	json_object_put(text);
	return false;
}

static enum MHD_Result reply_object(struct connection *connection, unsigned status,
	struct json_object *object, const struct reply_field *field)
{
	const char *json = json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	if (!json)
		return MHD_NO;
	return reply_body(connection, status, "application/json", json, strlen(json), field);
}

enum MHD_Result reply_ready(struct connection *connection, const char *warning)
{
	_cleanup_(json_object_putp) struct json_object *object = json_object_new_object();

	if (!add_text(object, "status", "ready") ||
		(warning && !add_text(object, "warning", warning)))
		return MHD_NO;
	return reply_object(connection, MHD_HTTP_OK, object, NULL);
}

enum MHD_Result reply_error(struct connection *connection, unsigned status, const char *detail,
	const struct reply_field *field)
{
	_cleanup_(json_object_putp) struct json_object *object = json_object_new_object();

	if (!add_text(object, "detail", detail))
		return MHD_NO;
	return reply_object(connection, status, object, field);
}

enum MHD_Result reply_unavailable(struct connection *connection, const char *detail)
{
	static const char *const seconds[] = {"3", "4", "5", "6", "7", "8", "9", "10"};
	struct reply_field retry = {"Retry-After",
		seconds[(unsigned long)random() % (sizeof(seconds) / sizeof(seconds[0]))]};

	return reply_error(connection, MHD_HTTP_SERVICE_UNAVAILABLE, detail, &retry);
}

enum MHD_Result reply_preflight(struct connection *connection, const char *allow)
{
	_cleanup_(MHD_destroy_responsep) struct MHD_Response *response = response_new("", 0);
	_cleanup_(freep) char *requested = NULL;
	size_t length;
	const char *fields = request_header(connection, "Access-Control-Request-Headers", &length);

	if (fields && length > 0 && length <= REQUESTED_FIELDS_MAX &&
		text_is_token_list(fields, length)) {
		requested = strndup(fields, length);
		if (!requested)
			return MHD_NO;
	}
	bool private_network =
		request_header(connection, "Access-Control-Request-Private-Network", &length);

	return queue(connection, MHD_HTTP_NO_CONTENT, response,
		(struct reply_field[]){
			{"Allow", allow},
			{"Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"},
			{"Access-Control-Allow-Headers", requested ? requested : ALLOWED_FIELDS},
			{"Access-Control-Max-Age", "86400"},
			{private_network ? "Access-Control-Allow-Private-Network" : NULL, "true"},
			{0},
		});
}
