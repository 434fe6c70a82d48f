/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes in a file of memory, which nobody can change any more (memfd_create(2)). */
#pragma once

#include <fcntl.h>
#include <stddef.h>

/* Neither content nor size change. */
#define MEMFD_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* `name` shows in /proc/PID/fd, as "/memfd:NAME (deleted)".  0 and a descriptor, close-on-exec and
 * at its beginning or its end, whichever; or -errno. */
int memfd_make(const char *name, const void *data, size_t size, int *ret);
