/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking JetStream for the last message of a subject.  js_GetLastMsg() would block the bus thread
 * until the answer comes.  So the answer is sent to the inbox that the acknowledgements come to. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "bus/nats/nats-internal.h"
#include "update/timestamp.h"

#define ASK_SUBJECT "$JS.API.STREAM.MSG.GET." NATS_STREAM
#define ASK_REPLY   "last"
#define ASK_FORMAT  "{\"last_by_subj\":\"" NATS_SUBJECT_PREFIX "%s\"}"

/* JetStream's code where it has none. */
#define NO_MESSAGE_FOUND 10037

#define MICROSECOND_DIGITS 6

/* ---- What JetStream answers ---- */

static int value_of_base64(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *digit = c ? strchr(digits, c) : NULL;

	return digit ? (int)(digit - digits) : -1;
}

int nats_last_decode(const char *text, char **ret, size_t *ret_length)
{
	size_t length = strlen(text), n = 0;
	_cleanup_(freep) char *data = malloc(length / 4 * 3 + 1);
	uint32_t bits = 0;
	int n_bits = 0;

	if (!data)
		return -ENOMEM;
	if (length % 4 != 0)
		return -EBADMSG;
	while (length > 0 && text[length - 1] == '=')
		length--;
	for (size_t i = 0; i < length; i++) {
		int value = value_of_base64(text[i]);

		if (value < 0)
			return -EBADMSG;
		bits = bits << 6 | (uint32_t)value;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			data[n++] = (char)(bits >> n_bits & 0xff);
		}
	}
	*ret_length = n;
	*ret = TAKE_PTR(data);
	return 0;
}

/* The consumer tells nanoseconds, of which microseconds are cut off; so they are here: the same
 * message must have the same place in the order.  0: it has none. */
static int64_t read_time(json_object *message)
{
	const char *text = json_text_of(message, "time"), *point = text ? strchr(text, '.') : NULL;
	char cut[64];
	size_t n_digits, n_kept;
	int64_t time_us = 0;

	if (!text)
		return 0;
	if (!point) {
		(void)timestamp_parse_iso8601(text, strlen(text), &time_us);
		return time_us;
	}
	n_digits = strspn(point + 1, "0123456789");
	n_kept = n_digits < MICROSECOND_DIGITS ? n_digits : MICROSECOND_DIGITS;
	snprintf(cut, sizeof(cut), "%.*s%s", (int)(point + 1 - text + (ptrdiff_t)n_kept), text,
		point + 1 + n_digits);
	(void)timestamp_parse_iso8601(cut, strlen(cut), &time_us);
	return time_us;
}

static int refuse(struct nats_mail *mail, const char *text)
{
	nats_ack_refuse(&mail->ack, text);
	return 0;
}

/* Those that are not base64 say nothing. */
static int read_headers(const char *encoded, struct nats_mail *mail)
{
	_cleanup_(freep) char *headers = NULL;
	size_t length;
	int r = encoded ? nats_last_decode(encoded, &headers, &length) : -EBADMSG;

	if (r == 0)
		nats_accepted_parse(headers, length, mail);
	return r == -ENOMEM ? r : 0;
}

static int read_message(json_object *message, struct nats_mail *mail)
{
	const char *encoded = json_text_of(message, "data");
	_cleanup_(freep) char *data = NULL;
	int64_t sequence = json_number_of(message, "seq");
	size_t length = 0;
	int r;

	mail->update.stored_us = read_time(message);
	if (sequence <= 0 || mail->update.stored_us == 0)
		return refuse(mail, "a message without sequence number or time");
	r = nats_last_decode(encoded ? encoded : "", &data, &length);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return refuse(mail, "a message that is not base64");
	r = update_parse_message(data, length, &mail->update.time_us, &mail->problem);
	if (r == -ENOMEM)
		return r;
	if (r == 0)
		mail->problem = NULL;
	mail->update.sequence = (uint64_t)sequence;
	return read_headers(json_text_of(message, "hdrs"), mail);
}

int nats_last_parse(const char *body, size_t length, struct nats_mail *mail)
{
	json_object *object, *error = NULL, *message;
	int r;

	mail->ack = (struct nats_ack){0};
	mail->update.sequence = 0;
	mail->told_us = 0;
	mail->update.accepted_us = 0;
	mail->problem = NULL;
	r = json_parse(body, length, &object);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return refuse(mail, "an answer that is not JSON");
	if (json_object_object_get_ex(object, "error", &error) &&
		json_number_of(error, "err_code") != NO_MESSAGE_FOUND)
		r = nats_ack_parse_json(body, length, &mail->ack);
	else if (!error && !json_object_object_get_ex(object, "message", &message))
		r = refuse(mail, "an answer without a message");
	else if (!error)
		r = read_message(message, mail);
	json_object_put(object);
	return r;
}

bool nats_last_parse_reply(const char *subject, struct key *ret_key, uint64_t *ret_flight)
{
	static const char mark[] = "." ASK_REPLY ".";
	const char *found = strstr(subject, mark);

	/* An inbox of nats.c has no such word in it; a key may be it. */
	return found && strchr(found + sizeof(mark) - 1, '.') &&
	       nats_ack_parse_reply(subject, ret_key, ret_flight);
}

/* ---- Asking ---- */

int nats_last_ask(struct nats_bus *bus, const struct key *key, uint64_t flight)
{
	char reply[NATS_REPLY_SIZE], request[sizeof(ASK_FORMAT) + KEY_MAX_LENGTH];
	struct nats_message message = {.subject = ASK_SUBJECT, .reply = reply, .body = request};
	struct nats_error error;

	snprintf(reply, sizeof(reply), "%s." ASK_REPLY ".%" PRIu64 ".%s", bus->ack_inbox, flight,
		key->text);
	message.length = (size_t)snprintf(request, sizeof(request), ASK_FORMAT, key->text);
	return nats_wire_send(bus->wire, &message, &error);
}
