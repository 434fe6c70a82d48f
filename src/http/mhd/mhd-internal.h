/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of src/http/mhd/ share, which alone know libmicrohttpd.  All of it is the main
 * thread's. */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/siphash.h"
#include "http/http-internal.h"
#include "http/mhd.h"

/* Counters of connections by their clients' addresses. */
#define ROOM_PEERS 1024

/* What a connection waits for, and so which deadline it has: the same time for all of one kind, so
 * that each kind's queue is in order of its deadlines.  A connection is in just one queue, from its
 * beginning until libmicrohttpd has closed it. */
enum waiting {
	WAITING_REQUEST, /* a request to be whole: settings.request_timeout_ms */
	WAITING_BUS,     /* an answer of the bus: no deadline of ours */
	WAITING_ANSWER,  /* its client to read the answer: settings.answer_timeout_ms without any */
	WAITING_IDLE,    /* the next request: settings.idle_timeout_ms */
	WAITING_END,     /* libmicrohttpd to close it: we have shut it down */
	WAITING_GONE,    /* likewise: its socket has left, and is somebody else's */
	N_WAITING,
};

/* A connection: it exists from accept(2) on, and as long as libmicrohttpd's, whose socket context
 * it is. */
struct connection {
	struct mhd *mhd;
	struct MHD_Connection *library; /* NULL: it has still to be reported */
	int fd;                         /* the socket, which is libmicrohttpd's to close */
	struct origin origin;
	enum waiting waiting;
	int64_t since_ms;             /* CLOCK_MONOTONIC: when this waiting began */
	int64_t deadline_ms;          /* likewise; INT64_MAX: none */
	int64_t answered_ms;          /* WAITING_ANSWER: when it began */
	int64_t read_ms;              /* ... when the client was last seen to have read some */
	int64_t taken;                /* ... connection_taken() at the last look; -1: none yet */
	bool has_published;           /* with the right token */
	unsigned room;                /* its client's counter in mhd->n_of_peers */
	TAILQ_ENTRY(connection) link; /* in mhd->arriving or .waiting[waiting] */

	/* The request that is under way. */
	struct exchange exchange;
	bool begun;           /* its header is whole, and has been looked at */
	bool suspended;       /* libmicrohttpd leaves it alone until its answer has come */
	bool dropped;         /* libmicrohttpd is to let it go */
	const char *target;   /* as it came, in libmicrohttpd's memory; without its query from
				 request_start() on */
	size_t target_length; /* with its query */
	struct MHD_Response *response; /* to be sent; NULL: none, or libmicrohttpd has it */
	unsigned status;               /* of the response */
};

TAILQ_HEAD(connection_queue, connection);

struct mhd {
	struct http *http;
	sd_event *event;
	unsigned most_connections; /* settings.max_connections at the start */
	unsigned library_limit;    /* that libmicrohttpd was set up for */

	struct MHD_Daemon *daemon;
	sd_event_source *daemon_readable; /* its epoll descriptor */
	sd_event_source *daemon_again;    /* it has more to do at once */
	sd_event_source *daemon_timer;    /* ... or at a later time */
	unsigned n_runs;                  /* since the loop has polled */
	unsigned n_idle_runs;  /* runs that it had asked for, and in which it did not call us */
	uint64_t n_calls;      /* of libmicrohttpd to us */
	uint64_t gone_in_call; /* the last of them in which a connection became WAITING_GONE */

	unsigned n_arriving; /* in .arriving */
	unsigned n_connections;
	size_t peak; /* trim_is_due()'s */
	sd_event_source *trim_timer;
	bool trimmed_again;                         /* after the last storm */
	sd_event_source *hang_up_timer;             /* on while there are connections */
	struct connection_queue arriving;           /* libmicrohttpd has still to report them */
	struct connection_queue waiting[N_WAITING]; /* earliest deadline first */
	sd_event_source *deadline_timer;
	int64_t deadline_armed_ms; /* when it fires; INT64_MAX: it is off */

	unsigned n_ending;               /* in waiting[WAITING_END] */
	unsigned n_of_peers[ROOM_PEERS]; /* connections, by their clients' addresses */
	struct siphash_key peer_key;     /* of the addresses' counters */
	sd_event_source *room_timer;     /* on while places are full, and nobody can go */
	struct connection **candidates;  /* room.c's, library_limit of them */
	int64_t room_told_ms;            /* in the log; 0: never */
};

/* mhd.c */

/* Whether the installed libmicrohttpd is 1.0 or later, which is another library in many ways. */
bool mhd_is_1_0(void);

/* arrival.c */

/* Call it before all else.  arrivals_forget() frees the connections that have not been taken. */
void arrivals_init(struct mhd *mhd);

/* Call it after a run of libmicrohttpd: a connection that it has not reported by then it has closed
 * without a word. */
void arrivals_forget(struct mhd *mhd);

/* libmicrohttpd reports the connection that has this descriptor.  Returns what is known of it,
 * which is the caller's; NULL: nothing. */
struct connection *arrival_take(struct mhd *mhd, int fd);

/* connection.c */

int connection_timers_init(struct mhd *mhd);

/* Starts the wait: the deadline counts from now. */
void connection_wait(struct connection *connection, enum waiting waiting);

/* The kernel has all of its answer: the client still has to read it, if it has not yet. */
void connection_answered(struct connection *connection);

/* Ends it, whatever it waits for. */
void connection_end(struct connection *connection);

/* Makes those WAITING_IDLE that wait for nothing but their next request. */
void connections_sift(struct mhd *mhd);

/* The time for this kind of waiting has become longer by `ms` (shorter, if negative). */
void connections_extend(struct mhd *mhd, enum waiting waiting, int64_t ms);

/* A request may be there that has not been read yet. */
bool connection_has_input(const struct connection *connection);

/* For MHD_OPTION_NOTIFY_CONNECTION. */
void connection_notify(void *userdata, struct MHD_Connection *library, void **socket_context,
	enum MHD_ConnectionNotificationCode what);

/* room.c */

/* 0 or -errno. */
int room_init(struct mhd *mhd);
void room_deinit(struct mhd *mhd);

/* The number of the counter for a client of this address. */
unsigned room_counter(const struct mhd *mhd, const struct peer *peer);

/* answer.c */

/* Answers the exchanges of connections. */
extern const struct exchange_adapter answer_adapter;

/* Gives libmicrohttpd the connection's response.  Call it within request_handle(), which returns
 * what this returns. */
enum MHD_Result answer_queue(struct connection *connection);

/* request.c */

/* For MHD_OPTION_URI_LOG_CALLBACK: the first line of a request has arrived.  Returns the request's
 * context. */
void *request_start(void *userdata, const char *target, struct MHD_Connection *library);

/* For MHD_start_daemon(): the header, a piece of the body, or the end of a request has arrived. */
enum MHD_Result request_handle(void *userdata, struct MHD_Connection *library, const char *url,
	const char *method, const char *version, const char *body, size_t *body_length,
	void **context);

/* For MHD_OPTION_NOTIFY_COMPLETED: the answer has been sent, or the connection has ended before
 * that. */
void request_end(void *userdata, struct MHD_Connection *library, void **context,
	enum MHD_RequestTerminationCode why);

/* framing.c */

/* Finds out whether a proxy before us could understand a request differently, so that a second
 * request could be smuggled in (RFC 9112, sections 3.2, 5 and 6).  `method` and `version` as given
 * to request_handle() with the header.  0, or the status to refuse it with and *ret_problem, a
 * static text. */
unsigned framing_check(const struct connection *connection, const char *method, const char *version,
	uint64_t *ret_content_length, const char **ret_problem);
