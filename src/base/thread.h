/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads, as all modules start and end them. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

/* No thread is waited for longer than this when it has to end. */
#define THREAD_END_MS 2000

/* Starts a thread called `name` (15 characters at most).  All signals are blocked in it, and in the
 * threads that it starts: they are for the main thread.  0 or -errno. */
int thread_start(pthread_t *ret, const char *name, void *(*run)(void *userdata), void *userdata);

/* Waits for a thread that has been told to end, THREAD_END_MS at most.  False: the thread is in a
 * call that does not return, of a disk or a library.  It is left behind, and logged as `name`.
 * From then on everything that it can reach has to stay as it is, and is never freed: a leak on
 * purpose. */
bool thread_end(pthread_t thread, const char *name);

/* Leaves a thread behind without waiting for it, and logs that. */
void thread_leave_behind(pthread_t thread, const char *name);

/* Counts a thread of a library that is left behind; it has no name here. */
void threads_note_left_behind(void);

/* How many have been left behind since the start.  While there are any the process must not run the
 * destructors of libraries, as exit() does: it ends by _exit(). */
unsigned threads_left_behind(void);
