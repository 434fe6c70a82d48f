/* SPDX-License-Identifier: BSD-3-Clause */
/* The embedded bus: the store itself is the bus, and its thread the bus's. */
#include <errno.h>

#include "bus/bus-internal.h"
#include "bus/store-thread.h"
#include "bus/store.h"
#include "clock.h"
#include "log.h"

/* Expired rows are deleted along with other work, and not more often than this. */
#define EXPIRE_INTERVAL_MS (60 * MS_PER_S)

struct local_bus {
	struct bus bus;
	struct mailbox *inbox; /* of the bus's user */
	struct store_thread *thread;
	int64_t expire_ms; /* in the store's thread; on the monotonic clock: when to delete expired
			      rows next */
};

/* ---- In the store's thread ---- */

static void on_up(void *userdata)
{
	bus_post_event(((struct local_bus *)userdata)->inbox, BUS_UP);
}

static void on_down(const char *text, void *userdata)
{
	bus_post_text(((struct local_bus *)userdata)->inbox, BUS_DOWN, "%s", text);
}

static void tell_update(const struct update *update, void *userdata)
{
	struct local_bus *local = userdata;

	if (!update_is_expired(update, clock_wall_us()))
		bus_post_update(local->inbox, update);
}

static void on_opened(struct store *store, void *userdata)
{
	struct local_bus *local = userdata;
	int r;

	bus_post_event(local->inbox, BUS_SYNC_BEGIN);
	r = store_each(store, STORE_UPDATES, tell_update, local);
	if (r < 0)
		log_warning("The store cannot be read: %s. Updates from before the start that are "
			    "missing reach clients with the next one.",
			store_problem(store));
	/* What it lacks, as it was begun anew, or as another bus was used before, is written back,
	 * which the bus must be up for. */
	bus_post_event(local->inbox, BUS_UP);
	bus_post_event(local->inbox, BUS_SYNC_END);
}

static int expire_rows(struct local_bus *local, struct store *store)
{
	int64_t now_ms = clock_monotonic_ms();
	int r;

	if (now_ms < local->expire_ms)
		return 0;

	r = store_expire(store, clock_wall_us() - UPDATE_LIFETIME_US + 1);
	if (r < 0)
		return r;
	local->expire_ms = now_ms + EXPIRE_INTERVAL_MS;
	return 0;
}

/* Puts it into the open transaction, unless it is stale. */
static int write_publication(struct store *store, struct mail *work, void *userdata)
{
	struct publication *publication = container_of(work, struct publication, mail);
	struct update update = publication->update, latest;
	int64_t now_us = clock_wall_us();
	int r;

	r = expire_rows(userdata, store);
	if (r < 0)
		return r;
	update.stored_us = now_us;
	r = store_get(store, STORE_UPDATES, &update.key, &latest);
	if (r < 0)
		return r;
	if (r > 0 && !update_is_expired(&latest, now_us)) {
		/* An environment's times of storing increase, whatever the clock does: the order of
		 * updates needs that. */
		if (latest.stored_us >= now_us)
			update.stored_us = latest.stored_us + 1;
		if (!update_is_newer(&update, &latest)) {
			publication->outcome = PUBLISH_STALE;
			return 0;
		}
	}

	r = store_put(store, STORE_UPDATES, &update);
	if (r < 0)
		return r;
	publication->outcome = PUBLISH_STORED;
	publication->sequence = update.sequence;
	publication->stored_us = update.stored_us;
	return 1;
}

static void on_done(struct mail *work, int error, const char *problem, void *userdata)
{
	struct publication *publication = container_of(work, struct publication, mail);
	struct local_bus *local = userdata;

	if (error < 0) {
		publication->outcome = PUBLISH_UNAVAILABLE;
		snprintf(publication->problem, sizeof(publication->problem), "%s", problem);
	} else if (publication->outcome == PUBLISH_STORED) {
		struct update stored = publication->update;

		stored.sequence = publication->sequence;
		stored.stored_us = publication->stored_us;
		bus_post_update(local->inbox, &stored);
	}
	bus_post_answer(local->inbox, publication);
}

static const struct store_thread_operations thread_operations = {
	.opened = on_opened,
	.write = write_publication,
	.done = on_done,
	.up = on_up,
	.down = on_down,
};

/* ---- The bus's operations, in its user's thread ---- */

static void local_publish(struct bus *bus, struct publication *publication)
{
	struct local_bus *local = container_of(bus, struct local_bus, bus);

	store_thread_post(local->thread, &publication->mail);
}

static void local_free(struct bus *bus)
{
	struct local_bus *local = container_of(bus, struct local_bus, bus);

	store_thread_free(local->thread);
	free(local);
}

static const struct bus_operations local_operations = {
	.publish = local_publish,
	.free = local_free,
};

int bus_new_local(
	const char *state_dir, struct store *store, struct mailbox *inbox, struct bus **ret)
{
	_cleanup_(store_freep) struct store *own = NULL;
	_cleanup_(freep) struct local_bus *local = NULL;
	int r;

	local = calloc(1, sizeof(*local));
	if (!local)
		return -ENOMEM;
	local->bus.operations = &local_operations;
	local->inbox = inbox;

	r = store ? 0 : store_thread_open(state_dir, &own);
	if (r < 0)
		return r;
	r = store_thread_new(
		state_dir, store ? store : own, &thread_operations, local, &local->thread);
	if (r < 0)
		return r;

	/* The thread's from here on. */
	TAKE_PTR(own);
	*ret = &TAKE_PTR(local)->bus;
	return 0;
}
