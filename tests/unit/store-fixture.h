/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the store and of its users, the local bus and the outbox, share: the inbox that
 * events come to, and directories. */
#pragma once

#include "bus/bus.h"

#define BURST 3000 /* more than one transaction takes */

/* Likewise, but so few that a thread in valgrind has done all within THREAD_END_MS. */
#define END_BURST 1200

#define TIMEOUT_MS 30000

extern struct mailbox inbox;

void inbox_set_up(void);

/* Once nobody posts to it any more.  Drops what has not been looked at. */
void inbox_tear_down(void);

/* The next event, which the caller frees; NULL: none has come within the time. */
struct bus_event *try_next(int timeout_ms);

/* The next event, which has to be of this type. */
struct bus_event next(enum bus_event_type type);

/* Removes the directory, with the files in it. */
void remove_directory(const char *path);
