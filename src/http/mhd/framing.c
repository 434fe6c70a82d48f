/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks the header fields that say where a request ends and whom it is for.  If such a field is
 * there several times, libmicrohttpd takes the first one, and some ambiguities it does not know. */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/mhd/mhd-internal.h"

/* What stands at the end of a line, CR and LF, is NULs by now; behind the header that is twice. */
#define LINE_END   2
#define HEADER_END (2 * LINE_END)

struct framing {
	const char *host, *length; /* the first of each; NULL: none */
	bool has_encoding;
	const char *problem;
	const char *end; /* of what has been looked at, in libmicrohttpd's memory; NULL: unknown */
};

static const char problem_nul[] =
	"a NUL in the header, or a field that goes on in a second line; neither is allowed";

/* RFC 9110, section 5.6.2. */
static bool is_token(const char *name)
{
	static const char characters[] = "!#$%&'*+-.^_`|~0123456789"
					 "abcdefghijklmnopqrstuvwxyz"
					 "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	return *name && name[strspn(name, characters)] == '\0';
}

static bool begins_with(const char *text, const char *prefix)
{
	return strncasecmp(text, prefix, strlen(prefix)) == 0;
}

/* libmicrohttpd 0.9 appends the folded part of a value to the field's *name*. */
static bool is_folded(const char *name)
{
	return (begins_with(name, "Transfer-Encoding") &&
		       strcasecmp(name, "Transfer-Encoding") != 0) ||
	       (begins_with(name, "Content-Length") && strcasecmp(name, "Content-Length") != 0);
}

/* libmicrohttpd before 1.0 takes a NUL for the end of a text, and so does not see what is behind
 * it, which somebody else may have seen.  But it leaves all where it came, so that a gap tells:
 * `next` follows at the end of a line. */
static void check_gap(struct framing *framing, const char *next, ptrdiff_t most)
{
	if (framing->end && (next <= framing->end || next - framing->end > most))
		framing->problem = problem_nul;
}

/* METHOD TARGET VERSION.  The blanks behind the first two, of which some may be more, begin with a
 * NUL by now. */
static void check_request_line(struct framing *framing, const struct connection *connection,
	const char *method, const char *version)
{
	const char *behind_method = method + strlen(method) + 1;

	if (mhd_is_1_0())
		return;
	if (behind_method + strspn(behind_method, " ") != connection->target ||
		connection->target + connection->target_length + 1 != version)
		framing->problem = "a NUL in the request line, which is not allowed";
	framing->end = version + strlen(version);
}

static void note_single(struct framing *framing, const char **slot, const char *value)
{
	if (*slot && strcmp(*slot, value) != 0)
		framing->problem = "two different Host or Content-Length fields; expected one of "
				   "each";
	else
		*slot = value;
}

static enum MHD_Result note_field(
	void *userdata, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct framing *framing = userdata;

	(void)kind;
	check_gap(framing, name, LINE_END);
	if (framing->end && value)
		framing->end = value + strlen(value);
	if (!value)
		value = "";
	if (!is_token(name))
		framing->problem = "a header field has a name with a character that is not "
				   "allowed there, such as a space";
	else if (is_folded(name))
		framing->problem = "a header field goes on in a second line, which is obsolete";
	else if (strcasecmp(name, "Host") == 0)
		note_single(framing, &framing->host, value);
	else if (strcasecmp(name, "Content-Length") == 0)
		note_single(framing, &framing->length, value);
	else if (strcasecmp(name, "Transfer-Encoding") == 0)
		framing->has_encoding = true;
	return MHD_YES;
}

static void check_header_end(
	struct framing *framing, const struct connection *connection, const char *method)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		connection->library, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	if (framing->end && info)
		check_gap(framing, method + info->header_size, HEADER_END);
}

unsigned framing_check(const struct connection *connection, const char *method, const char *version,
	uint64_t *ret_content_length, const char **ret_problem)
{
	struct framing framing = {0};
	bool is_1_0 = connection->exchange.is_1_0;

	check_request_line(&framing, connection, method, version);
	MHD_get_connection_values(connection->library, MHD_HEADER_KIND, note_field, &framing);
	check_header_end(&framing, connection, method);
	if (!framing.problem && !framing.host && !is_1_0)
		framing.problem = "no Host field, which HTTP/1.1 demands";
	if (framing.problem) {
		*ret_problem = framing.problem;
		return MHD_HTTP_BAD_REQUEST;
	}
	if (framing.has_encoding) {
		*ret_problem = "a body in chunks, or another Transfer-Encoding, is not taken; "
			       "expected a Content-Length";
		return MHD_HTTP_LENGTH_REQUIRED;
	}
	/* libmicrohttpd has refused what is no number. */
	*ret_content_length = framing.length ? strtoull(framing.length, NULL, 10) : 0;
	return 0;
}
