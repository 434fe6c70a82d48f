/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of updates, and their JSON form. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "update/timestamp.h"
#include "update/update-internal.h"
#include "update/update.h"

#define EXPECTED "; expected {\"updated_at\": \"2023-01-12T18:06:42.028060+00:00\"}"
#define EXPECTED_VALUE                                                                             \
	"; expected ISO 8601 (\"2023-01-12T18:06:42.028060+00:00\") or a number of seconds"

#define DIGITS "0123456789"

/* More than the longest time has, as text with its quotes. */
#define PLAIN_VALUE_SIZE 48

int64_t update_accepted(const struct update *update)
{
	return update->accepted_us > 0 && update->accepted_us < update->stored_us
		       ? update->accepted_us
		       : update->stored_us;
}

bool update_raise(struct update *update, int64_t time_us)
{
	if (time_us == update->time_us && !update->is_raised)
		return false;
	if (time_us >= update->time_us) {
		update->time_us = time_us + 1;
		update->is_raised = true;
	}
	return true;
}

static bool follow_what_waited(
	const struct update *update, const struct update_latest *latest, int64_t *ret_time_us)
{
	int64_t before_us = update->stored_us + UPDATE_DOUBT_US;

	if (latest->time_us > update->time_us) {
		*ret_time_us = latest->time_us + 1;
		return latest->told_us <= before_us;
	}
	*ret_time_us = update->time_us;
	if (latest->time_us == update->time_us || latest->accepted_us > before_us)
		(*ret_time_us)++;
	return true;
}

bool update_follow(const struct update *update, bool has_waited, const struct update_latest *latest,
	int64_t *ret_time_us)
{
	struct update raised = *update;

	if (!update_raise(&raised, latest->time_us))
		return false;
	if (has_waited)
		return follow_what_waited(update, latest, ret_time_us);
	*ret_time_us = raised.time_us;
	return true;
}

bool update_settle(struct update *update, int64_t now_us)
{
	int64_t ago_us = now_us - UPDATE_MARGIN_US;

	if (update->stored_us <= now_us + UPDATE_DOUBT_US)
		return false;
	update->stored_us =
		update->time_us <= now_us && update->time_us > ago_us ? update->time_us : ago_us;
	return true;
}

void update_settle_waiting(struct update *update, int64_t now_us)
{
	if (update->stored_us > now_us)
		update->stored_us = now_us;
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

static int read_number_of_message(long double number, int64_t *ret_us)
{
	if (number > TIMESTAMP_SECONDS_MAX && number * US_PER_S < TIMESTAMP_LIMIT_US + 1) {
		*ret_us = (int64_t)roundl(number * US_PER_S);
		return 0;
	}
	return timestamp_from_number(number, ret_us);
}

update_read_number *const update_number_of_payload = timestamp_from_number;
update_read_number *const update_number_of_message = read_number_of_message;

/* ---- Plainly ---- */

/* Whether the text is [1-9][0-9]*\.[0-9]+ */
static bool is_decimal(const char *text, size_t length)
{
	size_t whole = strspn(text, DIGITS), fraction;

	if (whole == 0 || text[0] == '0' || text[whole] != '.')
		return false;
	fraction = strspn(text + whole + 1, DIGITS);
	return fraction > 0 && whole + 1 + fraction == length;
}

bool update_parse_plain(
	const char *body, size_t length, update_read_number *from_number, int64_t *ret_time_us)
{
	static const char begin[] = "{\"updated_at\": ";
	const size_t n_begin = sizeof(begin) - 1;
	char value[PLAIN_VALUE_SIZE];
	size_t n;

	if (length < n_begin + sizeof("\"\"}") - 1 || length - n_begin > sizeof(value) ||
		memcmp(body, begin, n_begin) != 0 || body[length - 1] != '}')
		return false;
	n = length - n_begin - 1;
	memcpy(value, body + n_begin, n);
	value[n] = '\0';
	if (value[0] == '"' && value[n - 1] == '"')
		return timestamp_parse_iso8601(value + 1, n - 2, ret_time_us) == 0;
	return is_decimal(value, n) && from_number(strtold(value, NULL), ret_time_us) == 0;
}

/* ---- By json-c ---- */

/* The text of the number as it was sent, not the double that json-c made of it: that has 53 bits,
 * too few for microseconds after the year 2255.  Neither json-c nor this program calls setlocale(),
 * so that the decimal point of strtold() is a point. */
static int read_double(json_object *value, update_read_number *from_number, int64_t *ret_us)
{
	const char *text = json_object_get_string(value);

	return text ? from_number(strtold(text, NULL), ret_us) : -ENOMEM;
}

static int time_from_value(json_object *value, update_read_number *from_number, int64_t *ret_us)
{
	switch (json_object_get_type(value)) {
	case json_type_string:
		return timestamp_parse_iso8601(json_object_get_string(value),
			(size_t)json_object_get_string_len(value), ret_us);
	case json_type_int:
		/* It saturates: a number that int64_t cannot hold is out of range all the same. */
		return from_number(json_object_get_int64(value), ret_us);
	case json_type_double:
		return read_double(value, from_number, ret_us);
	default:
		return -EINVAL;
	}
}

/* 0 and the time in *ret_time_us, or -EBADMSG and *ret_problem, or -ENOMEM. */
static int time_from_object(json_object *object, update_read_number *from_number,
	int64_t *ret_time_us, const char **ret_problem)
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

int update_parse_json(const char *body, size_t length, update_read_number *from_number,
	int64_t *ret_time_us, const char **ret_problem)
{
	json_object *object;
	int r;

	if (length == 0) {
		*ret_problem = "the body is empty" EXPECTED;
		return -EBADMSG;
	}

	r = json_parse(body, length, &object);
	if (r < 0) {
		*ret_problem = "the body is not valid JSON" EXPECTED;
		return r;
	}

	r = time_from_object(object, from_number, ret_time_us, ret_problem);
	json_object_put(object);
	return r;
}

/* json-c takes some two microseconds for a body, and each update is read twice: as it comes from
 * Flagsmith, and as it comes from the bus.  The usual forms are read without it. */
static int parse(const char *body, size_t length, update_read_number *from_number,
	int64_t *ret_time_us, const char **ret_problem)
{
	if (update_parse_plain(body, length, from_number, ret_time_us))
		return 0;
	return update_parse_json(body, length, from_number, ret_time_us, ret_problem);
}

int update_parse_payload(
	const char *body, size_t length, int64_t *ret_time_us, const char **ret_problem)
{
	return parse(body, length, update_number_of_payload, ret_time_us, ret_problem);
}

int update_parse_message(
	const char *body, size_t length, int64_t *ret_time_us, const char **ret_problem)
{
	return parse(body, length, update_number_of_message, ret_time_us, ret_problem);
}
