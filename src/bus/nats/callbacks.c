/* SPDX-License-Identifier: BSD-3-Clause */
/* The callbacks of nats.c, which run in its own threads: they only read what has come, and post it
 * to the bus thread.  Also the options of a connection, which name the callbacks. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bus/nats/library-internal.h"
#include "bus/nats/url.h"

/* A write that the server does not take in this time ends the connection. */
#define WRITE_DEADLINE_MS 500

/* nats.c's queue of messages, in bytes 1024 times as many, which an int has to hold: it drops what
 * is beyond, and flow control keeps far below. */
#define PENDING_MAX (INT_MAX / 1024)

/* ---- What JetStream answers ---- */

static int parse_body(struct nats_mail *mail, const char *body, size_t length)
{
	switch (mail->type) {
	case NATS_MAIL_ACK:
		return nats_ack_parse(body, length, &mail->ack);
	case NATS_MAIL_LAST:
		return nats_last_parse(body, length, mail);
	default:
		return nats_consumer_parse(body, length, mail);
	}
}

/* What it is the answer to.  False: to nothing of ours. */
static bool parse_subject(struct nats_mail *mail, const char *subject)
{
	if (nats_last_parse_reply(subject, &mail->update.key, &mail->number)) {
		mail->type = NATS_MAIL_LAST;
		return true;
	}
	if (nats_ack_parse_reply(subject, &mail->update.key, &mail->number))
		return true;
	mail->type = NATS_MAIL_CONSUMER;
	return nats_consumer_parse_reply(subject, &mail->number);
}

void nats_callbacks_on_answer(
	natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *closure)
{
	const struct nats_origin *origin = closure;
	struct nats_mail *mail = nats_mail_new(NATS_MAIL_ACK);

	(void)connection;
	(void)subscription;
	if (parse_subject(mail, natsMsg_GetSubject(message))) {
		if (natsMsg_IsNoResponders(message))
			mail->ack.outcome = NATS_ACK_NO_STREAM;
		else
			while (parse_body(mail, natsMsg_GetData(message),
				       (size_t)natsMsg_GetDataLength(message)) == -ENOMEM)
				nats_wait_for_memory();
		mailbox_post(&origin->bus->mail.mailbox, &mail->mail);
	} else
		free(mail);
	natsMsg_Destroy(message);
}

/* ---- What the consumer sends, and what the connection tells ---- */

static void post_about_session(
	const struct nats_origin *origin, enum nats_mail_type type, const char *text)
{
	struct nats_mail *mail = nats_mail_new(type);

	mail->session = atomic_load(&origin->session);
	snprintf(mail->text, sizeof(mail->text), "%s", text);
	mailbox_post(&origin->bus->mail.mailbox, &mail->mail);
}

void nats_callbacks_on_message(
	natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *closure)
{
	struct nats_origin *origin = closure;
	struct nats_mail *mail = nats_mail_new(NATS_MAIL_MESSAGE);

	(void)connection;
	(void)subscription;
	atomic_store(&origin->heard_ms, clock_monotonic_ms());
	if (nats_delivery_parse(natsMsg_GetReply(message), mail)) {
		mail->problem = nats_message_read_update(message, &mail->update);
		nats_message_read_accepted(message, mail);
		mailbox_post(&origin->bus->messages.mailbox, &mail->mail);
	} else if (nats_message_read_status(message, mail)) {
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

/* ---- Options ---- */

natsStatus nats_callbacks_set_options(
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
