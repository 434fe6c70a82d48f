/* SPDX-License-Identifier: BSD-3-Clause */
/* The relay as a whole: its parts' beginning and end, and the life of bus and outbox. */
#include "relay/relay.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "relay/relay-internal.h"

int relay_new(sd_event *event, struct hub *hub, struct registry *registry,
	const struct relay_operations *operations, void *userdata, struct relay **ret)
{
	_cleanup_(relay_freep) struct relay *relay = calloc(1, sizeof(*relay));
	int r;

	if (!relay)
		return -ENOMEM;
	relay->event = sd_event_ref(event);
	relay->hub = hub;
	relay->registry = registry;
	relay->operations = operations;
	relay->userdata = userdata;
	STAILQ_INIT(&relay->intake.mail);
	TAILQ_INIT(&relay->publishing.awaited);
	table_init(&relay->backlog.rows);
	if ((r = intake_init(relay)) < 0 || (r = publish_init(relay)) < 0 ||
		(r = backlog_init(relay)) < 0)
		return r;
	*ret = TAKE_PTR(relay);
	return 0;
}

struct relay *relay_free(struct relay *relay)
{
	if (!relay)
		return NULL;
	publish_deinit(relay);
	intake_deinit(relay);
	backlog_deinit(relay);
	free(relay->subscribing.streams.profiles);
	sd_event_unref(relay->event);
	free(relay);
	return NULL;
}

int64_t relay_now_us(const struct relay *relay)
{
	return bus_clock_us(&relay->bus_state.clock, clock_wall_us(), clock_steady_us());
}

/* ---- Bus and outbox ---- */

int relay_start_bus(struct relay *relay, const struct relay_bus_settings *settings)
{
	static const char connecting[] = "The bus is being connected to; try again.";
	struct mailbox *inbox = &relay->intake.bus_inbox->mailbox;
	int r;

	relay->bus_state.down_since_ms = clock_monotonic_ms();
	intake_set_problem(relay, connecting, connecting);
	if (!settings->nats)
		return bus_new_local(settings->state_dir, inbox, &relay->bus);
	if (!relay->outbox) {
		r = outbox_new(
			settings->state_dir, &relay->intake.outbox_inbox->mailbox, &relay->outbox);
		if (r < 0)
			return r;
	}
	return bus_new_nats(settings->nats, inbox, &relay->bus);
}

int relay_leave_bus(struct relay *relay)
{
	static const struct log_fields fields = {.message_id = MESSAGE_HANGS};
	static const char hung[] = "the thread of the NATS bus has hung. Another has begun.";
	int r = intake_replace_inbox(relay);

	if (r < 0)
		return r;
	log_with(LOG_ERR, &fields,
		"The thread of the NATS bus does not answer. It is left behind, and another takes its "
		"place.");
	bus_leave(relay->bus);
	backlog_on_bus_left(relay);
	intake_on_bus_down(relay, hung, hung);
	relay->bus = NULL;
	return 0;
}

bool relay_has_bus(const struct relay *relay)
{
	return relay->bus;
}

bool relay_has_outbox(const struct relay *relay)
{
	return relay->outbox;
}

void relay_ping(struct relay *relay)
{
	if (relay->bus)
		bus_ping(relay->bus);
	if (relay->outbox)
		outbox_ping(relay->outbox);
}

int64_t relay_bus_silence_ms(const struct relay *relay)
{
	return relay->bus ? bus_silence_ms(relay->bus) : 0;
}

int64_t relay_store_silence_ms(const struct relay *relay)
{
	return relay->outbox ? outbox_silence_ms(relay->outbox) : relay_bus_silence_ms(relay);
}

void relay_set_stalled(struct relay *relay, bool is_stalled)
{
	relay->disk_stalled = is_stalled;
}

/* ---- The end ---- */

void relay_stop(struct relay *relay)
{
	relay->stopping = true;
}

bool relay_has_answered(const struct relay *relay)
{
	return relay->publishing.n_pending == 0 || relay->disk_stalled;
}

void relay_end_bus(struct relay *relay)
{
	relay->bus = bus_free(relay->bus);
	intake_deliver(relay);
}

void relay_end(struct relay *relay)
{
	relay->stopping = true;
	relay->bus = bus_free(relay->bus);
	relay->outbox = outbox_free(relay->outbox);
}

/* ---- What is counted ---- */

const struct metrics *relay_metrics(const struct relay *relay)
{
	return &relay->metrics;
}

bool relay_bus_is_up(const struct relay *relay)
{
	return relay->bus_state.is_up;
}

bool relay_bus_refuses_all(const struct relay *relay)
{
	return refusals_all(relay);
}

size_t relay_refused_environments(const struct relay *relay)
{
	return refusals_environments(relay);
}

bool relay_outbox_is_up(const struct relay *relay)
{
	return relay->outbox_state.is_up;
}

size_t relay_outbox_size(const struct relay *relay)
{
	return backlog_size(relay);
}

size_t relay_streams_max(const struct relay *relay)
{
	return relay->subscribing.streams.max;
}
