/* SPDX-License-Identifier: BSD-3-Clause */
/* A whole HTTP side in the test's own process: its event loop is stepped while the test talks to it
 * over loopback. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "http/http.h"

#define REQUEST_TIMEOUT_MS 400
#define IDLE_TIMEOUT_MS    1500
#define ANSWER_TIMEOUT_MS  600
#define HOLD_MIN_MS        300
#define HOLD_MAX_MS        500
#define MAX_CONNECTIONS    8
#define MAX_DESCRIPTORS    24
#define MAX_HEADER_SIZE    2048
#define PUBLISHES_MAX      64
#define HEARD_SIZE         65536

#define POST_HEAD                                                                                  \
	"POST /sse/environments/abc/queue-change HTTP/1.1\r\nHost: x\r\n"                          \
	"Authorization: Token secret\r\n"
#define POST_BODY  "{\"updated_at\": 1700000000.5}"
#define POST       POST_HEAD "Content-Length: 28\r\n\r\n" POST_BODY
#define GET_STREAM "GET /sse/environments/abc/stream HTTP/1.1\r\nHost: x\r\n\r\n"
#define GET_LIVE   "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"

struct fixture {
	sd_event *event;
	struct http *http;
	int port;

	/* What the operations do, and what they were asked. */
	int subscribe_result;
	int subscriptions;
	struct http_subscription subscription; /* the last; its strings are copies */
	char user_agent[64];
	bool answer_at_once;
	int n_publishes;
	struct http_publish *publishes[PUBLISHES_MAX];
	int64_t time_us;
	const char *not_ready, *warning;
	size_t streams; /* that are open, by what it says */

	char heard[HEARD_SIZE]; /* by the last hear_...() */
	size_t heard_length;
};

extern struct fixture fixture;

void fixture_start(void);
void fixture_stop(void);

/* Lets the loop go on for so long.  Returns how many turns had something to do. */
int turn_ms(int ms);

/* ... or until there has been a subscription; fails unless there is just one. */
void turn_until_subscribed(void);

/* A client, connected. */
int call(void);
void say_bytes(int fd, const char *data, size_t length);
void say(int fd, const char *text);

/* Both give what was heard.  Until `n` answers have arrived whole: */
const char *hear(int fd, int n);
/* ... and until the other side has ended the connection; fails unless it does, and cleanly. */
const char *hear_end(int fd);

/* A connection of its own for one exchange. */
const char *ask(const char *text);

bool heard_has(const char *text);

/* Of the (first) answer heard. */
void assert_status(int status);

/* Whether the http side still has the connection open. */
bool is_open(int fd);
