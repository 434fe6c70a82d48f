/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests as libmicrohttpd reports them, from the first line to the end. */
#include <string.h>

#include "http/mhd/mhd-internal.h"

/* ---- Its beginning and its end ---- */

/* What the last request of the connection has left. */
static void request_reset(struct connection *connection)
{
	connection->has_published |= connection->exchange.has_published;
	exchange_end(&connection->exchange);
	if (connection->response)
		MHD_destroy_response(connection->response);
	connection->response = NULL;
	connection->begun = false;
}

/* libmicrohttpd before 1.0 has no answer where a query has more parameters than fit into its
 * memory: it neither serves nor refuses the request.  The exchange has seen what it needs of them,
 * so libmicrohttpd is given none.  The text is its own, and as this is called before it looks for
 * parameters it finds an empty query. */
static void cut_query(const char *target)
{
	char *mark = (char *)(uintptr_t)strchr(target, '?');

	if (mark)
		mark[1] = '\0';
}

void *request_start(void *userdata, const char *target, struct MHD_Connection *library)
{
	struct mhd *mhd = userdata;
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(library, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *connection = info ? info->socket_context : NULL;

	mhd->n_calls++;
	mhd->http->requests++;
	if (!connection)
		return NULL;
	request_reset(connection);
	exchange_start(
		&connection->exchange, mhd->http, &answer_adapter, &connection->origin, target);
	connection->target = target;
	connection->target_length = strlen(target);
	cut_query(target);
	connection_wait(connection, WAITING_REQUEST);
	return connection;
}

void request_end(void *userdata, struct MHD_Connection *library, void **context,
	enum MHD_RequestTerminationCode why)
{
	struct connection *connection = *context;

	(void)library;
	((struct mhd *)userdata)->n_calls++;
	if (!connection)
		return;
	request_reset(connection);
	if (connection->waiting != WAITING_GONE && why == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		connection_answered(connection);
	*context = NULL;
}

/* ---- Its pieces ---- */

static size_t header_size(const struct connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		connection->library, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	return info ? info->header_size : 0;
}

/* The header has arrived.  An answer now is the connection's last: libmicrohttpd reads no body
 * after it. */
static void take_header(struct connection *connection, const char *method, const char *version)
{
	struct exchange *exchange = &connection->exchange;
	const char *problem;
	unsigned status;

	connection->begun = true;
	exchange->method = method_parse(method);
	exchange->is_1_0 = strcmp(version, "HTTP/1.0") == 0;
	exchange->header_size = header_size(connection);
	status = framing_check(connection, method, version, &exchange->content_length, &problem);
	if (status != 0)
		exchange_refuse(exchange, status, problem);
	else
		exchange_begin(exchange);
}

/* What libmicrohttpd is to do with the request now. */
static enum MHD_Result settle(struct connection *connection)
{
	if (connection->dropped) {
		if (connection->waiting == WAITING_GONE)
			connection->mhd->gone_in_call = connection->mhd->n_calls;
		return MHD_NO;
	}
	return connection->response ? answer_queue(connection) : MHD_YES;
}

/* It is whole.  If its answer comes later, libmicrohttpd leaves it alone until then. */
static void take_whole(struct connection *connection)
{
	exchange_handle(&connection->exchange);
	if (connection->exchange.answered)
		return;
	connection_wait(connection, WAITING_BUS);
	connection->suspended = true;
	MHD_suspend_connection(connection->library);
}

enum MHD_Result request_handle(void *userdata, struct MHD_Connection *library, const char *url,
	const char *method, const char *version, const char *body, size_t *body_length,
	void **context)
{
	struct connection *connection = *context;

	(void)library;
	(void)url; /* request_start() has seen the target as it came */
	((struct mhd *)userdata)->n_calls++;
	if (!connection)
		return MHD_NO;
	if (!connection->begun) {
		take_header(connection, method, version);
	} else if (*body_length > 0 && connection->exchange.body) {
		exchange_take_body(&connection->exchange, body, *body_length);
		*body_length = 0;
	} else if (!connection->exchange.answered && !connection->suspended) {
		take_whole(connection);
	}
	return settle(connection);
}
