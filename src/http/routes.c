/* SPDX-License-Identifier: BSD-3-Clause */
/* The route table, and how a request target is looked up in it. */
#include "http/routes.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "http/http-internal.h"
#include "update/frame.h"

#define READ(path_, answer_)                                                                       \
	{                                                                                          \
		.path = (path_), .methods = METHOD_GET | METHOD_HEAD,                              \
		.allow = "GET, HEAD, OPTIONS", .answer = (answer_)                                 \
	}
#define WRITE(path_, answer_)                                                                      \
	{                                                                                          \
		.path = (path_), .methods = METHOD_POST, .allow = "POST, OPTIONS",                 \
		.answer = (answer_)                                                                \
	}

static const struct route routes[] = {
	READ("/sse/environments/{key}/stream", stream_answer),
	WRITE("/sse/environments/{key}/queue-change", queue_change_answer),
	READ("/livez", live_answer),
	READ("/readyz", ready_answer),
	READ("/health", ready_answer),
	READ("/health/liveness", live_answer),
	READ("/health/readiness", ready_answer),
	READ("/sse/health", ready_answer),
	READ("/metrics", metrics_answer),
	READ("/metricsz", metrics_answer),
};

static bool span_is(struct span span, const char *text)
{
	return span.length == strlen(text) && memcmp(span.data, text, span.length) == 0;
}

/* Takes the first segment off a path; an empty one at its end. */
static struct span take_segment(struct span *path)
{
	struct span segment;

	while (path->length > 0 && *path->data == '/') {
		path->data++;
		path->length--;
	}
	segment.data = path->data;
	for (segment.length = 0; segment.length < path->length; segment.length++)
		if (segment.data[segment.length] == '/')
			break;
	path->data += segment.length;
	path->length -= segment.length;
	return segment;
}

static bool route_matches(const struct route *route, struct span path, struct span *ret_key)
{
	struct span pattern = {route->path, strlen(route->path)};

	for (;;) {
		struct span expected = take_segment(&pattern);
		struct span segment = take_segment(&path);

		if (expected.length == 0 || segment.length == 0)
			return expected.length == segment.length;
		if (span_is(expected, "{key}"))
			*ret_key = segment;
		else if (expected.length != segment.length ||
			 memcmp(expected.data, segment.data, segment.length) != 0)
			return false;
	}
}

/* The path of a target: "/path?query", or "http://host/path?query" as sent to proxies. */
static struct span target_path(const char *target)
{
	struct span path;
	const char *authority = strstr(target, "://");

	if (*target != '/' && authority)
		target = authority + 3 + strcspn(authority + 3, "/?");
	path.data = target;
	path.length = *target == '/' ? strcspn(target, "?") : 0;
	return path;
}

void route_find(const char *target, struct route_match *ret)
{
	struct span path = target_path(target);

	*ret = (struct route_match){0};
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		struct span key = {NULL, 0};

		if (!route_matches(&routes[i], path, &key))
			continue;
		ret->route = &routes[i];
		if (key.data)
			ret->key_error = key_parse_segment(key.data, key.length, &ret->key);
		return;
	}
}

enum method method_parse(const char *name)
{
	static const struct {
		const char *name;
		enum method method;
	} methods[] = {
		{"GET", METHOD_GET},
		{"HEAD", METHOD_HEAD},
		{"POST", METHOD_POST},
		{"OPTIONS", METHOD_OPTIONS},
	};

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(name, methods[i].name) == 0)
			return methods[i].method;
	return METHOD_OTHER;
}
