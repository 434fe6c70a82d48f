/* SPDX-License-Identifier: BSD-3-Clause */
/* Asks systemd, over the system bus, what it is doing with our own unit: whether a SIGTERM is the
 * first half of a restart.  Main thread. */
#pragma once

#include <stddef.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

struct stop_reason;

struct stop_reason_answer {
	const char *type;    /* of the unit's job: "restart", "stop", ...; "": it has none */
	size_t store_max;    /* the unit's FileDescriptorStoreMax= */
	const char *problem; /* static, for people: why all this is not known; NULL: it is */
};

/* Called once, from the event loop. */
typedef void stop_reason_on_answer(const struct stop_reason_answer *answer, void *userdata);

/* How long to ask, in ms: longer than a systemd with thousands of units takes to reload them, or
 * dbus to restart; but not so long that a stop about which nobody can be asked looks hung. */
#define STOP_REASON_TIMEOUT_MS 5000

/* Asks once a second, and logs that it is waiting if the first answer does not come at once.  The
 * answer comes within STOP_REASON_TIMEOUT_MS; it is a problem if systemd has not answered by then.
 * 0; -errno: systemd cannot be asked (-ENOENT: there is no system bus), and there will be no
 * answer. */
int stop_reason_ask(sd_event *event, stop_reason_on_answer *on_answer, void *userdata,
	struct stop_reason **ret);
struct stop_reason *stop_reason_free(
	struct stop_reason *reason); /* takes NULL; returns NULL; not from within on_answer() */
DEFINE_CLEANUP(struct stop_reason *, stop_reason_free)
