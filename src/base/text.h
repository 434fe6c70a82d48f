/* SPDX-License-Identifier: BSD-3-Clause */
/* Text that came from outside (a client, NATS, a file, a library's message) and goes out again:
 * once it is cleaned it cannot end a line or steer a terminal, and is UTF-8.  Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Replaces by a '?' each byte of a control character (C0, DEL, C1) and each byte that does not
 * belong to well-formed UTF-8 (RFC 3629).  In place; the length stays. */
void text_clean(char *text);

/* The same in a copy, which is the caller's to free.  NULL: out of memory. */
char *text_clean_copy(const char *text);

/* Whether all characters may stand in a list of names in an HTTP header field: those of tokens (RFC
 * 9110, section 5.6.2), commas and blanks.  Nothing else is sent back to a client. */
bool text_is_token_list(const char *text, size_t length);

/* The ending of what is counted, in a message: "1 stream", "2 streams". */
static inline const char *text_s(size_t n)
{
	return n == 1 ? "" : "s";
}

/* "1 stream is ended", "2 streams are ended". */
static inline const char *text_are(size_t n)
{
	return n == 1 ? "is" : "are";
}
