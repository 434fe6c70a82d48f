/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks whether the next process could start, before a restart.  Main thread. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

struct next;

/* Call it at the start: later the program may have been replaced, and then its name is unknown.
 * The arguments must stay valid. */
void next_remember(int argc, char *argv[]);

/* Called once, from the event loop.  `problem` says why the next process could not start; static,
 * for people; NULL: it could. */
typedef void next_on_answer(const char *problem, void *userdata);

/* The variable that makes the next program check more than its configuration (see preflight.h).
 * Its value is our own addresses, which will be free when it starts. */
#define NEXT_VARIABLE "FLAGSSE_CHECK_NEXT"
#define NEXT_SYSTEMD  "systemd" /* instead of addresses: the sockets are systemd's */

/* Runs the program that is installed now with our arguments, our environment and --check-config.
 * That program logs what it finds wrong.  `addresses`: those that we listen on ourselves, separated
 * by commas; NULL: the sockets are systemd's.  The answer comes within 2 s.  0; -errno: the program
 * cannot be run, and there will be no answer. */
int next_check(sd_event *event, const char *addresses, next_on_answer *on_answer, void *userdata,
	struct next **ret);
struct next *next_free(struct next *next); /* takes NULL; returns NULL; not from on_answer() */
DEFINE_CLEANUP(struct next *, next_free)
