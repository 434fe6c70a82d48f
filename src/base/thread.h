/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads, as all modules start and end them. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

/* No thread is waited for longer than this when it has to end. */
#define THREAD_END_MS 2000

/* Starts a thread called `name` (15 characters at most) with all signals blocked, as they are the
 * main thread's; so are those of threads that it starts.  0 or -errno. */
int thread_start(pthread_t *ret, const char *name, void *(*run)(void *userdata), void *userdata);

/* Waits for a thread that has been told to end, THREAD_END_MS at most.  False: it is in a call that
 * does not return, a disk's or a library's, and is left behind (and logged, as `name`).  All that
 * it can reach must stay as it is from then on: it is not freed, and that is no leak to be mended.
 */
bool thread_end(pthread_t thread, const char *name);

/* A thread is left behind that has not been told to end, or is not waited for. */
void thread_leave_behind(pthread_t thread, const char *name);

/* Likewise a thread of a library, that has no name here. */
void threads_note_left_behind(void);

/* How many have been left behind since the start.  While there are any the process must not run the
 * destructors of libraries, as exit() does: it ends by _exit(). */
unsigned threads_left_behind(void);
