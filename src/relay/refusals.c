/* SPDX-License-Identifier: BSD-3-Clause */
/* What is told, in the log and by status.c, of a bus that refuses updates or is set up to
 * acknowledge none. */
#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "relay/relay-internal.h"

static size_t n_left(const struct relay *relay)
{
	return relay->backlog.n_refused + relay->refusals.n_pending;
}

/* Each of these is logged once, until all is well again. */
static void tell_all(struct relay *relay)
{
	static const struct log_fields fields = {.message_id = MESSAGE_BUS_REFUSES};

	if (!relay->refusals.all_told)
		log_with(LOG_WARNING, &fields,
			"NATS refuses every update: %s. Updates are %s, and tried again each "
			"second.",
			relay->refusals.text,
			relay_keeps_updates(relay) ? "kept in the outbox"
						   : "refused to publishers");
	relay->refusals.all_told = true;
}

static void tell_some(struct relay *relay)
{
	struct log_fields fields = {
		.message_id = MESSAGE_BUS_REFUSES, .environment = relay->refusals.key.text};

	if (!relay->refusals.some_told)
		log_with(LOG_WARNING, &fields,
			"NATS refuses the update of environment %s: %s. It is tried again. The "
			"metric flagsse_environments_refused counts others that fare like it.",
			relay->refusals.key.text, relay->refusals.text);
	relay->refusals.some_told = true;
}

static void on_change(struct relay *relay)
{
	static const struct log_fields fields = {.message_id = MESSAGE_BUS_TAKES};

	switch (relay->refusals.refusal.state) {
	case REFUSAL_ALL:
		tell_all(relay);
		break;
	case REFUSAL_SOME:
		/* Those of a general refusal come to their turn now. */
		if (!relay->refusals.all_told)
			tell_some(relay);
		break;
	case REFUSAL_NONE:
		relay->refusals.all_told = relay->refusals.some_told = false;
		log_with(LOG_NOTICE, &fields, "NATS takes updates again.");
		break;
	}
	relay_changed(relay);
}

void refusals_on_answer(struct relay *relay, const struct publication *publication)
{
	bool alone = publication->outcome == PUBLISH_REFUSED_ONE;

	metrics_add(&relay->metrics, COUNT_REFUSALS, 1);
	relay->refusals.key = publication->update.key;
	snprintf(relay->refusals.text, sizeof(relay->refusals.text), "%s", publication->problem);
	if (refusal_refused(&relay->refusals.refusal, alone, clock_monotonic_ms()))
		on_change(relay);
}

void refusals_on_stored(struct relay *relay)
{
	if (refusal_stored(&relay->refusals.refusal, n_left(relay), clock_monotonic_ms()))
		on_change(relay);
}

void refusals_look(struct relay *relay)
{
	if (refusal_look(&relay->refusals.refusal, n_left(relay), clock_monotonic_ms()))
		on_change(relay);
}

void refusals_on_fault(struct relay *relay, const char *text)
{
	static const struct log_fields fields = {.message_id = MESSAGE_BUS_REFUSES};
	static const struct log_fields over = {.message_id = MESSAGE_BUS_TAKES};

	if (text[0])
		log_with(LOG_WARNING, &fields, "%s", text);
	else
		log_with(LOG_NOTICE, &over, "NATS acknowledges updates again.");
	snprintf(relay->refusals.fault, sizeof(relay->refusals.fault), "%s", text);
	relay_changed(relay);
}

bool refusals_all(const struct relay *relay)
{
	return relay->refusals.refusal.state == REFUSAL_ALL || relay->refusals.fault[0];
}

bool refusals_told(const struct relay *relay)
{
	return relay->refusals.refusal.state != REFUSAL_NONE || relay->refusals.fault[0];
}

size_t refusals_environments(const struct relay *relay)
{
	return n_left(relay);
}
