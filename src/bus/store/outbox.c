/* SPDX-License-Identifier: BSD-3-Clause */
/* The outbox: a table in the store, and what is done with it in the store's thread. */
#include "bus/outbox.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "bus/bus-internal.h"
#include "bus/store/store.h"
#include "bus/store/thread.h"

struct outbox {
	struct mailbox *inbox; /* of the outbox's user */
	struct store_thread *thread;
};

/* ---- In the store's thread ---- */

static void on_up(void *userdata)
{
	bus_post_event(((struct outbox *)userdata)->inbox, BUS_OUTBOX_UP);
}

static void on_down(const char *text, void *userdata)
{
	bus_post_text(((struct outbox *)userdata)->inbox, BUS_OUTBOX_DOWN, "%s", text);
}

static void tell_row(const struct update *update, void *userdata)
{
	bus_post_outbox_row(((struct outbox *)userdata)->inbox, update);
}

static void on_opened(struct store *store, void *userdata)
{
	struct outbox *outbox = userdata;
	int r;

	bus_post_event(outbox->inbox, BUS_OUTBOX_BEGIN);
	r = store_each(store, STORE_OUTBOX, tell_row, outbox);
	if (r < 0)
		log_error("The outbox cannot be read: %s. Updates of it that are missing are "
			  "published after the next start.",
			store_problem(store));
	bus_post_event(outbox->inbox, BUS_OUTBOX_END);
}

/* In place of the environment's row, and above it: who is told of this one has both. */
static int keep(struct store *store, struct outbox_item *item)
{
	struct update update = item->update, former;
	int r;

	r = store_get(store, STORE_OUTBOX, &update.key, &former);
	if (r < 0)
		return r;
	/* As on the bus: of two, the one that is accepted later has the later time, whatever the
	 * clock does; but none is accepted in the future. */
	if (r > 0)
		(void)update_settle(&former, item->now_us);
	if (r > 0 && former.stored_us >= update.stored_us)
		update.stored_us = former.stored_us + 1;
	if (r > 0 && !update_raise(&update, former.time_us)) {
		item->outcome = OUTBOX_STALE;
		return 0;
	}
	/* It is for both now: that the bus has its time does not say that it has both. */
	update.is_raised = update.is_raised || r > 0;

	r = store_put(store, STORE_OUTBOX, &update);
	if (r < 0)
		return r;
	item->outcome = OUTBOX_KEPT;
	item->kept = update;
	return 1;
}

static int write_item(struct store *store, struct mail *work, void *userdata)
{
	struct outbox_item *item = container_of(work, struct outbox_item, mail);

	(void)userdata;
	return item->is_removal ? store_delete(store, STORE_OUTBOX, &item->update)
				: keep(store, item);
}

static void on_done(struct mail *work, int error, const char *problem, void *userdata)
{
	struct outbox_item *item = container_of(work, struct outbox_item, mail);

	if (item->is_removal) {
		free(item);
		return;
	}
	if (error < 0) {
		item->outcome = OUTBOX_FAILED;
		snprintf(item->problem, sizeof(item->problem), "%s", problem);
	}
	bus_post_outbox_answer(((struct outbox *)userdata)->inbox, item);
}

static const struct store_thread_operations thread_operations = {
	.opened = on_opened,
	.write = write_item,
	.done = on_done,
	.up = on_up,
	.down = on_down,
};

/* ---- In its user's thread ---- */

int outbox_new(const char *state_dir, struct mailbox *inbox, struct outbox **ret)
{
	_cleanup_(freep) struct outbox *outbox = calloc(1, sizeof(*outbox));
	int r;

	if (!outbox)
		return -ENOMEM;
	outbox->inbox = inbox;
	r = store_thread_new(state_dir, &thread_operations, outbox, &outbox->thread);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(outbox);
	return 0;
}

struct outbox *outbox_free(struct outbox *outbox)
{
	if (!outbox)
		return NULL;
	if (store_thread_end(outbox->thread))
		free(outbox);
	return NULL;
}

void outbox_ping(struct outbox *outbox)
{
	store_thread_ping(outbox->thread);
}

int64_t outbox_silence_ms(const struct outbox *outbox)
{
	return store_thread_silence_ms(outbox->thread);
}

void outbox_keep(struct outbox *outbox, struct outbox_item *item)
{
	store_thread_post(outbox->thread, &item->mail);
}

int outbox_drop(struct outbox *outbox, const struct update *update)
{
	struct outbox_item *item = calloc(1, sizeof(*item));

	if (!item)
		return -ENOMEM;
	item->is_removal = true;
	item->update = *update;
	store_thread_post(outbox->thread, &item->mail);
	return 0;
}
