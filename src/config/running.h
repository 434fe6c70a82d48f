/* SPDX-License-Identifier: BSD-3-Clause */
/* What a process runs with, for others to read: `flagsse --print-config --process PID`.  The
 * process keeps it as text, as config_print() writes it, in a sealed file of memory among its
 * descriptors.  So whoever asks needs no answer of it, and sees what it runs with even if it hangs.
 * proc(5) lets only its user and root follow that; there is no secret in it all the same. */
#pragma once

#include <stdio.h>
#include <sys/types.h>

#include "config/config.h"

/* Shows this from now on, instead of what *fd shows (-1: nothing yet).  0, and *fd is the caller's
 * to close; -errno: nothing is shown any more, and *fd is -1.  Main thread. */
int running_show(const struct config *config, int *fd);

/* Writes what the process shows to `file`.  0; -ESRCH: no such process; -ENODATA: it shows nothing,
 * as it is another program, a former version, or has not begun to serve; else -errno, as it is
 * somebody else's, say. */
int running_print(pid_t pid, FILE *file);
