/* SPDX-License-Identifier: BSD-3-Clause */
/* Text from outside, made harmless. */
#include "base/text.h"

#include <string.h>

/* The length of the well-formed character that begins here; 0: none does.  Reads no further than a
 * NUL.  (The Unicode Standard, table 3-7: overlong forms, surrogates and what is above U+10FFFF
 * fall out by the range of the second byte.) */
static size_t character_length(const unsigned char *at)
{
	static const struct {
		unsigned char first, last; /* of the first byte */
		unsigned char min, max;    /* of the second one */
		size_t length;
	} forms[] = {
		{0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3},
		{0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	if (*at < 0x80)
		return 1;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (*at < forms[i].first || *at > forms[i].last)
			continue;
		if (at[1] < forms[i].min || at[1] > forms[i].max)
			return 0;
		for (size_t n = 2; n < forms[i].length; n++)
			if ((at[n] & 0xc0) != 0x80)
				return 0;
		return forms[i].length;
	}
	return 0;
}

static bool is_control_character(const unsigned char *at)
{
	return *at < 0x20 || *at == 0x7f || (at[0] == 0xc2 && at[1] <= 0x9f);
}

void text_clean(char *text)
{
	unsigned char *at = (unsigned char *)text;

	while (*at) {
		size_t length = character_length(at);

		if (length == 0)
			*at++ = '?';
		else if (is_control_character(at))
			while (length-- > 0)
				*at++ = '?';
		else
			at += length;
	}
}

char *text_clean_copy(const char *text)
{
	char *copy = strdup(text);

	if (copy)
		text_clean(copy);
	return copy;
}

bool text_is_token_list(const char *text, size_t length)
{
	static const char allowed[] = "!#$%&'*+-.^_`|~0123456789"
				      "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      ", \t";

	for (size_t i = 0; i < length; i++)
		if (text[i] == '\0' || !strchr(allowed, text[i]))
			return false;
	return true;
}
