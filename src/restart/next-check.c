/* SPDX-License-Identifier: BSD-3-Clause */
/* Has the next program itself check what it needs. */
#include "restart/next-check.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"

#define ANSWER_TIMEOUT_US (2 * US_PER_S)

struct next {
	next_on_answer *on_answer;
	void *userdata;
	bool answered;
	sd_event_source *child; /* owns the process */
	sd_event_source *timer;
};

/* Written by next_remember() only. */
static struct {
	char path[PATH_MAX]; /* "": not known */
	int argc;
	char **argv;
} program;

void next_remember(int argc, char *argv[])
{
	ssize_t length = readlink("/proc/self/exe", program.path, sizeof(program.path) - 1);

	program.path[length > 0 ? length : 0] = '\0';
	program.argc = argc;
	program.argv = argv;
}

static void answer(struct next *next, const char *problem)
{
	if (next->answered)
		return;
	next->answered = true;
	(void)sd_event_source_set_enabled(next->timer, SD_EVENT_OFF);
	next->on_answer(problem, next->userdata);
}

static int on_exit_of_child(sd_event_source *source, const siginfo_t *info, void *userdata)
{
	bool exited = info->si_code == CLD_EXITED;

	(void)source;
	if (exited && info->si_status == EXIT_SUCCESS)
		answer(userdata, NULL);
	else if (exited && info->si_status == EX_CONFIG)
		answer(userdata, "the next process would refuse its configuration");
	else
		answer(userdata, "the next process could not start");
	return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	answer(userdata, "the check of what the next process needs takes too long");
	return 0;
}

/* With no signal blocked or ignored, as systemd starts it. */
static int spawn(char *const argv[], char *const environment[], pid_t *ret)
{
	posix_spawnattr_t attributes;
	sigset_t none, pipe;
	int r;

	r = posix_spawnattr_init(&attributes);
	if (r != 0)
		return -r;
	sigemptyset(&none);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	r = posix_spawnattr_setsigmask(&attributes, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(&attributes, &pipe);
	if (r == 0)
		r = posix_spawnattr_setflags(
			&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (r == 0)
		r = posix_spawn(ret, program.path, NULL, &attributes, argv, environment);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

/* Our environment, and `variable`.  The strings are borrowed.  NULL: out of memory. */
static char **environment_with(char *variable)
{
	char **environment;
	size_t n = 0;

	while (environ[n])
		n++;
	environment = calloc(n + 2, sizeof(environment[0]));
	if (!environment)
		return NULL;
	environment[0] = variable;
	memcpy(environment + 1, environ, n * sizeof(environment[0]));
	return environment;
}

static int spawn_check(const char *addresses, pid_t *ret)
{
	static char option[] = "--check-config";
	_cleanup_(freep) char **argv = calloc((size_t)program.argc + 2, sizeof(argv[0]));
	_cleanup_(freep) char **environment = NULL;
	_cleanup_(freep) char *variable = NULL;

	if (asprintf(&variable, NEXT_VARIABLE "=%s", addresses ? addresses : NEXT_SYSTEMD) < 0) {
		variable = NULL;
		return -ENOMEM;
	}
	environment = environment_with(variable);
	if (!argv || !environment)
		return -ENOMEM;
	if (program.path[0] == '\0' || program.argc < 1)
		return -ENOENT;
	memcpy(argv, program.argv, (size_t)program.argc * sizeof(argv[0]));
	argv[program.argc] = option;
	return spawn(argv, environment, ret);
}

int next_check(sd_event *event, const char *addresses, next_on_answer *on_answer, void *userdata,
	struct next **ret)
{
	_cleanup_(next_freep) struct next *next = calloc(1, sizeof(*next));
	pid_t pid = 0;
	int r;

	if (!next)
		return -ENOMEM;
	next->on_answer = on_answer;
	next->userdata = userdata;
	r = spawn_check(addresses, &pid);
	if (r < 0)
		return r;
	r = sd_event_add_child(event, &next->child, pid, WEXITED, on_exit_of_child, next);
	if (r < 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return r;
	}
	r = sd_event_source_set_child_process_own(next->child, true);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(
		event, &next->timer, CLOCK_MONOTONIC, ANSWER_TIMEOUT_US, 1, on_timeout, next);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(next);
	return 0;
}

struct next *next_free(struct next *next)
{
	if (!next)
		return NULL;
	sd_event_source_disable_unref(next->timer);
	sd_event_source_disable_unref(next->child);
	free(next);
	return NULL;
}
