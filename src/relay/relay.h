/* SPDX-License-Identifier: BSD-3-Clause */
/* The relay: an update's way from its publisher to the bus, or to the outbox, and from there to the
 * registry and the streams; and a subscriber's way to a stream.  It owns bus and outbox.  Main
 * thread; no call waits but relay_end_bus() and relay_end(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "bus/bus.h"
#include "http/http.h"
#include "hub/hub.h"
#include "hub/profile.h"
#include "hub/registry.h"

struct relay;

/* What the relay tells its owner. */
struct relay_operations {
	/* The bus is up, and all that it had is with the streams. */
	void (*on_up)(void *userdata);

	/* What relay_problem() and its like say has changed. */
	void (*on_change)(void *userdata);
};

/* Begins with neither bus nor outbox.  Hub and registry outlive the relay.  0 or -errno. */
int relay_new(sd_event *event, struct hub *hub, struct registry *registry,
	const struct relay_operations *operations, void *userdata, struct relay **ret);

/* The bus and the outbox have been ended.  Publishers that still wait are refused.  Takes NULL;
 * returns NULL. */
struct relay *relay_free(struct relay *relay);
DEFINE_CLEANUP(struct relay *, relay_free)

/* Now, by the bus's clock: what all times of storing and of acceptance are to be compared with.  Of
 * the local bus that is the wall's, of NATS its own; before that has told it, the wall's too. */
int64_t relay_now_us(const struct relay *relay);

/* ---- Bus and outbox ---- */

struct relay_bus_settings {
	const char *state_dir;            /* of the local bus, or of the outbox beside NATS */
	const struct nats_settings *nats; /* NULL: the local bus */
};

/* Begins with a bus of this kind; beside NATS with an outbox too, unless there is one.  0 or
 * -errno. */
int relay_start_bus(struct relay *relay, const struct relay_bus_settings *settings);

/* The thread of the NATS bus hangs: it is left behind, and there is none until relay_start_bus().
 * 0; -errno: all is as it was (-EAGAIN: there is much of it to be read yet). */
int relay_leave_bus(struct relay *relay);

bool relay_has_bus(const struct relay *relay);
bool relay_has_outbox(const struct relay *relay);

/* Asks the threads of bus and outbox to show that they are alive; and for how long they have not
 * done so (0: they have, or there is none).  The local bus's is the store's. */
void relay_ping(struct relay *relay);
int64_t relay_bus_silence_ms(const struct relay *relay);
int64_t relay_store_silence_ms(const struct relay *relay);

/* Whether the disk of the store does not answer: what needs it is refused at once. */
void relay_set_stalled(struct relay *relay, bool is_stalled);

/* ---- The end ---- */

/* The outbox gives nothing more to the bus. */
void relay_stop(struct relay *relay);

/* Subscribers get -ESHUTDOWN: their stream would be ended again at once. */
void relay_end_subscriptions(struct relay *relay);

/* No publisher waits for an answer that will come.  What a disk that hangs has been given is not
 * waited for: its publishers have been refused. */
bool relay_has_answered(const struct relay *relay);

/* Ends the bus, and does all that it has told.  From here on nothing new can come. */
void relay_end_bus(struct relay *relay);

/* Ends bus and outbox, at the very end: what they tell then is of no interest. */
void relay_end(struct relay *relay);

/* ---- Publishers and subscribers ---- */

/* An update that is valid and authorised; answered at once or later, exactly once, whatever bus and
 * disk do. */
void relay_publish(
	struct relay *relay, struct http_publish *publish, const struct key *key, int64_t time_us);

/* What new streams are given. */
struct relay_streams {
	struct profile *profiles; /* the relay's from then on; free() */
	size_t n_profiles;
	struct profile standard; /* for clients that no profile fits; its texts are static */
	unsigned retry_min_ms, retry_max_ms;
	size_t max; /* streams that may be open */
};
void relay_set_streams(struct relay *relay, const struct relay_streams *streams);

/* Begins a stream with what is known: nobody waits for the bus.  As http_operations.subscribe. */
int relay_subscribe(struct relay *relay, const struct http_subscription *subscription);

/* ---- The state of things ---- */

enum relay_audience {
	RELAY_FOR_ALL,       /* names no host */
	RELAY_FOR_OPERATORS, /* says what is known */
};

#define RELAY_TEXT_SIZE (4 * BUS_TEXT_SIZE)

/* Why updates are not taken, or not by the bus, in sentences; NULL: they are.  Valid until the next
 * call. */
const char *relay_problem(struct relay *relay, enum relay_audience audience);

/* What is amiss though updates are taken; NULL: nothing.  Valid until the next call. */
const char *relay_warning(struct relay *relay);

/* Updates that the bus does not take are kept in the outbox, as far as is known. */
bool relay_keeps_updates(const struct relay *relay);

/* What it has counted, to be read. */
const struct metrics *relay_metrics(const struct relay *relay);

bool relay_bus_is_up(const struct relay *relay);
bool relay_bus_refuses_all(const struct relay *relay); /* or acknowledges none */
size_t relay_refused_environments(const struct relay *relay);
bool relay_outbox_is_up(const struct relay *relay);
size_t relay_outbox_size(const struct relay *relay); /* updates that wait for the bus */
size_t relay_streams_max(const struct relay *relay);
