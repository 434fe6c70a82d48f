/* SPDX-License-Identifier: BSD-3-Clause */
/* The check of a request's header fields that say where the request ends and whom it is for.
 * libmicrohttpd takes the first of several, and knows nothing of some ambiguities. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/http-internal.h"

struct framing {
	const char *host, *length, *encoding; /* the first of each; NULL: none */
	const char *problem;
};

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

static void note_single(struct framing *framing, const char **slot, const char *value)
{
	if (*slot && strcmp(*slot, value) != 0)
		framing->problem = "two different Host, Content-Length or Transfer-Encoding "
				   "fields; expected one of each";
	else
		*slot = value;
}

static enum MHD_Result note_field(
	void *userdata, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct framing *framing = userdata;

	(void)kind;
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
		note_single(framing, &framing->encoding, value);
	return MHD_YES;
}

unsigned framing_check(
	const struct connection *connection, uint64_t *ret_content_length, const char **ret_problem)
{
	struct framing framing = {0};
	bool is_1_0 = connection->request.is_1_0;
	unsigned status = MHD_HTTP_BAD_REQUEST;

	MHD_get_connection_values(connection->mhd, MHD_HEADER_KIND, note_field, &framing);
	if (!framing.problem && !framing.host && !is_1_0)
		framing.problem = "no Host field, which HTTP/1.1 demands";
	if (!framing.problem && framing.length && framing.encoding)
		framing.problem = "both Content-Length and Transfer-Encoding; expected one of them";
	if (!framing.problem && framing.encoding && is_1_0)
		framing.problem = "Transfer-Encoding, which HTTP/1.0 does not have";
	if (!framing.problem && framing.encoding && strcasecmp(framing.encoding, "chunked") != 0) {
		framing.problem = "an unknown Transfer-Encoding; expected chunked";
		status = MHD_HTTP_NOT_IMPLEMENTED;
	}
	if (framing.problem) {
		*ret_problem = framing.problem;
		return status;
	}
	/* libmicrohttpd has refused what is no number. */
	*ret_content_length = framing.length ? strtoull(framing.length, NULL, 10) : 0;
	return 0;
}
