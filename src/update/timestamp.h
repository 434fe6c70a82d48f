/* SPDX-License-Identifier: BSD-3-Clause */
/* Points in time as Flagsmith sends them, as microseconds since the Unix epoch. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The accepted range: the years 2000 to 2999, UTC. */
#define TIMESTAMP_MIN_US INT64_C(946684800000000)
#define TIMESTAMP_MAX_US INT64_C(32503679999999999)

/* The times that go out may be above those that are accepted, by 1 us for each update that follows
 * (see update_follow()). */
#define TIMESTAMP_LIMIT_US (TIMESTAMP_MAX_US + INT64_C(3600000000))

/* Numbers above this are milliseconds, below it seconds. */
#define TIMESTAMP_SECONDS_MAX 2e10

/* ISO 8601 / RFC 3339: "2023-01-12T18:06:42.028060+00:00"; 'T' or a space; 0 to 9 fractional
 * digits; an offset, 'Z', or none (UTC).  Rounded to the nearest microsecond. 0; -EINVAL: not of
 * this form; -ERANGE: outside the accepted years.  *ret_us untouched on failure. */
int timestamp_parse_iso8601(const char *text, size_t length, int64_t *ret_us);

/* A number of seconds (or, above TIMESTAMP_SECONDS_MAX, of milliseconds).
 * 0; -EINVAL: not a number (NaN, infinity); -ERANGE: outside the accepted years. */
int timestamp_from_number(long double number, int64_t *ret_us);

#define TIMESTAMP_TEXT_SIZE 32

/* Seconds with a point and always six digits, "1673546928.028060", as the SDKs need it.  Returns
 * the length without the NUL. */
size_t timestamp_format(int64_t us, char ret_text[static TIMESTAMP_TEXT_SIZE]);
