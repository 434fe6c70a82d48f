/* SPDX-License-Identifier: BSD-3-Clause */
/* Readiness, status and watchdog, told to systemd. */
#include "base/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/notify-send.h"
#include "base/text.h"

/* How often the status is looked at, to be told if it has changed: while it may change without a
 * call of notify_changed(), and otherwise. */
#define STATUS_CHANGING_US (1 * US_PER_S)
#define STATUS_INTERVAL_US (5 * US_PER_S)

/* However little time the watchdog allows, there is some left for everything else. */
#define WATCHDOG_PAUSE_MIN_US (10 * US_PER_MS)

/* However fast the status changes, it is not told more often than this: systemd passes it on to
 * others. */
#define STATUS_PAUSE_US (1 * US_PER_S)

#define STATUS_ACCURACY_US (100 * US_PER_MS)

#define STATUS_SIZE 1000 /* and "STATUS=" are within what notify_send() takes */

struct notify {
	struct notify_operations operations;
	void *userdata;
	bool ready;               /* notify_ready() was called */
	bool ready_told;          /* ... and systemd has heard of it */
	char status[STATUS_SIZE]; /* as told last */
	uint64_t looked_us;       /* CLOCK_MONOTONIC: when it was last looked at */
	uint64_t watchdog_us;     /* 0: the unit has none */
	sd_event_source *status_timer;
	sd_event_source *watchdog_timer;
};

/* Tells the status if it has changed.  Returns when to look again, in microseconds from now. */
static uint64_t tell_status(struct notify *notify)
{
	char status[STATUS_SIZE];
	bool changing;

	changing = notify->operations.write_status(status, sizeof(status), notify->userdata);
	text_clean(status); /* a second line would be a command, such as WATCHDOG=trigger */
	notify->looked_us = (uint64_t)clock_monotonic_us();
	if (strcmp(status, notify->status) != 0) {
		if (notify_send("STATUS=%s", status) == -EAGAIN)
			return STATUS_CHANGING_US;
		memcpy(notify->status, status, sizeof(status));
	}
	return changing ? STATUS_CHANGING_US : STATUS_INTERVAL_US;
}

void notify_status(struct notify *notify)
{
	uint64_t next_us = tell_status(notify);

	if (notify->status_timer)
		(void)sd_event_source_set_time_relative(notify->status_timer, next_us);
}

void notify_changed(struct notify *notify)
{
	uint64_t due_us = notify->looked_us + STATUS_PAUSE_US, armed_us;

	if (notify->status_timer &&
		sd_event_source_get_time(notify->status_timer, &armed_us) >= 0 && armed_us > due_us)
		(void)sd_event_source_set_time(notify->status_timer, due_us);
}

/* If there is no room now, the timer tries again. */
static void tell_ready(struct notify *notify)
{
	notify->ready_told = notify_send("READY=1") != -EAGAIN;
}

static int on_status_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct notify *notify = userdata;
	uint64_t next_us;

	(void)usec;
	next_us = tell_status(notify);
	if (notify->ready && !notify->ready_told)
		tell_ready(notify);
	return sd_event_source_set_time_relative(source, next_us);
}

static uint64_t watchdog_pause_us(const struct notify *notify)
{
	return notify->watchdog_us / 2 > WATCHDOG_PAUSE_MIN_US ? notify->watchdog_us / 2
							       : WATCHDOG_PAUSE_MIN_US;
}

/* Twice in the time that the watchdog allows; a shard has half of it to answer. */
static int on_watchdog_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct notify *notify = userdata;

	(void)usec;
	if (notify->operations.is_alive(notify->userdata))
		(void)notify_send("WATCHDOG=1");
	return sd_event_source_set_time_relative(source, watchdog_pause_us(notify));
}

static const char *value_of(const char *variable)
{
	const char *value = getenv(variable);

	return value ? value : "";
}

static int add_timer(sd_event *event, uint64_t interval_us, uint64_t accuracy_us,
	sd_event_time_handler_t handler, struct notify *notify, sd_event_source **ret)
{
	int r;

	r = sd_event_add_time_relative(
		event, ret, CLOCK_MONOTONIC, interval_us, accuracy_us, handler, notify);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(*ret, SD_EVENT_ON);
}

/* Nonsense in these variables does not come from systemd, so systemd does not wait for us. */
static bool watchdog_is_on(uint64_t *ret_us)
{
	int r = sd_watchdog_enabled(0, ret_us);

	if (r < 0)
		log_warning("The variables WATCHDOG_USEC=%s and WATCHDOG_PID=%s are not understood "
			    "(%s); there is no watchdog. Set WatchdogSec= in the unit, which sets "
			    "them, and nowhere else.",
			value_of("WATCHDOG_USEC"), value_of("WATCHDOG_PID"), strerror(-r));
	return r > 0;
}

int notify_new(sd_event *event, const struct notify_operations *operations, void *userdata,
	struct notify **ret)
{
	_cleanup_(notify_freep) struct notify *notify = calloc(1, sizeof(*notify));
	int r;

	if (!notify)
		return -ENOMEM;
	notify->operations = *operations;
	notify->userdata = userdata;
	if (getenv("NOTIFY_SOCKET")) {
		r = add_timer(event, STATUS_INTERVAL_US, STATUS_ACCURACY_US, on_status_timer,
			notify, &notify->status_timer);
		if (r < 0)
			return r;
	}
	if (watchdog_is_on(&notify->watchdog_us)) {
		(void)operations->is_alive(userdata);
		r = add_timer(event, watchdog_pause_us(notify), 0, on_watchdog_timer, notify,
			&notify->watchdog_timer);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(notify);
	return 0;
}

struct notify *notify_free(struct notify *notify)
{
	if (!notify)
		return NULL;
	sd_event_source_disable_unref(notify->status_timer);
	sd_event_source_disable_unref(notify->watchdog_timer);
	free(notify);
	return NULL;
}

bool notify_has_watchdog(const struct notify *notify)
{
	return notify->watchdog_us > 0;
}

void notify_ready(struct notify *notify)
{
	if (notify->ready)
		return;
	notify->ready = true;
	notify_status(notify);
	tell_ready(notify);
}

void notify_reloading(struct notify *notify)
{
	struct timespec now;

	if (!notify->ready)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	(void)notify_send("RELOADING=1\nMONOTONIC_USEC=%" PRId64,
		now.tv_sec * US_PER_S + now.tv_nsec / NS_PER_US);
}

void notify_reloaded(struct notify *notify)
{
	if (!notify->ready)
		return;
	notify_status(notify);
	tell_ready(notify);
}

void notify_stopping(struct notify *notify)
{
	notify_status(notify);
	(void)notify_send("STOPPING=1");
}

void notify_extend(struct notify *notify, uint64_t usec)
{
	notify_status(notify);
	(void)notify_send("EXTEND_TIMEOUT_USEC=%" PRIu64, usec);
}
