/* SPDX-License-Identifier: BSD-3-Clause */
/* /livez, /readyz and their older names. */
#include "http/http-internal.h"
#include "http/replies.h"

enum MHD_Result live_answer(struct connection *connection)
{
	return reply_json(connection, MHD_HTTP_OK, "{\"status\":\"ok\"}");
}

enum MHD_Result ready_answer(struct connection *connection)
{
	const struct http *http = connection->http;
	const char *why_not = http->operations.not_ready(http->userdata);

	if (why_not)
		return reply_error(connection, MHD_HTTP_SERVICE_UNAVAILABLE, why_not, NULL);
	return reply_ready(connection, http->operations.warning(http->userdata));
}
