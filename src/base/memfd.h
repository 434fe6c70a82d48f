/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes in a file in memory, which nobody can change once it is made (memfd_create(2)). */
#pragma once

#include <fcntl.h>
#include <stddef.h>

/* Neither content nor size change. */
#define MEMFD_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* `name` shows in /proc/PID/fd, as "/memfd:NAME (deleted)".  0 and a descriptor that is
 * close-on-exec, whose offset may be the beginning or the end; or -errno. */
int memfd_make(const char *name, const void *data, size_t size, int *ret);
