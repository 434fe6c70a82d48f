/* SPDX-License-Identifier: BSD-3-Clause */
/* The check of environment keys: what passes here is safe in a NATS subject, a log line and a URL.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "update/key.h"

#define SERVER_SIDE_PREFIX "ser."

/* Not isalnum(): what it takes depends on the locale. */
static bool is_key_character(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

static bool is_server_side(const char *text, size_t length)
{
	return length >= strlen(SERVER_SIDE_PREFIX) &&
	       memcmp(text, SERVER_SIDE_PREFIX, strlen(SERVER_SIDE_PREFIX)) == 0;
}

int key_parse(const char *text, size_t length, struct key *ret)
{
	if (length == 0)
		return -EINVAL;
	if (is_server_side(text, length))
		return -EPERM;
	if (length > KEY_MAX_LENGTH)
		return -EINVAL;
	for (size_t i = 0; i < length; i++)
		if (!is_key_character(text[i]))
			return -EINVAL;

	*ret = (struct key){.length = (uint8_t)length};
	memcpy(ret->text, text, length);
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* The character at the start of `text`, decoded.  The number of bytes that it takes there, or
 * -EINVAL. */
static int decode_character(const char *text, size_t length, char *ret)
{
	int high, low;

	if (text[0] != '%') {
		*ret = text[0];
		return 1;
	}

	if (length < 3)
		return -EINVAL;
	high = hex_digit(text[1]);
	low = hex_digit(text[2]);
	if (high < 0 || low < 0)
		return -EINVAL;

	*ret = (char)(high << 4 | low);
	return 3;
}

int key_parse_segment(const char *segment, size_t length, struct key *ret)
{
	/* One more than a key may have: enough for key_parse() to see that it is too long. */
	char decoded[KEY_MAX_LENGTH + 1];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < length && n < sizeof(decoded); i += (size_t)r) {
		r = decode_character(segment + i, length - i, &decoded[n]);
		if (r < 0)
			return is_server_side(decoded, n) ? -EPERM : -EINVAL;
		n++;
	}

	return key_parse(decoded, n, ret);
}

const char *key_problem(int error)
{
	if (error == -EPERM)
		return "this is a server-side key (it begins with \"ser.\"), which must stay secret; "
		       "expected the environment's client-side key";

	return "not an environment key; expected 1 to 100 characters of A-Z a-z 0-9 - _";
}
