/* SPDX-License-Identifier: BSD-3-Clause */
/* Asks systemd, over the system bus, what it is doing with our own unit: whether a SIGTERM is the
 * first half of a restart.  Main thread. */
#pragma once

#include <stddef.h>
#include <systemd/sd-event.h>

#include "cleanup.h"

struct job;

struct job_answer {
	const char *type;    /* of the unit's job: "restart", "stop", ...; "": it has none */
	size_t store_max;    /* the unit's FileDescriptorStoreMax= */
	const char *problem; /* static, for people: why all this is not known; NULL: it is */
};

/* Called once, from the event loop. */
typedef void job_on_answer(const struct job_answer *answer, void *userdata);

/* Asks.  The answer comes within 200 ms, a problem if systemd has not answered by then.  0, or
 * -errno: it cannot be asked, and there will be no answer. */
int job_ask(sd_event *event, job_on_answer *on_answer, void *userdata, struct job **ret);
struct job *job_free(struct job *job); /* takes NULL; returns NULL; not from within on_answer() */
DEFINE_CLEANUP(struct job *, job_free)
