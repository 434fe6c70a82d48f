/* SPDX-License-Identifier: BSD-3-Clause */
/* What a process runs with, for others to read: `flagsse --print-config --process PID`.  The
 * process keeps it as text, as config_print() writes it, in a sealed file of memory among its
 * descriptors.  So nobody who asks has to wait for an answer of the process, which may hang.
 * proc(5) lets only its user and root read the file; secrets are masked all the same. */
#pragma once

#include <stdio.h>
#include <sys/types.h>

#include "config/config.h"

/* Shows this configuration from now on, instead of the one in *fd (-1: none yet).  0, and *fd is
 * the caller's to close; -errno: none is shown any more, and *fd is -1.  Main thread. */
int running_show(const struct config *config, int *fd);

/* Writes what the process shows to `file`.  0; -ESRCH: no such process; -ENODATA: it shows nothing,
 * because it is another program, or a former version, or has not begun to serve; another -errno: it
 * is somebody else's, say. */
int running_print(pid_t pid, FILE *file);
