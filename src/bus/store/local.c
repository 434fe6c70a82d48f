/* SPDX-License-Identifier: BSD-3-Clause */
/* The embedded bus: the store itself is the bus, and its thread the bus's. */
#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "bus/bus-internal.h"
#include "bus/store/store.h"
#include "bus/store/thread.h"

/* Expired rows are deleted along with other work, and not more often than this. */
#define EXPIRE_INTERVAL_MS (60 * MS_PER_S)

struct local_bus {
	struct bus bus;
	struct mailbox *inbox; /* of the bus's user */
	struct store_thread *thread;

	/* In the store's thread: */
	bool future_told;  /* that a row was stored at a time that is still to come */
	int64_t expire_ms; /* on the monotonic clock: when to delete expired rows next */
};

/* ---- In the store's thread ---- */

static void on_up(void *userdata)
{
	bus_post_event(((struct local_bus *)userdata)->inbox, BUS_UP);
}

static void on_down(const char *text, void *userdata)
{
	bus_post_down(((struct local_bus *)userdata)->inbox, text, text);
}

/* The latest of an environment, as it counts at `now_us`.  Told once: it may be the clock of now
 * that is wrong. */
static struct update settle(struct local_bus *local, const struct update *latest, int64_t now_us)
{
	struct update settled = *latest;

	if (!update_settle(&settled, now_us) || local->future_told)
		return settled;
	local->future_told = true;
	log_warning("The update of environment %s was stored at a time that is still to come: the "
		    "system's clock was ahead then, or is behind now. Newer ones are taken all "
		    "the same. If the clock is behind, set it right.",
		latest->key.text);
	return settled;
}

static void tell_update(const struct update *update, void *userdata)
{
	struct local_bus *local = userdata;
	int64_t now_us = clock_wall_us();
	struct update settled = settle(local, update, now_us);

	if (!update_is_expired(&settled, now_us))
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
	struct update_latest before;
	int64_t now_us = clock_wall_us();
	int r;

	r = expire_rows(userdata, store);
	if (r < 0)
		return r;
	update.stored_us = now_us;
	r = store_get(store, STORE_UPDATES, &update.key, &latest);
	if (r < 0)
		return r;
	if (r > 0)
		latest = settle(userdata, &latest, now_us);
	if (r > 0 && !update_is_expired(&latest, now_us)) {
		/* An environment's times of storing increase, whatever the clock does: the order of
		 * updates needs that. */
		if (latest.stored_us >= now_us)
			update.stored_us = latest.stored_us + 1;
		before = (struct update_latest){latest.time_us, latest.stored_us, latest.stored_us};
		if (!update_follow(&publication->update, publication->has_waited, &before,
			    &update.time_us)) {
			publication->outcome = PUBLISH_STALE;
			return 0;
		}
	}

	update.is_raised = false;
	r = store_put(store, STORE_UPDATES, &update);
	if (r < 0)
		return r;
	publication->outcome = PUBLISH_STORED;
	publication->sequence = update.sequence;
	publication->stored = update;
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
		bus_post_update(local->inbox, &publication->stored);
	}
	bus_post_answer(local->inbox, publication);
}

static const struct store_thread_operations thread_operations = {
	.must_open = true,
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

	if (store_thread_end(local->thread))
		free(local);
}

static void local_ping(struct bus *bus)
{
	store_thread_ping(container_of(bus, struct local_bus, bus)->thread);
}

static int64_t local_silence_ms(const struct bus *bus)
{
	const struct local_bus *local = container_of(bus, struct local_bus, bus);

	return store_thread_silence_ms(local->thread);
}

static const struct bus_operations local_operations = {
	.publish = local_publish,
	.free = local_free,
	.ping = local_ping,
	.silence_ms = local_silence_ms,
};

int bus_new_local(const char *state_dir, struct mailbox *inbox, struct bus **ret)
{
	struct local_bus *local = calloc(1, sizeof(*local));
	int r;

	if (!local)
		return -ENOMEM;
	local->bus.operations = &local_operations;
	local->inbox = inbox;
	r = store_thread_new(state_dir, &thread_operations, local, &local->thread);
	if (r < 0) {
		free(local);
		return r;
	}

	r = store_thread_await_open(local->thread);
	if (r < 0 && r != -ETIMEDOUT) {
		local_free(&local->bus);
		return r;
	}
	if (r < 0)
		log_error(
			"The disk of the store in %s does not answer. Updates are refused until it "
			"does.",
			state_dir);
	*ret = &local->bus;
	return 0;
}
