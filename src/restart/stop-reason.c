/* SPDX-License-Identifier: BSD-3-Clause */
/* Asks systemd by sd-bus for our unit's job: again and again, as systemd may be busy
 * (daemon-reload), or systemd or the bus may start anew (daemon-reexec) and forget the question. */
#include "restart/stop-reason.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "base/clock.h"
#include "base/log.h"

#define TRY_INTERVAL_US US_PER_S
#define TRIES           ((size_t)(STOP_REASON_TIMEOUT_MS * US_PER_MS / TRY_INTERVAL_US))

/* systemd knows by the sender of a call which unit it is.  We do not: sd_pid_get_unit(3) reads a
 * file of process 1, which ProtectProc=invisible hides. */
#define OWN_UNIT "/org/freedesktop/systemd1/unit/self"

#define SYSTEMD           "org.freedesktop.systemd1"
#define UNIT_INTERFACE    SYSTEMD ".Unit"
#define SERVICE_INTERFACE SYSTEMD ".Service"
#define JOB_INTERFACE     SYSTEMD ".Job"

/* One try, by a connection of its own.  It stays, though others follow: the first answer counts. */
struct
try {
	struct stop_reason *reason;
	bool failed;      /* nothing comes of it any more */
	size_t store_max; /* asked first, so that it is there when the rest is */
	sd_bus *bus;
	sd_bus_slot *store_slot;
	sd_bus_slot *job_slot;
	sd_bus_slot *type_slot;
};

struct stop_reason {
	sd_event *event;
	stop_reason_on_answer *on_answer;
	void *userdata;
	bool answered;
	const char *problem; /* of the last try that has failed; NULL: none has */
	struct try tries[TRIES];
	size_t n_tries;
	sd_event_source *timer;
};

static void answer(struct stop_reason *reason, const struct stop_reason_answer *answer)
{
	if (reason->answered)
		return;
	reason->answered = true;
	(void)sd_event_source_set_enabled(reason->timer, SD_EVENT_OFF);
	reason->on_answer(answer, reason->userdata);
}

/* Another one may do better. */
static void fail(struct try *try, const char *problem)
{
	try->failed = true;
	try->reason->problem = problem;
}

/* Whether it is an answer as expected; else the try has failed.  (A connection that ends counts as
 * an error to all that was asked by it.) */
static bool check_reply(struct try *try, sd_bus_message *reply)
{
	const sd_bus_error *error = sd_bus_message_get_error(reply);

	if (error && !try->failed)
		log_debug("systemd answers: %s", error->message ? error->message : error->name);
	if (error)
		fail(try, "systemd answers with an error");
	return !try->failed;
}

static int get_property(struct try *try, sd_bus_slot **ret_slot, const char *path,
	const char *interface, const char *name, sd_bus_message_handler_t handler)
{
	return sd_bus_call_method_async(try->bus, ret_slot, SYSTEMD, path,
		"org.freedesktop.DBus.Properties", "Get", handler, try, "ss", interface, name);
}

static int on_store_max(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct try *try = userdata;
	uint32_t store_max;

	(void)ret_error;
	if (!check_reply(try, reply))
		return 0;
	if (sd_bus_message_read(reply, "v", "u", &store_max) < 0)
		fail(try, "systemd's answer is not understood");
	else
		try->store_max = store_max;
	return 0;
}

static int on_type(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct try *try = userdata;
	const char *type;

	(void)ret_error;
	if (!check_reply(try, reply))
		return 0;
	if (sd_bus_message_read(reply, "v", "s", &type) < 0)
		fail(try, "systemd's answer is not understood");
	else
		answer(try->reason,
			&(struct stop_reason_answer){.type = type, .store_max = try->store_max});
	return 0;
}

static int on_job(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct try *try = userdata;
	const char *path;
	uint32_t id;

	(void)ret_error;
	if (!check_reply(try, reply))
		return 0;
	if (sd_bus_message_read(reply, "v", "(uo)", &id, &path) < 0)
		fail(try, "systemd's answer is not understood");
	else if (id == 0)
		answer(try->reason,
			&(struct stop_reason_answer){.type = "", .store_max = try->store_max});
	else if (get_property(try, &try->type_slot, path, JOB_INTERFACE, "JobType", on_type) < 0)
		fail(try, "systemd cannot be asked");
	return 0;
}

/* 0 or -errno: there is nobody to be asked, now. */
static int begin_try(struct try *try, struct stop_reason *reason)
{
	int r;

	try->reason = reason;
	r = sd_bus_open_system(&try->bus);
	if (r < 0)
		return r;
	r = sd_bus_attach_event(try->bus, reason->event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0)
		return r;
	r = get_property(try, &try->store_slot, OWN_UNIT, SERVICE_INTERFACE,
		"FileDescriptorStoreMax", on_store_max);
	if (r < 0)
		return r;
	return get_property(try, &try->job_slot, OWN_UNIT, UNIT_INTERFACE, "Job", on_job);
}

static int try_again(struct stop_reason *reason)
{
	struct try *try = &reason->tries[reason->n_tries++];
	int r = begin_try(try, reason);

	if (r < 0)
		fail(try, "systemd cannot be asked");
	return r;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct stop_reason *reason = userdata;
	int r;

	(void)usec;
	if (reason->n_tries == TRIES) {
		answer(reason, &(struct stop_reason_answer){
				       .type = "",
				       .problem = reason->problem ? reason->problem
								  : "systemd does not answer",
			       });
		return 0;
	}
	if (reason->n_tries == 1)
		log_notice("systemd does not say yet why it stops this service. It is asked again, "
			   "for some seconds.");
	(void)try_again(reason); /* if it fails: there is the next one */
	r = sd_event_source_set_time_relative(source, TRY_INTERVAL_US);
	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int stop_reason_ask(
	sd_event *event, stop_reason_on_answer *on_answer, void *userdata, struct stop_reason **ret)
{
	_cleanup_(stop_reason_freep) struct stop_reason *reason = calloc(1, sizeof(*reason));
	int r;

	if (!reason)
		return -ENOMEM;
	reason->event = event;
	reason->on_answer = on_answer;
	reason->userdata = userdata;
	r = sd_event_add_time_relative(
		event, &reason->timer, CLOCK_MONOTONIC, TRY_INTERVAL_US, 1, on_timer, reason);
	if (r < 0)
		return r;
	/* Where there is not even its socket, or systemd does not listen on it any more, as at a
	 * shutdown, there is no bus. */
	r = try_again(reason);
	if (r == -ENOENT || r == -ECONNREFUSED)
		return r;
	*ret = TAKE_PTR(reason);
	return 0;
}

static void end_try(struct try *try)
{
	sd_bus_slot_unref(try->store_slot);
	sd_bus_slot_unref(try->job_slot);
	sd_bus_slot_unref(try->type_slot);
	sd_bus_close_unref(try->bus);
}

struct stop_reason *stop_reason_free(struct stop_reason *reason)
{
	if (!reason)
		return NULL;
	sd_event_source_disable_unref(reason->timer);
	for (size_t i = 0; i < reason->n_tries; i++)
		end_try(&reason->tries[i]);
	free(reason);
	return NULL;
}
