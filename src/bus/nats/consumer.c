/* SPDX-License-Identifier: BSD-3-Clause */
/* The consumer: makes it, subscribes to it, asks how it is, and doubts it when it is silent.  What
 * it sends is read in message.c and delivery.c.
 *
 * nats.c's js_Subscribe() would do that, too, but in one call that waits.  With very many
 * environments it waits for tens of seconds, in which the bus thread could do nothing else, not
 * even end.  So this file sends the request itself, and subscribes when the consumer has been made:
 * the server sends nothing before somebody listens. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "bus/nats/nats-internal.h"
#include "update/timestamp.h"

/* The consumer shows itself so often, and says what it has sent.  It is in doubt when nothing has
 * come for as long as three take. */
#define HEARTBEAT_NS INT64_C(5000000000)
#define SILENCE_MS   (3 * HEARTBEAT_NS / NS_PER_US / US_PER_MS)

/* One whose node is gone is removed by the server after this; one that was just made waits for its
 * subscription so long, which has to come from afar. */
#define INACTIVE_NS INT64_C(30000000000)

/* One that is refused at once is not asked for again at once. */
#define FAILED_PAUSE_MS 1000

#define CREATE_SUBJECT "$JS.API.CONSUMER.CREATE." NATS_STREAM
#define INFO_SUBJECT   "$JS.API.CONSUMER.INFO." NATS_STREAM "."
#define CREATE_REPLY   "create" /* to both: the answers have the same form */

static const char create_request[] =
	"{\"stream_name\":\"" NATS_STREAM "\",\"config\":{\"deliver_policy\":\"last_per_subject\","
	"\"ack_policy\":\"none\",\"replay_policy\":\"instant\",\"filter_subject\":\"" NATS_SUBJECTS
	"\",\"deliver_subject\":\"%s\",\"flow_control\":true,\"idle_heartbeat\":%" PRId64
	",\"inactive_threshold\":%" PRId64 ",\"mem_storage\":true,\"num_replicas\":1}}";

/* ---- What JetStream answers ---- */

bool nats_consumer_parse_reply(const char *subject, uint64_t *ret_number)
{
	const char *last = strrchr(subject, '.'), *name;
	char *end;

	if (!last || last == subject)
		return false;
	name = memrchr(subject, '.', (size_t)(last - subject));
	if (!name || strncmp(name, "." CREATE_REPLY ".", sizeof("." CREATE_REPLY ".") - 1) != 0)
		return false;
	*ret_number = strtoull(last + 1, &end, 10);
	return *end == '\0' && *ret_number > 0;
}

static uint64_t count_of(json_object *object, const char *name)
{
	json_object *value;

	return json_object_object_get_ex(object, name, &value) ? json_object_get_uint64(value) : 0;
}

/* 0: it has none. */
static int64_t time_of(json_object *object, const char *name)
{
	json_object *value;
	int64_t time_us = 0;

	if (json_object_object_get_ex(object, name, &value) &&
		json_object_is_type(value, json_type_string))
		(void)timestamp_parse_iso8601(json_object_get_string(value),
			(size_t)json_object_get_string_len(value), &time_us);
	return time_us;
}

static void read_created(json_object *object, struct nats_mail *mail)
{
	const char *name = json_text_of(object, "name");
	json_object *delivered;

	if (!name) {
		nats_ack_refuse(&mail->ack, "an answer without a name");
		return;
	}
	snprintf(mail->consumer, sizeof(mail->consumer), "%s", name);
	mail->created_us = time_of(object, "created");
	mail->ack.sequence = count_of(object, "num_pending");
	if (json_object_object_get_ex(object, "delivered", &delivered))
		mail->ack.sequence += count_of(delivered, "consumer_seq");
}

int nats_consumer_parse(const char *body, size_t length, struct nats_mail *mail)
{
	json_object *object, *error;
	int r;

	mail->ack = (struct nats_ack){0};
	mail->created_us = 0;
	r = json_parse(body, length, &object);
	if (r == -ENOMEM)
		return r;
	if (r < 0 || json_object_object_get_ex(object, "error", &error)) {
		/* As an acknowledgement that is an error has it. */
		if (r >= 0)
			json_object_put(object);
		return nats_ack_parse_json(body, length, &mail->ack);
	}
	read_created(object, mail);
	json_object_put(object);
	return 0;
}

/* ---- Asking for it ---- */

/* `error` and `why` are what has come, or not come, for an answer. */
static void fail(struct nats_bus *bus, int error, const char *why)
{
	struct nats_error no_call = {.error = error, .text = "Error"};
	char what[NATS_TEXT_SIZE + 32];

	snprintf(what, sizeof(what), "making a consumer%s%s", why[0] ? ", " : "", why);
	nats_session_fail(bus, what, &no_call);
	if (!bus->denied)
		bus->next_attempt_ms = clock_monotonic_ms() + FAILED_PAUSE_MS;
	bus->server = (bus->server + 1) % bus->n_servers;
}

/* Without waiting; the answer comes as NATS_MAIL_CONSUMER. */
static bool request(struct nats_bus *bus, const char *subject, const char *body, size_t length)
{
	char reply[NATS_REPLY_SIZE];
	struct nats_message message = {subject, reply, .body = body, .length = length};
	struct nats_error error;

	snprintf(reply, sizeof(reply), "%s." CREATE_REPLY ".%" PRIu64, bus->ack_inbox,
		++bus->creations);
	if (nats_wire_send(bus->wire, &message, &error) < 0)
		return nats_session_fail(bus, "making a consumer", &error);
	bus->create_begun_ms = clock_monotonic_ms();
	bus->create_until_ms = bus->create_begun_ms + nats_patience_ms(&bus->consumer_patience) +
			       2 * (int64_t)(bus->n_messages / NATS_MESSAGES_PER_MS);
	return true;
}

bool nats_consumer_create(struct nats_bus *bus)
{
	char body[sizeof(create_request) + NATS_INBOX_SIZE + 64];
	struct nats_error error;
	int n;

	nats_consumer_drop(bus);
	if (nats_wire_make_inbox(bus->deliver_inbox, &error) < 0)
		return nats_session_fail(bus, "making a consumer", &error);
	bus->delivered = 0;
	bus->sync_seen = UINT64_MAX;
	bus->sync_until = UINT64_MAX;
	n = snprintf(
		body, sizeof(body), create_request, bus->deliver_inbox, HEARTBEAT_NS, INACTIVE_NS);
	return request(bus, CREATE_SUBJECT, body, (size_t)n);
}

/* Asks whether it is there, as has to be done later now and then: if that is not permitted, it is
 * to be known before anything is read. */
static void on_made(struct nats_bus *bus, const struct nats_mail *mail)
{
	char subject[sizeof(INFO_SUBJECT) + sizeof(bus->consumer)];
	int64_t elapsed_ms = clock_monotonic_ms() - bus->create_begun_ms;

	nats_patience_rewarded(&bus->consumer_patience, elapsed_ms);
	nats_clock_read(bus, mail->created_us, elapsed_ms * US_PER_MS);
	snprintf(bus->consumer, sizeof(bus->consumer), "%s", mail->consumer);
	snprintf(subject, sizeof(subject), INFO_SUBJECT "%s", bus->consumer);
	(void)request(bus, subject, NULL, 0);
}

/* From here on the server sends. */
static bool bind_to(struct nats_bus *bus)
{
	struct nats_error error;

	atomic_store(&nats_session_origin(bus)->heard_ms, clock_monotonic_ms());
	if (nats_wire_subscribe(bus->wire, bus->deliver_inbox, &error) < 0)
		return nats_session_fail(bus, "subscribing to the consumer", &error);
	bus->is_subscribed = true;
	return true;
}

bool nats_consumer_on_created(struct nats_bus *bus, const struct nats_mail *mail)
{
	if (!nats_consumer_is_awaited(bus) || mail->number != bus->creations)
		return false; /* was given up */
	if (mail->ack.outcome == NATS_ACK_NO_STREAM) {
		fail(bus, -EHOSTUNREACH, "");
		return false;
	}
	if (mail->ack.outcome != NATS_ACK_STORED) {
		fail(bus, -EIO, mail->ack.text);
		return false;
	}
	if (!bus->consumer[0]) {
		on_made(bus, mail);
		return false;
	}
	bus->create_until_ms = 0;
	bus->sync_until = mail->ack.sequence;
	return bind_to(bus);
}

bool nats_consumer_is_awaited(const struct nats_bus *bus)
{
	return bus->create_until_ms != 0;
}

int64_t nats_consumer_deadline_ms(const struct nats_bus *bus)
{
	const struct nats_origin *origin = &bus->origins[bus->session % NATS_ORIGINS];

	if (nats_consumer_is_awaited(bus))
		return bus->create_until_ms;
	return bus->is_subscribed ? atomic_load(&origin->heard_ms) + SILENCE_MS : INT64_MAX;
}

void nats_consumer_expire(struct nats_bus *bus, int64_t now_ms)
{
	if (now_ms < nats_consumer_deadline_ms(bus))
		return;
	if (nats_consumer_is_awaited(bus)) {
		nats_patience_lost(&bus->consumer_patience);
		fail(bus, -ETIMEDOUT, "");
		return;
	}
	/* If it is read again later only, it is not due at once again until then. */
	atomic_store(&nats_session_origin(bus)->heard_ms, now_ms);
	nats_session_doubt(bus, "Missed heartbeats of the consumer");
}

int nats_consumer_ask(struct nats_bus *bus, struct nats_consumer *ret, struct nats_error *ret_error)
{
	struct nats_request request;

	nats_request_begin(&request, bus);
	return nats_request_end(&request, nats_wire_get_consumer(bus->wire, NATS_STREAM,
						  bus->consumer, request.wait_ms, ret, ret_error));
}

void nats_consumer_drop(struct nats_bus *bus)
{
	if (bus->wire)
		nats_wire_unsubscribe(bus->wire);
	bus->is_subscribed = false;
	bus->consumer[0] = '\0';
	bus->deliver_inbox[0] = '\0';
	bus->create_until_ms = 0;
}
