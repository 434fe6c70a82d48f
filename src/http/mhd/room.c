/* SPDX-License-Identifier: BSD-3-Clause */
/* Room for new connections: how many there may be, and which ones go first when places run out.
 * Those that make no progress go; whole requests are always served. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "http/mhd/mhd-internal.h"

/* This part of the places is cleared at a time.  So there is always room for the next that come,
 * and looking for who has to go costs each of them little. */
#define CLEARED_AT_A_TIME 16

/* What is younger stays: the request of a connection that has just been accepted may be there, and
 * not be read yet. */
#define YOUNG_MS 50

/* Between two warnings that connections are ended. */
#define WARNING_INTERVAL_MS (60 * MS_PER_S)

/* In this order they go. */
enum progress {
	UNFINISHED_HEAD,
	UNFINISHED_BODY, /* of a publisher with the right token: nobody else's is read */
	UNREAD_ANSWER,
	IDLE,
	IDLE_PUBLISHER, /* has published over this connection */
	N_PROGRESS,
};

static int on_room_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	http_update_room(((struct mhd *)userdata)->http);
	return 0;
}

int room_init(struct mhd *mhd)
{
	int r;

	siphash_draw_key(&mhd->peer_key);
	/* All at once are never more than libmicrohttpd was set up for. */
	mhd->candidates = calloc(mhd->library_limit, sizeof(struct connection *));
	if (!mhd->candidates)
		return -ENOMEM;
	r = sd_event_add_time(
		mhd->event, &mhd->room_timer, CLOCK_MONOTONIC, 0, US_PER_MS, on_room_timer, mhd);
	return r < 0 ? r : sd_event_source_set_enabled(mhd->room_timer, SD_EVENT_OFF);
}

void room_deinit(struct mhd *mhd)
{
	sd_event_source_disable_unref(mhd->room_timer);
	free(mhd->candidates);
}

/* ---- Addresses ---- */

/* Of a client: IPv4, the network of an IPv6 address (who has one has 2^64); 0: a unix socket's. */
static uint64_t address_number(const struct sockaddr_storage *address)
{
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
	uint64_t number = 0;

	if (address->ss_family == AF_INET) {
		memcpy(&ipv4, address, sizeof(ipv4));
		return ipv4.sin_addr.s_addr;
	}
	if (address->ss_family != AF_INET6)
		return 0;
	memcpy(&ipv6, address, sizeof(ipv6));
	if (IN6_IS_ADDR_V4MAPPED(&ipv6.sin6_addr)) {
		uint32_t mapped;

		memcpy(&mapped, &ipv6.sin6_addr.s6_addr[12], sizeof(mapped));
		return mapped;
	}
	memcpy(&number, ipv6.sin6_addr.s6_addr, sizeof(number));
	return number;
}

/* Two addresses may share a counter, but nobody can choose with whom. */
unsigned room_counter(const struct mhd *mhd, const struct peer *peer)
{
	uint64_t number = address_number(&peer->address);

	return (unsigned)(siphash(&mhd->peer_key, &number, sizeof(number)) % ROOM_PEERS);
}

/* ---- Who has to go ---- */

static enum waiting queue_of(enum progress progress)
{
	switch (progress) {
	case UNFINISHED_HEAD:
	case UNFINISHED_BODY:
		return WAITING_REQUEST;
	case UNREAD_ANSWER:
		return WAITING_ANSWER;
	default:
		return WAITING_IDLE;
	}
}

static bool has_progress(const struct connection *connection, enum progress progress)
{
	switch (progress) {
	case UNFINISHED_HEAD:
		return !connection->begun;
	case UNFINISHED_BODY:
		return connection->begun;
	case UNREAD_ANSWER:
		return true;
	default:
		return connection->has_published == (progress == IDLE_PUBLISHER) &&
		       !connection_has_input(connection);
	}
}

/* Those that have waited since `before_ms` or longer. */
static size_t collect(struct mhd *mhd, enum progress progress, int64_t before_ms)
{
	struct connection *connection;
	size_t n = 0;

	TAILQ_FOREACH (connection, &mhd->waiting[queue_of(progress)], link) {
		if (connection->since_ms > before_ms || n == mhd->library_limit)
			break;
		if (has_progress(connection, progress))
			mhd->candidates[n++] = connection;
	}
	return n;
}

/* First those of the address that has the most; of these those that have waited longest. */
static int compare(const void *a, const void *b, void *userdata)
{
	const struct connection *left = *(struct connection *const *)a,
				*right = *(struct connection *const *)b;
	const unsigned *of_peers = userdata;
	unsigned n_left = of_peers[left->room], n_right = of_peers[right->room];

	if (n_left != n_right)
		return n_left > n_right ? -1 : 1;
	return (left->since_ms > right->since_ms) - (left->since_ms < right->since_ms);
}

static unsigned end_some(struct mhd *mhd, enum progress progress, int64_t before_ms, unsigned n)
{
	size_t n_candidates = collect(mhd, progress, before_ms);

	if (n_candidates == 0)
		return 0;
	qsort_r(mhd->candidates, n_candidates, sizeof(mhd->candidates[0]), compare,
		mhd->n_of_peers);
	if (n > n_candidates)
		n = (unsigned)n_candidates;
	for (unsigned i = 0; i < n; i++)
		connection_end(mhd->candidates[i]);
	return n;
}

static void note(struct mhd *mhd, unsigned n)
{
	static const struct log_fields fields = {.message_id = MESSAGE_PLACES_TAKEN};
	int64_t now_ms = clock_monotonic_ms();

	metrics_add(&mhd->http->metrics, COUNT_HTTP_ENDED_FOR_OTHERS, n);
	if (mhd->room_told_ms > 0 && now_ms - mhd->room_told_ms < WARNING_INTERVAL_MS)
		return;
	mhd->room_told_ms = now_ms;
	log_with(LOG_WARNING, &fields,
		"The places for requests are taken: of %u connections those that make no progress are "
		"ended (%llu so far), so that others are served. Somebody opens connections and does "
		"not use them; their addresses are shown by `ss -tn`.",
		mhd->n_connections,
		(unsigned long long)metrics_get(&mhd->http->metrics, COUNT_HTTP_ENDED_FOR_OTHERS));
}

/* ---- Room ---- */

/* Those that libmicrohttpd has still to report take theirs already. */
static size_t places_taken(const struct mhd *mhd)
{
	return (size_t)mhd->n_connections + mhd->n_arriving;
}

/* A connection may need a second one at any moment: when its socket leaves, libmicrohttpd closes
 * its own only at the end of a run, in which all of them may leave. */
static size_t descriptors_used(const struct mhd *mhd)
{
	return 2 * places_taken(mhd) + farewells_count(&mhd->http->farewells) +
	       mhd->http->operations.streams(mhd->http->userdata);
}

bool mhd_has_room(const struct mhd *mhd)
{
	return places_taken(mhd) < mhd->http->settings.max_connections &&
	       descriptors_used(mhd) < mhd->http->settings.max_descriptors;
}

static unsigned part_of(size_t places)
{
	unsigned part = (unsigned)(places / CLEARED_AT_A_TIME);

	return part > 0 ? part : 1;
}

/* Connections, of which some are on their way out already. */
static void make_room(struct mhd *mhd, unsigned n)
{
	int64_t now_ms = clock_monotonic_ms();
	unsigned n_ended = 0;

	if (mhd->n_ending >= n)
		return;
	n -= mhd->n_ending;
	connections_sift(mhd);
	for (int i = 0; i < N_PROGRESS && n_ended == 0; i++)
		n_ended = end_some(mhd, i, now_ms - YOUNG_MS, n);
	if (n_ended > 0) {
		note(mhd, n_ended);
		mhd_kick(mhd);
	} else if (!mhd_has_room(mhd)) {
		/* Those that are there may have become older by then. */
		sd_event_source_set_time_relative(mhd->room_timer, YOUNG_MS * (uint64_t)US_PER_MS);
		sd_event_source_set_enabled(mhd->room_timer, SD_EVENT_ONESHOT);
	}
}

void mhd_make_room(struct mhd *mhd)
{
	size_t places = mhd->http->settings.max_connections,
	       most = mhd->http->settings.max_descriptors;
	size_t n_streams = mhd->http->operations.streams(mhd->http->userdata);
	unsigned part;

	if (places_taken(mhd) + part_of(places) > places)
		make_room(mhd, part_of(places));
	part = part_of(most > n_streams ? most - n_streams : 0);
	if (descriptors_used(mhd) + part > most &&
		farewells_make_room(&mhd->http->farewells, part) < part)
		make_room(mhd, part);
}
