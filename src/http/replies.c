/* SPDX-License-Identifier: BSD-3-Clause */
/* Builds answers. */
#include "http/replies.h"

#include <assert.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "http/http-internal.h"

#define REQUESTED_FIELDS_MAX 1024

/* Of browsers that ask for no particular one; these are what the SDKs send. */
#define ALLOWED_FIELDS "Authorization, Cache-Control, Content-Type, Last-Event-ID, X-Requested-With"

#define FIELDS_MAX 10 /* of an answer, the common ones among them */

DEFINE_CLEANUP(struct json_object *, json_object_put)

static const struct reply_field common_fields[] = {
	{"Access-Control-Allow-Origin", "*"},
	{"Access-Control-Expose-Headers", "Retry-After"},
	{"Cache-Control", "no-store"},
	{0},
};

/* ---- Any answer ---- */

static int64_t random_hold_ms(const struct http *http)
{
	int64_t span_ms = http->settings.hold_max_ms - http->settings.hold_min_ms + 1;

	return http->settings.hold_min_ms + random() % span_ms;
}

/* A subscriber that is refused comes back at once, whatever it is told: several SDKs do.  So it has
 * to wait for its answer.  0: it has not. */
static int64_t hold_ms(const struct exchange *exchange, enum status status)
{
	if (status < 300 || exchange->http->stopping || !exchange_is_subscriber(exchange))
		return 0;
	return random_hold_ms(exchange->http);
}

/* Adds those of `more`, of which the last has no name, to the first `n`; returns how many there are
 * then. */
static size_t add_fields(
	struct reply_field fields[static FIELDS_MAX + 1], size_t n, const struct reply_field *more)
{
	for (; more->name; more++) {
		assert(n < FIELDS_MAX);
		fields[n++] = *more;
	}
	return n;
}

/* `own` ends with one without a name. */
static void reply(struct exchange *exchange, enum status status, const struct reply_field *own,
	const char *body, size_t length)
{
	struct reply_field fields[FIELDS_MAX + 1] = {0};
	struct answer answer = {
		.status = status,
		.fields = fields,
		.body = body,
		.length = length,
		.hold_ms = hold_ms(exchange, status),
	};

	add_fields(fields, add_fields(fields, 0, common_fields), own);
	exchange->close = exchange->close || answer.hold_ms > 0;
	exchange_answer(exchange, &answer);
}

void reply_body(struct exchange *exchange, enum status status, const char *type, const char *body,
	size_t length, const struct reply_field *field)
{
	struct reply_field fields[3] = {{"Content-Type", type}};

	if (field)
		fields[1] = *field;
	reply(exchange, status, fields, body, length);
}

/* ---- In JSON ---- */

void reply_json(struct exchange *exchange, enum status status, const char *json)
{
	reply_body(exchange, status, "application/json", json, strlen(json), NULL);
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

static void reply_object(struct exchange *exchange, enum status status, struct json_object *object,
	const struct reply_field *field)
{
	const char *json = json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	if (json)
		reply_body(exchange, status, "application/json", json, strlen(json), field);
	else
		exchange_drop(exchange);
}

void reply_ready(struct exchange *exchange, const char *warning)
{
	_cleanup_(json_object_putp) struct json_object *object = json_object_new_object();

	if (add_text(object, "status", "ready") &&
		(!warning || add_text(object, "warning", warning)))
		reply_object(exchange, STATUS_OK, object, NULL);
	else
		exchange_drop(exchange);
}

/* ---- Errors ---- */

/* Flutter's SDK reads the body of a refusal as a stream, and for each line with the name of a field
 * that it does not know it begins to try again every 5 s, for ever.  A comment has none. */
static void reply_comment(struct exchange *exchange, enum status status, const char *detail,
	const struct reply_field *field)
{
	_cleanup_(freep) char *clean = text_clean_copy(detail), *comment = NULL;

	if (!clean || asprintf(&comment, ": %s\n", clean) < 0) {
		comment = NULL;
		exchange_drop(exchange);
		return;
	}
	reply_body(exchange, status, "text/plain; charset=utf-8", comment, strlen(comment), field);
}

static bool has_prefix(const struct exchange *exchange, const char *name, const char *prefix)
{
	size_t length;
	const char *value = exchange_field(exchange, name, &length);

	return value && strncmp(value, prefix, strlen(prefix)) == 0;
}

/* On the web it has the browser's User-Agent. */
static bool reads_errors_as_a_stream(const struct exchange *exchange)
{
	return exchange_is_subscriber(exchange) &&
	       (has_prefix(exchange, "User-Agent", "Dart/") ||
		       has_prefix(exchange, "Accept", "application/json , text/event-stream"));
}

void reply_error(struct exchange *exchange, enum status status, const char *detail,
	const struct reply_field *field)
{
	_cleanup_(json_object_putp) struct json_object *object = NULL;

	if (reads_errors_as_a_stream(exchange)) {
		reply_comment(exchange, status, detail, field);
		return;
	}
	object = json_object_new_object();
	if (add_text(object, "detail", detail))
		reply_object(exchange, status, object, field);
	else
		exchange_drop(exchange);
}

void reply_unavailable(struct exchange *exchange, const char *detail)
{
	static const char *const seconds[] = {"3", "4", "5", "6", "7", "8", "9", "10"};
	struct reply_field retry = {"Retry-After",
		seconds[(unsigned long)random() % (sizeof(seconds) / sizeof(seconds[0]))]};

	reply_error(exchange, STATUS_SERVICE_UNAVAILABLE, detail, &retry);
}

/* ---- CORS ---- */

void reply_preflight(struct exchange *exchange, const char *allow)
{
	_cleanup_(freep) char *requested = NULL;
	size_t length;
	const char *fields = exchange_field(exchange, "Access-Control-Request-Headers", &length);
	bool private_network;

	if (fields && length > 0 && length <= REQUESTED_FIELDS_MAX &&
		text_is_token_list(fields, length)) {
		requested = strndup(fields, length);
		if (!requested) {
			exchange_drop(exchange);
			return;
		}
	}
	private_network =
		exchange_field(exchange, "Access-Control-Request-Private-Network", &length);
	reply(exchange, STATUS_NO_CONTENT,
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
