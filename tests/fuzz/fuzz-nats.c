/* SPDX-License-Identifier: BSD-3-Clause */
/* A message on NATS, of which anybody there can be the author: the first line is what follows
 * "flagsmith.environment." in its subject, or the inbox for acknowledgements; all else is its
 * payload. */
#include "bus/nats/library-internal.h"
#include "fuzz.h"
#include "update/timestamp.h"

static void require_update(const struct update *update, const char *token)
{
	FUZZ_REQUIRE(update->time_us >= TIMESTAMP_MIN_US && update->time_us <= TIMESTAMP_LIMIT_US);
	FUZZ_REQUIRE(update->key.length >= 1 && update->key.length <= KEY_MAX_LENGTH);
	FUZZ_REQUIRE(strcmp(update->key.text, token) == 0);
	FUZZ_REQUIRE(!strpbrk(update->key.text, ".*> "));
}

/* nats.c frees a message with the help of its library's own threads. */
static void open_nats_once(void)
{
	static bool is_open;

	if (!is_open)
		FUZZ_REQUIRE(nats_Open(-1) == NATS_OK);
	is_open = true;
}

/* What is read without json-c is what json-c would have read. */
static void require_same_by_json(const char *body, size_t length)
{
	struct nats_ack plain, json;

	if (!nats_ack_parse_plain(body, length, &plain))
		return;
	FUZZ_REQUIRE(nats_ack_parse_json(body, length, &json) == 0);
	FUZZ_REQUIRE(plain.outcome == NATS_ACK_STORED && json.outcome == NATS_ACK_STORED);
	FUZZ_REQUIRE(plain.sequence == json.sequence);
}

static void read_as_ack(const char *token, const char *body, size_t length)
{
	struct nats_ack ack;
	struct key key;
	uint64_t flight;

	require_same_by_json(body, length);
	FUZZ_REQUIRE(nats_ack_parse(body, length, &ack) == 0);
	FUZZ_REQUIRE((ack.outcome == NATS_ACK_STORED) == (ack.sequence > 0));
	FUZZ_REQUIRE(ack.outcome != NATS_ACK_STORED || ack.text[0] == '\0');
	if (nats_ack_parse_reply(token, &key, &flight))
		FUZZ_REQUIRE(flight > 0 && key_parse(key.text, key.length, &key) == 0);
}

/* What its node may say of when it was accepted. */
static void read_as_headers(const char *headers, size_t length)
{
	struct nats_mail mail = {.told_us = -1, .update = {.accepted_us = -1}};

	nats_accepted_parse(headers, length, &mail);
	FUZZ_REQUIRE(mail.told_us >= 0 && mail.update.accepted_us >= mail.told_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\n', size);
	size_t length = end ? (size_t)(end - data) : size;
	_cleanup_(freep) char *token = fuzz_text(data, length), *subject = NULL;
	struct update update = {.time_us = -1};
	natsMsg *message = NULL;
	const char *problem;

	open_nats_once();
	if (asprintf(&subject, NATS_SUBJECT_PREFIX "%s", token) < 0)
		return 0;
	data += end ? length + 1 : length;
	size -= end ? length + 1 : length;
	read_as_ack(token, (const char *)data, size);
	read_as_headers((const char *)data, size);
	/* nats.c itself refuses some. */
	if (natsMsg_Create(&message, subject, NULL, (const char *)data, (int)size) != NATS_OK)
		return 0;
	problem = nats_message_read_update(message, &update);
	if (problem)
		FUZZ_REQUIRE(*problem);
	else
		require_update(&update, token);
	natsMsg_Destroy(message);

	/* And with a subject that is another one altogether. */
	if (*token && natsMsg_Create(&message, token, NULL, "{}", 2) == NATS_OK) {
		FUZZ_REQUIRE(nats_message_read_update(message, &update));
		natsMsg_Destroy(message);
	}
	return 0;
}
