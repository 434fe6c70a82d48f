/* SPDX-License-Identifier: BSD-3-Clause */
/* The route table: the resource that a request target names, its methods, and who may use it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "update/key.h"

struct exchange;

enum method {
	METHOD_GET = 1 << 0,
	METHOD_HEAD = 1 << 1,
	METHOD_POST = 1 << 2,
	METHOD_OPTIONS = 1 << 3,
	METHOD_OTHER = 0, /* in no resource's set */
};

enum who {
	WHO_ANYONE,
	WHO_PUBLISHER, /* whoever has the publishers' token */
};

/* Answers, now or later, a request that has arrived whole, from a permitted sender, with a valid
 * key. */
typedef void resource_handler(struct exchange *exchange);

struct route {
	const char *path;  /* "{key}" stands for an environment's key */
	unsigned methods;  /* a set of enum method, besides METHOD_OPTIONS, which each has */
	const char *allow; /* the same for the Allow field */
	enum who who_may;
	size_t body_max; /* bytes of a body; 0: none is wanted */
	resource_handler *handle;
	bool subscribes; /* it is for streams */
};

/* What a request target names. */
struct route_match {
	const struct route *route; /* NULL: nothing */
	struct key key;            /* where the path has one and key_error is 0 */
	int key_error;             /* of key_parse_segment() */
	bool is_malformed;         /* it is none of the forms of RFC 9112, section 3.2 */
	bool is_asterisk;          /* "*": the server as a whole */
	bool names_stream;         /* its path ends in "/stream", whatever is before that */
};

/* Looks up a request target as it came over the wire: an absolute path or URL, not unescaped, with
 * or without a query.  Doubled and trailing slashes do not matter. */
void route_find(const char *target, struct route_match *ret);

enum method method_parse(const char *name);
