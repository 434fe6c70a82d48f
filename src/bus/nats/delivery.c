/* SPDX-License-Identifier: BSD-3-Clause */
/* What comes to a consumer's deliver subject: messages, whose reply subjects say which ones they
 * are, and JetStream's own, which have a status and no body (nats-architecture-and-design, ADR-15).
 *
 * nats.c's js_Subscribe() would read the latter itself.  But 3.4 crashes in it where memory is
 * short (jsSub_free() releases a context that it does not have yet), and it answers flow control
 * when a message has been given to its callback, whether or not the bus thread has got to it. */
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

/* Up to the next dot, or the end. */
static bool read_number(const char *text, uint64_t *ret)
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
	if (!read_number(skip_tokens(reply, STREAM_SEQUENCE), &mail->update.sequence) ||
		!read_number(skip_tokens(reply, CONSUMER_SEQUENCE), &mail->number) ||
		!read_number(skip_tokens(reply, STORED_NS), &stored_ns) || stored_ns > INT64_MAX)
		return false;
	mail->update.stored_us = (int64_t)stored_ns / NS_PER_US;
	consumer = skip_tokens(reply, CONSUMER);
	snprintf(mail->consumer, sizeof(mail->consumer), "%.*s", (int)strcspn(consumer, "."),
		consumer);
	return true;
}

/* ---- JetStream's own ---- */

#define STATUS_CONTROL "100" /* a heartbeat, or flow control */

/* False: it has no such header, or memory is short.  nats.c then parses what is left of the header
 * if it is asked again, and finds less. */
static bool get_header(natsMsg *message, const char *name, const char **ret)
{
	return natsMsgHeader_Get(message, name, ret) == NATS_OK && *ret;
}

/* Flow control asks for an answer to its reply subject; a heartbeat names that one again. */
static const char *subject_to_answer(natsMsg *message)
{
	const char *subject;

	if (get_header(message, "Nats-Consumer-Stalled", &subject))
		return subject;
	subject = natsMsg_GetReply(message);
	return subject ? subject : "";
}

bool nats_delivery_parse_status(natsMsg *message, struct nats_mail *mail)
{
	const char *value;
	int n;

	/* Once this has been found, all of the header has been read, and is there. */
	if (natsMsg_GetDataLength(message) > 0 || !get_header(message, "Status", &value) ||
		strcmp(value, STATUS_CONTROL) != 0)
		return false;
	mail->number = NATS_NUMBER_UNTOLD;
	if (get_header(message, "Nats-Last-Consumer", &value) && !read_number(value, &mail->number))
		return false;
	n = snprintf(mail->text, sizeof(mail->text), "%s", subject_to_answer(message));
	if (n < 0 || (size_t)n >= sizeof(mail->text))
		return false;
	snprintf(mail->consumer, sizeof(mail->consumer), "%s", natsMsg_GetSubject(message));
	return true;
}

/* Empty, to where JetStream wants it. */
static natsStatus answer(struct nats_bus *bus, const char *subject)
{
	return subject[0] ? natsConnection_Publish(bus->connection, subject, NULL, 0) : NATS_OK;
}

void nats_delivery_on_status(struct nats_bus *bus, const struct nats_mail *mail)
{
	char text[NATS_TEXT_SIZE];
	natsStatus s;

	if (!bus->subscription || strcmp(mail->consumer, bus->deliver_inbox) != 0)
		return; /* of a consumer that we gave up */
	s = answer(bus, mail->text);
	if (s != NATS_OK) {
		snprintf(text, sizeof(text), "flow control cannot be answered: %s",
			natsStatus_GetText(s));
		nats_session_doubt(bus, text);
	} else if (mail->number != NATS_NUMBER_UNTOLD && mail->number != bus->delivered)
		nats_session_doubt(bus, "the consumer has sent messages that have not come");
}
