/* SPDX-License-Identifier: BSD-3-Clause */
/* The hand-over: the streams' state and descriptors go into systemd's store. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "base/text.h"
#include "hub/handover.h"
#include "restart/restart-internal.h"
#include "restart/stash.h"

static int add_update(const struct update *update, void *userdata)
{
	return handover_add_update(userdata, update);
}

/* All that is handed over, as bytes, and the descriptors beside it. */
static int save(
	struct restart *restart, struct handover_writer *writer, void **ret_state, size_t *ret_size)
{
	int r = hub_save(restart->parts.hub, writer);

	if (r >= 0)
		r = registry_each(restart->parts.registry,
			restart->operations->now_us(restart->userdata), add_update, writer);
	return r < 0 ? r : handover_finish(writer, clock_monotonic_ms(), ret_state, ret_size);
}

/* Once it has returned 0 the streams are systemd's, until the next process takes them. */
static int store(struct restart *restart)
{
	_cleanup_(handover_writer_freep) struct handover_writer *writer = NULL;
	_cleanup_(stash_deinit) struct stash stash = {.state = -1};
	_cleanup_(freep) void *state = NULL;
	const struct handover_item *items;
	size_t size, n_items;
	int r;

	r = handover_writer_new(&writer);
	if (r < 0)
		return r;
	r = save(restart, writer, &state, &size);
	if (r < 0)
		return r;
	items = handover_items(writer, &n_items);
	r = stash_make(state, size, items, n_items, &stash);
	if (r < 0)
		return r;
	if (stash.n_pairs + 1 > restart->store_max) {
		log_error("FileDescriptorStoreMax= of the unit is %zu, but %zu are needed.",
			restart->store_max, stash.n_pairs + 1);
		return -ENOSPC;
	}
	r = stash_store(&stash);
	if (r < 0)
		return r;
	log_with(LOG_NOTICE, (&(struct log_fields){.message_id = MESSAGE_HANDED_OVER}),
		"Handed over %zu stream%s of %zu environment%s (%zu bytes) in %" PRId64 " ms.",
		n_items, text_s(n_items), handover_environments(writer),
		text_s(handover_environments(writer)), size,
		clock_monotonic_ms() - restart->signal_ms);
	return 0;
}

int hand_over(struct restart *restart)
{
	unsigned n_left;
	int r, started;

	restart->operations->end_bus(restart->userdata);
	n_left = hub_halt(restart->parts.hub);
	if (n_left > 0)
		log_error("%u of the threads that serve streams hang%s. Their streams are lost, "
			  "the others are handed over.",
			n_left, n_left == 1 ? "s" : "");
	r = store(restart);
	if (r >= 0)
		return 0;
	/* They are ours still: none has been closed. */
	log_with(LOG_ERR, (&(struct log_fields){.message_id = MESSAGE_HANDOVER_FAILED}),
		"The streams cannot be handed over: %s. They are ended cleanly.", strerror(-r));
	started = hub_start(restart->parts.hub);
	if (started < 0)
		log_error("Cannot start the shards again: %s.", strerror(-started));
	return r;
}
