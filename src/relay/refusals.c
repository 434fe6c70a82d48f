/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus refuses updates, or is set up to acknowledge none: what is told of it, in the log and by
 * status.c. */
#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "server/server-internal.h"

static size_t n_left(const struct server *server)
{
	return server->queue.n_refused + server->n_refused_pending;
}

/* Each is said once, until all is well again. */
static void tell_all(struct server *server)
{
	static const struct log_fields fields = {.message_id = MESSAGE_BUS_REFUSES};

	if (!server->refused_all_told)
		log_with(LOG_WARNING, &fields,
			"NATS refuses every update: %s. Updates are %s, and tried again each "
			"second.",
			server->refused_text,
			status_keeps_updates(server) ? "kept in the outbox"
						     : "refused to publishers");
	server->refused_all_told = true;
}

static void tell_some(struct server *server)
{
	struct log_fields fields = {
		.message_id = MESSAGE_BUS_REFUSES, .environment = server->refused_key.text};

	if (!server->refused_some_told)
		log_with(LOG_WARNING, &fields,
			"NATS refuses the update of environment %s: %s. It is tried again. The "
			"metric flagsse_environments_refused counts others that fare like it.",
			server->refused_key.text, server->refused_text);
	server->refused_some_told = true;
}

static void on_change(struct server *server)
{
	static const struct log_fields fields = {.message_id = MESSAGE_BUS_TAKES};

	switch (server->refusal.state) {
	case REFUSAL_ALL:
		tell_all(server);
		break;
	case REFUSAL_SOME:
		/* Those of a general refusal come to their turn now. */
		if (!server->refused_all_told)
			tell_some(server);
		break;
	case REFUSAL_NONE:
		server->refused_all_told = server->refused_some_told = false;
		log_with(LOG_NOTICE, &fields, "NATS takes updates again.");
		break;
	}
	notify_status(server->notify);
}

void refused_on_answer(struct server *server, const struct publication *publication)
{
	bool alone = publication->outcome == PUBLISH_REFUSED_ONE;

	server->counters.refused++;
	server->refused_key = publication->update.key;
	snprintf(server->refused_text, sizeof(server->refused_text), "%s", publication->problem);
	if (refusal_refused(&server->refusal, alone, clock_monotonic_ms()))
		on_change(server);
}

void refused_on_stored(struct server *server)
{
	if (refusal_stored(&server->refusal, n_left(server), clock_monotonic_ms()))
		on_change(server);
}

void refused_look(struct server *server)
{
	if (refusal_look(&server->refusal, n_left(server), clock_monotonic_ms()))
		on_change(server);
}

void refused_on_fault(struct server *server, const char *text)
{
	static const struct log_fields fields = {.message_id = MESSAGE_BUS_REFUSES};
	static const struct log_fields over = {.message_id = MESSAGE_BUS_TAKES};

	if (text[0])
		log_with(LOG_WARNING, &fields, "%s", text);
	else
		log_with(LOG_NOTICE, &over, "NATS acknowledges updates again.");
	snprintf(server->bus_fault, sizeof(server->bus_fault), "%s", text);
	notify_status(server->notify);
}

bool refused_all(const struct server *server)
{
	return server->refusal.state == REFUSAL_ALL || server->bus_fault[0];
}

bool refused_told(const struct server *server)
{
	return server->refusal.state != REFUSAL_NONE || server->bus_fault[0];
}

size_t refused_environments(const struct server *server)
{
	return n_left(server);
}
