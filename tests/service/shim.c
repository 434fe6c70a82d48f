/* SPDX-License-Identifier: BSD-3-Clause */
/* Preloaded into the daemon by tests: lets go wrong what does not do so on demand.  The test and
 * the daemon share the file $FLAGSSE_SHIM, which holds a struct shim; see shim.py. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

struct json_object;
struct json_tokener;
struct MHD_Daemon;

/* As in nats.h: */
typedef struct __natsConnection natsConnection;
typedef struct __jsCtx jsCtx;
typedef struct jsStreamInfo jsStreamInfo;
typedef struct jsOptions jsOptions;
typedef int natsStatus, jsErrCode; /* enumerations */

struct shim {
	_Atomic int64_t clock_offset_s; /* added to CLOCK_REALTIME */
	_Atomic int64_t disk_stalls;    /* while not 0, syncing a file does not return */
	_Atomic int64_t fail_at;        /* the so manieth allocation of the main thread from now on
					   fails, once; 0: none */
	_Atomic int64_t failures;       /* counts them */
	_Atomic int64_t nats_leaks;     /* while not 0, nats.c never frees a connection */
	_Atomic int64_t mhd_restless;   /* while not 0, libmicrohttpd wants to run again at once */
	_Atomic int64_t nats_hang;      /* 1: the next request for the stream does not return, and
					   makes it 2; nor does it as long as that is 2 */
	_Atomic int64_t shard_hang; /* 1: the first shard waits for nothing the next time, and makes
				       it 2; and likewise */
	_Atomic int64_t renames_stall; /* while not 0, renaming a file does not return */
	_Atomic int64_t sync_fails_at; /* the so manieth sync of a file from now on fails, once; 0:
					  none */
	_Atomic int64_t
		no_thread_at; /* the so manieth thread from now on is not started; 0: none */
	_Atomic int64_t nats_fail_at; /* as fail_at, of the NATS bus's thread, and from its next
					 request to make a consumer on, which sets this to 0 */
};

static struct shim nothing;
static struct shim *shim = &nothing;
static pid_t main_thread;
static _Thread_local _Atomic int64_t nats_fails_at; /* nats_fail_at, once it counts */

__attribute__((constructor)) static void map(void)
{
	const char *path = getenv("FLAGSSE_SHIM");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *memory;

	if (fd < 0)
		abort();
	memory = mmap(NULL, sizeof(*shim), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory == MAP_FAILED)
		abort();
	shim = memory;
	main_thread = getpid();
}

/* Whether what `at` counts down to is due: once.  The test may disarm it at any moment, and what it
 * writes must not be counted down from: below 0 everything would fail from then on. */
static bool is_due(_Atomic int64_t *at)
{
	int64_t left = *at;

	while (left > 0)
		if (atomic_compare_exchange_weak(at, &left, left - 1))
			return left == 1;
	return false;
}

static void *next(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		abort();
	return function;
}

/* ---- The clock ---- */

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	static int (*real)(clockid_t, struct timespec *);
	int r;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))next("clock_gettime");
	r = real(clock, ret);
	if (r == 0 && clock == CLOCK_REALTIME)
		ret->tv_sec += shim->clock_offset_s;
	return r;
}

/* nats.c waits by that clock, too, and some of its waits begin anew with their whole time if they
 * return early.  So they must not, but for when the clock has been set: whoever waits then is
 * woken. */
struct waiter {
	pthread_cond_t *condition;
	LIST_ENTRY(waiter) link;
};

static LIST_HEAD(, waiter) waiters = LIST_HEAD_INITIALIZER(waiters);
static pthread_mutex_t waiters_mutex = PTHREAD_MUTEX_INITIALIZER;

static void *watch_clock(void *nothing_given)
{
	const int n_times = 3; /* who is just about to wait is not woken by the first */
	int64_t seen_s = shim->clock_offset_s;
	struct waiter *waiter;

	(void)nothing_given;
	for (int n_left = n_times;; usleep(20000)) {
		if (shim->clock_offset_s != seen_s)
			n_left = n_times;
		seen_s = shim->clock_offset_s;
		if (n_left == 0)
			continue;
		n_left--;
		pthread_mutex_lock(&waiters_mutex);
		LIST_FOREACH (waiter, &waiters, link)
			pthread_cond_broadcast(waiter->condition);
		pthread_mutex_unlock(&waiters_mutex);
	}
	return NULL;
}

static void start_watch(void)
{
	sigset_t all, before;
	pthread_t thread;

	/* They are for the daemon's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, watch_clock, NULL) != 0)
		abort();
	pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static bool is_past(const struct timespec *moment)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec > moment->tv_sec ||
	       (now.tv_sec == moment->tv_sec && now.tv_nsec >= moment->tv_nsec);
}

int pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct waiter waiter = {.condition = condition};
	struct timespec really_until = *until;
	int64_t offset_s;
	int r;

	pthread_once(&once, start_watch);
	pthread_mutex_lock(&waiters_mutex);
	LIST_INSERT_HEAD(&waiters, &waiter, link);
	pthread_mutex_unlock(&waiters_mutex);
	offset_s = shim->clock_offset_s;
	really_until.tv_sec -= offset_s;
	r = pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &really_until);
	pthread_mutex_lock(&waiters_mutex);
	LIST_REMOVE(&waiter, link);
	pthread_mutex_unlock(&waiters_mutex);
	if (shim->clock_offset_s == offset_s)
		return r;
	return is_past(until) ? ETIMEDOUT : 0;
}

/* ---- The disk ---- */

static void wait_for_disk(void)
{
	while (shim->disk_stalls != 0)
		usleep(10000);
}

/* Only the store's thread syncs. */
static bool sync_fails(void)
{
	if (!is_due(&shim->sync_fails_at))
		return false;
	errno = EIO;
	return true;
}

int fdatasync(int fd)
{
	wait_for_disk();
	if (sync_fails())
		return -1;
	return ((int (*)(int))next("fdatasync"))(fd);
}

int fsync(int fd)
{
	wait_for_disk();
	if (sync_fails())
		return -1;
	return ((int (*)(int))next("fsync"))(fd);
}

/* ---- A shard ---- */

static bool is_first_shard(void)
{
	char name[16];

	return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 &&
	       strcmp(name, "shard-0") == 0;
}

int epoll_wait(int fd, struct epoll_event *events, int size, int timeout)
{
	int64_t armed = 1;

	if (shim->shard_hang == 1 && is_first_shard() &&
		atomic_compare_exchange_strong(&shim->shard_hang, &armed, 2))
		while (shim->shard_hang == 2)
			usleep(10000);
	return ((int (*)(int, struct epoll_event *, int, int))next("epoll_wait"))(
		fd, events, size, timeout);
}

/* ---- Renaming ---- */

int rename(const char *from, const char *to)
{
	while (shim->renames_stall != 0)
		usleep(10000);
	return ((int (*)(const char *, const char *))next("rename"))(from, to);
}

/* ---- nats.c ---- */

void natsConnection_Destroy(natsConnection *connection)
{
	static natsConnection *volatile leaked; /* not to the sanitizers */

	if (shim->nats_leaks != 0)
		leaked = connection;
	else
		((void (*)(natsConnection *))next("natsConnection_Destroy"))(connection);
}

natsStatus natsConnection_PublishRequest(natsConnection *connection, const char *subject,
	const char *reply, const void *data, int length)
{
	static const char create[] = "$JS.API.CONSUMER.CREATE.";

	if (strncmp(subject, create, sizeof(create) - 1) == 0)
		nats_fails_at = atomic_exchange(&shim->nats_fail_at, 0);
	return ((natsStatus(*)(natsConnection *, const char *, const char *, const void *,
		int))next("natsConnection_PublishRequest"))(
		connection, subject, reply, data, length);
}

/* ---- libmicrohttpd ---- */

int MHD_get_timeout(struct MHD_Daemon *daemon, unsigned long long *ret_ms)
{
	if (shim->mhd_restless == 0)
		return ((int (*)(struct MHD_Daemon *, unsigned long long *))next(
			"MHD_get_timeout"))(daemon, ret_ms);
	*ret_ms = 0;
	return 1;
}

/* ---- nats.c, and shards ---- */

natsStatus js_GetStreamInfo(jsStreamInfo **ret, jsCtx *context, const char *stream,
	jsOptions *options, jsErrCode *error)
{
	int64_t armed = 1;

	if (atomic_compare_exchange_strong(&shim->nats_hang, &armed, 2))
		while (shim->nats_hang == 2)
			usleep(10000);
	return ((natsStatus(*)(jsStreamInfo **, jsCtx *, const char *, jsOptions *,
		jsErrCode *))next("js_GetStreamInfo"))(ret, context, stream, options, error);
}

/* ---- Threads ---- */

int pthread_create(
	pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata)
{
	typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (is_due(&shim->no_thread_at))
		return EAGAIN;
	return ((create *)next("pthread_create"))(ret, attributes, run, userdata);
}

/* ---- Memory ---- */

#ifndef WITHOUT_MEMORY

/* The C library's own; dlsym() may allocate. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *memory, size_t size);

static _Thread_local bool within_json;

static bool fails(void)
{
	if (within_json)
		return false;
	if (!(shim->fail_at != 0 && gettid() == main_thread && is_due(&shim->fail_at)) &&
		!is_due(&nats_fails_at))
		return false;
	shim->failures++;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *memory, size_t size)
{
	return fails() ? NULL : __libc_realloc(memory, size);
}

/* json-c crashes if it finds no memory for the name of a member; see has_memory_for_json(). */
struct json_object *json_tokener_parse_ex(
	struct json_tokener *tokener, const char *text, int length)
{
	struct json_object *object;

	within_json = true;
	object = ((struct json_object * (*)(struct json_tokener *, const char *, int))
			next("json_tokener_parse_ex"))(tokener, text, length);
	within_json = false;
	return object;
}

#endif
