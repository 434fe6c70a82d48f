/* SPDX-License-Identifier: BSD-3-Clause */
/* What becomes of an exchange in libmicrohttpd: a response that it sends, a last answer outside it,
 * or a connection that leaves it.
 *
 * When libmicrohttpd drops a connection, it closes only its own descriptor (that is what
 * MHD_USE_TURBO is for), so whoever has a second descriptor can go on with the connection. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "http/mhd/mhd-internal.h"

DEFINE_CLEANUP(struct MHD_Response *, MHD_destroy_response)

static struct connection *connection_of(const struct exchange *exchange)
{
	return container_of(exchange, struct connection, exchange);
}

static const char *get_field(const struct exchange *exchange, const char *name)
{
	return MHD_lookup_connection_value(connection_of(exchange)->library, MHD_HEADER_KIND, name);
}

/* ---- Leaving ---- */

/* The answer has come later: libmicrohttpd asks request_handle() once more. */
static void resume(struct connection *connection)
{
	if (!connection->suspended)
		return;
	connection->suspended = false;
	if (connection->waiting != WAITING_GONE)
		connection_wait(connection, WAITING_ANSWER);
	MHD_resume_connection(connection->library);
	mhd_kick(connection->mhd);
}

static int detach(struct exchange *exchange)
{
	int fd = fcntl(connection_of(exchange)->fd, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? -errno : fd;
}

static void drop(struct exchange *exchange)
{
	struct connection *connection = connection_of(exchange);

	connection->dropped = true;
	resume(connection);
}

static void leave(struct exchange *exchange)
{
	/* A deadline would shut down the socket, which is no longer ours. */
	connection_wait(connection_of(exchange), WAITING_GONE);
	drop(exchange);
}

/* ---- The last answer, by farewell.h ---- */

static void print_date(FILE *file)
{
	time_t now = time(NULL);
	struct tm utc;
	char date[64];

	if (gmtime_r(&now, &utc) &&
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc) > 0)
		fprintf(file, "Date: %s\r\n", date);
}

static void print_answer(FILE *file, const struct answer *answer, bool with_body)
{
	fprintf(file, "HTTP/1.1 %u %s\r\n", answer->status,
		MHD_get_reason_phrase_for(answer->status));
	print_date(file);
	fputs("Connection: close\r\n", file);
	for (const struct reply_field *field = answer->fields; field->name; field++)
		fprintf(file, "%s: %s\r\n", field->name, field->value);
	if (answer->status != MHD_HTTP_NO_CONTENT)
		fprintf(file, "Content-Length: %zu\r\n", answer->length);
	fputs("\r\n", file);
	if (with_body)
		fwrite(answer->body, 1, answer->length, file);
}

/* 0: the connection has left libmicrohttpd.  Else -errno. */
static int give_last(struct exchange *exchange, const struct answer *answer)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(closep) int fd = -1;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	int r;

	if (!file)
		return -ENOMEM;
	print_answer(file, answer, exchange->method != METHOD_HEAD);
	r = ferror(file);
	if (fclose(file) != 0 || r)
		return -ENOMEM;
	fd = detach(exchange);
	if (fd < 0)
		return fd;
	r = farewell_give(&exchange->http->farewells, fd, text, size, answer->hold_ms);
	if (r < 0)
		return r;
	TAKE_FD(fd);
	leave(exchange);
	return 0;
}

/* ---- Any answer ---- */

static bool add_field(struct MHD_Response *response, const char *name, const char *value)
{
	return MHD_add_response_header(response, name, value) == MHD_YES;
}

/* NULL: out of memory. */
static struct MHD_Response *response_new(const struct answer *answer)
{
	/* It is copied, not written to: the prototype lacks a const. */
	_cleanup_(MHD_destroy_responsep) struct MHD_Response *response =
		MHD_create_response_from_buffer(
			answer->length, (void *)(uintptr_t)answer->body, MHD_RESPMEM_MUST_COPY);

	if (!response)
		return NULL;
	for (const struct reply_field *field = answer->fields; field->name; field++)
		if (!add_field(response, field->name, field->value))
			return NULL;
	return TAKE_PTR(response);
}

/* A last answer is not for libmicrohttpd, if that can be helped. */
static int give(struct exchange *exchange, const struct answer *answer)
{
	struct connection *connection = connection_of(exchange);

	if (exchange->close && give_last(exchange, answer) >= 0)
		return 0;
	connection->response = response_new(answer);
	if (!connection->response)
		return -ENOMEM;
	connection->status = answer->status;
	resume(connection);
	return 0;
}

const struct exchange_adapter answer_adapter = {
	.field = get_field,
	.answer = give,
	.detach = detach,
	.leave = leave,
	.drop = drop,
};

enum MHD_Result answer_queue(struct connection *connection)
{
	_cleanup_(MHD_destroy_responsep) struct MHD_Response *response =
		TAKE_PTR(connection->response);
	bool is_last = connection->mhd->http->stopping || connection->exchange.close;

	if ((is_last && !add_field(response, "Connection", "close")) ||
		MHD_queue_response(connection->library, connection->status, response) != MHD_YES) {
		log_warning("Cannot answer a request (status %u), the connection is dropped: "
			    "out of memory?",
			connection->status);
		http_count_response(connection->mhd->http, connection->status, -1);
		return MHD_NO;
	}
	connection_wait(connection, WAITING_ANSWER);
	return MHD_YES;
}
