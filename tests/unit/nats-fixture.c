/* SPDX-License-Identifier: BSD-3-Clause */
#include "nats-fixture.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"

#define SENT_MAX         512
#define PUBLICATIONS_MAX 64

struct nats_wire {
	struct nats_bus *bus;
};

struct nats_attempt {
	struct nats_mail mail;
	unsigned session;
	bool works;
};

struct made_up made_up;
struct nats_bus *bus;

static struct mailbox inbox;
static struct mail_list events; /* taken from the inbox */
static struct sent sent[SENT_MAX];
static unsigned n_sent, n_seen;

static struct {
	struct publication publication;
	bool is_answered;
} publications[PUBLICATIONS_MAX];
static unsigned n_publications;

static const char *subjects[] = {NATS_SUBJECTS};

static const struct nats_stream as_it_should_be = {
	.settings = {.subjects = subjects,
		.n_subjects = 1,
		.replicas = 1,
		.max_messages_per_subject = 1,
		.max_messages = -1,
		.max_bytes = -1,
		.max_age_ns = INT64_C(3600000000000),
		.duplicates_ns = INT64_C(120000000000)},
	.created_ns = 7,
	.n_messages = 1000,
	.n_consumers = 1,
};

static char *servers[] = {"nats://one:4222", "nats://u:secret@two:4222"};

void fixture_set_up(void)
{
	made_up = (struct made_up){.stream = as_it_should_be};
	n_sent = n_seen = n_publications = 0;
	STAILQ_INIT(&events);
	ck_assert_int_eq(mailbox_init(&inbox), 0);
	bus = calloc(1, sizeof(*bus));
	ck_assert_ptr_nonnull(bus);
	bus->inbox = &inbox;
	bus->servers = servers;
	bus->n_servers = 2;
	bus->replicas = 1;
	bus->connect_timeout_ms = 2000;
	bus->stream_patience.max_ms = NATS_STREAM_TIMEOUT_MS;
	bus->consumer_patience.max_ms = NATS_CONSUMER_TIMEOUT_MS;
	STAILQ_INIT(&bus->held);
	TAILQ_INIT(&bus->flying);
	TAILQ_INIT(&bus->stragglers);
	table_init(&bus->subjects);
	bus->clock_offset_ms = clock_wall_us() / US_PER_MS - clock_monotonic_ms();
	bus_clock_set(&bus->clock, FIXTURE_NOW_US, clock_steady_us());
}

static void take_events(void)
{
	struct mail_list list;

	mailbox_take(&inbox, &list);
	STAILQ_CONCAT(&events, &list);
}

void fixture_tear_down(void)
{
	struct mail *mail;

	nats_session_end(bus, "The test is over.");
	free(bus->attempt);
	nats_subjects_free(bus);
	ck_assert_uint_eq(table_count(&bus->subjects), 0);
	ck_assert_uint_eq(made_up.n_wires, 0);
	free(bus);
	take_events();
	while ((mail = STAILQ_FIRST(&events))) {
		STAILQ_REMOVE_HEAD(&events, link);
		free(container_of(mail, struct bus_event, mail));
	}
	mailbox_deinit(&inbox);
}

/* ---- wire.h ---- */

/* A function of wire.h that was told to fail. */
static int result(int r, struct nats_error *ret_error)
{
	if (r < 0)
		*ret_error = (struct nats_error){r, 10000, "Made Up", "made up for the test"};
	return r;
}

struct nats_wire *fixture_new_wire(void)
{
	struct nats_wire *wire = calloc(1, sizeof(*wire));

	ck_assert_ptr_nonnull(wire);
	wire->bus = bus;
	made_up.n_wires++;
	return wire;
}

struct nats_wire *nats_wire_free(struct nats_wire *wire)
{
	if (!wire)
		return NULL;
	made_up.n_wires--;
	made_up.is_subscribed = false;
	free(wire);
	return NULL;
}

int nats_wire_open(struct nats_wire *wire, char ret_inbox[static NATS_INBOX_SIZE],
	struct nats_error *ret_error)
{
	ck_assert_ptr_eq(wire->bus, bus);
	strcpy(ret_inbox, FIXTURE_INBOX);
	return result(made_up.open, ret_error);
}

const char *nats_wire_denied(struct nats_wire *wire)
{
	ck_assert_ptr_eq(wire->bus, bus);
	return made_up.denied;
}

static void copy(char *to, size_t size, const char *text)
{
	int n = snprintf(to, size, "%s", text ? text : "");

	ck_assert_int_lt(n, (int)size);
}

int nats_wire_send(
	struct nats_wire *wire, const struct nats_message *message, struct nats_error *ret_error)
{
	struct sent *next = &sent[n_sent];
	int r = made_up.next_send < 0 ? made_up.next_send : made_up.send;

	ck_assert_ptr_eq(wire->bus, bus);
	made_up.next_send = 0;
	if (r < 0)
		return result(r, ret_error);
	ck_assert_uint_lt(n_sent++, SENT_MAX);
	*next = (struct sent){0};
	copy(next->subject, sizeof(next->subject), message->subject);
	copy(next->reply, sizeof(next->reply), message->reply);
	ck_assert_uint_lt(message->length, sizeof(next->body));
	if (message->length > 0)
		memcpy(next->body, message->body, message->length);
	if (message->headers[0].name) {
		ck_assert_str_eq(message->headers[0].name, "Nats-Expected-Last-Subject-Sequence");
		ck_assert_str_eq(message->headers[1].name, NATS_ACCEPTED_HEADER);
		copy(next->last, sizeof(next->last), message->headers[0].value);
		copy(next->accepted, sizeof(next->accepted), message->headers[1].value);
	}
	return 0;
}

int nats_wire_make_inbox(char ret_inbox[static NATS_INBOX_SIZE], struct nats_error *ret_error)
{
	snprintf(ret_inbox, NATS_INBOX_SIZE, FIXTURE_DELIVERY "%u", ++made_up.n_inboxes);
	return result(made_up.make_inbox, ret_error);
}

int nats_wire_subscribe(struct nats_wire *wire, const char *to, struct nats_error *ret_error)
{
	ck_assert_ptr_eq(wire->bus, bus);
	ck_assert_str_eq(to, bus->deliver_inbox);
	ck_assert(!made_up.is_subscribed);
	made_up.is_subscribed = made_up.subscribe == 0;
	return result(made_up.subscribe, ret_error);
}

void nats_wire_unsubscribe(struct nats_wire *wire)
{
	ck_assert_ptr_eq(wire->bus, bus);
	made_up.is_subscribed = false;
}

int nats_wire_get_stream(struct nats_wire *wire, const char *name, int64_t wait_ms,
	struct nats_stream *ret, struct nats_error *ret_error)
{
	ck_assert_ptr_eq(wire->bus, bus);
	ck_assert_str_eq(name, NATS_STREAM);
	made_up.n_get_stream++;
	made_up.wait_ms = wait_ms;
	if (made_up.get_stream == 0)
		*ret = made_up.stream;
	return result(made_up.get_stream, ret_error);
}

void nats_stream_deinit(struct nats_stream *stream)
{
	ck_assert_ptr_null(stream->owned);
}

int nats_wire_make_stream(struct nats_wire *wire, const char *name, int64_t wait_ms,
	const struct nats_stream_settings *settings, struct nats_error *ret_error)
{
	ck_assert_ptr_eq(wire->bus, bus);
	ck_assert_str_eq(name, NATS_STREAM);
	made_up.n_make_stream++;
	made_up.wait_ms = wait_ms;
	if (made_up.make_stream == 0) {
		made_up.made = *settings;
		made_up.stream.created_ns++;
	}
	/* If there is one of that name, it has been made by another node. */
	if (made_up.make_stream == 0 || made_up.make_stream == -EEXIST)
		made_up.get_stream = 0;
	return result(made_up.make_stream, ret_error);
}

int nats_wire_get_consumer(struct nats_wire *wire, const char *stream, const char *name,
	int64_t wait_ms, struct nats_consumer *ret, struct nats_error *ret_error)
{
	ck_assert_ptr_eq(wire->bus, bus);
	ck_assert_str_eq(stream, NATS_STREAM);
	ck_assert_str_eq(name, bus->consumer);
	made_up.n_get_consumer++;
	made_up.wait_ms = wait_ms;
	if (made_up.get_consumer == 0)
		*ret = made_up.consumer;
	return result(made_up.get_consumer, ret_error);
}

/* ---- connect.h ---- */

static void describe(const char *text, struct nats_problem *ret)
{
	ret->open_text = text;
	snprintf(ret->text, sizeof(ret->text), "%s", text);
}

int nats_connect_begin(struct nats_bus *unused, struct nats_problem *ret_problem)
{
	ck_assert_ptr_eq(unused, bus);
	ck_assert_ptr_null(bus->attempt);
	made_up.n_begin++;
	if (made_up.begin < 0) {
		describe("it does not even begin", ret_problem);
		return made_up.begin;
	}
	bus->attempt = calloc(1, sizeof(*bus->attempt));
	ck_assert_ptr_nonnull(bus->attempt);
	bus->attempt->mail.type = NATS_MAIL_CONNECT_END;
	bus->attempt->session = ++bus->sessions;
	bus->attempt_until_ms = clock_monotonic_ms() + bus->connect_timeout_ms;
	return 0;
}

void nats_connect_give_up(struct nats_bus *unused, struct nats_problem *ret_problem)
{
	ck_assert_ptr_eq(unused, bus);
	made_up.n_give_up++;
	free(TAKE_PTR(bus->attempt));
	describe("Timeout", ret_problem);
}

void nats_connect_cut_off(struct nats_bus *unused)
{
	ck_assert_ptr_eq(unused, bus);
}

int64_t nats_connect_cut_due_ms(const struct nats_bus *unused)
{
	ck_assert_ptr_eq(unused, bus);
	return INT64_MAX;
}

bool nats_connect_on_end(struct nats_bus *unused, struct nats_mail *mail,
	struct nats_wire **ret_wire, unsigned *ret_session, struct nats_problem *ret_problem)
{
	struct nats_attempt *attempt = container_of(mail, struct nats_attempt, mail);

	ck_assert_ptr_eq(unused, bus);
	ck_assert_ptr_eq(attempt, bus->attempt);
	bus->attempt = NULL;
	*ret_wire = attempt->works ? fixture_new_wire() : NULL;
	*ret_session = attempt->session;
	describe("it is made of paper", ret_problem);
	free(attempt);
	return true;
}

void fixture_connect_ends(bool well)
{
	ck_assert_ptr_nonnull(bus->attempt);
	bus->attempt->works = well;
	nats_bus_act_upon(bus, &bus->attempt->mail);
}

void fixture_mail(const struct nats_mail *mail)
{
	struct nats_mail *letter = nats_mail_new(mail->type);

	*letter = *mail;
	nats_bus_act_upon(bus, letter);
}

void fixture_message(const char *consumer, uint64_t number, uint64_t sequence)
{
	struct nats_mail mail = {
		.type = NATS_MAIL_MESSAGE,
		.update = {.time_us = FIXTURE_NOW_US,
			.stored_us = FIXTURE_NOW_US,
			.sequence = sequence},
		.number = number,
	};
	char key[32];

	snprintf(key, sizeof(key), "key-%" PRIu64, sequence);
	mail.update.key = fixture_key(key);
	copy(mail.consumer, sizeof(mail.consumer), consumer);
	fixture_mail(&mail);
}

void fixture_status(const char *delivery_inbox, uint64_t number, const char *to_answer)
{
	struct nats_mail mail = {.type = NATS_MAIL_STATUS, .number = number};

	copy(mail.consumer, sizeof(mail.consumer), delivery_inbox);
	copy(mail.text, sizeof(mail.text), to_answer);
	fixture_mail(&mail);
}

void fixture_consumer(enum nats_ack_outcome outcome, uint64_t n_values, uint64_t request)
{
	const struct nats_mail mail = {
		.type = NATS_MAIL_CONSUMER,
		.number = request,
		.consumer = "c",
		.ack = {outcome, n_values, "as NATS says it"},
	};

	fixture_mail(&mail);
}

void fixture_about_session(enum nats_mail_type type, unsigned session, const char *text)
{
	struct nats_mail mail = {.type = type, .session = session};

	copy(mail.text, sizeof(mail.text), text);
	fixture_mail(&mail);
}

void fixture_connect(void)
{
	nats_bus_do_what_is_due(bus, bus->next_attempt_ms);
	fixture_connect_ends(true);
}

void fixture_come_up(unsigned n_values)
{
	fixture_connect();
	fixture_consumer(NATS_ACK_STORED, n_values, bus->creations);
	fixture_consumer(NATS_ACK_STORED, n_values, bus->creations);
	for (unsigned i = 1; i <= n_values; i++)
		fixture_message("c", i, i);
	ck_assert(bus->up);
	fixture_count_sent();
	fixture_count_events();
}

/* ---- What was sent, and told ---- */

const struct sent *fixture_sent(void)
{
	return n_seen < n_sent ? &sent[n_seen++] : NULL;
}

unsigned fixture_count_sent(void)
{
	unsigned n = n_sent - n_seen;

	n_seen = n_sent;
	return n;
}

const struct sent *fixture_last_sent(void)
{
	ck_assert_uint_gt(n_sent, 0);
	return &sent[n_sent - 1];
}

static void note_answer(const struct publication *publication)
{
	for (unsigned i = 0; i < n_publications; i++)
		if (&publications[i].publication == publication) {
			ck_assert_msg(!publications[i].is_answered, "it is answered twice");
			publications[i].is_answered = true;
			return;
		}
	ck_abort_msg("what was never published is answered");
}

/* The next event that is no answer, or NULL. */
static struct bus_event *next_event(void)
{
	struct bus_event *event;
	struct mail *mail;

	take_events();
	while ((mail = STAILQ_FIRST(&events))) {
		STAILQ_REMOVE_HEAD(&events, link);
		event = container_of(mail, struct bus_event, mail);
		if (event->type != BUS_ANSWER)
			return event;
		note_answer(event->publication);
		free(event);
	}
	return NULL;
}

struct bus_event fixture_expect(enum bus_event_type type)
{
	struct bus_event *event = next_event(), copy_of_it;

	ck_assert_msg(event, "main is not told %d", type);
	copy_of_it = *event;
	free(event);
	ck_assert_int_eq(copy_of_it.type, type);
	return copy_of_it;
}

const unsigned *fixture_count_events(void)
{
	static unsigned n[BUS_OUTBOX_ANSWER + 1];
	struct bus_event *event;

	memset(n, 0, sizeof(n));
	while ((event = next_event())) {
		n[event->type]++;
		free(event);
	}
	return n;
}

void fixture_expect_no_event(void)
{
	const struct bus_event *event = next_event();

	ck_assert_msg(!event, "main is told %d", event ? (int)event->type : 0);
}

/* ---- Publications ---- */

struct key fixture_key(const char *text)
{
	struct key key;

	ck_assert_int_eq(key_parse(text, strlen(text), &key), 0);
	return key;
}

struct publication *fixture_publication(const char *key, int64_t accepted_us, int64_t time_us)
{
	struct publication *publication = &publications[n_publications].publication;

	ck_assert_uint_lt(n_publications, PUBLICATIONS_MAX);
	publications[n_publications++].is_answered = false;
	*publication = (struct publication){.update = {
						    .key = fixture_key(key),
						    .time_us = FIXTURE_NOW_US + time_us,
						    .stored_us = FIXTURE_NOW_US + accepted_us,
					    }};
	return publication;
}

/* Answers may stand before and behind what else main is told. */
static void note_answers(void)
{
	struct mail_list others = STAILQ_HEAD_INITIALIZER(others);
	struct bus_event *event;

	while ((event = next_event()))
		STAILQ_INSERT_TAIL(&others, &event->mail, link);
	STAILQ_CONCAT(&events, &others);
}

bool fixture_is_answered(const struct publication *publication)
{
	note_answers();
	for (unsigned i = 0; i < n_publications; i++)
		if (&publications[i].publication == publication)
			return publications[i].is_answered;
	return false;
}
