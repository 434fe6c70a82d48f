/* SPDX-License-Identifier: BSD-3-Clause */
/* /metrics and /metricsz, for Prometheus. */
#include <stdio.h>

#include "http/http-internal.h"
#include "http/replies.h"

enum MHD_Result metrics_answer(struct connection *connection)
{
	const struct http *http = connection->http;
	_cleanup_(freep) char *text = NULL;
	size_t length = 0;
	FILE *file = open_memstream(&text, &length);
	int failed;

	if (!file)
		return MHD_NO;
	http->operations.write_metrics(file, http->userdata);
	failed = ferror(file);
	if (fclose(file) != 0 || failed)
		return MHD_NO;
	return reply_body(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text,
		length, NULL);
}
