/* SPDX-License-Identifier: BSD-3-Clause */
/* Exchanges without an HTTP library: an adapter that stands in for one, and notes what becomes of
 * them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "http/http-internal.h"
#include "http/replies.h"

#define TOKEN_FIELD                                                                                \
	{                                                                                          \
		"Authorization", "Token secret"                                                    \
	}
#define HEADER_MAX  2048
#define HOLD_MIN_MS 1000
#define HOLD_MAX_MS 2000
#define ASKED_MAX   4

/* A request. */
struct asked {
	const char *method, *target;
	struct reply_field fields[ASKED_MAX]; /* the last has no name */
	const char *body;                     /* NULL: none */
	uint64_t content_length;              /* 0: as long as the body is */
	size_t header_size;
	bool is_1_0;
};

/* One without fields or a body, unless they follow. */
#define ASK(method_, target_, ...)                                                                 \
	{                                                                                          \
		.method = (method_), .target = (target_), __VA_ARGS__                              \
	}

enum outcome {
	WAITS, /* for an answer */
	ANSWERED,
	LEFT,
	DROPPED,
};

struct stand_in {
	struct http http;
	struct exchange exchange;
	struct origin origin;
	const struct asked *asked;
	int answer_result; /* of the adapter's answer() */
	int detach_result; /* of its detach(); 0: a descriptor */
	int client;        /* the other end of what detach() has given; -1: none */
	bool body_was_wanted;

	/* What became of the exchange. */
	enum outcome outcome;
	int n_ends; /* how often it was answered, left or dropped */
	unsigned status;
	char fields[1024]; /* "NAME: VALUE\n" for each */
	char body[1024];
	int64_t hold_ms;
	bool closes;

	/* What the owner of HTTP does, and was asked. */
	int subscribe_result;
	int n_subscriptions;
	struct http_subscription subscription; /* the last; its descriptor is closed */
	bool answer_at_once;
	int n_publishes;
	struct http_publish *publish; /* the last */
	int64_t time_us;
	const char *not_ready, *warning;
};

extern struct stand_in stand_in;

void stand_in_start(void);
void stand_in_stop(void);

/* The request, as an adapter would bring it. */
void ask(const struct asked *asked);

/* What has come to the client until the end of its connection.  Valid until the next call. */
const char *hear_end(void);

/* Whether the answer has the field, as "NAME: VALUE". */
bool answer_has(const char *field);
