/* SPDX-License-Identifier: BSD-3-Clause */
/* The process that comes after us, after a restart: whether it could start.  Main thread. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

struct next;

/* To be called at the start: later the program may have been replaced, and its name be unknown.
 * The arguments must live on. */
void next_remember(int argc, char *argv[]);

/* Called once, from the event loop.  `problem`: why it would not; static, for people; NULL: it
 * would. */
typedef void next_on_answer(const char *problem, void *userdata);

/* The variable by which that program is told to look beyond its configuration (see preflight.h):
 * it has our own addresses, which will be free by then. */
#define NEXT_VARIABLE "FLAGSSE_CHECK_NEXT"
#define NEXT_SYSTEMD  "systemd" /* instead of addresses: the sockets are systemd's */

/* Runs the program that is installed now with our arguments, our environment and --check-config;
 * what it has to complain of it logs itself.  `addresses`: those that we listen on ourselves, with
 * commas between; NULL: the sockets are systemd's.  The answer comes within 2 s.  0, or -errno: it
 * cannot be run, and there will be no answer. */
int next_check(sd_event *event, const char *addresses, next_on_answer *on_answer, void *userdata,
	struct next **ret);
struct next *next_free(struct next *next); /* takes NULL; returns NULL; not from on_answer() */
DEFINE_CLEANUP(struct next *, next_free)
