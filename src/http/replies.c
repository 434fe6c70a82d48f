/* SPDX-License-Identifier: BSD-3-Clause */
/* Builds answers and queues them at libmicrohttpd. */
#include "http/replies.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "http/http-internal.h"

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

static const struct reply_field common_fields[] = {
	{"Access-Control-Allow-Origin", "*"},
	{"Access-Control-Expose-Headers", "Retry-After"},
	{"Cache-Control", "no-store"},
	{0},
};
static const struct reply_field last_fields[] = {{"Connection", "close"}, {0}};

static enum MHD_Result add_common_fields(
	struct MHD_Response *response, const struct connection *connection)
{
	if (connection->http->stopping || connection->request.close)
		if (add_fields(response, last_fields) != MHD_YES)
			return MHD_NO;
	return add_fields(response, common_fields);
}

/* ---- The last answer, by farewell.h ---- */

static void print_fields(FILE *file, const struct reply_field *fields)
{
	for (; fields->name; fields++)
		fprintf(file, "%s: %s\r\n", fields->name, fields->value);
}

static void print_date(FILE *file)
{
	time_t now = time(NULL);
	struct tm utc;
	char date[64];

	if (gmtime_r(&now, &utc) &&
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc) > 0)
		fprintf(file, "Date: %s\r\n", date);
}

static void print_reply(FILE *file, unsigned status, const struct reply_field *fields,
	const char *body, size_t length, bool with_body)
{
	fprintf(file, "HTTP/1.1 %u %s\r\n", status, MHD_get_reason_phrase_for(status));
	print_date(file);
	print_fields(file, last_fields);
	print_fields(file, common_fields);
	print_fields(file, fields);
	if (status != MHD_HTTP_NO_CONTENT)
		fprintf(file, "Content-Length: %zu\r\n", length);
	fputs("\r\n", file);
	if (with_body)
		fwrite(body, 1, length, file);
}

static int64_t random_hold_ms(const struct http *http)
{
	int64_t span_ms = http->settings.hold_max_ms - http->settings.hold_min_ms + 1;

	return http->settings.hold_min_ms + random() % span_ms;
}

/* A subscriber that is refused comes back at once, whatever it is told: several SDKs do.  So it has
 * to wait for its answer.  0: it has not. */
static int64_t hold_ms(const struct connection *connection, unsigned status)
{
	if (status < 300 || connection->http->stopping || !request_is_subscriber(connection))
		return 0;
	return random_hold_ms(connection->http);
}

/* 0: the connection has left libmicrohttpd.  Else -errno. */
static int give_last(struct connection *connection, unsigned status,
	const struct reply_field *fields, const char *body, size_t length, int64_t wait_ms)
{
	_cleanup_(freep) char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	int r;

	if (!file)
		return -ENOMEM;
	print_reply(file, status, fields, body, length, connection->request.method != METHOD_HEAD);
	r = ferror(file);
	if (fclose(file) != 0 || r)
		return -ENOMEM;
	r = farewell_give(
		&connection->http->farewells, connection_fd(connection), text, size, wait_ms);
	if (r >= 0)
		connection_wait(connection, WAITING_GONE);
	return r;
}

/* ---- Any answer ---- */

static enum MHD_Result queue(struct connection *connection, unsigned status,
	struct MHD_Response *response, const struct reply_field *fields)
{
	if (!response || add_common_fields(response, connection) != MHD_YES ||
		add_fields(response, fields) != MHD_YES ||
		MHD_queue_response(connection->mhd, status, response) != MHD_YES) {
		log_warning("Cannot answer a request (status %u), the connection is dropped: "
			    "out of memory?",
			status);
		return MHD_NO;
	}
	connection_wait(connection, WAITING_ANSWER);
	return MHD_YES;
}

static struct MHD_Response *response_new(const char *body, size_t length)
{
	/* It is copied, not written to: the prototype lacks a const. */
	return MHD_create_response_from_buffer(
		length, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
}

/* `fields` ends with one without a name. */
static enum MHD_Result reply(struct connection *connection, unsigned status,
	const struct reply_field *fields, const char *body, size_t length)
{
	_cleanup_(MHD_destroy_responsep) struct MHD_Response *response = NULL;
	int64_t wait_ms = hold_ms(connection, status);
	enum MHD_Result result;

	connection->request.answered = true;
	connection->request.close = connection->request.close || wait_ms > 0;
	connection->http->counters.responses[status / 100]++;
	if (connection->request.close &&
		give_last(connection, status, fields, body, length, wait_ms) >= 0)
		return MHD_NO; /* libmicrohttpd closes its descriptor, and no more */
	response = response_new(body, length);
	result = queue(connection, status, response, fields);
	if (result != MHD_YES)
		connection->http->counters.responses[status / 100]--;
	return result;
}

enum MHD_Result reply_body(struct connection *connection, unsigned status, const char *type,
	const char *body, size_t length, const struct reply_field *field)
{
	struct reply_field fields[3] = {{"Content-Type", type}};

	if (field)
		fields[1] = *field;
	return reply(connection, status, fields, body, length);
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

/* Flutter's SDK reads the body of a refusal as a stream, and for each line with the name of a field
 * that it does not know it begins to try again every 5 s, for ever.  A comment has none. */
static enum MHD_Result reply_comment(struct connection *connection, unsigned status,
	const char *detail, const struct reply_field *field)
{
	_cleanup_(freep) char *clean = text_clean_copy(detail), *comment = NULL;

	if (!clean || asprintf(&comment, ": %s\n", clean) < 0)
		return MHD_NO;
	return reply_body(
		connection, status, "text/plain; charset=utf-8", comment, strlen(comment), field);
}

static bool has_prefix(const struct connection *connection, const char *name, const char *prefix)
{
	size_t length;
	const char *value = request_header(connection, name, &length);

	return value && strncmp(value, prefix, strlen(prefix)) == 0;
}

/* On the web it has the browser's User-Agent. */
static bool reads_errors_as_a_stream(const struct connection *connection)
{
	return request_is_subscriber(connection) &&
	       (has_prefix(connection, "User-Agent", "Dart/") ||
		       has_prefix(connection, "Accept", "application/json , text/event-stream"));
}

enum MHD_Result reply_error(struct connection *connection, unsigned status, const char *detail,
	const struct reply_field *field)
{
	_cleanup_(json_object_putp) struct json_object *object = NULL;

	if (reads_errors_as_a_stream(connection))
		return reply_comment(connection, status, detail, field);
	object = json_object_new_object();
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

	return reply(connection, MHD_HTTP_NO_CONTENT,
		(struct reply_field[]){
			{"Allow", allow},
			{"Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"},
			{"Access-Control-Allow-Headers", requested ? requested : ALLOWED_FIELDS},
			{"Access-Control-Max-Age", "86400"},
			{private_network ? "Access-Control-Allow-Private-Network" : NULL, "true"},
			{0},
		},
		"", 0);
}
