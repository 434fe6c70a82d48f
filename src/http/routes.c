/* SPDX-License-Identifier: BSD-3-Clause */
/* How a request target is looked up in the route table. */
#include "http/routes.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "http/http-internal.h"
#include "update/frame.h"

static const struct route routes[] = {
#define GET_ROUTE(path_, handle_, subscribes_)                                                     \
	{                                                                                          \
		.path = (path_),                                                                   \
		.methods = METHOD_GET | METHOD_HEAD,                                               \
		.allow = "GET, HEAD, OPTIONS",                                                     \
		.handle = (handle_),                                                               \
		.subscribes = (subscribes_),                                                       \
	},
#define READS(path_, handle_)      GET_ROUTE(path_, handle_, false)
#define SUBSCRIBES(path_, handle_) GET_ROUTE(path_, handle_, true)
#define PUBLISHES(path_, handle_, body_max_)                                                       \
	{                                                                                          \
		.path = (path_),                                                                   \
		.methods = METHOD_POST,                                                            \
		.allow = "POST, OPTIONS",                                                          \
		.who_may = WHO_PUBLISHER,                                                          \
		.body_max = (body_max_),                                                           \
		.handle = (handle_),                                                               \
	},
#include "http/routes.def"
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

static bool path_ends_in(struct span path, const char *segment)
{
	size_t length = strlen(segment);

	while (path.length > 0 && path.data[path.length - 1] == '/')
		path.length--;
	return path.length > length && path.data[path.length - length - 1] == '/' &&
	       memcmp(path.data + path.length - length, segment, length) == 0;
}

/* A host, in brackets where it is a number of IPv6, and perhaps a port (RFC 9112, section 3.2.2; a
 * user there is refused, as section 4.2.4 of RFC 9110 has it). */
static bool is_authority(const char *text, size_t length)
{
	static const char host[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789-._";
	size_t n = *text == '[' ? strspn(text + 1, "0123456789ABCDEFabcdef:.") + 1
				: strspn(text, host);

	if (n == 0 || (*text == '[' && text[n++] != ']'))
		return false;
	if (text[n] == ':')
		n += 1 + strspn(text + n + 1, "0123456789");
	return n == length;
}

/* What follows "http://host" in a target of the absolute form; NULL: it has another form. */
static const char *after_authority(const char *target)
{
	static const char *const schemes[] = {"http://", "https://"};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		const char *authority = target + strlen(schemes[i]);
		size_t length;

		if (strncasecmp(target, schemes[i], strlen(schemes[i])) != 0)
			continue;
		length = strcspn(authority, "/?");
		return is_authority(authority, length) ? authority + length : NULL;
	}
	return NULL;
}

static bool has_blanks(const char *target)
{
	for (; *target; target++)
		if ((unsigned char)*target <= ' ' || *target == 0x7f)
			return true;
	return false;
}

/* The path of a target: "/path?query", or "http://host/path?query" as sent to proxies.  False: the
 * target has neither form. */
static bool target_path(const char *target, struct span *ret)
{
	if (*target != '/')
		target = after_authority(target);
	if (!target)
		return false;
	*ret = (struct span){target, strcspn(target, "?")};
	return true;
}

void route_find(const char *target, struct route_match *ret)
{
	struct span path;

	*ret = (struct route_match){0};
	ret->is_asterisk = strcmp(target, "*") == 0;
	ret->is_malformed = has_blanks(target);
	if (ret->is_asterisk)
		return;
	if (!target_path(target, &path)) {
		ret->is_malformed = true;
		return;
	}
	ret->names_stream = path_ends_in(path, "stream");
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
