/* SPDX-License-Identifier: BSD-3-Clause */
/* Takes up what the former process has handed over. */
#include "takeup.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "log.h"
#include "messages.h"

/* The state, mapped. */
struct mapping {
	const void *data;
	size_t size;
};

static void unmap(struct mapping *mapping)
{
	if (mapping->data)
		(void)munmap((void *)(uintptr_t)mapping->data, mapping->size);
}

/* Maps and checks it.  NULL, or what is wrong. */
static const char *read_state(const struct stash *stash, const struct stash_content *content,
	struct mapping *mapping, struct handover *ret)
{
	const char *problem = NULL;
	int r = stash_map(stash, &mapping->data, &mapping->size);

	if (r < 0)
		return r == -ENOENT ? "it is missing" : strerror(-r);
	if (handover_read(mapping->data, mapping->size, clock_monotonic_ms(), ret, &problem) < 0)
		return problem;
	if (content->problem)
		return content->problem;
	if (ret->n_streams != content->n_items)
		return "it has not as many streams as descriptors came with it";
	return NULL;
}

static int restore_registry(struct registry *registry, const struct handover *state)
{
	for (size_t i = 0; i < state->n_updates; i++) {
		struct update update;
		int r;

		handover_get_update(state, i, &update);
		r = registry_restore(registry, &update);
		if (r < 0)
			return r;
	}
	return 0;
}

static void log_surplus(size_t n_surplus, size_t n_cut_short, size_t max_streams)
{
	if (n_surplus > 0)
		log_notice("%zu of the streams that were taken up are ended cleanly, as only %zu "
			   "are allowed now.",
			n_surplus, max_streams);
	if (n_cut_short > 0)
		log_warning("%zu of the streams that were handed over are ended, as the limit of "
			    "open files is lower than before. Raise LimitNOFILE= of the unit.",
			n_cut_short);
}

/* The descriptors are the hub's now. */
static void forget_items(struct stash_content *content)
{
	content->n_items = 0;
}

static void end_all(struct hub *hub, struct stash_content *content, const char *problem)
{
	log_with(LOG_ERR, (&(struct log_fields){.message_id = MESSAGE_STATE_REFUSED}),
		"The state that the former process has handed over cannot be used: %s. Its %zu "
		"streams are ended cleanly; their clients connect again.",
		problem, content->n_items);
	hub_end_unknown(hub, content->items, content->n_items);
	forget_items(content);
}

static void take_all(const struct stash *stash, struct stash_content *content, struct hub *hub,
	struct registry *registry, size_t max_streams)
{
	_cleanup_(unmap) struct mapping mapping = {0};
	int64_t begun_ms = clock_monotonic_ms();
	struct handover state = {0};
	const char *problem = read_state(stash, content, &mapping, &state);
	size_t n_surplus = 0;

	if (!problem &&
		(restore_registry(registry, &state) < 0 ||
			hub_restore(hub, &state, content->items, max_streams, &n_surplus) < 0))
		problem = strerror(ENOMEM);
	if (problem) {
		end_all(hub, content, problem);
		return;
	}
	log_surplus(n_surplus, content->n_cut_short, max_streams);
	log_with(LOG_NOTICE, (&(struct log_fields){.message_id = MESSAGE_TAKEN_UP}),
		"Took up %zu streams of %zu environments (%zu bytes) in %lld ms.", content->n_items,
		state.n_environments, mapping.size, (long long)(clock_monotonic_ms() - begun_ms));
	forget_items(content);
}

void takeup(struct stash *stash, struct hub *hub, struct registry *registry, size_t max_streams)
{
	_cleanup_(stash_content_deinit) struct stash_content content = {0};
	int r;

	if (stash->state < 0 && stash->n_pairs == 0)
		return;
	/* First of all: whatever is wrong with it, no other process gets to see it. */
	r = stash_forget();
	if (r < 0)
		log_warning(
			"systemd cannot be told to forget what it kept for us: %s.", strerror(-r));
	r = stash_read(stash, &content);
	if (r < 0)
		log_error("Out of memory: the streams of the former process are ended.");
	else
		take_all(stash, &content, hub, registry, max_streams);
	stash_deinit(stash);
}
