/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads nats.c's messages. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus/nats/library-internal.h"

#define LONG_AGO_US 1

#define STATUS_CONTROL "100" /* a heartbeat, or flow control */

const char *nats_message_read_update(natsMsg *message, struct update *ret)
{
	const char *subject = natsMsg_GetSubject(message), *problem;
	size_t prefix = strlen(NATS_SUBJECT_PREFIX);
	int r;

	if (strncmp(subject, NATS_SUBJECT_PREFIX, prefix) != 0 ||
		key_parse(subject + prefix, strlen(subject + prefix), &ret->key) < 0)
		return "its subject does not end with the key of an environment";
	while ((r = update_parse_message(natsMsg_GetData(message),
			(size_t)natsMsg_GetDataLength(message), &ret->time_us, &problem)) ==
		-ENOMEM)
		nats_wait_for_memory();
	return r < 0 ? problem : NULL;
}

void nats_message_read_accepted(natsMsg *message, struct nats_mail *mail)
{
	const char *value = NULL;
	natsStatus status = natsMsgHeader_Get(message, NATS_ACCEPTED_HEADER, &value);

	nats_accepted_read(status == NATS_OK ? value : NULL, mail);
	if (status == NATS_NO_MEMORY)
		mail->told_us = LONG_AGO_US;
}

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

bool nats_message_read_status(natsMsg *message, struct nats_mail *mail)
{
	const char *value;
	int n;

	/* Once this has been found, all of the header has been read, and is there. */
	if (natsMsg_GetDataLength(message) > 0 || !get_header(message, "Status", &value) ||
		strcmp(value, STATUS_CONTROL) != 0)
		return false;
	mail->number = NATS_NUMBER_UNTOLD;
	if (get_header(message, "Nats-Last-Consumer", &value) &&
		!nats_delivery_parse_number(value, &mail->number))
		return false;
	n = snprintf(mail->text, sizeof(mail->text), "%s", subject_to_answer(message));
	if (n < 0 || (size_t)n >= sizeof(mail->text))
		return false;
	snprintf(mail->consumer, sizeof(mail->consumer), "%s", natsMsg_GetSubject(message));
	return true;
}
