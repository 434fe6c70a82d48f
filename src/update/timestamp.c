/* SPDX-License-Identifier: BSD-3-Clause */
/* Points in time: reading ISO 8601 and numbers, writing seconds.  No call here depends on the
 * locale or the time zone. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/clock.h"
#include "update/timestamp.h"

#define MAX_FRACTION_DIGITS 9

#define MINUTES_PER_HOUR 60
#define S_PER_MINUTE     60
#define S_PER_DAY        86400

/* What is left to read. */
struct reader {
	const char *at;
	const char *end;
};

struct date {
	int year, month, day;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Takes one character if it is one of `set`. */
static bool take_one_of(struct reader *reader, const char *set)
{
	if (reader->at == reader->end)
		return false;

	for (; *set != '\0'; set++)
		if (*reader->at == *set) {
			reader->at++;
			return true;
		}
	return false;
}

/* Takes exactly `n_digits` digits, of a value between `minimum` and `maximum`. */
static bool take_number(struct reader *reader, int n_digits, int minimum, int maximum, int *ret)
{
	int value = 0;

	for (int i = 0; i < n_digits; i++) {
		if (reader->at == reader->end || !is_digit(*reader->at))
			return false;
		value = value * 10 + (*reader->at++ - '0');
	}

	*ret = value;
	return value >= minimum && value <= maximum;
}

static int days_of_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month == 2 && is_leap ? 29 : days[month - 1];
}

static bool take_date(struct reader *reader, struct date *ret)
{
	return take_number(reader, 4, 0, 9999, &ret->year) && take_one_of(reader, "-") &&
	       take_number(reader, 2, 1, 12, &ret->month) && take_one_of(reader, "-") &&
	       take_number(reader, 2, 1, days_of_month(ret->year, ret->month), &ret->day);
}

/* Days from 1970-01-01, Gregorian.  The year is taken to begin in March, so that the leap day is
 * its last; from there the months' lengths follow (153 * m + 2) / 5. */
static int64_t days_from_date(const struct date *date)
{
	int64_t year = date->month > 2 ? date->year : date->year - 1;
	int64_t month = (date->month + 9) % 12;
	int64_t leap_days = year / 4 - year / 100 + year / 400;

	return 365 * year + leap_days + (153 * month + 2) / 5 + date->day - 1 - 719468;
}

/* Second 60 is the leap second of RFC 3339; Unix time has none, so that it is the next second's
 * number.  Which days had one is not checked. */
static bool take_time_of_day(struct reader *reader, int64_t *ret_s)
{
	int hour, minute, second;

	if (!take_number(reader, 2, 0, 23, &hour) || !take_one_of(reader, ":") ||
		!take_number(reader, 2, 0, 59, &minute) || !take_one_of(reader, ":") ||
		!take_number(reader, 2, 0, 60, &second))
		return false;

	*ret_s = (hour * MINUTES_PER_HOUR + minute) * S_PER_MINUTE + second;
	return true;
}

/* The fraction of a second, if there is one, rounded half up to microseconds: 0 to 1000000. */
static bool take_fraction(struct reader *reader, int64_t *ret_us)
{
	int64_t value = 0;
	int n = 0;

	*ret_us = 0;
	if (!take_one_of(reader, ".,"))
		return true;

	for (; reader->at < reader->end && is_digit(*reader->at); n++) {
		if (n == MAX_FRACTION_DIGITS)
			return false;
		value = value * 10 + (*reader->at++ - '0');
	}
	if (n == 0)
		return false;
	for (; n < MAX_FRACTION_DIGITS; n++)
		value *= 10;

	*ret_us = (value + NS_PER_US / 2) / NS_PER_US;
	return true;
}

/* Reads the rest of the text: how far the time is ahead of UTC. */
static bool take_offset(struct reader *reader, int64_t *ret_s)
{
	int hours, minutes = 0;
	bool is_behind;

	*ret_s = 0;
	if (reader->at == reader->end || take_one_of(reader, "Zz"))
		return true;

	is_behind = *reader->at == '-';
	if (!take_one_of(reader, "+-") || !take_number(reader, 2, 0, 23, &hours))
		return false;
	if (reader->at < reader->end) {
		take_one_of(reader, ":");
		if (!take_number(reader, 2, 0, 59, &minutes))
			return false;
	}

	*ret_s = (hours * MINUTES_PER_HOUR + minutes) * S_PER_MINUTE;
	if (is_behind)
		*ret_s = -*ret_s;
	return true;
}

static int check_range(int64_t us, int64_t *ret_us)
{
	if (us < TIMESTAMP_MIN_US || us > TIMESTAMP_MAX_US)
		return -ERANGE;

	*ret_us = us;
	return 0;
}

int timestamp_parse_iso8601(const char *text, size_t length, int64_t *ret_us)
{
	struct reader reader = {text, text + length};
	int64_t time_of_day, fraction_us, offset;
	struct date date;

	if (!take_date(&reader, &date) || !take_one_of(&reader, "Tt ") ||
		!take_time_of_day(&reader, &time_of_day) || !take_fraction(&reader, &fraction_us) ||
		!take_offset(&reader, &offset) || reader.at != reader.end)
		return -EINVAL;

	return check_range(
		(days_from_date(&date) * S_PER_DAY + time_of_day - offset) * US_PER_S + fraction_us,
		ret_us);
}

int timestamp_from_number(long double number, int64_t *ret_us)
{
	long double us;

	if (!isfinite(number))
		return -EINVAL;

	us = roundl(number * (number > TIMESTAMP_SECONDS_MAX ? US_PER_MS : US_PER_S));

	/* Before the cast, whose result is undefined for what int64_t cannot hold. */
	if (us < TIMESTAMP_MIN_US || us > TIMESTAMP_MAX_US)
		return -ERANGE;

	return check_range((int64_t)us, ret_us);
}

size_t timestamp_format(int64_t us, char ret_text[static TIMESTAMP_TEXT_SIZE])
{
	/* In two halves, so that a time before 1970 comes out right, too. */
	uint64_t magnitude = us < 0 ? -(uint64_t)us : (uint64_t)us;

	return (size_t)snprintf(ret_text, TIMESTAMP_TEXT_SIZE, "%s%" PRIu64 ".%06" PRIu64,
		us < 0 ? "-" : "", magnitude / US_PER_S, magnitude % US_PER_S);
}
