/* SPDX-License-Identifier: BSD-3-Clause */
/* What systemd is told and asks for: readiness, status, watchdog (sd_notify(3)).  Without systemd
 * nothing here does anything.  Nobody waits for a systemd that reads nothing; status and readiness,
 * which it has to know, are sent again later.  Main thread. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

struct notify;

struct notify_operations {
	/* Writes the line that `systemctl status` shows; it is cleaned (text.h) before it is sent.
	 * True: the line may change without a call of notify_changed(), and is asked for once a
	 * second. */
	bool (*write_status)(char *text, size_t size, void *userdata);

	/* Whether all threads have answered since the last call; asks them anew. */
	bool (*is_alive)(void *userdata);
};

/* Keeps the status up to date and, if the unit has WatchdogSec=, feeds the watchdog while
 * is_alive() says so. 0 or -errno. */
int notify_new(sd_event *event, const struct notify_operations *operations, void *userdata,
	struct notify **ret);
struct notify *notify_free(struct notify *notify); /* takes NULL; returns NULL */
DEFINE_CLEANUP(struct notify *, notify_free)

/* Whether systemd replaces the process if the watchdog is not fed. */
bool notify_has_watchdog(const struct notify *notify);

/* The status has changed: tells it at once. */
void notify_status(struct notify *notify);

/* The same for what changes very often, such as the number of streams: tells it soon, at most once
 * a second. */
void notify_changed(struct notify *notify);

/* READY=1; only the first call counts. */
void notify_ready(struct notify *notify);

/* RELOADING=1, and READY=1 when the reload is over.  Before notify_ready() they do nothing. */
void notify_reloading(struct notify *notify);
void notify_reloaded(struct notify *notify);

/* STOPPING=1. */
void notify_stopping(struct notify *notify);

/* The end may take `usec` from now, so systemd is to wait for so long.  Tells the status, too. */
void notify_extend(struct notify *notify, uint64_t usec);
