/* SPDX-License-Identifier: BSD-3-Clause */
/* A session with NATS: the connection, the stream, and a consumer that reads the last value of each
 * subject and all that follows.  A session is never mended: nats.c's own reconnecting is off, and
 * whatever is in doubt is made anew and read again, in this one way. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "bus/nats/nats-internal.h"
#include "bus/nats/url.h"

/* A write that the server does not take in this time ends the connection. */
#define WRITE_DEADLINE_MS 500

/* nats.c's queue of messages, in bytes 1024 times as many, which an int has to hold: it drops what
 * is beyond, and flow control keeps far below. */
#define PENDING_MAX (INT_MAX / 1024)

/* `open_text` names no host; see bus_post_down().  At the end of the process the connection ends,
 * too, and that is no outage. */
static void begin_down(struct nats_bus *bus, const char *text, const char *open_text)
{
	bus->up = false;
	if (!bus->stopping)
		bus_post_down(bus->inbox, text, open_text);
}

/* ---- Callbacks, in nats.c's threads ---- */

static void post_about_session(
	const struct nats_origin *origin, enum nats_mail_type type, const char *text)
{
	struct nats_mail *mail = nats_mail_new(type);

	mail->session = atomic_load(&origin->session);
	snprintf(mail->text, sizeof(mail->text), "%s", text);
	mailbox_post(&origin->bus->mail.mailbox, &mail->mail);
}

static void on_message(
	natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *closure)
{
	struct nats_origin *origin = closure;
	struct nats_mail *mail = nats_mail_new(NATS_MAIL_MESSAGE);

	(void)connection;
	(void)subscription;
	atomic_store(&origin->heard_ms, clock_monotonic_ms());
	if (nats_delivery_parse(natsMsg_GetReply(message), mail)) {
		mail->problem = nats_read_message(message, &mail->update);
		nats_accepted_read(message, mail);
		mailbox_post(&origin->bus->messages.mailbox, &mail->mail);
	} else if (nats_delivery_parse_status(message, mail)) {
		mail->type = NATS_MAIL_STATUS;
		mailbox_post(&origin->bus->messages.mailbox, &mail->mail);
	} else {
		free(mail);
		post_about_session(origin, NATS_MAIL_DOUBT, "a message that cannot be read");
	}
	natsMsg_Destroy(message);
}

static void on_closed(natsConnection *connection, void *closure)
{
	(void)connection;
	post_about_session(closure, NATS_MAIL_CLOSED, "");
}

/* What NATS itself said, if it did, is this thread's last error. */
static void on_error(natsConnection *connection, natsSubscription *subscription, natsStatus status,
	void *closure)
{
	const char *text = nats_GetLastError(NULL);

	(void)connection;
	(void)subscription;
	if (status == NATS_NOT_PERMITTED && text)
		post_about_session(closure, NATS_MAIL_DENIED, text);
	else
		post_about_session(closure, NATS_MAIL_DOUBT, natsStatus_GetText(status));
}

static void on_lame_duck(natsConnection *connection, void *closure)
{
	(void)connection;
	post_about_session(closure, NATS_MAIL_LAME_DUCK, "");
}

struct nats_origin *nats_session_origin(struct nats_bus *bus)
{
	return &bus->origins[bus->session % NATS_ORIGINS];
}

/* ---- The connection ---- */

natsStatus nats_session_set_options(
	struct nats_bus *bus, struct nats_origin *origin, natsOptions *options)
{
	_cleanup_(nats_url_deinit) struct nats_url url = {0};
	natsStatus s;

	if (nats_url_parse(bus->servers[bus->server], &url) < 0)
		return NATS_NO_MEMORY;
	s = natsOptions_SetURL(options, url.address);
	if (s == NATS_OK && url.password)
		s = natsOptions_SetUserInfo(options, url.user, url.password);
	else if (s == NATS_OK && url.user)
		s = natsOptions_SetToken(options, url.user);
	if (s == NATS_OK && strncmp(url.address, "tls://", 6) == 0)
		s = natsOptions_SetSecure(options, true);
	if (s == NATS_OK)
		s = natsOptions_SetName(options, "flagsse");
	if (s == NATS_OK)
		s = natsOptions_SetAllowReconnect(options, false);
#if NATS_VERSION_NUMBER >= 0x030400
	/* One server an attempt: else nats.c goes on to those that this one tells of. */
	if (s == NATS_OK)
		s = natsOptions_SetIgnoreDiscoveredServers(options, true);
#endif
	if (s == NATS_OK)
		s = natsOptions_SetTimeout(options, bus->connect_timeout_ms);
	if (s == NATS_OK)
		s = natsOptions_SetWriteDeadline(options, WRITE_DEADLINE_MS);
	if (s == NATS_OK)
		s = natsOptions_SetMaxPendingMsgs(options, PENDING_MAX);
	if (s == NATS_OK)
		s = natsOptions_SetClosedCB(options, on_closed, origin);
	if (s == NATS_OK)
		s = natsOptions_SetErrorHandler(options, on_error, origin);
	if (s == NATS_OK)
		s = natsOptions_SetLameDuckModeCB(options, on_lame_duck, origin);
	return s;
}

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

	if (bus->connection)
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
	jsOptions options;
	natsStatus s;

	jsOptions_Init(&options);
	options.Wait = NATS_REQUEST_TIMEOUT_MS;
	s = natsConnection_JetStream(&bus->jetstream, bus->connection, &options);
	if (s == NATS_OK)
		s = nats_ack_open(bus);
	return s == NATS_OK || nats_session_fail(bus, "opening JetStream", s, 0);
}

static void end_session(struct nats_bus *bus, const char *why, const char *open_why)
{
	natsConnection *connection = bus->connection;

	if (!connection)
		return;
	/* Not ours any more, so that what its closing posts is of no interest.  Closed first: then
	 * nothing below waits for a server that may hang. */
	bus->connection = NULL;
	bus->is_lame_duck = false;
	natsConnection_Close(connection);
	nats_consumer_drop(bus);
	nats_ack_close(bus);
	jsCtx_Destroy(bus->jetstream);
	bus->jetstream = NULL;
	natsConnection_Destroy(connection);
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
	jsOptions_Init(&request->options);
	request->options.Wait = nats_patience_ms(request->patience) +
				(int64_t)(bus->n_messages / NATS_MESSAGES_PER_MS);
}

natsStatus nats_request_end(struct nats_request *request, natsStatus status)
{
	if (status == NATS_TIMEOUT)
		nats_patience_lost(request->patience);
	else if (status == NATS_OK)
		nats_patience_rewarded(request->patience, clock_monotonic_ms() - request->begun_ms);
	return status;
}

/* The reason why nothing has answered. */
static bool find_denial(const struct nats_bus *bus, struct nats_denial *ret)
{
	const char *text = NULL;

	return natsConnection_GetLastError(bus->connection, &text) == NATS_NOT_PERMITTED && text &&
	       nats_denied_parse(text, ret) &&
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

/* What has failed, `place` says where; "" in what everybody may read. */
struct failure {
	const char *what, *reason;
	natsStatus status;
	jsErrCode error;
};

static void describe_failure(
	const struct failure *failure, const char *place, char text[static BUS_TEXT_SIZE])
{
	if (failure->error == JSNotEnabledForAccountErr)
		snprintf(text, BUS_TEXT_SIZE,
			"NATS%s has JetStream switched off for the account of flagsse's user. Add "
			"`jetstream: enabled` to that account in nats-server's configuration.",
			place);
	else if (failure->status == NATS_NO_RESPONDERS || failure->error == JSNotEnabledErr)
		snprintf(text, BUS_TEXT_SIZE,
			"NATS%s has JetStream switched off: start nats-server with `jetstream "
			"{}`. If it is a leaf node, connect to the servers that have JetStream "
			"(nats.url).",
			place);
	else if (failure->status == NATS_TIMEOUT)
		snprintf(text, BUS_TEXT_SIZE,
			"JetStream%s does not answer in time (%s). A cluster needs a majority.",
			place, failure->what);
	else
		snprintf(text, BUS_TEXT_SIZE, "NATS%s: %s failed: %s (JetStream's code %d).", place,
			failure->what, failure->reason, (int)failure->error);
}

bool nats_session_fail(struct nats_bus *bus, const char *what, natsStatus status, jsErrCode error)
{
	const char *reason = nats_GetLastError(NULL);
	struct failure failure = {
		what, reason && *reason ? reason : natsStatus_GetText(status), status, error};
	char text[BUS_TEXT_SIZE], open_text[BUS_TEXT_SIZE], place[84];
	struct nats_denial denial;

	if (status == NATS_TIMEOUT && find_denial(bus, &denial)) {
		end_denied(bus, &denial);
		return false;
	}
	format_place(bus, place, sizeof(place));
	describe_failure(&failure, place, text);
	describe_failure(&failure, "", open_text);
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
	if (nats_consumer_on_created(bus, mail, on_message))
		end_sync_if_complete(bus);
}

bool nats_session_begin(struct nats_bus *bus, natsConnection *connection, unsigned session)
{
	nats_session_end(bus, "The NATS server is in lame duck mode. Another one is used.");
	bus->connection = connection;
	bus->session = session;
	bus->has_stored = false;
	return open_jetstream(bus) && nats_session_sync(bus);
}

void nats_session_on_message(struct nats_bus *bus, const struct nats_mail *mail)
{
	const struct update *update = &mail->update;

	if (!bus->subscription || strcmp(mail->consumer, bus->consumer) != 0)
		return; /* of a consumer that we gave up */
	if (mail->number != bus->delivered + 1) {
		nats_session_doubt(bus, "a gap in the consumer's messages");
		/* If they are read again later, this one is good news all the same. */
		if (!bus->subscription || strcmp(mail->consumer, bus->consumer) != 0)
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
	jsConsumerInfo *info = NULL;
	jsErrCode error = 0;
	natsStatus s;

	/* While they come, there is no need: where there are very many, it takes the server a
	 * second to say, in which it sends none. */
	if (bus->delivered != bus->sync_seen) {
		bus->sync_seen = bus->delivered;
		return;
	}
	s = nats_consumer_ask(bus, &info, &error);
	if (s != NATS_OK) {
		nats_session_fail(bus, "asking for the consumer", s, error);
		return;
	}
	if (info->NumPending == 0)
		bus->sync_until = info->Delivered.Consumer;
	jsConsumerInfo_Destroy(info);
	end_sync_if_complete(bus);
}

/* The stream has so many consumers.  If there were more, that may be ours which is gone: sooner
 * known than by its missing heartbeats. */
static bool consumer_is_there(struct nats_bus *bus, int64_t consumers)
{
	jsConsumerInfo *info = NULL;
	jsErrCode error = 0;
	bool fewer = consumers < bus->consumers, there;

	bus->consumers = consumers;
	if (!fewer)
		return true;
	there = nats_consumer_ask(bus, &info, &error) == NATS_OK;
	jsConsumerInfo_Destroy(info);
	return there;
}

/* A server that is silent is noticed by this, too. */
void nats_session_check(struct nats_bus *bus)
{
	jsStreamInfo *info = NULL;
	jsErrCode error = 0;
	natsStatus s;
	bool same, there;

	bus->checks++;
	if (nats_consumer_is_awaited(bus))
		return; /* which has a deadline of its own */
	if (bus->syncing) {
		check_sync(bus);
		return;
	}
	s = nats_stream_ask(bus, &info, &error);
	if (s != NATS_OK && s != NATS_NOT_FOUND && error != JSStreamNotFoundErr) {
		nats_session_fail(bus, "asking for the stream " NATS_STREAM, s, error);
		return;
	}
	if (s == NATS_OK) {
		nats_stream_note_acks(bus, info->Config);
		bus->n_messages = info->State.Msgs;
	}
	/* A purge is told to nobody.  A stream of another shape may keep less, though. */
	same = s == NATS_OK && info->Created == bus->stream_created &&
	       (!bus->standard_shape || info->State.Msgs >= nats_subjects_alive(bus)) &&
	       !nats_subjects_unseen(bus);
	there = !same || consumer_is_there(bus, info->State.Consumers);
	jsStreamInfo_Destroy(info);
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
