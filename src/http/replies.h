/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers, each with the CORS fields: without them a browser reports any error as a fault of CORS.
 */
#pragma once

#include <microhttpd.h>
#include <stddef.h>

struct connection;

#define RETRY_AFTER_SIZE 8

/* One more header field of an answer; NULL stands for none. */
struct reply_field {
	const char *name;
	const char *value;
};

/* All queue the answer to the request under way.  What they return is for libmicrohttpd: MHD_NO
 * (the answer could not be made; logged) drops the connection. */

/* A body of this type.  `body` is copied. */
enum MHD_Result reply_body(struct connection *connection, unsigned status, const char *type,
	const char *body, size_t length, const struct reply_field *field);

/* `json` as it stands. */
enum MHD_Result reply_json(struct connection *connection, unsigned status, const char *json);

/* 200, {"status": "ready"} and, unless it is NULL, a warning. */
enum MHD_Result reply_ready(struct connection *connection, const char *warning);

/* {"detail": detail} */
enum MHD_Result reply_error(struct connection *connection, unsigned status, const char *detail,
	const struct reply_field *field);

/* 503, to be tried again after some seconds: spread, so that those turned away do not return
 * together. */
enum MHD_Result reply_unavailable(struct connection *connection, const char *detail);

/* 204 to OPTIONS: a browser asks whether a cross-origin request is allowed.  It is. */
enum MHD_Result reply_preflight(struct connection *connection, const char *allow);
