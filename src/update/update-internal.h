/* SPDX-License-Identifier: BSD-3-Clause */
/* The two ways in which the JSON of an update is read.  update_parse_payload() and
 * update_parse_message() try the first, and then the second; tests compare the two. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes a time of a number.  0, -ERANGE, or -EINVAL. */
typedef int update_read_number(long double number, int64_t *ret_us);

/* What update_parse_payload() and update_parse_message() use. */
extern update_read_number *const update_number_of_payload;
extern update_read_number *const update_number_of_message;

/* Reads the two usual forms, byte for byte: {"updated_at": "2023-01-12T18:06:42Z"} with any time of
 * ISO 8601, as Flagsmith sends it, and {"updated_at": 1673546928.028060}, as it is on the bus.
 * False: the body is not exactly that, or its time is not valid. */
bool update_parse_plain(
	const char *body, size_t length, update_read_number *from_number, int64_t *ret_time_us);

/* Reads any JSON, by json-c.  As update_parse_payload(). */
int update_parse_json(const char *body, size_t length, update_read_number *from_number,
	int64_t *ret_time_us, const char **ret_problem);
