/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of updates, and their JSON form. */
#include <errno.h>
#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "cleanup.h"
#include "clock.h"
#include "update/timestamp.h"
#include "update/update.h"

#define EXPECTED "; expected {\"updated_at\": \"2023-01-12T18:06:42.028060+00:00\"}"
#define EXPECTED_VALUE                                                                             \
	"; expected ISO 8601 (\"2023-01-12T18:06:42.028060+00:00\") or a number of seconds"

#define JSON_MEMORY 65536

int64_t update_order(const struct update *update)
{
	return update->time_us < update->stored_us ? update->time_us : update->stored_us;
}

bool update_is_newer(const struct update *update, const struct update *latest)
{
	return update_order(update) > update_order(latest);
}

bool update_is_expired(const struct update *update, int64_t now_us)
{
	return update->stored_us + UPDATE_LIFETIME_US <= now_us;
}

size_t update_format_payload(int64_t time_us, char ret_payload[static UPDATE_PAYLOAD_SIZE])
{
	char text[TIMESTAMP_TEXT_SIZE];

	timestamp_format(time_us, text);
	return (size_t)snprintf(ret_payload, UPDATE_PAYLOAD_SIZE, "{\"updated_at\": %s}", text);
}

/* Of a number. */
typedef int read_number(long double number, int64_t *ret_us);

static int read_number_of_message(long double number, int64_t *ret_us)
{
	if (number > TIMESTAMP_SECONDS_MAX && number * US_PER_S <= TIMESTAMP_MAX_US)
		number *= MS_PER_S;
	return timestamp_from_number(number, ret_us);
}

/* The text of the number as it was sent, not the double that json-c made of it: that has 53 bits,
 * too few for microseconds after the year 2255.  Neither json-c nor this program calls setlocale(),
 * so that the decimal point of strtold() is a point. */
static int read_double(json_object *value, read_number *from_number, int64_t *ret_us)
{
	const char *text = json_object_get_string(value);

	return text ? from_number(strtold(text, NULL), ret_us) : -ENOMEM;
}

static int time_from_value(json_object *value, read_number *from_number, int64_t *ret_us)
{
	switch (json_object_get_type(value)) {
	case json_type_string:
		return timestamp_parse_iso8601(json_object_get_string(value),
			(size_t)json_object_get_string_len(value), ret_us);
	case json_type_int:
		/* Saturates: what int64_t does not hold is out of range all the same. */
		return from_number(json_object_get_int64(value), ret_us);
	case json_type_double:
		return read_double(value, from_number, ret_us);
	default:
		return -EINVAL;
	}
}

/* Whether a character that is not within a string can be JSON's; `next` follows it. */
static bool is_json_token(char c, char next)
{
	if (c == '.')
		return next >= '0' && next <= '9';
	return c != '\'' && c != 'N' && c != 'I';
}

/* What json-c takes, even where it is told to be strict, though it is not JSON: single quotes, NaN,
 * Infinity, "1." and control characters (a NUL would even be the end to it). */
static bool is_lenient_json(const char *text, size_t length)
{
	bool is_in_string = false;

	for (size_t i = 0; i < length; i++) {
		char next = i + 1 < length ? text[i + 1] : '\0';

		if (text[i] == '"')
			is_in_string = !is_in_string;
		else if (text[i] == '\0')
			return true;
		else if (!is_in_string && !is_json_token(text[i], next))
			return true;
		else if (is_in_string && (unsigned char)text[i] < ' ')
			return true;
		else if (is_in_string && text[i] == '\\')
			i++;
	}
	return false;
}

/* json-c crashes where it finds no memory for the name of a member (0.16 does).  So there has to be
 * more than it needs for a body of ours. */
static bool has_memory_for_json(void)
{
	void *volatile reserve = malloc(JSON_MEMORY); /* or the compiler leaves it out */

	free(reserve);
	return reserve != NULL;
}

/* As parse_json(), with flags of json-c. */
static int parse_with_flags(const char *text, size_t length, int flags, json_object **ret)
{
	json_tokener *tokener;
	int error;

	tokener = has_memory_for_json() ? json_tokener_new() : NULL;
	if (!tokener)
		return -ENOMEM;
	json_tokener_set_flags(tokener, flags);
	errno = 0;
	*ret = json_tokener_parse_ex(tokener, text, (int)length);
	error = errno;
	json_tokener_free(tokener);
	if (*ret)
		return 0;
	return error == ENOMEM ? -ENOMEM : -EBADMSG;
}

static bool is_ascii(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] > 0x7f)
			return false;
	return true;
}

/* A copy with a '?' for each byte that is not ASCII; NULL: no memory. */
static char *make_ascii(const char *text, size_t length)
{
	char *copy = malloc(length + 1);

	for (size_t i = 0; copy && i < length; i++)
		copy[i] = (unsigned char)text[i] > 0x7f ? '?' : text[i];
	return copy;
}

/* 0 and *ret, which has to be freed with json_object_put(); -EBADMSG: not JSON, or no more than
 * "null"; -ENOMEM, which json-c tells by errno only.
 *
 * Where json-c 0.18 is to be strict, it takes every byte that is not ASCII for a control character
 * (its issue 875).  Nothing that we read has such bytes: so they are checked to be UTF-8, and are
 * '?' in the object. */
static int parse_json(const char *text, size_t length, json_object **ret)
{
	_cleanup_(freep) char *ascii = NULL;
	json_object *object;
	int r;

	if (length > INT32_MAX || is_lenient_json(text, length))
		return -EBADMSG;
	if (is_ascii(text, length))
		return parse_with_flags(text, length, JSON_TOKENER_STRICT, ret);

	r = parse_with_flags(text, length, JSON_TOKENER_VALIDATE_UTF8, &object);
	if (r < 0)
		return r;
	json_object_put(object);
	ascii = make_ascii(text, length);
	if (!ascii)
		return -ENOMEM;
	return parse_with_flags(ascii, length, JSON_TOKENER_STRICT, ret);
}

/* 0 and the time in *ret_time_us, or -EBADMSG and *ret_problem, or -ENOMEM. */
static int time_from_object(json_object *object, read_number *from_number, int64_t *ret_time_us,
	const char **ret_problem)
{
	json_object *value;
	int r;

	if (!json_object_is_type(object, json_type_object)) {
		*ret_problem = "the body is not a JSON object" EXPECTED;
		return -EBADMSG;
	}
	if (!json_object_object_get_ex(object, "updated_at", &value)) {
		*ret_problem = "updated_at is missing" EXPECTED;
		return -EBADMSG;
	}

	r = time_from_value(value, from_number, ret_time_us);
	if (r == 0 || r == -ENOMEM)
		return r;
	*ret_problem = r == -ERANGE ? "updated_at is not between the years 2000 and 2999"
				    : "updated_at is not a time" EXPECTED_VALUE;
	return -EBADMSG;
}

static int parse(const char *body, size_t length, read_number *from_number, int64_t *ret_time_us,
	const char **ret_problem)
{
	json_object *object;
	int r;

	if (length == 0) {
		*ret_problem = "the body is empty" EXPECTED;
		return -EBADMSG;
	}

	r = parse_json(body, length, &object);
	if (r < 0) {
		*ret_problem = "the body is not valid JSON" EXPECTED;
		return r;
	}

	r = time_from_object(object, from_number, ret_time_us, ret_problem);
	json_object_put(object);
	return r;
}

int update_parse_payload(
	const char *body, size_t length, int64_t *ret_time_us, const char **ret_problem)
{
	return parse(body, length, timestamp_from_number, ret_time_us, ret_problem);
}

int update_parse_message(
	const char *body, size_t length, int64_t *ret_time_us, const char **ret_problem)
{
	return parse(body, length, read_number_of_message, ret_time_us, ret_problem);
}
