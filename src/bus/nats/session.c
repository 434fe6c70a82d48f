/* SPDX-License-Identifier: BSD-3-Clause */
/* A session with NATS: the connection, the stream, and a consumer that reads the last value of each
 * subject and all that follows.  A session is never mended: nats.c's own reconnecting is off, and
 * whatever is in doubt is made anew and read again, in this one way. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "bus/nats/nats-internal.h"
#include "bus/nats/url.h"

/* `open_text` names no host; see bus_post_down().  At the end of the process the connection ends,
 * too, and that is no outage. */
static void begin_down(struct nats_bus *bus, const char *text, const char *open_text)
{
	bus->up = false;
	if (!bus->stopping)
		bus_post_down(bus->inbox, text, open_text);
}

struct nats_origin *nats_session_origin(struct nats_bus *bus)
{
	return &bus->origins[bus->session % NATS_ORIGINS];
}

/* ---- The connection ---- */

/* " at " and the servers without user and password. */
static void format_place(const struct nats_bus *bus, char *text, size_t size)
{
	size_t used = (size_t)snprintf(text, size, " at ");

	for (int i = 0; i < bus->n_servers && used < size; i++) {
		int n = snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "",
			nats_server_name(bus->servers[i]));

		used += n > 0 ? (size_t)n : 0;
	}
}

void nats_session_refuse(struct nats_bus *bus, const struct nats_problem *problem)
{
	char place[94], text[BUS_TEXT_SIZE], open_text[BUS_TEXT_SIZE];

	if (bus->wire)
		return;
	format_place(bus, place, sizeof(place));
	/* Each server may have a reason of its own. */
	if (bus->n_servers == 1)
		snprintf(text, sizeof(text), "cannot connect to NATS%s: %.130s.", place,
			problem->text);
	else
		snprintf(text, sizeof(text), "cannot connect to NATS%.64s; %.40s: %.120s.", place,
			nats_server_name(bus->servers[bus->server]), problem->text);
	snprintf(open_text, sizeof(open_text), "cannot connect to NATS: %s.", problem->open_text);
	begin_down(bus, text, open_text);
}

static bool open_jetstream(struct nats_bus *bus)
{
	struct nats_error error;

	return nats_wire_open(bus->wire, bus->ack_inbox, &error) == 0 ||
	       nats_session_fail(bus, "opening JetStream", &error);
}

static void end_session(struct nats_bus *bus, const char *why, const char *open_why)
{
	struct nats_wire *wire;

	if (!bus->wire)
		return;
	/* Not ours any more, so that what its closing posts is of no interest. */
	wire = TAKE_PTR(bus->wire);
	bus->is_lame_duck = false;
	nats_wire_free(wire);
	nats_consumer_drop(bus);
	begin_down(bus, why, open_why);
	nats_publish_fail_all(bus, open_why);
	bus->next_attempt_ms = clock_monotonic_ms();
}

void nats_session_end(struct nats_bus *bus, const char *why)
{
	end_session(bus, why, why);
}

/* ---- Requests, and what is said where they fail ---- */

void nats_request_begin(struct nats_request *request, struct nats_bus *bus)
{
	request->patience = &bus->stream_patience;
	request->begun_ms = clock_monotonic_ms();
	request->wait_ms = nats_patience_ms(request->patience) +
			   (int64_t)(bus->n_messages / NATS_MESSAGES_PER_MS);
}

int nats_request_end(struct nats_request *request, int r)
{
	if (r == -ETIMEDOUT)
		nats_patience_lost(request->patience);
	else if (r == 0)
		nats_patience_rewarded(request->patience, clock_monotonic_ms() - request->begun_ms);
	return r;
}

/* The reason why nothing has answered. */
static bool find_denial(const struct nats_bus *bus, struct nats_denial *ret)
{
	const char *text = nats_wire_denied(bus->wire);

	return text && nats_denied_parse(text, ret) &&
	       (ret->what == NATS_DENIED_REQUEST || ret->what == NATS_DENIED_READING);
}

static void end_denied(struct nats_bus *bus, const struct nats_denial *denial)
{
	char text[BUS_TEXT_SIZE + 1];

	snprintf(text, sizeof(text), "%s.", denial->text);
	bus->denied = true;
	nats_session_end(bus, text);
	bus->next_attempt_ms = clock_monotonic_ms() + NATS_DENIED_PAUSE_MS;
}

/* `place` says where; "" in what everybody may read. */
static void describe_failure(const char *what, const struct nats_error *error, const char *place,
	char text[static BUS_TEXT_SIZE])
{
	switch (error->error) {
	case -EOPNOTSUPP:
		snprintf(text, BUS_TEXT_SIZE,
			"NATS%s has JetStream switched off for the account of flagsse's user. Add "
			"`jetstream: enabled` to that account in nats-server's configuration.",
			place);
		break;
	case -EHOSTUNREACH:
		snprintf(text, BUS_TEXT_SIZE,
			"NATS%s has JetStream switched off: start nats-server with `jetstream "
			"{}`. If it is a leaf node, connect to the servers that have JetStream "
			"(nats.url).",
			place);
		break;
	case -ETIMEDOUT:
		snprintf(text, BUS_TEXT_SIZE,
			"JetStream%s does not answer in time (%s). A cluster needs a majority.",
			place, what);
		break;
	default:
		snprintf(text, BUS_TEXT_SIZE, "NATS%s: %s failed: %s (JetStream's code %d).", place,
			what, error->text, error->code);
	}
}

bool nats_session_fail(struct nats_bus *bus, const char *what, const struct nats_error *error)
{
	char text[BUS_TEXT_SIZE], open_text[BUS_TEXT_SIZE], place[84];
	struct nats_denial denial;

	if (error->error == -ETIMEDOUT && find_denial(bus, &denial)) {
		end_denied(bus, &denial);
		return false;
	}
	format_place(bus, place, sizeof(place));
	describe_failure(what, error, place, text);
	describe_failure(what, error, "", open_text);
	end_session(bus, text, open_text);
	return false;
}

/* ---- The consumer ---- */

static void end_sync_if_complete(struct nats_bus *bus)
{
	if (!bus->syncing || bus->delivered < bus->sync_until)
		return;
	bus->syncing = false;
	/* Up first: what the bus has lost is written back then. */
	if (!bus->up)
		bus_post_event(bus->inbox, BUS_UP);
	bus->up = true;
	nats_subjects_find_lost(bus);
	bus_post_event(bus->inbox, BUS_SYNC_END);
	nats_publish_held(bus);
}

bool nats_session_sync(struct nats_bus *bus)
{
	nats_consumer_drop(bus);
	nats_subjects_forget(bus, INT64_MAX);
	if (!nats_stream_open(bus))
		return false;
	bus_post_event(bus->inbox, BUS_SYNC_BEGIN);
	bus->syncing = true;
	bus->reread.is_due = false;
	bus->consumers = INT64_MAX;
	return nats_consumer_create(bus);
}

void nats_session_on_consumer(struct nats_bus *bus, const struct nats_mail *mail)
{
	if (nats_consumer_on_created(bus, mail))
		end_sync_if_complete(bus);
}

bool nats_session_begin(struct nats_bus *bus, struct nats_wire *wire, unsigned session)
{
	nats_session_end(bus, "The NATS server is in lame duck mode. Another one is used.");
	bus->wire = wire;
	bus->session = session;
	bus->has_stored = false;
	return open_jetstream(bus) && nats_session_sync(bus);
}

void nats_session_on_message(struct nats_bus *bus, const struct nats_mail *mail)
{
	const struct update *update = &mail->update;

	if (!bus->is_subscribed || strcmp(mail->consumer, bus->consumer) != 0)
		return; /* of a consumer that we gave up */
	if (mail->number != bus->delivered + 1) {
		nats_session_doubt(bus, "a gap in the consumer's messages");
		/* If they are read again later, this one is good news all the same. */
		if (!bus->is_subscribed || strcmp(mail->consumer, bus->consumer) != 0)
			return;
	}
	bus->delivered = mail->number;
	nats_clock_note(bus, update->stored_us);
	if (update->key.length > 0)
		nats_subject_seen(bus, &update->key, update->sequence,
			mail->problem ? NULL : update, mail->told_us);
	if (mail->problem)
		bus_post_text(bus->inbox, BUS_SKIPPED, "number %" PRIu64 ": %s", update->sequence,
			mail->problem);
	else {
		nats_subject_told(bus, update);
		bus_post_update(bus->inbox, update);
	}
	end_sync_if_complete(bus);
}

void nats_session_doubt(struct nats_bus *bus, const char *why)
{
	bool asked = bus->reread.is_due;

	if (nats_consumer_is_awaited(bus))
		return; /* they are about to be */
	if (nats_reread_begin(&bus->reread, clock_monotonic_ms())) {
		log_info("NATS: %s. All last values are read again.", why);
		nats_session_sync(bus);
	} else if (!asked)
		log_info("NATS: %s. All last values are read again in %.0f s, as that was done a "
			 "moment ago.",
			why, (double)bus->reread.pause_ms / MS_PER_S);
}

void nats_session_on_denied(struct nats_bus *bus, const char *text)
{
	struct nats_denial denial;

	if (!nats_denied_parse(text, &denial)) {
		nats_session_doubt(bus, text);
		return;
	}
	switch (denial.what) {
	case NATS_DENIED_ENVIRONMENT:
		nats_publish_on_denied(bus, &denial);
		break;
	case NATS_DENIED_READING:
	case NATS_DENIED_REQUEST:
		end_denied(bus, &denial);
		break;
	case NATS_DENIED_OTHER:
		if (!(bus->denied_told & denial.need))
			log_warning("%s.", denial.text);
		bus->denied_told |= denial.need;
		break;
	}
}

/* Messages that leave the stream before they are delivered (purged, expired) never come: then fewer
 * are to be waited for. */
static void check_sync(struct nats_bus *bus)
{
	struct nats_consumer consumer;
	struct nats_error error;

	/* While they come, there is no need: where there are very many, it takes the server a
	 * second to say, in which it sends none. */
	if (bus->delivered != bus->sync_seen) {
		bus->sync_seen = bus->delivered;
		return;
	}
	if (nats_consumer_ask(bus, &consumer, &error) < 0) {
		nats_session_fail(bus, "asking for the consumer", &error);
		return;
	}
	if (consumer.n_pending == 0)
		bus->sync_until = consumer.delivered;
	end_sync_if_complete(bus);
}

/* The stream has so many consumers.  If there were more, that may be ours which is gone: sooner
 * known than by its missing heartbeats. */
static bool consumer_is_there(struct nats_bus *bus, int64_t consumers)
{
	struct nats_consumer consumer;
	struct nats_error error;
	bool fewer = consumers < bus->consumers;

	bus->consumers = consumers;
	return !fewer || nats_consumer_ask(bus, &consumer, &error) == 0;
}

/* A purge is told to nobody.  A stream of another shape may keep less, though. */
static bool stream_is_same(const struct nats_bus *bus, const struct nats_stream *stream)
{
	return stream->created_ns == bus->stream_created_ns &&
	       (!bus->standard_shape || stream->n_messages >= nats_subjects_alive(bus)) &&
	       !nats_subjects_unseen(bus);
}

static void check_stream(struct nats_bus *bus)
{
	_cleanup_(nats_stream_deinit) struct nats_stream stream = {0};
	struct nats_error error;
	bool same = false, there;
	int r;

	r = nats_stream_ask(bus, &stream, &error);
	if (r < 0 && r != -ENOENT) {
		nats_session_fail(bus, "asking for the stream " NATS_STREAM, &error);
		return;
	}
	if (r == 0) {
		nats_stream_note_acks(bus, stream.settings.no_ack);
		bus->n_messages = stream.n_messages;
		same = stream_is_same(bus, &stream);
	}
	there = !same || consumer_is_there(bus, stream.n_consumers);
	nats_subjects_forget(bus, nats_clock_us(bus) - UPDATE_LIFETIME_US);
	if (same && there)
		return;
	if (same)
		log_info("NATS: the consumer is gone. All last values are read again.");
	else
		log_notice("The stream " NATS_STREAM " on NATS was deleted or purged, or does not "
			   "tell what it has acknowledged. What it has lost is written back.");
	nats_session_sync(bus);
}

/* A server that is silent is noticed by this, too. */
void nats_session_check(struct nats_bus *bus)
{
	bus->checks++;
	if (nats_consumer_is_awaited(bus))
		return; /* which has a deadline of its own */
	if (bus->syncing)
		check_sync(bus);
	else
		check_stream(bus);
}
