/* SPDX-License-Identifier: BSD-3-Clause */
/* Takes up what the former process has handed over. */
#include "restart/take-up.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "base/messages.h"
#include "base/text.h"

/* How long streams wait for a process: no client gets a keep-alive meanwhile, and many a proxy cuts
 * off what is silent for a minute. */
#define WAIT_MAX_MS (60 * MS_PER_S)

/* How long streams that are ended wait for their clients. */
#define END_TIMEOUT_MS (10 * MS_PER_S)

/* ---- Taking up ---- */

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
		log_notice("%zu of the streams that were taken up %s ended cleanly, as only %zu %s "
			   "allowed now.",
			n_surplus, text_are(n_surplus), max_streams, text_are(max_streams));
	if (n_cut_short > 0)
		log_warning("%zu of the streams that were handed over %s ended, as the limit of "
			    "open files is lower than before. Raise LimitNOFILE= of the unit.",
			n_cut_short, text_are(n_cut_short));
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
		"stream%s %s ended cleanly; clients connect again.",
		problem, content->n_items, text_s(content->n_items), text_are(content->n_items));
	hub_end_unknown(hub, content->items, content->n_items);
	forget_items(content);
}

/* Sends the registry's update to streams that have another one: the former process could not send
 * them that one, for want of memory, say. */
static void send_latest(
	struct hub *hub, struct registry *registry, const struct handover *state, int64_t now_us)
{
	for (size_t i = 0; i < state->n_environments; i++) {
		struct handover_environment environment;
		struct update latest;
		struct frame *frame;

		handover_get_environment(state, i, &environment);
		/* 0: its streams have all begun after the latest. */
		if (environment.latest_us == 0 ||
			!registry_latest(registry, &environment.key, now_us, &latest, &frame) ||
			latest.time_us == environment.latest_us)
			continue;
		if (hub_publish(hub, &environment.key, frame, HUB_UNTIMED) < 0)
			log_error("Out of memory: streams of environment %s get an update with the "
				  "next one.",
				environment.key.text);
	}
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
	send_latest(hub, registry, &state, clock_wall_us());
	log_surplus(n_surplus, content->n_cut_short, max_streams);
	log_with(LOG_NOTICE, (&(struct log_fields){.message_id = MESSAGE_TAKEN_UP}),
		"Took up %zu stream%s of %zu environment%s (%zu bytes) in %lld ms.",
		content->n_items, text_s(content->n_items), state.n_environments,
		text_s(state.n_environments), mapping.size,
		(long long)(clock_monotonic_ms() - begun_ms));
	forget_items(content);
}

static bool is_empty(const struct stash *stash)
{
	return stash->state < 0 && stash->n_pairs == 0;
}

/* Takes the descriptors out of it.  First of all, whatever is wrong with it, no other process gets
 * to see it.  0 or -ENOMEM: then all streams have been ended. */
static int take_out(const struct stash *stash, struct stash_content *ret)
{
	int r = stash_forget();

	if (r < 0)
		log_warning(
			"systemd cannot be told to forget what it kept for us: %s.", strerror(-r));
	r = stash_read(stash, ret);
	if (r < 0)
		log_error("Out of memory: the streams of the former process are ended.");
	return r;
}

void takeup(struct stash *stash, struct hub *hub, struct registry *registry, size_t max_streams)
{
	_cleanup_(stash_content_deinit) struct stash_content content = {0};

	if (is_empty(stash))
		return;
	if (take_out(stash, &content) >= 0)
		take_all(stash, &content, hub, registry, max_streams);
	stash_deinit(stash);
}

/* ---- Ending ---- */

/* With what is half written, where the state says what that is. */
static void end_content(const struct stash *stash, struct stash_content *content, struct hub *hub)
{
	_cleanup_(unmap) struct mapping mapping = {0};
	struct handover state = {0};
	size_t n_ended, n_left;

	if (read_state(stash, content, &mapping, &state) ||
		hub_restore(hub, &state, content->items, 0, &n_ended) < 0)
		hub_end_unknown(hub, content->items, content->n_items);
	forget_items(content);
	n_left = hub_end_all(hub, END_TIMEOUT_MS);
	if (n_left > 0)
		log_warning(
			"Not ended in time, and cut off: %zu stream%s.", n_left, text_s(n_left));
}

/* `why` is for people: the log. */
static void end_now(struct stash *stash, const char *why)
{
	static const struct hub_settings settings = {.shards = 1, .keepalive_ms = 15 * MS_PER_S};
	_cleanup_(stash_content_deinit) struct stash_content content = {0};
	_cleanup_(hub_freep) struct hub *hub = NULL;

	if (hub_new(&settings, &hub) < 0)
		return; /* nothing has been taken: the next process tries */
	descriptors_raise_limit();
	if (take_out(stash, &content) >= 0) {
		log_with(LOG_ERR, (&(struct log_fields){.message_id = MESSAGE_STREAMS_ENDED}),
			"The former process has handed over its streams, and %s. Its %zu stream%s "
			"%s ended cleanly; clients connect again.",
			why, content.n_items, text_s(content.n_items), text_are(content.n_items));
		end_content(stash, &content, hub);
	}
	stash_deinit(stash);
}

/* A signal that ends this process waits until they have ended. */
static void end_undisturbed(struct stash *stash, const char *why)
{
	sigset_t all, former;

	sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &former);
	end_now(stash, why);
	(void)sigprocmask(SIG_SETMASK, &former, NULL);
}

void takeup_end_if_late(struct stash *stash)
{
	struct handover_head head;

	if (!is_empty(stash) && stash_read_head(stash, &head) == 0 && head.made_ms > 0 &&
		clock_monotonic_ms() - head.made_ms > WAIT_MAX_MS)
		end_undisturbed(stash, "no process could start for a minute");
}

void takeup_postpone(struct stash *stash)
{
	struct handover_head head;

	if (is_empty(stash))
		return;
	if (stash_read_head(stash, &head) < 0) {
		end_undisturbed(stash, "their state cannot be read");
		return;
	}
	if (head.n_streams == 0)
		return;
	log_with(LOG_WARNING, (&(struct log_fields){.message_id = MESSAGE_STREAMS_WAIT}),
		"%zu stream%s stay%s with systemd until the next attempt to start. If none "
		"succeeds within a minute of the former process's end, what is left is ended "
		"cleanly.",
		head.n_streams, text_s(head.n_streams), head.n_streams == 1 ? "s" : "");
}
