/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections in libmicrohttpd's hands, and their deadlines.  libmicrohttpd's own time-out is for
 * inactivity only, so a client could trickle a request for ever. */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/trim.h"
#include "http/mhd/mhd-internal.h"

/* Deadlines this close together make one wake-up. */
#define ACCURACY_US (250 * US_PER_MS)

/* So many connections are a storm.  Once it is over, what they had of memory goes back to the
 * system after a moment: streams outlast it by hours. */
#define STORM   64
#define TRIM_US (200 * US_PER_MS)

/* ... and once more. */
#define TRIM_AGAIN_US (1000 * US_PER_MS)

/* An answer is looked at so often before its time is over: has the client read any of it? */
#define LOOKS_AT_ANSWER 5

/* After shutdown(2) libmicrohttpd closes a connection at once, unless it hangs. */
#define CLOSING_MS        1000
#define LIBRARY_TIMEOUT_S 1

/* How soon a client's hanging up is noticed at the latest. */
#define HANG_UP_INTERVAL_US (500 * US_PER_MS)

#define NO_DEADLINE INT64_MAX

/* ---- Queues and deadlines ---- */

static int64_t waiting_time_ms(const struct mhd *mhd, enum waiting waiting)
{
	switch (waiting) {
	case WAITING_REQUEST:
		return mhd->http->settings.request_timeout_ms;
	case WAITING_ANSWER:
		return mhd->http->settings.answer_timeout_ms / LOOKS_AT_ANSWER;
	case WAITING_IDLE:
		return mhd->http->settings.idle_timeout_ms;
	case WAITING_END:
		return CLOSING_MS;
	default:
		return NO_DEADLINE;
	}
}

/* Sets the timer where it would fire too late.  One that fires too early sets itself anew: cheaper
 * than to move it with every request. */
static void deadlines_arm(struct mhd *mhd)
{
	int64_t earliest_ms = NO_DEADLINE;

	for (int i = 0; i < N_WAITING; i++) {
		const struct connection *first = TAILQ_FIRST(&mhd->waiting[i]);

		if (first && first->deadline_ms < earliest_ms)
			earliest_ms = first->deadline_ms;
	}
	if (earliest_ms == NO_DEADLINE) {
		sd_event_source_set_enabled(mhd->deadline_timer, SD_EVENT_OFF);
		mhd->deadline_armed_ms = NO_DEADLINE;
	} else if (earliest_ms < mhd->deadline_armed_ms) {
		sd_event_source_set_time(mhd->deadline_timer, (uint64_t)(earliest_ms * US_PER_MS));
		sd_event_source_set_enabled(mhd->deadline_timer, SD_EVENT_ONESHOT);
		mhd->deadline_armed_ms = earliest_ms;
	}
}

static void connection_unlink(struct connection *connection)
{
	struct mhd *mhd = connection->mhd;

	TAILQ_REMOVE(&mhd->waiting[connection->waiting], connection, link);
	if (connection->waiting == WAITING_END)
		mhd->n_ending--;
}

static void connection_link(struct connection *connection, enum waiting waiting)
{
	struct mhd *mhd = connection->mhd;
	int64_t time_ms = waiting_time_ms(mhd, waiting);

	connection->waiting = waiting;
	connection->since_ms = clock_monotonic_ms();
	connection->deadline_ms =
		time_ms == NO_DEADLINE ? NO_DEADLINE : connection->since_ms + time_ms;
	TAILQ_INSERT_TAIL(&mhd->waiting[waiting], connection, link);
	if (waiting == WAITING_END)
		mhd->n_ending++;
	deadlines_arm(mhd);
}

void connection_wait(struct connection *connection, enum waiting waiting)
{
	/* Once it is ended it is not asked for more. */
	if (connection->waiting == WAITING_END)
		return;
	connection_unlink(connection);
	if (waiting == WAITING_ANSWER) {
		connection->taken = -1;
		connection->answered_ms = clock_monotonic_ms();
	}
	connection_link(connection, waiting);
}

/* Bytes that the client has not received yet. */
static int connection_unsent(const struct connection *connection)
{
	int unsent;

	return ioctl(connection->fd, SIOCOUTQ, &unsent) == 0 ? unsent : 0;
}

/* Changes when the client takes something.  By TCP bytes that are acknowledged: what is unsent is
 * filled up at once.  A client over a unix socket is on this machine, and quick. */
static int64_t connection_taken(const struct connection *connection, int unsent)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);

	if (getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
		return unsent;
	return (int64_t)info.tcpi_bytes_acked;
}

void connection_answered(struct connection *connection)
{
	connection_wait(
		connection, connection_unsent(connection) > 0 ? WAITING_ANSWER : WAITING_IDLE);
}

void connections_sift(struct mhd *mhd)
{
	struct connection *connection, *next;

	for (connection = TAILQ_FIRST(&mhd->waiting[WAITING_ANSWER]); connection;
		connection = next) {
		next = TAILQ_NEXT(connection, link);
		if (!connection->begun && connection_unsent(connection) == 0)
			connection_wait(connection, WAITING_IDLE);
	}
}

void connection_end(struct connection *connection)
{
	/* What has not been read by now need not be kept by the kernel, either. */
	static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	int fd = connection->fd;

	if (connection->waiting == WAITING_ANSWER)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	/* libmicrohttpd sees the end of the input, and closes it. */
	shutdown(fd, SHUT_RDWR);
	connection_wait(connection, WAITING_END);
}

void connections_extend(struct mhd *mhd, enum waiting waiting, int64_t ms)
{
	struct connection *connection;

	TAILQ_FOREACH (connection, &mhd->waiting[waiting], link)
		connection->deadline_ms += ms;
	deadlines_arm(mhd);
}

/* An answer that is still on its way out goes out; then libmicrohttpd sees the end. */
static void end_idle(struct connection_queue *queue)
{
	struct connection *connection;

	/* Of what has input libmicrohttpd might see the end before the request. */
	TAILQ_FOREACH (connection, queue, link)
		if (!connection_has_input(connection))
			shutdown(connection->fd, SHUT_RD);
}

void mhd_end_idle(struct mhd *mhd)
{
	end_idle(&mhd->waiting[WAITING_ANSWER]);
	end_idle(&mhd->waiting[WAITING_IDLE]);
}

/* ---- Deadlines that have passed ---- */

/* Whether its client goes on reading: some of it in settings.answer_timeout_ms, and all of it in
 * settings.idle_timeout_ms. */
static bool is_being_read(struct connection *connection, int unsent, int64_t now_ms)
{
	const struct http_settings *settings = &connection->mhd->http->settings;
	int64_t taken = connection_taken(connection, unsent);

	if (taken != connection->taken)
		connection->read_ms = now_ms;
	connection->taken = taken;
	return now_ms - connection->read_ms < settings->answer_timeout_ms &&
	       now_ms - connection->answered_ms < settings->idle_timeout_ms;
}

static void answer_is_due(struct connection *connection, int64_t now_ms)
{
	int unsent = connection_unsent(connection);

	if (unsent == 0 && !connection->begun) {
		connection_wait(connection, WAITING_IDLE);
	} else if (is_being_read(connection, unsent, now_ms)) {
		connection_unlink(connection);
		connection_link(connection, WAITING_ANSWER);
	} else {
		connection_end(connection);
	}
}

/* libmicrohttpd has not closed it in spite of shutdown(2): its own time-out does. */
static void end_is_due(struct connection *connection)
{
	log_debug("libmicrohttpd does not let a connection go; it is told to again.");
	(void)MHD_set_connection_option(
		connection->library, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)LIBRARY_TIMEOUT_S);
	connection_unlink(connection);
	connection_link(connection, WAITING_END);
	mhd_kick(connection->mhd);
}

static void connection_is_due(struct connection *connection, int64_t now_ms)
{
	switch (connection->waiting) {
	case WAITING_ANSWER:
		answer_is_due(connection, now_ms);
		break;
	case WAITING_END:
		end_is_due(connection);
		break;
	default:
		connection_end(connection);
	}
}

static int deadlines_passed(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct mhd *mhd = userdata;
	int64_t now_ms = clock_monotonic_ms();
	struct connection *connection;

	(void)source;
	(void)usec;
	mhd->deadline_armed_ms = NO_DEADLINE;
	for (int i = 0; i < N_WAITING; i++)
		while ((connection = TAILQ_FIRST(&mhd->waiting[i])) &&
			connection->deadline_ms <= now_ms)
			connection_is_due(connection, now_ms);
	deadlines_arm(mhd);
	return 0;
}

/* ---- Clients that hang up ---- */

/* libmicrohttpd, which watches for edges, does not see an end that arrives together with the last
 * bytes; to shut down our side too makes another edge. */
static void end_hung_up(struct connection_queue *queue)
{
	struct connection *connection;

	TAILQ_FOREACH (connection, queue, link) {
		struct pollfd pollfd = {.fd = connection->fd, .events = POLLRDHUP};

		if (poll(&pollfd, 1, 0) > 0)
			shutdown(pollfd.fd, SHUT_RD);
	}
}

static int look_for_hang_ups(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct mhd *mhd = userdata;

	(void)usec;
	end_hung_up(&mhd->waiting[WAITING_REQUEST]);
	end_hung_up(&mhd->waiting[WAITING_ANSWER]);
	end_hung_up(&mhd->waiting[WAITING_IDLE]);
	http_update_room(mhd->http);
	if (mhd->n_connections == 0)
		return 0;
	sd_event_source_set_time_relative(source, HANG_UP_INTERVAL_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* ---- How many there are ---- */

static int trim_memory(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct mhd *mhd = userdata;

	(void)usec;
	malloc_trim(0);
	/* What is left of the storm has its memory still: once more, when that is gone too. */
	mhd->peak = mhd->n_connections;
	if (mhd->peak > STORM / TRIM_FALL && mhd->peak < STORM)
		mhd->peak = STORM;
	/* Some of it is freed by others, the shards, and that may be later. */
	if (!mhd->trimmed_again) {
		mhd->trimmed_again = true;
		sd_event_source_set_time_relative(source, TRIM_AGAIN_US);
		sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	}
	return 0;
}

static void count_connections(struct mhd *mhd, int change)
{
	mhd->n_connections += (unsigned)change;
	if (mhd->n_connections == 1 && change > 0) {
		sd_event_source_set_time_relative(mhd->hang_up_timer, HANG_UP_INTERVAL_US);
		sd_event_source_set_enabled(mhd->hang_up_timer, SD_EVENT_ONESHOT);
	}
	if (!trim_is_due(&mhd->peak, mhd->n_connections, STORM))
		return;
	mhd->trimmed_again = false;
	sd_event_source_set_time_relative(mhd->trim_timer, TRIM_US);
	sd_event_source_set_enabled(mhd->trim_timer, SD_EVENT_ONESHOT);
}

static int add_timer(struct mhd *mhd, uint64_t accuracy_us, sd_event_time_handler_t handler,
	sd_event_source **ret)
{
	int r = sd_event_add_time(mhd->event, ret, CLOCK_MONOTONIC, 0, accuracy_us, handler, mhd);

	return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

int connection_timers_init(struct mhd *mhd)
{
	int r;

	for (int i = 0; i < N_WAITING; i++)
		TAILQ_INIT(&mhd->waiting[i]);
	mhd->deadline_armed_ms = NO_DEADLINE;
	r = add_timer(mhd, ACCURACY_US, deadlines_passed, &mhd->deadline_timer);
	if (r >= 0)
		r = add_timer(mhd, ACCURACY_US, trim_memory, &mhd->trim_timer);
	if (r >= 0)
		r = add_timer(mhd, ACCURACY_US, look_for_hang_ups, &mhd->hang_up_timer);
	return r;
}

/* ---- Their life ---- */

bool connection_has_input(const struct connection *connection)
{
	int n;

	return ioctl(connection->fd, SIOCINQ, &n) == 0 && n > 0;
}

static void connection_begin(struct connection *connection, struct MHD_Connection *library)
{
	struct mhd *mhd = connection->mhd;

	connection->library = library;
	connection->room = room_counter(mhd, &connection->origin.peer);
	mhd->n_of_peers[connection->room]++;
	connection_link(connection, WAITING_REQUEST);
}

static void connection_free(struct connection *connection)
{
	connection->mhd->n_of_peers[connection->room]--;
	connection_unlink(connection);
	deadlines_arm(connection->mhd);
	free(connection);
}

static int library_fd(struct MHD_Connection *library)
{
	return MHD_get_connection_info(library, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

void connection_notify(void *userdata, struct MHD_Connection *library, void **socket_context,
	enum MHD_ConnectionNotificationCode what)
{
	struct mhd *mhd = userdata;
	struct connection *connection = *socket_context;

	mhd->n_calls++;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		count_connections(mhd, 1);
		connection = arrival_take(mhd, library_fd(library));
		if (connection)
			connection_begin(connection, library);
		else /* it would have no deadline */
			shutdown(library_fd(library), SHUT_RDWR);
		*socket_context = connection;
		return;
	}
	count_connections(mhd, -1);
	if (connection)
		connection_free(connection);
	*socket_context = NULL;
}
