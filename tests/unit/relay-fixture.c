/* SPDX-License-Identifier: BSD-3-Clause */
/* A relay between neighbours that are made up.  They are linked in place of the real ones, which
 * are in a library. */
#include "relay-fixture.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acts.h"
#include "base/clock.h"
#include "base/log.h"
#include "bus/bus-internal.h"

#define MOMENT_US (10 * US_PER_S)

struct relay *relay;
size_t relay_n_streams;
int64_t relay_told_us;
struct hub_arrival relay_arrival;
int64_t relay_t0_us;

static sd_event *event;
static struct registry *registry;
static bool is_full;
static uint64_t sequence;

/* ---- What is written down ---- */

static void add_update(const char *what, const struct update *update)
{
	acts_add("%s %s=%" PRId64, what, update->key.text, update->time_us - relay_t0_us);
}

/* ---- The bus ---- */

static struct made_up_bus {
	struct bus bus;
	struct mailbox *inbox;
	struct mail_list publications;
} buses[2]; /* one that was left behind, too */
static struct made_up_bus *bus, *former;

static void on_publish(struct bus *made_up, struct publication *publication)
{
	(void)made_up;
	add_update("bus", &publication->update);
	STAILQ_INSERT_TAIL(&bus->publications, &publication->mail, link);
}

static void give_back_all(struct made_up_bus *from)
{
	struct mail *mail;

	while ((mail = STAILQ_FIRST(&from->publications))) {
		struct publication *publication = container_of(mail, struct publication, mail);

		STAILQ_REMOVE_HEAD(&from->publications, link);
		publication->outcome = PUBLISH_UNAVAILABLE;
		bus_post_answer(from->inbox, publication);
	}
}

static void on_free(struct bus *made_up)
{
	give_back_all((struct made_up_bus *)made_up);
}

static void on_ping(struct bus *made_up)
{
	(void)made_up;
}

static int64_t silence_ms(const struct bus *made_up)
{
	(void)made_up;
	return 0;
}

static void on_leave(struct bus *made_up)
{
	former = (struct made_up_bus *)made_up;
}

static int make_bus(struct mailbox *inbox, struct bus **ret)
{
	static const struct bus_operations operations = {
		.publish = on_publish,
		.free = on_free,
		.ping = on_ping,
		.silence_ms = silence_ms,
		.leave = on_leave,
	};

	bus = &buses[bus == &buses[0]];
	bus->bus.operations = &operations;
	bus->inbox = inbox;
	STAILQ_INIT(&bus->publications);
	*ret = &bus->bus;
	return 0;
}

int bus_new_nats(const struct nats_settings *settings, struct mailbox *inbox, struct bus **ret)
{
	(void)settings;
	return make_bus(inbox, ret);
}

int bus_new_local(const char *state_dir, struct mailbox *inbox, struct bus **ret)
{
	(void)state_dir;
	return make_bus(inbox, ret);
}

/* ---- The outbox ---- */

static struct outbox {
	struct mailbox *inbox;
	struct mail_list items;
	uint64_t n_kept;
} outbox;

int outbox_new(const char *state_dir, struct mailbox *inbox, struct outbox **ret)
{
	(void)state_dir;
	outbox = (struct outbox){.inbox = inbox};
	STAILQ_INIT(&outbox.items);
	*ret = &outbox;
	return 0;
}

struct outbox *outbox_free(struct outbox *made_up)
{
	struct mail *mail;

	while (made_up && (mail = STAILQ_FIRST(&made_up->items))) {
		struct outbox_item *item = container_of(mail, struct outbox_item, mail);

		STAILQ_REMOVE_HEAD(&made_up->items, link);
		item->outcome = OUTBOX_FAILED;
		bus_post_outbox_answer(made_up->inbox, item);
	}
	return NULL;
}

void outbox_keep(struct outbox *made_up, struct outbox_item *item)
{
	add_update("outbox", &item->update);
	STAILQ_INSERT_TAIL(&made_up->items, &item->mail, link);
}

int outbox_drop(struct outbox *made_up, const struct update *update)
{
	(void)made_up;
	acts_add("drop %s", update->key.text);
	return 0;
}

void outbox_ping(struct outbox *made_up)
{
	(void)made_up;
}

int64_t outbox_silence_ms(const struct outbox *made_up)
{
	(void)made_up;
	return 0;
}

/* ---- The hub, and publishers ---- */

int hub_publish(struct hub *hub, const struct key *key, struct frame *frame, int64_t told_us)
{
	(void)hub;
	if (is_full)
		return -ENOMEM;
	relay_told_us = told_us;
	acts_add("streams %s=%" PRId64, key->text, frame_id(frame) - relay_t0_us);
	return 0;
}

int hub_adopt(struct hub *hub, const struct hub_arrival *arrival)
{
	(void)hub;
	relay_arrival = *arrival;
	return 0;
}

size_t hub_streams(const struct hub *hub)
{
	(void)hub;
	return relay_n_streams;
}

/* Who waits for an answer is known by the environment's key. */
static struct key publishers[64];
static size_t n_publishers;

void http_answer(struct http_publish *publish, enum http_publish_status status, uint64_t number,
	const char *detail)
{
	static const char *const words[] = {
		[HTTP_PUBLISHED] = "published",
		[HTTP_STALE] = "stale",
		[HTTP_QUEUED] = "queued",
		[HTTP_UNAVAILABLE] = "unavailable",
	};
	struct key *publisher = (struct key *)publish;

	(void)number;
	(void)detail;
	ck_assert_msg(publisher->length > 0, "a second answer");
	acts_add("%s %s", words[status], publisher->text);
	publisher->length = 0;
}

static void on_up(void *userdata)
{
	(void)userdata;
	acts_add("ready");
}

static void on_change(void *userdata)
{
	(void)userdata;
}

/* ---- Words ---- */

struct key relay_key(const char *text)
{
	struct key key;

	ck_assert_int_eq(key_parse(text, strlen(text), &key), 0);
	return key;
}

/* Of "KEY=T" or "KEY". */
static struct update parse_update(const char *argument)
{
	struct update update = {0};
	char key[64];
	long time = 0;

	ck_assert_int_ge(sscanf(argument, "%63[^=]=%ld", key, &time), 1);
	update.key = relay_key(key);
	update.time_us = relay_t0_us + time;
	update.stored_us = clock_wall_us();
	return update;
}

static struct publication *take_publication(struct made_up_bus *from, const char *key)
{
	struct mail *mail;

	STAILQ_FOREACH (mail, &from->publications, link) {
		struct publication *publication = container_of(mail, struct publication, mail);

		if (strcmp(publication->update.key.text, key) == 0) {
			STAILQ_REMOVE(&from->publications, mail, mail, link);
			return publication;
		}
	}
	return NULL;
}

static void answer_by_bus(const char *key, enum publish_outcome outcome)
{
	struct made_up_bus *from = bus;
	struct publication *publication = take_publication(from, key);

	if (!publication && former) {
		from = former;
		publication = take_publication(from, key);
	}
	ck_assert_msg(publication, "the bus has nothing of %s", key);
	publication->outcome = outcome;
	publication->sequence = ++sequence;
	snprintf(publication->problem, sizeof(publication->problem), "no");
	bus_post_answer(from->inbox, publication);
}

static void answer_by_outbox(const char *key, enum outbox_outcome outcome)
{
	struct mail *mail;

	STAILQ_FOREACH (mail, &outbox.items, link) {
		struct outbox_item *item = container_of(mail, struct outbox_item, mail);

		if (strcmp(item->update.key.text, key) != 0)
			continue;
		STAILQ_REMOVE(&outbox.items, mail, mail, link);
		item->outcome = outcome;
		item->kept = item->update;
		item->kept.sequence = ++outbox.n_kept;
		bus_post_outbox_answer(outbox.inbox, item);
		return;
	}
	ck_abort_msg("the outbox has nothing of %s", key);
}

static void say_publish(const char *argument)
{
	struct update update = parse_update(argument);
	struct key *publisher = &publishers[n_publishers++];

	ck_assert_uint_le(n_publishers, sizeof(publishers) / sizeof(publishers[0]));
	*publisher = update.key;
	relay_publish(relay, (struct http_publish *)publisher, &update.key, update.time_us);
}

static void say_update(const char *argument)
{
	struct update update = parse_update(argument);

	update.sequence = ++sequence;
	bus_post_update(bus->inbox, &update);
}

/* Stored a moment from now: written back by another node. */
static void say_again(const char *argument)
{
	struct update update = parse_update(argument);

	update.stored_us += UPDATE_DOUBT_US / 2;
	update.sequence = ++sequence;
	bus_post_update(bus->inbox, &update);
}

static void say_old(const char *argument)
{
	struct update update = parse_update(argument);

	update.stored_us = update.time_us;
	update.sequence = 1;
	bus_post_update(bus->inbox, &update);
}

static void say_lost(const char *argument)
{
	struct update update = parse_update(argument);

	bus_post_lost(bus->inbox, &update);
}

/* Accepted a while ago. */
static void say_lost_early(const char *argument)
{
	struct update update = parse_update(argument);

	update.stored_us -= MOMENT_US;
	bus_post_lost(bus->inbox, &update);
}

static void say_row(const char *argument)
{
	struct update update = parse_update(argument);

	update.sequence = ++outbox.n_kept;
	bus_post_outbox_row(outbox.inbox, &update);
}

static void say_up(const char *argument)
{
	(void)argument;
	bus_post_event(bus->inbox, BUS_UP);
}

static void say_down(const char *argument)
{
	(void)argument;
	bus_post_down(bus->inbox, "It is away.", "It is away.");
}

static void say_fault(const char *argument)
{
	(void)argument;
	bus_post_text(bus->inbox, BUS_FAULT, "It acknowledges nothing.");
}

static void say_well(const char *argument)
{
	(void)argument;
	bus_post_text(bus->inbox, BUS_FAULT, "%s", "");
}

static void say_sync(const char *argument)
{
	(void)argument;
	bus_post_event(bus->inbox, BUS_SYNC_BEGIN);
}

static void say_synced(const char *argument)
{
	(void)argument;
	bus_post_event(bus->inbox, BUS_SYNC_END);
}

static void say_stored(const char *key)
{
	answer_by_bus(key, PUBLISH_STORED);
}

static void say_stale(const char *key)
{
	answer_by_bus(key, PUBLISH_STALE);
}

static void say_unavailable(const char *key)
{
	answer_by_bus(key, PUBLISH_UNAVAILABLE);
}

static void say_refused(const char *key)
{
	answer_by_bus(key, PUBLISH_REFUSED);
}

static void say_refused_one(const char *key)
{
	answer_by_bus(key, PUBLISH_REFUSED_ONE);
}

static void say_begin(const char *argument)
{
	(void)argument;
	bus_post_event(outbox.inbox, BUS_OUTBOX_BEGIN);
}

static void say_end(const char *argument)
{
	(void)argument;
	bus_post_event(outbox.inbox, BUS_OUTBOX_END);
}

static void say_outbox_up(const char *argument)
{
	(void)argument;
	bus_post_event(outbox.inbox, BUS_OUTBOX_UP);
}

static void say_outbox_down(const char *argument)
{
	(void)argument;
	bus_post_text(outbox.inbox, BUS_OUTBOX_DOWN, "Its disk is full.");
}

static void say_kept(const char *key)
{
	answer_by_outbox(key, OUTBOX_KEPT);
}

static void say_had(const char *key)
{
	answer_by_outbox(key, OUTBOX_STALE);
}

static void say_failed(const char *key)
{
	answer_by_outbox(key, OUTBOX_FAILED);
}

static void say_stalls(const char *argument)
{
	(void)argument;
	relay_set_stalled(relay, true);
}

static void say_answers(const char *argument)
{
	(void)argument;
	relay_set_stalled(relay, false);
}

static void say_1s(const char *argument)
{
	(void)argument;
	publish_expire(relay, clock_monotonic_ms() + 1000);
}

static void say_1_7s(const char *argument)
{
	(void)argument;
	publish_expire(relay, clock_monotonic_ms() + 1700);
}

static void say_wake(const char *argument)
{
	(void)argument;
	backlog_wake(relay);
}

static const struct relay_bus_settings *settings(void)
{
	static const struct nats_settings nats;
	static const struct relay_bus_settings with_nats = {.nats = &nats};

	return &with_nats;
}

static void say_left(const char *argument)
{
	(void)argument;
	ck_assert_int_eq(relay_leave_bus(relay), 0);
	ck_assert_int_eq(relay_start_bus(relay, settings()), 0);
}

static void say_full(const char *argument)
{
	(void)argument;
	is_full = true;
}

/* What waits for memory comes when the intake looks again, which it does by itself. */
static void say_room(const char *argument)
{
	(void)argument;
	is_full = false;
	while (!STAILQ_EMPTY(&relay->intake.mail))
		ck_assert_int_ge(sd_event_run(event, UINT64_MAX), 0);
}

static void say_stop(const char *argument)
{
	(void)argument;
	relay_stop(relay);
}

static void say_end_bus(const char *argument)
{
	(void)argument;
	relay_end_bus(relay);
}

static const struct {
	const char *word;
	void (*say)(const char *argument);
} words[] = {
	{"publish", say_publish},
	{"up", say_up},
	{"down", say_down},
	{"fault", say_fault},
	{"well", say_well},
	{"sync", say_sync},
	{"synced", say_synced},
	{"update", say_update},
	{"again", say_again},
	{"old", say_old},
	{"lost", say_lost},
	{"lost-early", say_lost_early},
	{"stored", say_stored},
	{"stale", say_stale},
	{"unavailable", say_unavailable},
	{"refused", say_refused},
	{"refused-one", say_refused_one},
	{"begin", say_begin},
	{"row", say_row},
	{"end", say_end},
	{"outbox-up", say_outbox_up},
	{"outbox-down", say_outbox_down},
	{"kept", say_kept},
	{"had", say_had},
	{"failed", say_failed},
	{"stalls", say_stalls},
	{"answers", say_answers},
	{"1s", say_1s},
	{"1.7s", say_1_7s},
	{"wake", say_wake},
	{"left", say_left},
	{"full", say_full},
	{"room", say_room},
	{"stop", say_stop},
	{"end-bus", say_end_bus},
};

static void say(const char *word, size_t length)
{
	char copy[128], *argument;

	snprintf(copy, sizeof(copy), "%.*s", (int)length, word);
	argument = strchr(copy, ':');
	if (argument)
		*argument++ = '\0';
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i].word, copy) == 0) {
			words[i].say(argument);
			return;
		}
	ck_abort_msg("no such word: %s", copy);
}

/* All that is due at once. */
static void turn(void)
{
	int r;

	while ((r = sd_event_run(event, 0)) > 0)
		;
	ck_assert_int_eq(r, 0);
}

void relay_check(const char *script, const char *expected)
{
	acts_clear();
	for (const char *word = script; *word; word += strspn(word, " ")) {
		size_t length = strcspn(word, " ");

		say(word, length);
		turn();
		word += length;
	}
	acts_check(script, expected);
}

/* ---- A relay ---- */

static void make(const struct relay_bus_settings *bus_settings)
{
	static const struct relay_operations operations = {
		.on_up = on_up,
		.on_change = on_change,
	};

	log_set_level(LOG_ERR);
	relay_t0_us = clock_wall_us() - MOMENT_US;
	relay_n_streams = 0;
	n_publishers = 0;
	sequence = 100;
	is_full = false;
	bus = former = NULL;
	ck_assert_int_eq(sd_event_new(&event), 0);
	ck_assert_int_eq(registry_new(&registry), 0);
	ck_assert_int_eq(relay_new(event, NULL, registry, &operations, NULL, &relay), 0);
	ck_assert_int_eq(relay_start_bus(relay, bus_settings), 0);
}

void relay_set_up(void)
{
	make(settings());
}

void relay_set_up_local(void)
{
	static const struct relay_bus_settings local;

	make(&local);
}

void relay_tear_down(void)
{
	if (former)
		give_back_all(former);
	relay_end(relay);
	relay = relay_free(relay);
	registry = registry_free(registry);
	event = sd_event_unref(event);
	for (size_t i = 0; i < n_publishers; i++)
		ck_assert_msg(publishers[i].length == 0, "%s has no answer", publishers[i].text);
}
