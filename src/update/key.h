/* SPDX-License-Identifier: BSD-3-Clause */
/* An environment's key: the name under which Flagsmith publishes and the SDKs subscribe. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define KEY_MAX_LENGTH 100

/* A valid key, and nothing else: 1 to 100 characters of A-Z a-z 0-9 - _, so that it is a NATS
 * subject token as it stands.  A value; copied by assignment. */
struct key {
	uint8_t length;
	char text[KEY_MAX_LENGTH + 1]; /* terminated by a NUL */
};

/* Takes a key from text as it stands.  0; -EINVAL: not a key; -EPERM: a server-side key ("ser."),
 * which must not be given to clients.  *ret is untouched on failure. */
int key_parse(const char *text, size_t length, struct key *ret);

/* The same from one segment of a URL's path, percent-encoded or not (RFC 3986, section 2.1). */
int key_parse_segment(const char *segment, size_t length, struct key *ret);

/* For people: why key_parse() failed and what is expected.  Static text. */
const char *key_problem(int error);
