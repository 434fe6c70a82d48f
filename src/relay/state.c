/* SPDX-License-Identifier: BSD-3-Clause */
/* Says in words how bus and outbox are. */
#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "relay/relay-internal.h"

/* Room for a reason of the bus, with some words before it. */
#define BUS_PROBLEM_SIZE (BUS_TEXT_SIZE + 64)

/* What is wrong with the outbox; NULL: nothing, or there has to be none. */
static const char *outbox_problem(const struct relay *relay)
{
	if (!relay->outbox)
		return NULL;
	if (relay->disk_stalled)
		return "Its disk does not answer.";
	/* While it is being opened, at the start, what comes waits for that, and is kept then. */
	return relay->outbox_state.problem[0] ? relay->outbox_state.problem : NULL;
}

bool relay_keeps_updates(const struct relay *relay)
{
	return relay->outbox && !outbox_problem(relay);
}

/* Why the bus takes no updates; NULL: it does, as far as is known.  `down`: what to say if it is
 * down.  `text` has BUS_PROBLEM_SIZE bytes. */
static const char *bus_problem(const struct relay *relay, const char *down, char *text)
{
	if (!relay->bus_state.is_up)
		return down;
	if (relay->refusals.fault[0])
		return relay->refusals.fault;
	if (relay->refusals.refusal.state != REFUSAL_ALL)
		return NULL;
	snprintf(text, BUS_PROBLEM_SIZE, "NATS refuses every update: %s.", relay->refusals.text);
	return text;
}

const char *relay_problem(struct relay *relay, enum relay_audience audience)
{
	const char *down = audience == RELAY_FOR_ALL ? relay->bus_state.open_problem
						     : relay->bus_state.problem;
	const char *outbox = outbox_problem(relay), *bus;
	char text[BUS_PROBLEM_SIZE];

	refusals_look(relay);
	bus = bus_problem(relay, down, text);
	if (!relay->outbox && relay->disk_stalled)
		return "The disk of the store does not answer.";
	if (!bus)
		return NULL;
	if (!relay->outbox)
		return down;
	if (outbox)
		snprintf(relay->text, sizeof(relay->text), "%s There is no outbox either: %s", bus,
			outbox);
	else
		snprintf(relay->text, sizeof(relay->text),
			"%s Updates are kept in the outbox, which holds %zu update%s.", bus,
			backlog_size(relay), text_s(backlog_size(relay)));
	return relay->text;
}

const char *relay_warning(struct relay *relay)
{
	const char *outbox = outbox_problem(relay);
	bool refuses_some = relay->refusals.refusal.state == REFUSAL_SOME;
	size_t n = refusals_environments(relay);
	int length = 0;

	if (!outbox && !refuses_some)
		return NULL;
	if (outbox)
		length = snprintf(relay->text, sizeof(relay->text), "There is no outbox: %s%s",
			outbox, refuses_some ? " " : "");
	if (refuses_some)
		snprintf(relay->text + length, sizeof(relay->text) - (size_t)length,
			"NATS refuses the updates of %zu environment%s, %s the last: %s.", n,
			text_s(n), relay->refusals.key.text, relay->refusals.text);
	return relay->text;
}
