/* SPDX-License-Identifier: BSD-3-Clause */
/* Another running process of this program, as proc(5) shows it: to check a configuration the way it
 * would read it. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct process {
	char **argv; /* NULL-terminated, as are its variables; all strings are pieces of the two
			texts */
	int argc;
	char **environment;
	char *argv_text, *environment_text;
	char *credentials; /* its variable CREDENTIALS_DIRECTORY, with a path by which we can reach
			      it */
};

/* Whether the process runs this program, or a former version of it.  Also true if that cannot be
 * told; then process_read() says why. */
bool process_is_alike(pid_t pid);

/* Reads the options and the environment of process `pid`, which the caller's user has to own.  0
 * and *ret; -errno: it is gone, or somebody else's. */
int process_read(pid_t pid, struct process **ret);
struct process *process_free(struct process *process); /* takes NULL; returns NULL */
DEFINE_CLEANUP(struct process *, process_free)
