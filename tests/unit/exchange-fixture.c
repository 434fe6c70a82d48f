/* SPDX-License-Identifier: BSD-3-Clause */
/* An adapter that stands in for an HTTP library's, and an owner that stands in for the server. */
#include "exchange-fixture.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/log.h"

struct stand_in stand_in;

/* ---- The adapter ---- */

static const char *get_field(const struct exchange *exchange, const char *name)
{
	ck_assert_ptr_eq(exchange, &stand_in.exchange);
	for (const struct reply_field *field = stand_in.asked->fields; field->name; field++)
		if (strcasecmp(field->name, name) == 0)
			return field->value;
	return NULL;
}

static int give(struct exchange *exchange, const struct answer *answer)
{
	size_t length = 0;

	if (stand_in.answer_result < 0)
		return stand_in.answer_result;
	stand_in.n_ends++;
	stand_in.outcome = ANSWERED;
	stand_in.status = answer->status;
	stand_in.hold_ms = answer->hold_ms;
	stand_in.closes = exchange->close;
	for (const struct reply_field *field = answer->fields; field->name; field++)
		length += (size_t)snprintf(stand_in.fields + length,
			sizeof(stand_in.fields) - length, "%s: %s\n", field->name, field->value);
	ck_assert_uint_lt(answer->length, sizeof(stand_in.body));
	memcpy(stand_in.body, answer->body, answer->length);
	stand_in.body[answer->length] = '\0';
	return 0;
}

static int detach(struct exchange *exchange)
{
	int pair[2];

	(void)exchange;
	if (stand_in.detach_result < 0)
		return stand_in.detach_result;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	if (stand_in.client >= 0)
		close(stand_in.client);
	stand_in.client = pair[0];
	return pair[1];
}

static void leave(struct exchange *exchange)
{
	(void)exchange;
	stand_in.n_ends++;
	stand_in.outcome = LEFT;
}

static void drop(struct exchange *exchange)
{
	(void)exchange;
	stand_in.n_ends++;
	stand_in.outcome = DROPPED;
}

static const struct exchange_adapter adapter = {
	.field = get_field,
	.answer = give,
	.detach = detach,
	.leave = leave,
	.drop = drop,
};

/* ---- The owner ---- */

static int on_subscribe(const struct http_subscription *subscription, void *userdata)
{
	(void)userdata;
	stand_in.n_subscriptions++;
	stand_in.subscription = *subscription;
	if (stand_in.subscribe_result == 0)
		close(subscription->fd);
	return stand_in.subscribe_result;
}

static void on_publish(
	struct http_publish *publish, const struct key *key, int64_t time_us, void *userdata)
{
	(void)userdata;
	ck_assert_str_eq(key->text, "abc");
	stand_in.n_publishes++;
	stand_in.publish = publish;
	stand_in.time_us = time_us;
	if (stand_in.answer_at_once)
		http_answer(publish, HTTP_PUBLISHED, 7, NULL);
}

static const char *on_not_ready(void *userdata)
{
	(void)userdata;
	return stand_in.not_ready;
}

static void on_metrics(FILE *file, void *userdata)
{
	(void)userdata;
	fputs("a_metric 1\n", file);
}

static const char *on_warning(void *userdata)
{
	(void)userdata;
	return stand_in.warning;
}

static size_t on_streams(void *userdata)
{
	(void)userdata;
	return 0;
}

/* ---- Both ---- */

void stand_in_start(void)
{
	sd_event *event;

	log_open();
	log_set_level(LOG_CRIT); /* what is provoked here need not be read */
	stand_in = (struct stand_in){.client = -1};
	stand_in.http = (struct http){
		.settings = {.token = "secret",
			.hold_min_ms = HOLD_MIN_MS,
			.hold_max_ms = HOLD_MAX_MS,
			.max_header_size = HEADER_MAX},
		.operations = {on_subscribe, on_publish, on_not_ready, on_metrics, on_warning,
			on_streams},
	};
	ck_assert_int_ge(sd_event_new(&event), 0);
	ck_assert_int_eq(farewells_init(&stand_in.http.farewells, event), 0);
	sd_event_unref(event);
}

void stand_in_stop(void)
{
	exchange_end(&stand_in.exchange);
	farewells_deinit(&stand_in.http.farewells);
	if (stand_in.client >= 0)
		close(stand_in.client);
}

static void take_body(struct exchange *exchange, const char *body)
{
	size_t half = strlen(body) / 2;

	stand_in.body_was_wanted = true;
	exchange_take_body(exchange, body, half);
	exchange_take_body(exchange, body + half, strlen(body + half));
}

void ask(const struct asked *asked)
{
	struct exchange *exchange = &stand_in.exchange;

	stand_in.asked = asked;
	stand_in.outcome = WAITS;
	stand_in.n_ends = 0;
	stand_in.body_was_wanted = false;
	exchange_start(exchange, &stand_in.http, &adapter, &stand_in.origin, asked->target);
	exchange->method = method_parse(asked->method);
	exchange->is_1_0 = asked->is_1_0;
	exchange->header_size = asked->header_size;
	exchange->content_length = asked->content_length > 0 ? asked->content_length
				   : asked->body             ? strlen(asked->body)
							     : 0;
	exchange_begin(exchange);
	if (exchange->answered)
		return;
	if (asked->body)
		take_body(exchange, asked->body);
	exchange_handle(exchange);
}

const char *hear_end(void)
{
	static char heard[1024];
	size_t length = 0;
	ssize_t n;

	ck_assert_int_ge(stand_in.client, 0);
	while ((n = recv(stand_in.client, heard + length, sizeof(heard) - length - 1, 0)) > 0)
		length += (size_t)n;
	ck_assert_int_eq(n, 0);
	heard[length] = '\0';
	return heard;
}

bool answer_has(const char *field)
{
	size_t length = strlen(field);

	for (const char *at = stand_in.fields; (at = strstr(at, field)); at++)
		if ((at == stand_in.fields || at[-1] == '\n') && at[length] == '\n')
			return true;
	return false;
}
