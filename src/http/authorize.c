/* SPDX-License-Identifier: BSD-3-Clause */
/* The publishers' token. */
#include "http/authorize.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/messages.h"
#include "http/http-internal.h"
#include "http/replies.h"

/* Takes the same time for a right and a wrong one, whatever the length of the right one is. */
static bool token_is_right(const char *token, const char *given, size_t length)
{
	size_t token_length = strlen(token);
	volatile unsigned char difference = length != token_length;

	for (size_t i = 0; i < length; i++)
		/* The token's NUL is compared as well: token_length + 1 is never 0. */
		difference |= (unsigned char)(given[i] ^ token[i % (token_length + 1)]);
	return difference == 0;
}

/* "Token SECRET", as Flagsmith sends it, or "Bearer SECRET". */
static bool is_publisher(const struct exchange *exchange)
{
	static const char *const schemes[] = {"Token ", "Bearer "};
	size_t length;
	const char *field = exchange_field(exchange, "Authorization", &length);

	if (!field)
		return false;
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t skip = strlen(schemes[i]);

		if (length <= skip || strncasecmp(field, schemes[i], skip) != 0)
			continue;
		while (field[skip] == ' ')
			skip++;
		return token_is_right(exchange->http->settings.token, field + skip, length - skip);
	}
	return false;
}

/* Logs the first, the second, the fourth, and so on: who has a wrong token tries it again. */
static void refuse_unauthorized(struct exchange *exchange)
{
	static const struct reply_field scheme = {"WWW-Authenticate", "Token"};
	uint64_t n = ++exchange->http->unauthorized;
	char peer[LISTEN_NAME_SIZE];
	struct log_fields fields = {
		.environment = exchange->match.key.text,
		.client = peer,
		.message_id = MESSAGE_UNAUTHORIZED,
	};

	if ((n & (n - 1)) == 0) {
		peer_name(&exchange->origin->peer, peer);
		log_with(LOG_WARNING, &fields,
			"Refused an update of environment %s from %s: a wrong token, or none (%llu "
			"so far). SSE_AUTHENTICATION_TOKEN of Flagsmith's API and task processor "
			"has to be the token of this service.",
			fields.environment, peer, (unsigned long long)n);
	}
	reply_error(exchange, STATUS_UNAUTHORIZED, "Invalid authorization header", &scheme);
}

bool authorize(struct exchange *exchange, enum who who)
{
	if (who == WHO_ANYONE || is_publisher(exchange))
		return true;
	refuse_unauthorized(exchange);
	return false;
}
