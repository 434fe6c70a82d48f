/* SPDX-License-Identifier: BSD-3-Clause */
#include "nats-publishing.h"

#include <check.h>
#include <string.h>

#include "nats-fixture.h"

void publishing_set_up(void)
{
	fixture_set_up();
	bus->wire = fixture_new_wire();
	bus->up = true;
	bus->session = 1;
	bus->stream_created_ns = made_up.stream.created_ns;
	bus->consumers = made_up.stream.n_consumers;
	strcpy(bus->ack_inbox, FIXTURE_INBOX);
}

struct publication *publish(int64_t accepted_us, int64_t time_us)
{
	struct publication *publication = fixture_publication("k", accepted_us, time_us);

	nats_publish(bus, publication);
	return publication;
}

uint64_t expect_update(uint64_t last, int64_t time_us)
{
	const struct sent *sent = fixture_sent();
	char payload[UPDATE_PAYLOAD_SIZE];
	uint64_t flight;
	struct key key;

	ck_assert_ptr_nonnull(sent);
	ck_assert_str_eq(sent->subject, "flagsmith.environment.k");
	ck_assert(nats_ack_parse_reply(sent->reply, &key, &flight));
	ck_assert_str_eq(key.text, "k");
	ck_assert_uint_eq(strtoull(sent->last, NULL, 10), last);
	update_format_payload(FIXTURE_NOW_US + time_us, payload);
	ck_assert_str_eq(sent->body, payload);
	return flight;
}

uint64_t expect_question(void)
{
	const struct sent *sent = fixture_sent();
	uint64_t flight;
	struct key key;

	ck_assert_ptr_nonnull(sent);
	ck_assert_str_eq(sent->subject, "$JS.API.STREAM.MSG.GET.environments-stream");
	ck_assert_str_eq(sent->body, "{\"last_by_subj\":\"flagsmith.environment.k\"}");
	ck_assert(nats_last_parse_reply(sent->reply, &key, &flight));
	ck_assert_str_eq(key.text, "k");
	return flight;
}

void expect_nothing_sent(void)
{
	ck_assert_ptr_null(fixture_sent());
}

void expect_answer(const struct publication *publication, enum publish_outcome outcome,
	uint64_t sequence, const char *problem)
{
	ck_assert(fixture_is_answered(publication));
	ck_assert_int_eq(publication->outcome, outcome);
	ck_assert_uint_eq(publication->sequence, sequence);
	ck_assert_str_eq(publication->problem, problem);
}

void acknowledge(uint64_t flight, enum nats_ack_outcome outcome, uint64_t sequence)
{
	struct nats_mail mail = {
		.type = NATS_MAIL_ACK,
		.update.key = fixture_key("k"),
		.number = flight,
		.ack = {outcome, sequence, "as NATS says it"},
	};

	fixture_mail(&mail);
}

void tell_last(uint64_t flight, uint64_t sequence, int64_t time_us, int64_t stored_us)
{
	struct nats_mail mail = {
		.type = NATS_MAIL_LAST,
		.update = {.key = fixture_key("k"),
			.time_us = FIXTURE_NOW_US + time_us,
			.stored_us = FIXTURE_NOW_US + stored_us,
			.sequence = sequence},
		.number = flight,
	};

	fixture_mail(&mail);
}
