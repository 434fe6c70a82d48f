/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of src/http/ share.  All of it is the main thread's. */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "http/http.h"
#include "http/routes.h"

#define BODY_MAX 4096 /* of a queue-change */
#define BODY_LENGTH                                                                                \
	(BODY_MAX + 64 * 1024) /* read (and beyond BODY_MAX discarded) before the answer */

/* What a connection waits for, and so which deadline it has.  The same time for all of one kind, so
 * that each kind's queue is in order of its deadlines. */
enum waiting {
	WAITING_REQUEST, /* a request to be whole: settings.request_timeout_ms */
	WAITING_IDLE,    /* an answer to be sent, the next request: settings.idle_timeout_ms */
	N_WAITING,
	WAITING_NONE = N_WAITING, /* the bus, or the end: no deadline */
};

struct http_publish {
	bool suspended; /* libmicrohttpd leaves the connection alone until http_answer() */
	bool answered;
	enum http_publish_status status;
	uint64_t sequence;
	char *detail;
};

struct request {
	bool begun;  /* its header has been looked at */
	bool is_1_0; /* HTTP/1.0; anything else is taken as HTTP/1.1 */
	enum method method;
	struct route_match match;
	char *body;         /* BODY_MAX of it at most */
	size_t body_length; /* as received; more than BODY_MAX is not in `body` */
	bool close;         /* the connection ends with the answer */
	struct http_publish publish;
};

/* As long as libmicrohttpd's, whose socket context it is. */
struct connection {
	struct http *http;
	struct MHD_Connection *mhd;
	enum waiting waiting;
	int64_t deadline_ms;          /* CLOCK_MONOTONIC; unless WAITING_NONE */
	TAILQ_ENTRY(connection) link; /* in http->waiting[waiting] */
	struct request request;       /* the one under way */
};

TAILQ_HEAD(connection_queue, connection);

struct listener {
	struct http *http;
	int fd;
	sd_event_source *source;
	SLIST_ENTRY(listener) link;
};

struct http {
	sd_event *event;
	struct http_settings settings;
	unsigned most_connections; /* that libmicrohttpd was set up for */
	struct http_operations operations;
	void *userdata;

	struct MHD_Daemon *daemon;
	sd_event_source *daemon_readable; /* its epoll descriptor */
	sd_event_source *daemon_again;    /* it has more to do at once */
	sd_event_source *daemon_timer;    /* ... or at a later time */

	SLIST_HEAD(, listener) listeners;
	bool accepting;        /* the listeners' sources are enabled */
	bool paused;           /* no descriptor or memory left for now */
	bool out_of_resources; /* ... and this has been logged */
	bool stopping;         /* http_stop_accepting() */
	sd_event_source *pause_timer;

	unsigned n_connections;
	size_t peak; /* trim_is_due()'s */
	sd_event_source *trim_timer;
	sd_event_source *hang_up_timer;             /* on while there are connections */
	struct connection_queue waiting[N_WAITING]; /* earliest deadline first */
	sd_event_source *deadline_timer;
	int64_t deadline_armed_ms; /* when it fires; INT64_MAX: it is off */

	struct http_counters counters;
	uint64_t unauthorized; /* publishes with a wrong token, or none */
};

/* http.c */

/* Runs libmicrohttpd once more, soon: something was given to it from outside. */
void http_kick(struct http *http);

/* accept.c */

/* Accepts, or leaves new connections waiting in the kernel, as things now stand. */
void accept_update(struct http *http);
int accept_init(struct http *http);
void accept_deinit(struct http *http);

/* connection.c */

int connection_timers_init(struct http *http);

/* Starts the wait: the deadline counts from now. */
void connection_wait(struct connection *connection, enum waiting waiting);

/* The time for this kind of waiting has become longer by `ms` (shorter, if negative). */
void connections_extend(struct http *http, enum waiting waiting, int64_t ms);

/* Ends those that wait for a next request: there will be no answer to it. */
void connections_end_idle(struct http *http);

/* All places are taken: ends the connection that has waited longest for a next request, or else has
 * taken long with its request. */
void connection_make_room(struct http *http);

/* The socket; still libmicrohttpd's. */
int connection_fd(const struct connection *connection);

/* Of MHD_OPTION_NOTIFY_CONNECTION. */
void connection_notify(void *userdata, struct MHD_Connection *mhd, void **socket_context,
	enum MHD_ConnectionNotificationCode what);

/* request.c */

/* A field of the request's header without blanks at its end; NULL: not there.  The first, if
 * several. */
const char *request_header(
	const struct connection *connection, const char *name, size_t *ret_length);

/* At the debug level: "WHAT of environment KEY, by CLIENT." */
void request_log(const struct connection *connection, const char *what);

/* Of MHD_OPTION_URI_LOG_CALLBACK: the first line of a request has arrived.  Gives the request's
 * context. */
void *request_start(void *userdata, const char *target, struct MHD_Connection *mhd);

/* Of MHD_start_daemon(): the header, a piece of the body, or the end of a request has arrived. */
enum MHD_Result request_handle(void *userdata, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *body, size_t *body_length,
	void **context);

/* Of MHD_OPTION_NOTIFY_COMPLETED: the answer has been sent, or the connection has ended before. */
void request_end(void *userdata, struct MHD_Connection *mhd, void **context,
	enum MHD_RequestTerminationCode why);

/* framing.c */

/* Finds out whether a request's end could be understood differently by a proxy before us, and so a
 * second request be smuggled in (RFC 9112, sections 3.2, 5 and 6).  0, or the status to refuse it
 * with and *ret_problem, a static text. */
unsigned framing_check(const struct connection *connection, uint64_t *ret_content_length,
	const char **ret_problem);

/* One file a resource. */
resource_answer stream_answer;
resource_answer queue_change_answer;
resource_answer live_answer;
resource_answer ready_answer;
resource_answer metrics_answer;
