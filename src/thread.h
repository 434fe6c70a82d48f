/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads, as all modules start them. */
#pragma once

#include <pthread.h>

/* Starts a thread called `name` (15 characters at most) with all signals blocked, as they are the
 * main thread's; so are those of threads that it starts.  0 or -errno. */
int thread_start(pthread_t *ret, const char *name, void *(*run)(void *userdata), void *userdata);
