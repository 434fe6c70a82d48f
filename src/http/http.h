/* SPDX-License-Identifier: BSD-3-Clause */
/* The HTTP side, inside the caller's event loop: the routes and all answers.  A request for a
 * stream leaves it as a socket, through the subscribe() operation.  Main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "update/frame.h"
#include "update/key.h"

struct http;

/* A valid request for a stream. */
struct http_subscription {
	int fd; /* the connection, non-blocking, tuned for a stream (TCP_NODELAY,
		   TCP_NOTSENT_LOWAT); the receiver's if it accepts */
	struct key key;
	enum encoding encoding; /* what the client's HTTP version needs */
	struct span head;       /* the response head to send first; static */
	const char *user_agent; /* NULL: none; valid during the call */
	const char *accept;     /* likewise; the first, if several */
	int64_t last_event_id;  /* -1: none, or none that could be one of ours */
};

/* A valid, authorised update that waits for its answer. */
struct http_publish;

enum http_publish_status {
	HTTP_PUBLISHED,   /* 200 "published", with its sequence */
	HTTP_STALE,       /* 200 "stale" */
	HTTP_QUEUED,      /* 202 "queued" */
	HTTP_UNAVAILABLE, /* 503, Retry-After, the detail as given */
};

/* What the HTTP side asks its owner to do.  All are called on the main thread from within the event
 * loop. */
struct http_operations {
	/* 0: the descriptor is taken over.  -EAGAIN: no stream can be served now (503 follows).
	 * -ESHUTDOWN: none begins any more (a stream follows that ends at once).  Else -errno (500
	 * follows). */
	int (*subscribe)(const struct http_subscription *subscription, void *userdata);

	/* The owner answers exactly once, now or later, with http_answer(). */
	void (*publish)(struct http_publish *publish, const struct key *key, int64_t time_us,
		void *userdata);

	/* Why it is not ready, in a text that anybody may read; NULL: it is.  Valid until the next
	 * call. */
	const char *(*not_ready)(void *userdata);

	/* Writes the metrics, in Prometheus' text exposition format 0.0.4. */
	void (*write_metrics)(FILE *file, void *userdata);

	/* What is amiss though it is ready; NULL: nothing.  Valid until the next call. */
	const char *(*warning)(void *userdata);

	/* How many descriptors the streams take now. */
	size_t (*streams)(void *userdata);
};

struct http_settings {
	const char *token;          /* the secret of publishers; borrowed, see below */
	int64_t request_timeout_ms; /* how long a request may take to arrive, counted from accept or
				       its first line */
	int64_t idle_timeout_ms;    /* how long a connection may wait for its next request */
	int64_t answer_timeout_ms;  /* how long a client may read nothing of its answer */
	int64_t hold_min_ms;        /* a refused subscriber is answered after a random time */
	int64_t hold_max_ms;        /* ... in [hold_min_ms, hold_max_ms], at most 6 s */
	size_t max_header_size;     /* bytes of request line and header fields */
	unsigned
		max_connections; /* in the hands of libmicrohttpd at a time: streams do not count */
	size_t max_descriptors;  /* for those connections, the streams, and refused subscribers */
};

/* Sets up libmicrohttpd on `event`; nothing is accepted yet.  The settings' token must live until
 * http_configure() has given another one, or http_free().  0 or -errno. */
int http_new(sd_event *event, const struct http_settings *settings,
	const struct http_operations *operations, void *userdata, struct http **ret);

/* Changes the settings, for open connections too.  max_header_size stays as it is, and
 * max_connections cannot rise above its first value. */
void http_configure(struct http *http, const struct http_settings *settings);

/* All publishes have been answered.  Closes listeners and connections.  Takes NULL; returns NULL.
 */
struct http *http_free(struct http *http);
DEFINE_CLEANUP(struct http *, http_free)

/* Accepts on this listening socket from now on.  Takes the descriptor over, on failure too. */
int http_add_listener(struct http *http, int fd);

/* Accepts connections that wait in the kernel, as many as there are places for.  Call it just
 * before http_stop_accepting() if nobody else has the listening sockets: closing them resets each
 * connection that waits. */
void http_accept_rest(struct http *http);

/* Stops accepting.  Requests under way are answered, each with "Connection: close". */
void http_stop_accepting(struct http *http);

/* The connections that HTTP has in hand. */
unsigned http_connections(const struct http *http);

/* Refused subscribers that wait for their answer; http_connections() does not count them. */
unsigned http_held(const struct http *http);

/* Answers.  `sequence` is for HTTP_PUBLISHED, `detail` for HTTP_UNAVAILABLE.  The publish
 * is gone afterwards. */
void http_answer(struct http_publish *publish, enum http_publish_status status, uint64_t sequence,
	const char *detail);

/* http_metrics(): what it has counted, for reading.  http_requests(): how many requests have
 * begun. */
const struct metrics *http_metrics(const struct http *http);
uint64_t http_requests(const struct http *http);

/* libmicrohttpd's version, for --version. */
const char *http_library_version(void);
