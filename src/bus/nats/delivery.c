/* SPDX-License-Identifier: BSD-3-Clause */
/* What comes to a consumer's deliver subject: messages, whose reply subjects say which ones they
 * are, and JetStream's own, which have a status and no body (nats-architecture-and-design, ADR-15).
 *
 * nats.c's js_Subscribe() would read the latter itself.  But 3.4 crashes there if memory is short
 * (jsSub_free() releases a context that it does not have yet), and it answers flow control once it
 * has called back for a message, whether or not the bus thread has read that message. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bus/nats/nats-internal.h"

/* ---- Messages ---- */

#define ACK_PREFIX "$JS.ACK."

/* What follows it, maybe behind a domain and the hash of an account, which older servers do
 * not write, and before what newer ones may add. */
enum {
	STREAM,
	CONSUMER,
	TIMES_DELIVERED,
	STREAM_SEQUENCE,
	CONSUMER_SEQUENCE,
	STORED_NS,
	PENDING,
	N_TOKENS,
};

#define N_BEFORE 2

static size_t count_tokens(const char *text)
{
	size_t n = 1;

	for (; *text; text++)
		n += *text == '.';
	return n;
}

static const char *skip_tokens(const char *text, size_t n)
{
	while (n-- > 0)
		text = strchr(text, '.') + 1;
	return text;
}

bool nats_delivery_parse_number(const char *text, uint64_t *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false; /* strtoull() takes blanks and signs */
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno == 0 && (*end == '.' || *end == '\0');
}

bool nats_delivery_parse(const char *reply, struct nats_mail *mail)
{
	const char *consumer;
	uint64_t stored_ns;
	size_t n;

	if (!reply || strncmp(reply, ACK_PREFIX, sizeof(ACK_PREFIX) - 1) != 0)
		return false;
	reply += sizeof(ACK_PREFIX) - 1;
	n = count_tokens(reply);
	if (n >= N_BEFORE + N_TOKENS)
		reply = skip_tokens(reply, N_BEFORE);
	else if (n != N_TOKENS)
		return false;
	if (!nats_delivery_parse_number(
		    skip_tokens(reply, STREAM_SEQUENCE), &mail->update.sequence) ||
		!nats_delivery_parse_number(skip_tokens(reply, CONSUMER_SEQUENCE), &mail->number) ||
		!nats_delivery_parse_number(skip_tokens(reply, STORED_NS), &stored_ns) ||
		stored_ns > INT64_MAX)
		return false;
	mail->update.stored_us = (int64_t)stored_ns / NS_PER_US;
	consumer = skip_tokens(reply, CONSUMER);
	snprintf(mail->consumer, sizeof(mail->consumer), "%.*s", (int)strcspn(consumer, "."),
		consumer);
	return true;
}

/* ---- JetStream's own ---- */

/* Empty, to where JetStream wants it. */
static int answer(struct nats_bus *bus, const char *subject, struct nats_error *ret_error)
{
	struct nats_message message = {.subject = subject};

	return subject[0] ? nats_wire_send(bus->wire, &message, ret_error) : 0;
}

void nats_delivery_on_status(struct nats_bus *bus, const struct nats_mail *mail)
{
	struct nats_error error;
	char text[NATS_TEXT_SIZE];

	if (!bus->is_subscribed || strcmp(mail->consumer, bus->deliver_inbox) != 0)
		return; /* of a consumer that we gave up */
	if (answer(bus, mail->text, &error) < 0) {
		snprintf(text, sizeof(text), "flow control cannot be answered: %s", error.name);
		nats_session_doubt(bus, text);
	} else if (mail->number != NATS_NUMBER_UNTOLD && mail->number != bus->delivered)
		nats_session_doubt(bus, "the consumer has sent messages that have not come");
}
