/* SPDX-License-Identifier: BSD-3-Clause */
/* Asks systemd, over the system bus, what it is doing with our own unit: whether a SIGTERM is the
 * first half of a restart.  Main thread. */
#pragma once

#include <stddef.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

struct job;

struct job_answer {
	const char *type;    /* of the unit's job: "restart", "stop", ...; "": it has none */
	size_t store_max;    /* the unit's FileDescriptorStoreMax= */
	const char *problem; /* static, for people: why all this is not known; NULL: it is */
};

/* Called once, from the event loop. */
typedef void job_on_answer(const struct job_answer *answer, void *userdata);

/* How long it is asked, in ms: longer than a systemd with thousands of units takes to read them all
 * anew, or dbus to begin anew; and not so long that a stop that nobody can be asked about looks
 * hung. */
#define JOB_TIMEOUT_MS 5000

/* Asks, once in a second; that it is not answered at once goes into the log.  The answer comes
 * within JOB_TIMEOUT_MS, a problem if systemd has not answered by then.  0, or -errno: it cannot be
 * asked (at -ENOENT there is no system bus), and there will be no answer. */
int job_ask(sd_event *event, job_on_answer *on_answer, void *userdata, struct job **ret);
struct job *job_free(struct job *job); /* takes NULL; returns NULL; not from within on_answer() */
DEFINE_CLEANUP(struct job *, job_free)
