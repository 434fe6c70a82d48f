/* SPDX-License-Identifier: BSD-3-Clause */
/* The embedded bus: one thread that owns the store, and puts all publications that have gathered
 * into one transaction, so that a burst shares one sync of the disk. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

#include "bus/bus-internal.h"
#include "bus/store.h"
#include "clock.h"
#include "log.h"
#include "messages.h"
#include "thread.h"

#define THREAD_NAME "flagsse-store"

#define BATCH_LIMIT 1000 /* publications a transaction */

/* While the store cannot be written: how often to try, with no publication to try with. */
#define TEST_INTERVAL_MS (5 * MS_PER_S)

/* Expired rows are deleted along with other work, and not more often than this. */
#define EXPIRE_INTERVAL_MS (60 * MS_PER_S)

/* A publication, and what becomes of it in the store. */
struct item {
	struct publication *publication;
	struct update update; /* as it is stored */
};

struct local_bus {
	struct bus bus;
	struct mailbox *inbox;  /* of the bus's user */
	struct mailbox mailbox; /* publications, and `stop` as the last */
	struct mail stop;
	pthread_t thread;

	/* The bus's thread only, once it runs: */
	struct store *store;
	bool up;
	int64_t test_ms;   /* on the monotonic clock: when to test the store next, while not up */
	int64_t expire_ms; /* likewise: when to delete expired rows next */
	size_t n_items;
	struct item items[BATCH_LIMIT]; /* the batch in hand */
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
		return "Restart flagsse: it sets the file aside and begins a new one.";
	default:
		return "Look for errors of the disk in the kernel's log; flagsse tries again.";
	}
}

static void go_down(struct local_bus *local, int error)
{
	local->test_ms = clock_monotonic_ms() + TEST_INTERVAL_MS;
	if (!local->up)
		return;

	local->up = false;
	bus_post_down(local->inbox, "The store cannot be written: %s. %s",
		store_problem(local->store), advice(error));
}

static void go_up(struct local_bus *local)
{
	if (local->up)
		return;

	local->up = true;
	bus_post_event(local->inbox, BUS_UP);
}

static void test_store(struct local_bus *local)
{
	int r;

	r = store_test(local->store);
	if (r < 0)
		go_down(local, r);
	else
		go_up(local);
}

/* ---- Publishing ---- */

static void refuse(struct local_bus *local, struct publication *publication, const char *format,
	...) _printf_(3, 4);

static void refuse(
	struct local_bus *local, struct publication *publication, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(publication->problem, sizeof(publication->problem), format, arguments);
	va_end(arguments);
	publication->outcome = PUBLISH_UNAVAILABLE;
	bus_post_answer(local->inbox, publication);
}

/* Puts one into the open transaction, unless it is stale. */
static int store_item(struct store *store, struct item *item)
{
	struct publication *publication = item->publication;
	int64_t now_us = clock_wall_us();
	struct update latest;
	int r;

	item->update = publication->update;
	item->update.stored_us = now_us;

	r = store_get(store, &publication->update.key, &latest);
	if (r < 0)
		return r;
	if (r > 0 && !update_is_expired(&latest, now_us)) {
		/* An environment's times of storing increase, whatever the clock does: the order of
		 * updates needs that. */
		if (latest.stored_us >= now_us)
			item->update.stored_us = latest.stored_us + 1;
		if (!update_is_newer(&item->update, &latest)) {
			publication->outcome = PUBLISH_STALE;
			return 0;
		}
	}

	r = store_put(store, &item->update);
	if (r < 0)
		return r;
	publication->outcome = PUBLISH_STORED;
	publication->sequence = item->update.sequence;
	return 0;
}

static int expire_rows(struct local_bus *local)
{
	int64_t now_ms = clock_monotonic_ms();
	int r;

	if (now_ms < local->expire_ms)
		return 0;

	r = store_expire(local->store, clock_wall_us() - UPDATE_LIFETIME_US + 1);
	if (r < 0)
		return r;
	local->expire_ms = now_ms + EXPIRE_INTERVAL_MS;
	return 0;
}

static int store_items(struct local_bus *local)
{
	int r;

	r = store_begin(local->store);
	for (size_t i = 0; r == 0 && i < local->n_items; i++)
		r = store_item(local->store, &local->items[i]);
	if (r == 0)
		r = expire_rows(local);
	if (r == 0)
		r = store_commit(local->store);
	if (r < 0)
		store_rollback(local->store);
	return r;
}

static bool any_stored(const struct local_bus *local)
{
	for (size_t i = 0; i < local->n_items; i++)
		if (local->items[i].publication->outcome == PUBLISH_STORED)
			return true;
	return false;
}

static void finish_items(struct local_bus *local)
{
	/* Stale ones alone write nothing, so that they prove nothing. */
	if (any_stored(local))
		go_up(local);
	for (size_t i = 0; i < local->n_items; i++)
		if (local->items[i].publication->outcome == PUBLISH_STORED)
			bus_post_update(local->inbox, &local->items[i].update);
	for (size_t i = 0; i < local->n_items; i++)
		bus_post_answer(local->inbox, local->items[i].publication);
}

static void refuse_items(struct local_bus *local)
{
	for (size_t i = 0; i < local->n_items; i++)
		refuse(local, local->items[i].publication, "the store cannot be written: %s",
			store_problem(local->store));
}

static struct publication *next_publication(struct mail_list *list)
{
	struct mail *mail = STAILQ_FIRST(list);

	STAILQ_REMOVE_HEAD(list, link);
	return container_of(mail, struct publication, mail);
}

static void publish_batch(struct local_bus *local, struct mail_list *list)
{
	int r;

	local->n_items = 0;
	while (!STAILQ_EMPTY(list) && local->n_items < BATCH_LIMIT)
		local->items[local->n_items++].publication = next_publication(list);

	r = store_items(local);
	/* Undoing it may have made the space for it. */
	if (r == -ENOSPC)
		r = store_items(local);
	if (r < 0) {
		go_down(local, r);
		refuse_items(local);
	} else
		finish_items(local);
}

/* ---- The thread ---- */

static void tell_update(const struct update *update, void *userdata)
{
	struct local_bus *local = userdata;

	if (!update_is_expired(update, clock_wall_us()))
		bus_post_update(local->inbox, update);
}

static void tell_all(struct local_bus *local)
{
	int r;

	bus_post_event(local->inbox, BUS_SYNC_BEGIN);
	r = store_each(local->store, tell_update, local);
	if (r < 0)
		log_warning("The store cannot be read: %s. Updates from before the start that are "
			    "missing reach clients with the next one.",
			store_problem(local->store));
	bus_post_event(local->inbox, BUS_SYNC_END);
	go_up(local);
}

static void wait_for_mail(struct local_bus *local)
{
	struct pollfd pollfd = {.fd = mailbox_fd(&local->mailbox), .events = POLLIN};
	int timeout_ms = -1;

	if (!local->up) {
		int64_t left_ms = local->test_ms - clock_monotonic_ms();

		timeout_ms = left_ms > 0 ? (int)left_ms : 0;
	}

	/* That it fails (for want of memory) only means to look too early. */
	poll(&pollfd, 1, timeout_ms);
}

static bool is_last(const struct mail_list *list, const struct local_bus *local)
{
	struct mail *mail;

	STAILQ_FOREACH (mail, list, link)
		if (mail == &local->stop)
			return true;
	return false;
}

/* All of them, the last of which is `stop`. */
static void refuse_all(struct local_bus *local, struct mail_list *list)
{
	while (STAILQ_FIRST(list) != &local->stop)
		refuse(local, next_publication(list), "the service is stopping");
}

static void *run(void *userdata)
{
	struct local_bus *local = userdata;
	struct mail_list list;

	tell_all(local);
	for (;;) {
		wait_for_mail(local);
		mailbox_take(&local->mailbox, &list);
		if (is_last(&list, local))
			break;

		while (!STAILQ_EMPTY(&list))
			publish_batch(local, &list);
		if (!local->up && clock_monotonic_ms() >= local->test_ms)
			test_store(local);
	}

	refuse_all(local, &list);
	/* Here, as it writes to the disk. */
	local->store = store_free(local->store);
	return NULL;
}

/* ---- The bus's operations, in its user's thread ---- */

static void local_publish(struct bus *bus, struct publication *publication)
{
	struct local_bus *local = container_of(bus, struct local_bus, bus);

	mailbox_post(&local->mailbox, &publication->mail);
}

static void local_free(struct bus *bus)
{
	struct local_bus *local = container_of(bus, struct local_bus, bus);

	mailbox_post(&local->mailbox, &local->stop);
	pthread_join(local->thread, NULL);
	mailbox_deinit(&local->mailbox);
	free(local);
}

static const struct bus_operations local_operations = {
	.publish = local_publish,
	.free = local_free,
};

static int open_store(const char *state_dir, struct store **ret)
{
	_cleanup_(freep) char *problem = NULL;
	int r;

	r = store_open(state_dir, ret, &problem);
	if (r < 0)
		log_error("The store in %s: %s", state_dir, problem ? problem : strerror(-r));
	else if (problem)
		log_with(LOG_WARNING, (&(struct log_fields){.message_id = MESSAGE_STORE_SET_ASIDE}),
			"The store: %s", problem);
	return r;
}

int bus_new_local(const char *state_dir, struct mailbox *inbox, struct bus **ret)
{
	_cleanup_(store_freep) struct store *store = NULL;
	_cleanup_(freep) struct local_bus *local = NULL;
	int r;

	local = calloc(1, sizeof(*local));
	if (!local)
		return -ENOMEM;
	local->bus.operations = &local_operations;
	local->inbox = inbox;

	r = open_store(state_dir, &store);
	if (r < 0)
		return r;
	r = mailbox_init(&local->mailbox);
	if (r < 0)
		return r;

	local->store = store;
	r = thread_start(&local->thread, THREAD_NAME, run, local);
	if (r < 0) {
		mailbox_deinit(&local->mailbox);
		return r;
	}

	/* The thread's from here on. */
	TAKE_PTR(store);
	*ret = &TAKE_PTR(local)->bus;
	return 0;
}
