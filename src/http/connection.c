/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections and their deadlines.  libmicrohttpd's own time-out is for inactivity only, so that a
 * client could trickle a request for ever. */
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>

#include "clock.h"
#include "http/http-internal.h"
#include "log.h"
#include "trim.h"

/* Deadlines this close together make one wake-up. */
#define ACCURACY_US (250 * US_PER_MS)

/* So many connections are a storm.  Once it is over, what they had of memory goes back to the
 * system after a moment: streams outlast it by hours. */
#define STORM   64
#define TRIM_US (200 * US_PER_MS)

/* Where all places are taken a request has only so long to arrive. */
#define REQUEST_TIME_MS 1000

/* How soon a client's hanging up is noticed at the latest. */
#define HANG_UP_INTERVAL_US (500 * US_PER_MS)

static int64_t waiting_time_ms(const struct http *http, enum waiting waiting)
{
	return waiting == WAITING_REQUEST ? http->settings.request_timeout_ms
					  : http->settings.idle_timeout_ms;
}

/* Sets the timer where it would fire too late.  One that fires too early sets itself anew: cheaper
 * than to move it with every request. */
static void deadlines_arm(struct http *http)
{
	int64_t earliest_ms = INT64_MAX;

	for (int i = 0; i < N_WAITING; i++) {
		const struct connection *first = TAILQ_FIRST(&http->waiting[i]);

		if (first && first->deadline_ms < earliest_ms)
			earliest_ms = first->deadline_ms;
	}
	if (earliest_ms == INT64_MAX) {
		sd_event_source_set_enabled(http->deadline_timer, SD_EVENT_OFF);
		http->deadline_armed_ms = INT64_MAX;
	} else if (earliest_ms < http->deadline_armed_ms) {
		sd_event_source_set_time(http->deadline_timer, (uint64_t)(earliest_ms * US_PER_MS));
		sd_event_source_set_enabled(http->deadline_timer, SD_EVENT_ONESHOT);
		http->deadline_armed_ms = earliest_ms;
	}
}

static void connection_unlink(struct connection *connection)
{
	if (connection->waiting != WAITING_NONE)
		TAILQ_REMOVE(&connection->http->waiting[connection->waiting], connection, link);
	connection->waiting = WAITING_NONE;
}

void connection_wait(struct connection *connection, enum waiting waiting)
{
	struct http *http = connection->http;

	connection_unlink(connection);
	if (waiting != WAITING_NONE) {
		connection->waiting = waiting;
		connection->deadline_ms = clock_monotonic_ms() + waiting_time_ms(http, waiting);
		TAILQ_INSERT_TAIL(&http->waiting[waiting], connection, link);
	}
	deadlines_arm(http);
}

void connections_extend(struct http *http, enum waiting waiting, int64_t ms)
{
	struct connection *connection;

	TAILQ_FOREACH (connection, &http->waiting[waiting], link)
		connection->deadline_ms += ms;
	deadlines_arm(http);
}

void connections_end_idle(struct http *http)
{
	struct connection *connection;

	/* An answer that is still on its way out goes out; then libmicrohttpd sees the end. */
	TAILQ_FOREACH (connection, &http->waiting[WAITING_IDLE], link)
		shutdown(connection_fd(connection), SHUT_RD);
}

static int deadlines_passed(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http *http = userdata;
	int64_t now_ms = clock_monotonic_ms();
	struct connection *connection;

	(void)source;
	(void)usec;
	for (int i = 0; i < N_WAITING; i++)
		while ((connection = TAILQ_FIRST(&http->waiting[i])) &&
			connection->deadline_ms <= now_ms) {
			connection_unlink(connection);
			/* libmicrohttpd sees the end of the input, and closes it. */
			shutdown(connection_fd(connection), SHUT_RDWR);
		}
	http->deadline_armed_ms = INT64_MAX;
	deadlines_arm(http);
	return 0;
}

void connection_make_room(struct http *http)
{
	struct connection *idle = TAILQ_FIRST(&http->waiting[WAITING_IDLE]);
	struct connection *slow = TAILQ_FIRST(&http->waiting[WAITING_REQUEST]);
	int64_t slow_since_ms = slow ? slow->deadline_ms - http->settings.request_timeout_ms : 0;

	if (idle) {
		connection_unlink(idle);
		shutdown(connection_fd(idle), SHUT_RD);
	} else if (slow && clock_monotonic_ms() - slow_since_ms >= REQUEST_TIME_MS) {
		connection_unlink(slow);
		shutdown(connection_fd(slow), SHUT_RDWR);
	}
}

/* Whose clients have closed.  libmicrohttpd, which watches for edges, does not see an end that
 * arrives together with the last bytes; to shut down our side too makes another edge. */
static void end_hung_up(struct connection_queue *queue)
{
	struct connection *connection;

	TAILQ_FOREACH (connection, queue, link) {
		struct pollfd pollfd = {.fd = connection_fd(connection), .events = POLLRDHUP};

		if (poll(&pollfd, 1, 0) > 0)
			shutdown(pollfd.fd, SHUT_RD);
	}
}

static int look_for_hang_ups(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http *http = userdata;

	(void)usec;
	for (int i = 0; i < N_WAITING; i++)
		end_hung_up(&http->waiting[i]);
	accept_update(http);
	if (http->n_connections == 0)
		return 0;
	sd_event_source_set_time_relative(source, HANG_UP_INTERVAL_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int trim_memory(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http *http = userdata;

	(void)source;
	(void)usec;
	malloc_trim(0);
	http->peak = http->n_connections;
	return 0;
}

static void count_connections(struct http *http, int change)
{
	http->n_connections += (unsigned)change;
	if (http->n_connections == 1 && change > 0) {
		sd_event_source_set_time_relative(http->hang_up_timer, HANG_UP_INTERVAL_US);
		sd_event_source_set_enabled(http->hang_up_timer, SD_EVENT_ONESHOT);
	}
	if (!trim_is_due(&http->peak, http->n_connections, STORM))
		return;
	sd_event_source_set_time_relative(http->trim_timer, TRIM_US);
	sd_event_source_set_enabled(http->trim_timer, SD_EVENT_ONESHOT);
}

static int add_timer(struct http *http, uint64_t accuracy_us, sd_event_time_handler_t handler,
	sd_event_source **ret)
{
	int r = sd_event_add_time(http->event, ret, CLOCK_MONOTONIC, 0, accuracy_us, handler, http);

	return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

int connection_timers_init(struct http *http)
{
	int r;

	for (int i = 0; i < N_WAITING; i++)
		TAILQ_INIT(&http->waiting[i]);
	http->deadline_armed_ms = INT64_MAX;
	r = add_timer(http, ACCURACY_US, deadlines_passed, &http->deadline_timer);
	if (r >= 0)
		r = add_timer(http, ACCURACY_US, trim_memory, &http->trim_timer);
	if (r >= 0)
		r = add_timer(http, ACCURACY_US, look_for_hang_ups, &http->hang_up_timer);
	return r;
}

int connection_fd(const struct connection *connection)
{
	return MHD_get_connection_info(connection->mhd, MHD_CONNECTION_INFO_CONNECTION_FD)
		->connect_fd;
}

static struct connection *connection_new(struct http *http, struct MHD_Connection *mhd)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (!connection) {
		/* Its first request will be dropped. */
		log_error("Out of memory: a new connection cannot be served.");
		return NULL;
	}
	connection->http = http;
	connection->mhd = mhd;
	connection->waiting = WAITING_NONE;
	connection_wait(connection, WAITING_REQUEST);
	return connection;
}

void connection_notify(void *userdata, struct MHD_Connection *mhd, void **socket_context,
	enum MHD_ConnectionNotificationCode what)
{
	struct http *http = userdata;
	struct connection *connection = *socket_context;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		count_connections(http, 1);
		*socket_context = connection_new(http, mhd);
		return;
	}
	count_connections(http, -1);
	if (connection) {
		connection_wait(connection, WAITING_NONE);
		free(connection);
	}
	*socket_context = NULL;
}
