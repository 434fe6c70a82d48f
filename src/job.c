/* SPDX-License-Identifier: BSD-3-Clause */
/* Our unit's job, asked from systemd by sd-bus. */
#include "job.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "clock.h"
#include "log.h"

#define ANSWER_TIMEOUT_US (200 * US_PER_MS)

/* systemd knows by the sender of a call which unit it is.  We do not: sd_pid_get_unit(3) reads a
 * file of process 1, which ProtectProc=invisible hides. */
#define OWN_UNIT "/org/freedesktop/systemd1/unit/self"

#define SYSTEMD           "org.freedesktop.systemd1"
#define UNIT_INTERFACE    SYSTEMD ".Unit"
#define SERVICE_INTERFACE SYSTEMD ".Service"
#define JOB_INTERFACE     SYSTEMD ".Job"

struct job {
	job_on_answer *on_answer;
	void *userdata;
	bool answered;
	size_t store_max; /* asked first, so that it is there when the rest is */
	sd_bus *bus;
	sd_bus_slot *store_slot;
	sd_bus_slot *job_slot;
	sd_bus_slot *type_slot;
	sd_event_source *timer;
};

static void answer(struct job *job, const char *type, const char *problem)
{
	struct job_answer answer = {
		.type = type,
		.store_max = job->store_max,
		.problem = problem,
	};

	if (job->answered)
		return;
	job->answered = true;
	(void)sd_event_source_set_enabled(job->timer, SD_EVENT_OFF);
	job->on_answer(&answer, job->userdata);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	answer(userdata, "", "systemd does not answer");
	return 0;
}

/* Whether it is an answer as expected; else tells the problem. */
static bool check_reply(struct job *job, sd_bus_message *reply)
{
	const sd_bus_error *error = sd_bus_message_get_error(reply);

	if (!error)
		return true;
	log_debug("systemd answers: %s", error->message ? error->message : error->name);
	answer(job, "", "systemd answers with an error");
	return false;
}

static int get_property(struct job *job, sd_bus_slot **ret_slot, const char *path,
	const char *interface, const char *name, sd_bus_message_handler_t handler)
{
	return sd_bus_call_method_async(job->bus, ret_slot, SYSTEMD, path,
		"org.freedesktop.DBus.Properties", "Get", handler, job, "ss", interface, name);
}

static int on_store_max(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct job *job = userdata;
	uint32_t store_max;

	(void)ret_error;
	if (!check_reply(job, reply))
		return 0;
	if (sd_bus_message_read(reply, "v", "u", &store_max) < 0)
		answer(job, "", "systemd's answer is not understood");
	else
		job->store_max = store_max;
	return 0;
}

static int on_type(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct job *job = userdata;
	const char *type;

	(void)ret_error;
	if (!check_reply(job, reply))
		return 0;
	if (sd_bus_message_read(reply, "v", "s", &type) < 0)
		answer(job, "", "systemd's answer is not understood");
	else
		answer(job, type, NULL);
	return 0;
}

static int on_job(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct job *job = userdata;
	const char *path;
	uint32_t id;

	(void)ret_error;
	if (!check_reply(job, reply))
		return 0;
	if (sd_bus_message_read(reply, "v", "(uo)", &id, &path) < 0)
		answer(job, "", "systemd's answer is not understood");
	else if (id == 0)
		answer(job, "", NULL);
	else if (get_property(job, &job->type_slot, path, JOB_INTERFACE, "JobType", on_type) < 0)
		answer(job, "", "systemd cannot be asked");
	return 0;
}

static int ask(struct job *job, sd_event *event)
{
	int r;

	r = sd_bus_open_system(&job->bus);
	if (r < 0)
		return r;
	r = sd_bus_attach_event(job->bus, event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0)
		return r;
	r = get_property(job, &job->store_slot, OWN_UNIT, SERVICE_INTERFACE,
		"FileDescriptorStoreMax", on_store_max);
	if (r < 0)
		return r;
	r = get_property(job, &job->job_slot, OWN_UNIT, UNIT_INTERFACE, "Job", on_job);
	if (r < 0)
		return r;
	return sd_event_add_time_relative(
		event, &job->timer, CLOCK_MONOTONIC, ANSWER_TIMEOUT_US, 1, on_timeout, job);
}

int job_ask(sd_event *event, job_on_answer *on_answer, void *userdata, struct job **ret)
{
	_cleanup_(job_freep) struct job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return -ENOMEM;
	job->on_answer = on_answer;
	job->userdata = userdata;
	r = ask(job, event);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(job);
	return 0;
}

struct job *job_free(struct job *job)
{
	if (!job)
		return NULL;
	sd_event_source_disable_unref(job->timer);
	sd_bus_slot_unref(job->store_slot);
	sd_bus_slot_unref(job->job_slot);
	sd_bus_slot_unref(job->type_slot);
	sd_bus_close_unref(job->bus);
	free(job);
	return NULL;
}
