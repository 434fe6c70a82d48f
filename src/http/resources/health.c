/* SPDX-License-Identifier: BSD-3-Clause */
/* /livez, /readyz and their older names. */
#include "http/http-internal.h"
#include "http/replies.h"

void live_handle(struct exchange *exchange)
{
	reply_json(exchange, STATUS_OK, "{\"status\":\"ok\"}");
}

void ready_handle(struct exchange *exchange)
{
	const struct http *http = exchange->http;
	const char *why_not = http->operations.not_ready(http->userdata);

	if (why_not)
		reply_error(exchange, STATUS_SERVICE_UNAVAILABLE, why_not, NULL);
	else
		reply_ready(exchange, http->operations.warning(http->userdata));
}
