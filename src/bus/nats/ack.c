/* SPDX-License-Identifier: BSD-3-Clause */
/* JetStream's acknowledgements: each publish names a reply subject of its own, below one inbox that
 * the session subscribes to.
 *
 * Not js_PublishMsgAsync(): with its first publish it subscribes to an inbox, too, and if the
 * connection ends in that moment, nats.c (3.4 to 3.9) leaks context and connection, and
 * nats_CloseAndWait() waits for them for ever. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "bus/nats/nats-internal.h"

/* int64_t holds each number of so many. */
#define PLAIN_DIGITS_MAX 18

/* ---- What JetStream answers ---- */

void nats_ack_refuse(struct nats_ack *ack, const char *text)
{
	ack->outcome = NATS_ACK_REFUSED;
	snprintf(ack->text, sizeof(ack->text), "%s", text);
}

static void read_error(json_object *error, struct nats_ack *ret)
{
	const char *text = json_text_of(error, "description");

	nats_ack_refuse(ret, text ? text : "an error without a description");
	ret->outcome = nats_ack_meaning(json_number_of(error, "err_code"), ret->text);
}

int nats_ack_parse_json(const char *body, size_t length, struct nats_ack *ret)
{
	json_object *object, *error;
	int64_t sequence;
	int r;

	*ret = (struct nats_ack){0};
	r = json_parse(body, length, &object);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		nats_ack_refuse(ret, "an answer that is not JSON");
		return 0;
	}
	sequence = json_number_of(object, "seq");
	if (json_object_object_get_ex(object, "error", &error))
		read_error(error, ret);
	else if (sequence <= 0)
		nats_ack_refuse(ret, "an answer without a sequence number");
	else
		ret->sequence = (uint64_t)sequence;
	json_object_put(object);
	return 0;
}

bool nats_ack_parse_plain(const char *body, size_t length, struct nats_ack *ret)
{
	static const char begin[] = "{\"stream\":\"" NATS_STREAM "\", \"seq\":";
	const size_t n_begin = sizeof(begin) - 1;
	uint64_t sequence = 0;

	if (length <= n_begin + 1 || length - n_begin - 1 > PLAIN_DIGITS_MAX ||
		memcmp(body, begin, n_begin) != 0 || body[n_begin] == '0' ||
		body[length - 1] != '}')
		return false;
	for (size_t i = n_begin; i < length - 1; i++) {
		if (body[i] < '0' || body[i] > '9')
			return false;
		sequence = sequence * 10 + (uint64_t)(body[i] - '0');
	}
	*ret = (struct nats_ack){.sequence = sequence};
	return true;
}

int nats_ack_parse(const char *body, size_t length, struct nats_ack *ret)
{
	return nats_ack_parse_plain(body, length, ret) ? 0 : nats_ack_parse_json(body, length, ret);
}

/* ---- Reply subjects ---- */

void nats_ack_format_reply(
	const struct nats_bus *bus, const struct key *key, uint64_t flight, char *text)
{
	snprintf(text, NATS_REPLY_SIZE, "%s.%" PRIu64 ".%s", bus->ack_inbox, flight, key->text);
}

bool nats_ack_parse_reply(const char *subject, struct key *ret_key, uint64_t *ret_flight)
{
	const char *key = strrchr(subject, '.'), *flight;
	char *end;

	if (!key || key_parse(key + 1, strlen(key + 1), ret_key) < 0)
		return false;
	flight = memrchr(subject, '.', (size_t)(key - subject));
	if (!flight)
		return false;
	*ret_flight = strtoull(flight + 1, &end, 10);
	return end == key && *ret_flight > 0;
}
