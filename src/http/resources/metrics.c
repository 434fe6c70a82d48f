/* SPDX-License-Identifier: BSD-3-Clause */
/* /metrics and /metricsz, for Prometheus. */
#include <errno.h>
#include <stdio.h>

#include "http/http-internal.h"
#include "http/replies.h"

/* 0 and a malloc'ed text, or -ENOMEM. */
static int print_metrics(const struct http *http, char **ret_text, size_t *ret_length)
{
	_cleanup_(freep) char *text = NULL;
	size_t length = 0;
	FILE *file = open_memstream(&text, &length);
	int failed;

	if (!file)
		return -ENOMEM;
	http->operations.write_metrics(file, http->userdata);
	failed = ferror(file);
	if (fclose(file) != 0 || failed)
		return -ENOMEM;
	*ret_text = TAKE_PTR(text);
	*ret_length = length;
	return 0;
}

void metrics_handle(struct exchange *exchange)
{
	_cleanup_(freep) char *text = NULL;
	size_t length;

	if (print_metrics(exchange->http, &text, &length) < 0)
		exchange_drop(exchange);
	else
		reply_body(exchange, STATUS_OK, "text/plain; version=0.0.4; charset=utf-8", text,
			length, NULL);
}
