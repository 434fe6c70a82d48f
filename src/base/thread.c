/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads. */
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* How long to wait between two looks at a thread that is to end: it mostly ends at once. */
#define LOOK_MIN_US 50
#define LOOK_MAX_US 3200

static _Atomic unsigned n_left_behind;

/* Logs a failure once, and again only after a thread could be started: attempts to connect to NATS
 * go on for ever. */
static void tell_of_limit(const char *name, int error)
{
	static atomic_bool is_told;

	if (error == 0)
		atomic_store(&is_told, false);
	else if (!atomic_exchange(&is_told, true))
		log_error("Cannot start the thread %s: %s.%s", name, strerror(error),
			error == EAGAIN ? " The limit of processes or tasks is reached: raise "
					  "LimitNPROC= or TasksMax= of the unit (or `ulimit -u`)."
					: "");
}

int thread_start(pthread_t *ret, const char *name, void *(*run)(void *userdata), void *userdata)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	r = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (r != 0)
		return -r;
	r = pthread_create(ret, NULL, run, userdata);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		(void)pthread_setname_np(*ret, name);
	tell_of_limit(name, r);
	return -r;
}

void thread_leave_behind(pthread_t thread, const char *name)
{
	log_warning("The thread %s is in a call that does not return. It is left behind.", name);
	pthread_detach(thread);
	threads_note_left_behind();
}

void threads_note_left_behind(void)
{
	atomic_fetch_add(&n_left_behind, 1);
}

/* Looks again and again: pthread_timedjoin_np() goes by a clock that can be set, and the thread
 * sanitizer does not know pthread_clockjoin_np(). */
bool thread_end(pthread_t thread, const char *name)
{
	int64_t until_ms = clock_monotonic_ms() + THREAD_END_MS;
	useconds_t pause_us = LOOK_MIN_US;

	while (pthread_tryjoin_np(thread, NULL) == EBUSY) {
		if (clock_monotonic_ms() >= until_ms) {
			thread_leave_behind(thread, name);
			return false;
		}
		usleep(pause_us);
		if (pause_us < LOOK_MAX_US)
			pause_us *= 2;
	}
	return true;
}

unsigned threads_left_behind(void)
{
	return atomic_load(&n_left_behind);
}
