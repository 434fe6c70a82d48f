/* SPDX-License-Identifier: BSD-3-Clause */
/* Builds answers, each with the CORS fields: without them a browser reports any error as one of
 * CORS.
 */
#pragma once

#include <stddef.h>

#include "http/exchange.h"

/* Of HTTP (RFC 9110, section 15; RFC 6585). */
enum status {
	STATUS_OK = 200,
	STATUS_ACCEPTED = 202,
	STATUS_NO_CONTENT = 204,
	STATUS_BAD_REQUEST = 400,
	STATUS_UNAUTHORIZED = 401,
	STATUS_NOT_FOUND = 404,
	STATUS_METHOD_NOT_ALLOWED = 405,
	STATUS_LENGTH_REQUIRED = 411,
	STATUS_CONTENT_TOO_LARGE = 413,
	STATUS_UNPROCESSABLE_CONTENT = 422,
	STATUS_HEADER_FIELDS_TOO_LARGE = 431,
	STATUS_INTERNAL_SERVER_ERROR = 500,
	STATUS_SERVICE_UNAVAILABLE = 503,
};

/* Each function answers the exchange, or drops it if there is no memory for the answer.  `field` is
 * one more field of the answer; NULL: none. */

/* A body of this type.  `body` is copied. */
void reply_body(struct exchange *exchange, enum status status, const char *type, const char *body,
	size_t length, const struct reply_field *field);

/* `json` as it stands. */
void reply_json(struct exchange *exchange, enum status status, const char *json);

/* 200, {"status": "ready"} and, unless it is NULL, a warning. */
void reply_ready(struct exchange *exchange, const char *warning);

/* {"detail": detail} */
void reply_error(struct exchange *exchange, enum status status, const char *detail,
	const struct reply_field *field);

/* 503, with a Retry-After of some seconds, spread so that those turned away do not return together.
 */
void reply_unavailable(struct exchange *exchange, const char *detail);

/* 204 to OPTIONS, by which a browser asks whether a cross-origin request is allowed.  It is. */
void reply_preflight(struct exchange *exchange, const char *allow);
