/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON by json-c, which is kept from taking anything else. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"

#define JSON_MEMORY 65536

/* Whether JSON may have this character outside of a string; `next` is the one after it. */
static bool is_json_token(char c, char next)
{
	if (c == '.')
		return next >= '0' && next <= '9';
	return c != '\'' && c != 'N' && c != 'I';
}

/* Finds what is not JSON, but what json-c takes even when it is told to be strict: single quotes,
 * NaN, Infinity, "1." and control characters (it even takes a NUL for the end). */
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

/* json-c (0.16) crashes if there is no memory for the name of a member.  So make sure that there is
 * more than it needs for a body of ours. */
static bool has_memory_for_json(void)
{
	void *volatile reserve = malloc(JSON_MEMORY); /* or the compiler leaves it out */

	free(reserve);
	return reserve != NULL;
}

/* As json_parse(), with flags of json-c. */
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

/* When it is told to be strict, json-c 0.18 takes every byte that is not ASCII for a control
 * character (its issue 875).  We do not use the text in which such bytes may be: they are checked
 * to be UTF-8, and become '?' in the object. */
int json_parse(const char *text, size_t length, json_object **ret)
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

/* NULL: there is no member of this type. */
static json_object *member_of(json_object *object, const char *name, json_type type)
{
	json_object *value;

	return json_object_object_get_ex(object, name, &value) && json_object_is_type(value, type)
		       ? value
		       : NULL;
}

const char *json_text_of(json_object *object, const char *name)
{
	json_object *value = member_of(object, name, json_type_string);

	return value ? json_object_get_string(value) : NULL;
}

int64_t json_number_of(json_object *object, const char *name)
{
	json_object *value = member_of(object, name, json_type_int);

	return value ? json_object_get_int64(value) : 0;
}
