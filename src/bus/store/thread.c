/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread around a store: gathers work, writes it in batches, and finds out when writing is
 * possible (again). */
#include "bus/store/thread.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "base/pulse.h"
#include "base/thread.h"
#include "bus/store/store.h"

#define THREAD_NAME "flagsse-store"

#define BATCH_LIMIT 1000 /* pieces of work a transaction */

/* So often the files are moved for one transaction. */
#define MOVES_MAX 3

/* While the store cannot be written: how often to try, with no work to try with.  And while it
 * cannot be opened: then work is refused without a try. */
#define TEST_INTERVAL_MS (5 * MS_PER_S)
#define OPEN_INTERVAL_MS MS_PER_S

/* With no work, how often to look whether the files are still there. */
#define LOOK_INTERVAL_MS (30 * MS_PER_S)
/* How long to wait for the store to be opened, where that is waited for; and how often to look. */
#define FIRST_OPENING_MS (5 * MS_PER_S)
#define LOOK_US          1000

#define OPENING 1

enum state {
	STATE_UNKNOWN,
	STATE_UP,
	STATE_DOWN,
};

struct store_thread {
	const struct store_thread_operations *operations;
	void *userdata;
	char *directory;
	struct mailbox mailbox; /* work, `ping`, and `stop` as the last */
	struct mail ping, stop;
	struct pulse pulse;
	_Atomic int first_opening; /* 0 or -errno; OPENING: it is under way */
	pthread_t thread;

	/* The thread's only, once it runs: */
	struct store *store;  /* NULL: cannot be opened */
	struct store *astray; /* open, but its file is not the one that the next process will open:
				 to be moved into `store`, as soon as that can be opened */
	bool forgotten;       /* that could not be done: the work in hand was in it alone */
	enum state state;
	int64_t test_ms;   /* on the monotonic clock: when to try next, while not up */
	int64_t look_ms;   /* likewise: when to look next where the files are */
	char problem[256]; /* the last one */
	size_t n_batch;
	struct mail *batch[BATCH_LIMIT]; /* in hand */
};

/* ---- Up and down ---- */

static const char *advice(int error)
{
	switch (error) {
	case -ENOSPC:
		return "Free space on its file system; flagsse goes on by itself.";
	case -EROFS:
		return "Make its file system writable; flagsse goes on by itself.";
	case -EBADMSG:
		return "The file is set aside and a new one begun.";
	default:
		return "Look for errors of the disk in the kernel's log; flagsse tries again.";
	}
}

static void go_up(struct store_thread *thread)
{
	if (thread->state == STATE_UP)
		return;

	thread->state = STATE_UP;
	thread->operations->up(thread->userdata);
}

static void go_down(struct store_thread *thread, const char *text)
{
	if (thread->state == STATE_DOWN)
		return;

	thread->state = STATE_DOWN;
	thread->operations->down(text, thread->userdata);
}

static void on_failure(struct store_thread *thread, int error)
{
	char text[512];

	snprintf(thread->problem, sizeof(thread->problem), "the store cannot be written: %s",
		store_problem(thread->store));
	snprintf(text, sizeof(text), "The store cannot be written: %s. %s",
		store_problem(thread->store), advice(error));
	thread->test_ms = clock_monotonic_ms() + TEST_INTERVAL_MS;
	/* Opening it is what sets it aside. */
	if (error == -EBADMSG) {
		thread->store = store_free(thread->store);
		thread->test_ms = clock_monotonic_ms();
	}
	go_down(thread, text);
}

static void tell_of_opening(const char *problem)
{
	log_with(LOG_WARNING, (&(struct log_fields){.message_id = MESSAGE_STORE_SET_ASIDE}),
		"The store: %s", problem);
}

/* The first opening has this outcome: store_thread_await_open() waits for it. */
static void tell_first_opening(struct store_thread *thread, int r, const char *problem)
{
	if (r < 0)
		log_error("The store in %s: %s", thread->directory, problem);
	atomic_store(&thread->first_opening, r);
}

static void tell_of_place(const char *what)
{
	log_with(LOG_ERR, (&(struct log_fields){.message_id = MESSAGE_STORE_ASTRAY}),
		"The store: %s, while flagsse has it open. All that was in it is being written to "
		"a new one. Nothing but flagsse may touch the state directory while it runs; to "
		"begin with an empty store, stop it first.",
		what);
}

static void tell_of_rescue(void)
{
	log_notice("The store: all that was in it is in its place again.");
}

/* store_open(), with all that is in the one that went astray, if one did: it may be back. */
static int open_store(struct store_thread *thread, char **ret_problem)
{
	char what[256];
	int r;

	if (!thread->astray)
		return store_open(thread->directory, &thread->store, ret_problem);
	if (store_find(thread->astray, what, sizeof(what)) != STORE_ASTRAY) {
		thread->store = TAKE_PTR(thread->astray);
		tell_of_rescue();
		return 0;
	}
	r = store_move(thread->astray, thread->directory, &thread->store, ret_problem);
	/* It cannot be read either.  What its user knows is all there is, as where one that is
	 * corrupt is set aside. */
	if (r == -EBADMSG) {
		log_error("The store: %s", *ret_problem ? *ret_problem : strerror(-r));
		snprintf(thread->problem, sizeof(thread->problem),
			"the store's file was deleted, and cannot be read any more");
		thread->forgotten = true;
		thread->astray = store_free(thread->astray);
		free(TAKE_PTR(*ret_problem));
		return store_open(thread->directory, &thread->store, ret_problem);
	}
	if (r >= 0) {
		thread->astray = store_free(thread->astray);
		tell_of_rescue();
	}
	return r;
}

static void try_to_open(struct store_thread *thread)
{
	_cleanup_(freep) char *problem = NULL;
	bool is_awaited =
		thread->operations->must_open && atomic_load(&thread->first_opening) == OPENING;
	int r;

	r = open_store(thread, &problem);
	if (is_awaited)
		tell_first_opening(thread, r, problem ? problem : strerror(-r));
	if (r < 0) {
		snprintf(thread->problem, sizeof(thread->problem), "the store cannot be opened: %s",
			problem ? problem : strerror(-r));
		thread->test_ms = clock_monotonic_ms() + OPEN_INTERVAL_MS;
		if (is_awaited)
			return;
		go_down(thread, problem ? problem : strerror(-r));
		return;
	}
	if (problem)
		tell_of_opening(problem);
	thread->operations->opened(thread->store, thread->userdata);
	go_up(thread);
}

/* ---- The files ---- */

/* What is in the log alone is put into the file.  Where that is not possible the store is kept: it
 * is whole as long as it is open. */
static int do_without_log(struct store_thread *thread)
{
	int r = store_flush_log(thread->store);

	if (r < 0) {
		on_failure(thread, r);
		return r;
	}
	thread->store = store_free(thread->store);
	tell_of_rescue();
	return 0;
}

/* Whether what has been committed is in the file that the next process will open, if need be after
 * it has been moved there.  0, or -errno and thread->problem. */
static int stay_in_place(struct store_thread *thread)
{
	char what[256];
	int r;

	thread->forgotten = false;
	for (int i = 0; i < MOVES_MAX; i++) {
		enum store_place place = store_find(thread->store, what, sizeof(what));

		thread->look_ms = clock_monotonic_ms() + LOOK_INTERVAL_MS;
		if (place == STORE_IN_PLACE)
			return 0;
		tell_of_place(what);
		if (place == STORE_ASTRAY)
			thread->astray = TAKE_PTR(thread->store);
		else if ((r = do_without_log(thread)) < 0)
			return r;
		try_to_open(thread);
		if (!thread->store || thread->forgotten)
			return -EIO;
	}
	snprintf(thread->problem, sizeof(thread->problem),
		"the store's file is deleted again and again");
	return -EIO;
}

static void try_again(struct store_thread *thread)
{
	int r;

	if (!thread->store) {
		try_to_open(thread);
		return;
	}
	r = store_test(thread->store);
	if (r == 0 && stay_in_place(thread) < 0)
		return;
	if (r < 0)
		on_failure(thread, r);
	else
		go_up(thread);
}

/* ---- Work ---- */

/* 1: something was written; 0: nothing had to be. */
static int write_batch(struct store_thread *thread)
{
	int r, n_written = 0;

	r = store_begin(thread->store);
	for (size_t i = 0; r >= 0 && i < thread->n_batch; i++) {
		r = thread->operations->write(thread->store, thread->batch[i], thread->userdata);
		n_written += r > 0;
	}
	if (r >= 0)
		r = store_commit(thread->store);
	if (r < 0)
		store_rollback(thread->store);
	return r < 0 ? r : n_written > 0;
}

static struct mail *next_work(struct mail_list *list)
{
	struct mail *mail = STAILQ_FIRST(list);

	STAILQ_REMOVE_HEAD(list, link);
	return mail;
}

static int try_batch(struct store_thread *thread)
{
	int r;

	if (!thread->store)
		return -EIO; /* `problem` says why */
	r = write_batch(thread);
	/* Undoing it may have made the space for it. */
	if (r == -ENOSPC)
		r = write_batch(thread);
	if (r < 0) {
		on_failure(thread, r);
		return r;
	}
	if (r > 0) /* what writes nothing proves nothing */
		go_up(thread);
	return stay_in_place(thread);
}

static void work_batch(struct store_thread *thread, struct mail_list *list)
{
	int r;

	thread->n_batch = 0;
	while (!STAILQ_EMPTY(list) && thread->n_batch < BATCH_LIMIT)
		thread->batch[thread->n_batch++] = next_work(list);

	r = try_batch(thread);
	for (size_t i = 0; i < thread->n_batch; i++)
		thread->operations->done(
			thread->batch[i], r, r < 0 ? thread->problem : "", thread->userdata);
}

/* ---- The thread ---- */

static void wait_for_mail(struct store_thread *thread)
{
	struct pollfd pollfd = {.fd = mailbox_fd(&thread->mailbox), .events = POLLIN};
	int64_t until_ms = thread->state == STATE_UP ? thread->look_ms : thread->test_ms;
	int64_t left_ms = until_ms - clock_monotonic_ms();

	/* That it fails (for want of memory) only means to look too early. */
	poll(&pollfd, 1, left_ms > 0 ? (int)left_ms : 0);
}

static bool has(const struct mail_list *list, const struct mail *wanted)
{
	struct mail *mail;

	STAILQ_FOREACH (mail, list, link)
		if (mail == wanted)
			return true;
	return false;
}

/* What there is to do, without the ping, which has been answered. */
static void take_mail(struct store_thread *thread, struct mail_list *ret)
{
	mailbox_take(&thread->mailbox, ret);
	if (!has(ret, &thread->ping))
		return;
	STAILQ_REMOVE(ret, &thread->ping, mail, link);
	pulse_answer(&thread->pulse);
}

/* All of them, the last of which is `stop`. */
static void refuse_all(struct store_thread *thread, struct mail_list *list)
{
	while (STAILQ_FIRST(list) != &thread->stop)
		thread->operations->done(
			next_work(list), -ESHUTDOWN, "the service is stopping", thread->userdata);
}

/* Here, as it writes to the disk. */
static void close_store(struct store_thread *thread)
{
	if (thread->store)
		(void)stay_in_place(thread);
	else if (thread->astray)
		try_to_open(thread);
	if (thread->astray)
		log_error("What was published is lost with the store's file: %s.", thread->problem);
	thread->store = store_free(thread->store);
	thread->astray = store_free(thread->astray);
}

static void *run(void *userdata)
{
	struct store_thread *thread = userdata;
	struct mail_list list;

	try_to_open(thread);
	for (;;) {
		wait_for_mail(thread);
		take_mail(thread, &list);
		if (has(&list, &thread->stop))
			break;

		while (!STAILQ_EMPTY(&list))
			work_batch(thread, &list);
		if (thread->state != STATE_UP && clock_monotonic_ms() >= thread->test_ms)
			try_again(thread);
		else if (thread->store && clock_monotonic_ms() >= thread->look_ms)
			(void)stay_in_place(thread);
	}

	refuse_all(thread, &list);
	close_store(thread);
	return NULL;
}

/* ---- In its user's thread ---- */

int store_thread_new(const char *directory, const struct store_thread_operations *operations,
	void *userdata, struct store_thread **ret)
{
	struct store_thread *thread = calloc(1, sizeof(*thread));
	int r;

	if (!thread)
		return -ENOMEM;
	thread->operations = operations;
	thread->userdata = userdata;
	thread->first_opening = OPENING;
	thread->directory = strdup(directory);
	r = thread->directory ? mailbox_init(&thread->mailbox) : -ENOMEM;
	if (r == 0) {
		r = thread_start(&thread->thread, THREAD_NAME, run, thread);
		if (r < 0)
			mailbox_deinit(&thread->mailbox);
	}
	if (r < 0) {
		free(thread->directory);
		free(thread);
		return r;
	}
	*ret = thread;
	return 0;
}

int store_thread_await_open(struct store_thread *thread)
{
	int64_t until_ms = clock_monotonic_ms() + FIRST_OPENING_MS;
	int r;

	while ((r = atomic_load(&thread->first_opening)) == OPENING) {
		if (clock_monotonic_ms() >= until_ms)
			return -ETIMEDOUT;
		usleep(LOOK_US);
	}
	return r;
}

void store_thread_post(struct store_thread *thread, struct mail *work)
{
	mailbox_post(&thread->mailbox, work);
}

void store_thread_ping(struct store_thread *thread)
{
	if (pulse_ask(&thread->pulse, clock_monotonic_ms()))
		mailbox_post(&thread->mailbox, &thread->ping);
}

int64_t store_thread_silence_ms(const struct store_thread *thread)
{
	return pulse_silence_ms(&thread->pulse, clock_monotonic_ms());
}

bool store_thread_end(struct store_thread *thread)
{
	mailbox_post(&thread->mailbox, &thread->stop);
	if (!thread_end(thread->thread, THREAD_NAME))
		return false;
	mailbox_deinit(&thread->mailbox);
	free(thread->directory);
	free(thread);
	return true;
}
