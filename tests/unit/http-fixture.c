/* SPDX-License-Identifier: BSD-3-Clause */
/* Steps a whole HTTP side in-process. */
#include "http-fixture.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "loop-fixture.h"

#define PATIENCE_MS 5000

struct fixture fixture;

static int on_subscribe(const struct http_subscription *subscription, void *userdata)
{
	struct fixture *f = userdata;

	f->subscriptions++;
	f->subscription = *subscription;
	f->subscription.user_agent = NULL;
	if (subscription->user_agent) {
		snprintf(f->user_agent, sizeof(f->user_agent), "%s", subscription->user_agent);
		f->subscription.user_agent = f->user_agent;
	}
	return f->subscribe_result;
}

static void on_publish(
	struct http_publish *publish, const struct key *key, int64_t time_us, void *userdata)
{
	struct fixture *f = userdata;

	ck_assert_str_eq(key->text, "abc");
	ck_assert_int_lt(f->n_publishes, PUBLISHES_MAX);
	f->publishes[f->n_publishes++] = publish;
	f->time_us = time_us;
	if (f->answer_at_once)
		http_answer(publish, HTTP_PUBLISHED, (uint64_t)f->n_publishes, NULL);
}

static const char *on_warning(void *userdata)
{
	return ((struct fixture *)userdata)->warning;
}

static const char *on_not_ready(void *userdata)
{
	return ((struct fixture *)userdata)->not_ready;
}

static void on_metrics(FILE *file, void *userdata)
{
	(void)userdata;
	fputs("a_metric 1\n", file);
}

static size_t on_streams(void *userdata)
{
	return ((struct fixture *)userdata)->streams;
}

static int listen_somewhere(int *ret_port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(fd, 128), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

void fixture_start(void)
{
	static const struct http_operations operations = {
		on_subscribe, on_publish, on_not_ready, on_metrics, on_warning, on_streams};
	struct http_settings settings = {
		.token = "secret",
		.request_timeout_ms = REQUEST_TIMEOUT_MS,
		.idle_timeout_ms = IDLE_TIMEOUT_MS,
		.answer_timeout_ms = ANSWER_TIMEOUT_MS,
		.hold_min_ms = HOLD_MIN_MS,
		.hold_max_ms = HOLD_MAX_MS,
		.max_header_size = MAX_HEADER_SIZE,
		.max_connections = MAX_CONNECTIONS,
		.max_descriptors = MAX_DESCRIPTORS,
	};

	log_open();
	log_set_level(LOG_CRIT); /* what is provoked here need not be read */
	fixture = (struct fixture){.answer_at_once = true};
	ck_assert_int_ge(sd_event_new(&fixture.event), 0);
	ck_assert_int_eq(
		http_new(fixture.event, &settings, &operations, &fixture, &fixture.http), 0);
	ck_assert_int_eq(http_add_listener(fixture.http, listen_somewhere(&fixture.port)), 0);
}

void fixture_stop(void)
{
	http_free(fixture.http);
	sd_event_unref(fixture.event);
}

int turn_ms(int ms)
{
	return loop_turn_ms(fixture.event, ms);
}

void turn_until_subscribed(void)
{
	int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;

	while (fixture.subscriptions == 0 && clock_monotonic_ms() < end_ms)
		turn_ms(1);
	ck_assert_int_eq(fixture.subscriptions, 1);
}

int call(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)fixture.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void say_bytes(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t n = send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			ck_assert_int_eq(errno, EAGAIN);
		else {
			data += n;
			length -= (size_t)n;
		}
		turn_ms(0);
	}
}

void say(int fd, const char *text)
{
	say_bytes(fd, text, strlen(text));
}

static void hear_start(void)
{
	fixture.heard_length = 0;
	fixture.heard[0] = '\0';
}

/* As recv(): 0 at the end, -1 with EAGAIN if there is nothing. */
static ssize_t hear_more(int fd)
{
	ssize_t n = recv(fd, fixture.heard + fixture.heard_length,
		sizeof(fixture.heard) - fixture.heard_length - 1, MSG_DONTWAIT);

	if (n > 0)
		fixture.heard_length += (size_t)n;
	fixture.heard[fixture.heard_length] = '\0';
	return n;
}

/* How many whole answers have been heard; all have a Content-Length, or no body. */
static int count_answers(void)
{
	const char *at = fixture.heard, *end = fixture.heard + fixture.heard_length;
	int n = 0;

	for (const char *body; (body = strstr(at, "\r\n\r\n")); n++) {
		const char *length = strcasestr(at, "\r\nContent-Length: ");

		body += 4;
		if (length && length < body)
			body += strtol(length + strlen("\r\nContent-Length: "), NULL, 10);
		if (body > end)
			break;
		at = body;
	}
	return n;
}

const char *hear(int fd, int n)
{
	int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;

	hear_start();
	while (count_answers() < n) {
		ck_assert_msg(
			clock_monotonic_ms() < end_ms, "no %d answers, but: %s", n, fixture.heard);
		turn_ms(1);
		ck_assert_msg(hear_more(fd) != 0, "ended after: %s", fixture.heard);
	}
	return fixture.heard;
}

const char *hear_end(int fd)
{
	int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
	ssize_t n;

	hear_start();
	while ((n = hear_more(fd)) != 0) {
		ck_assert_msg(
			n > 0 || errno == EAGAIN, "%s after: %s", strerror(errno), fixture.heard);
		ck_assert_msg(clock_monotonic_ms() < end_ms, "open after: %s", fixture.heard);
		turn_ms(1);
	}
	return fixture.heard;
}

const char *ask(const char *text)
{
	int fd = call();

	say(fd, text);
	hear(fd, 1);
	close(fd);
	return fixture.heard;
}

bool heard_has(const char *text)
{
	return strstr(fixture.heard, text);
}

void assert_status(int status)
{
	char line[16];

	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	ck_assert_msg(strncmp(fixture.heard, line, strlen(line)) == 0, "expected %d, got: %s",
		status, fixture.heard);
}

bool is_open(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}
