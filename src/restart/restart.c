/* SPDX-License-Identifier: BSD-3-Clause */
/* The sequence of the end, from the signal on. */
#include "restart/restart.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "restart/restart-internal.h"

/* How often to look how far the end has come. */
#define INTERVAL_US (20 * US_PER_MS)

/* How often systemd is told that the end takes longer, and by how much. */
#define EXTEND_INTERVAL_MS 1000
#define EXTEND_US          (15 * US_PER_S)

/* How long to wait: for requests that are not whole yet; for all after a second signal. */
#define REQUESTS_TIMEOUT_MS 2000
#define HURRIED_TIMEOUT_MS  2000

void restart_set_phase(struct restart *restart, enum restart_phase phase, int64_t for_ms)
{
	restart->phase = phase;
	restart->begun_ms = clock_monotonic_ms();
	restart->until_ms = restart->begun_ms + for_ms;
}

/* A fault shows in the exit status, too, so that a supervisor that restarts only after a failure
 * does so. */
static void finish(struct restart *restart)
{
	(void)sd_event_exit(
		restart->parts.event, restart->own_accord ? EXIT_FAILURE : EXIT_SUCCESS);
}

void restart_stop_accepting(struct restart *restart)
{
	/* Those that wait to be accepted are systemd's, for the next process, if the sockets are.
	 */
	if (restart->parts.addresses)
		http_accept_rest(restart->parts.http);
	http_stop_accepting(restart->parts.http);
}

/* ---- Hand-over, or not ---- */

static void drain_instead(struct restart *restart, const char *why)
{
	log_notice("The streams are not handed over: %s.", why);
	drain_begin(restart);
}

static void on_next_answer(const char *problem, void *userdata)
{
	struct restart *restart = userdata;

	if (restart->phase != RESTART_CHECKING)
		return;
	if (problem) {
		drain_instead(restart, problem);
		return;
	}
	restart_stop_accepting(restart);
	restart_set_phase(restart, RESTART_ANSWERING, REQUESTS_TIMEOUT_MS);
}

static void check_next(struct restart *restart)
{
	int r;

	restart_set_phase(restart, RESTART_CHECKING, INT32_MAX);
	notify_status(restart->parts.notify);
	r = next_check(restart->parts.event, restart->parts.addresses, on_next_answer, restart,
		&restart->next);
	if (r < 0)
		drain_instead(restart,
			"the program of the next process cannot be run to check what it needs");
}

/* Whether a next process comes.  Without a job, systemd starts it as this one has failed. */
static bool is_restart(const struct restart *restart, const char *job)
{
	return strcmp(job, "restart") == 0 || strcmp(job, "try-restart") == 0 ||
	       (restart->own_accord && strcmp(job, "") == 0);
}

static void on_stop_reason(const struct stop_reason_answer *answer, void *userdata)
{
	struct restart *restart = userdata;

	if (restart->phase != RESTART_ASKING)
		return;
	if (answer->problem) {
		drain_instead(restart, answer->problem);
	} else if (!is_restart(restart, answer->type)) {
		drain_begin(restart);
	} else if (answer->store_max == 0) {
		drain_instead(restart, "FileDescriptorStoreMax= of the unit is 0");
	} else {
		restart->store_max = answer->store_max;
		check_next(restart);
	}
}

static void ask_systemd(struct restart *restart)
{
	int r;

	restart_set_phase(restart, RESTART_ASKING, INT32_MAX);
	r = stop_reason_ask(restart->parts.event, on_stop_reason, restart, &restart->reason);
	if (r < 0) {
		log_debug("Asking systemd fails: %s", strerror(-r));
		drain_instead(restart,
			"systemd cannot be asked for the reason of the end; is there a "
			"system bus (dbus)?");
	}
}

static void on_requests_answered(struct restart *restart)
{
	if (hand_over(restart) >= 0)
		finish(restart);
	else
		drain_streams(restart);
}

/* ---- The sequence ---- */

static bool are_requests_answered(const struct restart *restart)
{
	return http_connections(restart->parts.http) == 0 &&
	       restart->operations->has_answered(restart->userdata);
}

static bool is_all_over(const struct restart *restart, int64_t now_ms)
{
	bool answered =
		are_requests_answered(restart) || now_ms - restart->begun_ms >= REQUESTS_TIMEOUT_MS;

	return hub_streams(restart->parts.hub) == 0 && answered;
}

static void go_on_last(struct restart *restart, int64_t now_ms, bool late)
{
	size_t n = hub_streams(restart->parts.hub);

	if (late && n > 0)
		log_warning("Not ended in time, and cut off: %zu stream%s.", n, text_s(n));
	if (late || is_all_over(restart, now_ms))
		finish(restart);
}

void restart_go_on(struct restart *restart, int64_t now_ms)
{
	bool late = now_ms >= restart->until_ms;

	switch (restart->phase) {
	case RESTART_ANSWERING:
		if (late || are_requests_answered(restart))
			on_requests_answered(restart);
		break;
	case RESTART_DELAYING:
		if (late)
			drain_streams(restart);
		break;
	case RESTART_DRAINING:
		if (late)
			drain_last(restart, DRAIN_LAST_MS);
		break;
	case RESTART_LAST:
		go_on_last(restart, now_ms, late);
		break;
	case RESTART_NOT:
	case RESTART_ASKING:
	case RESTART_CHECKING:
		break; /* an answer comes */
	}
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct restart *restart = userdata;
	int64_t now_ms = clock_monotonic_ms();

	(void)usec;
	if (now_ms >= restart->extend_ms) {
		notify_extend(restart->parts.notify, EXTEND_US);
		restart->extend_ms = now_ms + EXTEND_INTERVAL_MS;
	}
	restart_go_on(restart, now_ms);
	return sd_event_source_set_time_relative(source, INTERVAL_US);
}

/* A second signal: no more asking or waiting. */
static void hurry(struct restart *restart)
{
	if (restart->hurried)
		return;
	restart->hurried = true;
	drain_last(restart, HURRIED_TIMEOUT_MS);
}

static void begin(struct restart *restart)
{
	restart->signal_ms = restart->extend_ms = clock_monotonic_ms();
	restart->operations->stop(restart->userdata);
	notify_stopping(restart->parts.notify);
	(void)sd_event_source_set_enabled(restart->timer, SD_EVENT_ON);
}

void restart_on_signal(struct restart *restart, int number)
{
	size_t n = hub_streams(restart->parts.hub);

	if (restart->own_accord && !restart->signalled) {
		restart->signalled = true;
		return; /* it does already what is asked */
	}
	if (restart_has_begun(restart)) {
		log_notice("%s again: all streams are ended at once.", strsignal(number));
		hurry(restart);
		return;
	}
	log_notice("%s: stopping, with %zu stream%s.", strsignal(number), n, text_s(n));
	begin(restart);
	/* Only a service of systemd can have a next process that takes the streams up. */
	if (number == SIGTERM && getenv("NOTIFY_SOCKET"))
		ask_systemd(restart);
	else
		drain_begin(restart);
}

void restart_on_hang(struct restart *restart)
{
	size_t n = hub_streams(restart->parts.hub);

	log_notice("Stopping, with %zu stream%s, before the watchdog kills this process.", n,
		text_s(n));
	restart->own_accord = true;
	begin(restart);
	ask_systemd(restart);
}

bool restart_has_begun(const struct restart *restart)
{
	return restart->signal_ms > 0;
}

bool restart_hands_over(const struct restart *restart)
{
	return restart->phase == RESTART_CHECKING || restart->phase == RESTART_ANSWERING;
}

/* ---- Its beginning and its end ---- */

void restart_configure(struct restart *restart, int64_t drain_delay_ms, int64_t drain_time_ms)
{
	restart->drain_delay_ms = drain_delay_ms;
	restart->drain_time_ms = drain_time_ms;
}

int restart_new(const struct restart_parts *parts, const struct restart_operations *operations,
	void *userdata, struct restart **ret)
{
	_cleanup_(restart_freep) struct restart *restart = calloc(1, sizeof(*restart));
	int r;

	if (!restart)
		return -ENOMEM;
	restart->parts = *parts;
	restart->operations = operations;
	restart->userdata = userdata;
	r = sd_event_add_time_relative(
		parts->event, &restart->timer, CLOCK_MONOTONIC, 0, US_PER_MS, on_timer, restart);
	if (r >= 0)
		r = sd_event_source_set_enabled(restart->timer, SD_EVENT_OFF);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(restart);
	return 0;
}

struct restart *restart_free(struct restart *restart)
{
	if (!restart)
		return NULL;
	stop_reason_free(restart->reason);
	next_free(restart->next);
	sd_event_source_disable_unref(restart->timer);
	free(restart);
	return NULL;
}
