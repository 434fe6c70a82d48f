/* SPDX-License-Identifier: BSD-3-Clause */
/* What neighbours that are made up were asked to do. */
#include "acts.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ACTS_SIZE 16384

char acts[ACTS_SIZE];

void acts_clear(void)
{
	acts[0] = '\0';
}

void acts_add(const char *format, ...)
{
	size_t length = strlen(acts);
	va_list arguments;

	if (length > 0)
		length += (size_t)snprintf(acts + length, ACTS_SIZE - length, ", ");
	va_start(arguments, format);
	length += (size_t)vsnprintf(acts + length, ACTS_SIZE - length, format, arguments);
	va_end(arguments);
	ck_assert_uint_lt(length, ACTS_SIZE);
}

void acts_check(const char *script, const char *expected)
{
	ck_assert_msg(strcmp(acts, expected) == 0, "%s\n  did:      %s\n  expected: %s", script,
		acts, expected);
}
