/* SPDX-License-Identifier: BSD-3-Clause */
/* The phases of the NATS bus (src/bus/nats/phases.c has them in words), and all that may happen in
 * each. */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "nats-fixture.h"
#include "runner.h"

enum phase {
	AWAY,
	CONNECTING,
	MAKING,
	LOOKING,
	READING,
	UP,
	N_PHASES,
};

enum event {
	ATTEMPT_DUE,
	ATTEMPT_WORKS,
	ATTEMPT_FAILS,
	ATTEMPT_LATE,
	CONSUMER_THERE, /* made, or found; two last values will come */
	CONSUMER_EMPTY, /* likewise, and none will */
	CONSUMER_REFUSED,
	CONSUMER_NOBODY,
	CONSUMER_OLD, /* what was asked for before */
	SILENCE,      /* for as long as the consumer may be */
	ONE_VALUE,
	ALL_VALUES,
	GAP,
	FORMER_MESSAGE, /* of another consumer */
	HEARTBEAT,
	HEARTBEAT_AHEAD, /* more was sent than has come */
	FORMER_HEARTBEAT,
	FLOW_CONTROL,
	FLOW_CONTROL_FAILS,
	DOUBT,
	FORMER_DOUBT,
	DENIED_REQUEST,
	DENIED_READING,
	DENIED_ENVIRONMENT,
	DENIED_OTHER,
	DENIED_UNKNOWN,
	FORMER_DENIED,
	CLOSED,
	FORMER_CLOSED,
	LAME_DUCK,
	CHECK,
	CHECK_NOT_DUE,
	CHECK_PURGED,
	CHECK_DELETED,
	CHECK_OTHER_STREAM,
	CHECK_UNSEEN,
	CHECK_NO_ANSWER,
	CHECK_REFUSED,
	CHECK_NO_CONSUMER,
	CHECK_NONE_PENDING,
	CLOCK_JUMPS,
	CLOCK_JUMPS_BACK,
	CLOCK_IS_SLEWED,
	PING,
	STOP,
	N_EVENTS,
};

/* It cannot happen there. */
#define NEVER N_PHASES

static const enum phase transitions[N_EVENTS][N_PHASES] = {
	/* from:              AWAY, CONNECTING, MAKING, LOOKING, READING, UP */
	[ATTEMPT_DUE] = {CONNECTING, CONNECTING, MAKING, LOOKING, READING, UP},
	[ATTEMPT_WORKS] = {NEVER, MAKING, NEVER, NEVER, NEVER, NEVER},
	[ATTEMPT_FAILS] = {NEVER, AWAY, NEVER, NEVER, NEVER, NEVER},
	[ATTEMPT_LATE] = {NEVER, AWAY, NEVER, NEVER, NEVER, NEVER},
	[CONSUMER_THERE] = {AWAY, CONNECTING, LOOKING, READING, READING, UP},
	[CONSUMER_EMPTY] = {AWAY, CONNECTING, LOOKING, UP, READING, UP},
	[CONSUMER_REFUSED] = {AWAY, CONNECTING, AWAY, AWAY, READING, UP},
	[CONSUMER_NOBODY] = {AWAY, CONNECTING, AWAY, AWAY, READING, UP},
	[CONSUMER_OLD] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[SILENCE] = {AWAY, CONNECTING, AWAY, AWAY, MAKING, MAKING},
	[ONE_VALUE] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[ALL_VALUES] = {AWAY, CONNECTING, MAKING, LOOKING, UP, UP},
	[GAP] = {AWAY, CONNECTING, MAKING, LOOKING, MAKING, MAKING},
	[FORMER_MESSAGE] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[HEARTBEAT] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[HEARTBEAT_AHEAD] = {AWAY, CONNECTING, MAKING, LOOKING, MAKING, MAKING},
	[FORMER_HEARTBEAT] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[FLOW_CONTROL] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[FLOW_CONTROL_FAILS] = {AWAY, CONNECTING, MAKING, LOOKING, MAKING, MAKING},
	[DOUBT] = {AWAY, CONNECTING, MAKING, LOOKING, MAKING, MAKING},
	[FORMER_DOUBT] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[DENIED_REQUEST] = {AWAY, CONNECTING, AWAY, AWAY, AWAY, AWAY},
	[DENIED_READING] = {AWAY, CONNECTING, AWAY, AWAY, AWAY, AWAY},
	[DENIED_ENVIRONMENT] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[DENIED_OTHER] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[DENIED_UNKNOWN] = {AWAY, CONNECTING, MAKING, LOOKING, MAKING, MAKING},
	[FORMER_DENIED] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[CLOSED] = {AWAY, CONNECTING, AWAY, AWAY, AWAY, AWAY},
	[FORMER_CLOSED] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[LAME_DUCK] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[CHECK] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[CHECK_NOT_DUE] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[CHECK_PURGED] = {AWAY, CONNECTING, MAKING, LOOKING, READING, MAKING},
	[CHECK_DELETED] = {AWAY, CONNECTING, MAKING, LOOKING, READING, MAKING},
	[CHECK_OTHER_STREAM] = {AWAY, CONNECTING, MAKING, LOOKING, READING, MAKING},
	[CHECK_UNSEEN] = {AWAY, CONNECTING, MAKING, LOOKING, READING, MAKING},
	[CHECK_NO_ANSWER] = {AWAY, CONNECTING, MAKING, LOOKING, AWAY, AWAY},
	[CHECK_REFUSED] = {AWAY, CONNECTING, MAKING, LOOKING, AWAY, AWAY},
	[CHECK_NO_CONSUMER] = {AWAY, CONNECTING, MAKING, LOOKING, AWAY, MAKING},
	[CHECK_NONE_PENDING] = {AWAY, CONNECTING, MAKING, LOOKING, UP, UP},
	[CLOCK_JUMPS] = {AWAY, CONNECTING, AWAY, AWAY, AWAY, AWAY},
	[CLOCK_JUMPS_BACK] = {AWAY, CONNECTING, AWAY, AWAY, AWAY, AWAY},
	[CLOCK_IS_SLEWED] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[PING] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
	[STOP] = {AWAY, CONNECTING, MAKING, LOOKING, READING, UP},
};

static enum phase phase(void)
{
	if (!bus->wire)
		return bus->attempt ? CONNECTING : AWAY;
	if (bus->create_until_ms != 0)
		return bus->consumer[0] ? LOOKING : MAKING;
	return bus->syncing ? READING : UP;
}

/* ---- What happens ---- */

/* Long ago: of all that may be due, nothing is. */
#define EARLY_MS 0

static void send_values(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fixture_message("c", bus->delivered + 1, bus->delivered + 1);
}

#define DENIAL(subject) "Permissions Violation for Publish to \"" subject "\""

/* What was acknowledged, and is not told for two checks. */
static void leave_unseen(void)
{
	const struct update update = {.key = fixture_key("unseen"), .sequence = 99};
	struct subject *subject = nats_subject_get(bus, &update.key);

	nats_subject_await(bus, subject, &update);
	bus->checks += 2;
}

/* While the last values are read nobody looks for more if some have come since the last check. */
static void check(void)
{
	if (bus->wire && bus->syncing)
		bus->sync_seen = bus->delivered;
	nats_bus_do_what_is_due(bus, bus->wire ? bus->next_check_ms : EARLY_MS);
}

static void let_check_happen(enum event event)
{
	made_up.consumer = (struct nats_consumer){.delivered = bus->delivered, .n_pending = 2};
	switch (event) {
	case CHECK_PURGED:
		made_up.stream.n_messages = 1;
		break;
	case CHECK_DELETED:
		made_up.get_stream = -ENOENT;
		break;
	case CHECK_OTHER_STREAM:
		made_up.stream.created_ns++;
		break;
	case CHECK_UNSEEN:
		leave_unseen();
		break;
	case CHECK_NO_ANSWER:
		made_up.get_stream = made_up.get_consumer = -ETIMEDOUT;
		break;
	case CHECK_REFUSED:
		made_up.get_stream = made_up.get_consumer = -EIO;
		break;
	case CHECK_NO_CONSUMER:
		made_up.stream.n_consumers = 0;
		made_up.get_consumer = -EIO;
		break;
	case CHECK_NONE_PENDING:
		made_up.consumer.n_pending = 0;
		break;
	case CHECK_NOT_DUE:
		made_up.get_stream = made_up.get_consumer = -EIO;
		nats_bus_do_what_is_due(bus, bus->wire ? bus->next_check_ms - 1 : EARLY_MS);
		return;
	default:
		break;
	}
	check();
}

/* The wall clock is ahead of where it was at the last look. */
static void let_clock_jump(int64_t ahead_ms)
{
	bus->clock_offset_ms -= ahead_ms;
	nats_bus_do_what_is_due(bus, EARLY_MS);
}

static void let_consumer_happen(enum event event)
{
	int64_t silent_ms = nats_consumer_deadline_ms(bus);

	switch (event) {
	case CONSUMER_THERE:
		fixture_consumer(NATS_ACK_STORED, 2, bus->creations);
		break;
	case CONSUMER_EMPTY:
		fixture_consumer(NATS_ACK_STORED, 0, bus->creations);
		break;
	case CONSUMER_REFUSED:
		fixture_consumer(NATS_ACK_REFUSED, 0, bus->creations);
		break;
	case CONSUMER_NOBODY:
		fixture_consumer(NATS_ACK_NO_STREAM, 0, bus->creations);
		break;
	case CONSUMER_OLD:
		fixture_consumer(NATS_ACK_REFUSED, 0, bus->creations - 1);
		break;
	case SILENCE:
		nats_bus_do_what_is_due(bus, silent_ms == INT64_MAX ? EARLY_MS : silent_ms);
		break;
	default:
		ck_abort();
	}
}

static void let_message_come(enum event event)
{
	switch (event) {
	case ONE_VALUE:
		send_values(1);
		break;
	case ALL_VALUES:
		send_values(2);
		break;
	case GAP:
		fixture_message("c", bus->delivered + 2, 7);
		break;
	case FORMER_MESSAGE:
		fixture_message("b", bus->delivered + 2, 7);
		break;
	case HEARTBEAT:
		fixture_status(bus->deliver_inbox, bus->delivered, "");
		break;
	case HEARTBEAT_AHEAD:
		fixture_status(bus->deliver_inbox, bus->delivered + 1, "");
		break;
	case FORMER_HEARTBEAT:
		fixture_status(FIXTURE_DELIVERY "0", bus->delivered + 1, "");
		break;
	case FLOW_CONTROL:
		fixture_status(bus->deliver_inbox, NATS_NUMBER_UNTOLD, "$JS.FC.here");
		break;
	case FLOW_CONTROL_FAILS:
		made_up.next_send = -EIO;
		fixture_status(bus->deliver_inbox, NATS_NUMBER_UNTOLD, "$JS.FC.here");
		break;
	default:
		ck_abort();
	}
}

/* What the connection tells by itself. */
static const struct {
	enum nats_mail_type type;
	bool is_former; /* it is about a session that was given up */
	const char *text;
} tellings[N_EVENTS] = {
	[DOUBT] = {NATS_MAIL_DOUBT, false, "nats.c complains"},
	[FORMER_DOUBT] = {NATS_MAIL_DOUBT, true, "nats.c complains"},
	[DENIED_REQUEST] = {NATS_MAIL_DENIED, false,
		DENIAL("$JS.API.STREAM.INFO.environments-stream")},
	[DENIED_READING] = {NATS_MAIL_DENIED, false, DENIAL("_INBOX.x.y")},
	[DENIED_ENVIRONMENT] = {NATS_MAIL_DENIED, false, DENIAL("flagsmith.environment.k")},
	[DENIED_OTHER] = {NATS_MAIL_DENIED, false,
		DENIAL("$JS.API.STREAM.MSG.GET.environments-stream")},
	[DENIED_UNKNOWN] = {NATS_MAIL_DENIED, false, "Permissions Violation of a new kind"},
	[FORMER_DENIED] = {NATS_MAIL_DENIED, true, DENIAL("_INBOX.x.y")},
	[CLOSED] = {NATS_MAIL_CLOSED, false, ""},
	[FORMER_CLOSED] = {NATS_MAIL_CLOSED, true, ""},
	[LAME_DUCK] = {NATS_MAIL_LAME_DUCK, false, ""},
};

static void let_connection_tell(enum event event)
{
	fixture_about_session(tellings[event].type,
		bus->session + (tellings[event].is_former ? 15 : 0), tellings[event].text);
}

static void let_attempt_happen(enum event event)
{
	switch (event) {
	case ATTEMPT_DUE:
		nats_bus_do_what_is_due(bus, bus->wire ? EARLY_MS : bus->next_attempt_ms);
		break;
	case ATTEMPT_LATE:
		bus->attempt_until_ms = EARLY_MS;
		nats_bus_do_what_is_due(bus, EARLY_MS);
		break;
	default:
		fixture_connect_ends(event == ATTEMPT_WORKS);
	}
}

/* Main's mail, and the clock. */
static void let_else_happen(enum event event)
{
	switch (event) {
	case CLOCK_JUMPS:
		let_clock_jump(5 * MS_PER_S);
		break;
	case CLOCK_JUMPS_BACK:
		let_clock_jump(-5 * MS_PER_S);
		break;
	case CLOCK_IS_SLEWED:
		let_clock_jump(1);
		break;
	case PING:
		ck_assert(pulse_ask(&bus->pulse, 1));
		bus->ping.type = NATS_MAIL_PING;
		nats_bus_act_upon(bus, &bus->ping);
		ck_assert(pulse_is_answered(&bus->pulse));
		break;
	case STOP:
		bus->stop.type = NATS_MAIL_STOP;
		nats_bus_act_upon(bus, &bus->stop);
		ck_assert(bus->stopping);
		break;
	default:
		ck_abort();
	}
}

static void let_happen(enum event event)
{
	if (event <= ATTEMPT_LATE)
		let_attempt_happen(event);
	else if (event <= SILENCE)
		let_consumer_happen(event);
	else if (event <= FLOW_CONTROL_FAILS)
		let_message_come(event);
	else if (event <= LAME_DUCK)
		let_connection_tell(event);
	else if (event <= CHECK_NONE_PENDING)
		let_check_happen(event);
	else
		let_else_happen(event);
}

static void enter(enum phase which)
{
	static const enum event way[] = {
		[CONNECTING] = ATTEMPT_DUE,
		[MAKING] = ATTEMPT_WORKS,
		[LOOKING] = CONSUMER_THERE,
		[READING] = CONSUMER_THERE,
		[UP] = ALL_VALUES,
	};

	bus->next_attempt_ms = EARLY_MS + 1;
	for (int next = CONNECTING; next <= (int)which; next++) {
		let_happen(way[next]);
		ck_assert_int_eq(phase(), next);
	}
	fixture_count_sent();
	fixture_count_events();
}

/* ---- The table ---- */

static void check_what_main_is_told(enum phase from, enum phase to)
{
	const unsigned *n = fixture_count_events();
	bool was_up = from == UP;

	ck_assert_uint_eq(n[BUS_DOWN], to == AWAY && from != AWAY);
	ck_assert_uint_eq(n[BUS_UP], to == UP && !was_up);
	ck_assert_uint_eq(n[BUS_SYNC_END], to == UP && !was_up);
	ck_assert_uint_eq(n[BUS_SYNC_BEGIN], to == MAKING && from != MAKING);
	/* It is up though it reads again. */
	ck_assert_int_eq(bus->up, to == UP || (was_up && to == MAKING));
}

/* A connection and a subscription are there when they should be, and no others. */
static void check_what_is_there(enum phase from, enum phase to)
{
	ck_assert_uint_eq(made_up.n_wires, to >= MAKING);
	ck_assert_int_eq(made_up.is_subscribed, to >= READING);
	ck_assert_int_eq(bus->is_subscribed, to >= READING);
	if (to == MAKING && from != MAKING)
		ck_assert_str_eq(fixture_last_sent()->subject,
			"$JS.API.CONSUMER.CREATE.environments-stream");
}

START_TEST(transition)
{
	enum event event = (enum event)(_i / N_PHASES);
	enum phase from = (enum phase)(_i % N_PHASES), to = transitions[event][from];

	if (to == NEVER)
		return;
	enter(from);
	let_happen(event);
	ck_assert_msg(phase() == to, "from %d by %d to %d, not %d", from, event, phase(), to);
	check_what_main_is_told(from, to);
	check_what_is_there(from, to);
}
END_TEST

/* The same while all is read once more: main is told of no outage but where it is one. */
START_TEST(transition_when_reading_again)
{
	enum event event = (enum event)(_i / N_PHASES);
	enum phase from = (enum phase)(_i % N_PHASES), to = transitions[event][from];
	const unsigned *n;

	if (to == NEVER || from < MAKING || from == UP)
		return;
	enter(UP);
	let_happen(GAP);
	if (from >= LOOKING)
		let_happen(CONSUMER_THERE);
	if (from == READING)
		let_happen(CONSUMER_THERE);
	ck_assert_int_eq(phase(), from);
	bus->reread = (struct nats_reread){0}; /* that was long ago */
	fixture_count_events();
	let_happen(event);
	ck_assert_int_eq(phase(), to);
	n = fixture_count_events();
	ck_assert_uint_eq(n[BUS_DOWN], to == AWAY);
	ck_assert_uint_eq(n[BUS_UP], 0);
	ck_assert_uint_eq(n[BUS_SYNC_END], to == UP);
	ck_assert_int_eq(bus->up, to != AWAY);
}
END_TEST

/* ---- When the next thing is due ---- */

static const struct {
	enum phase phase;
	int64_t least_ms, most_ms; /* from now */
} deadlines[] = {
	{CONNECTING, 2000, 2000}, /* the attempt is given up; as the made-up one has it */
	{MAKING, 500, 500},       /* the next check, with which nothing is done yet */
	{LOOKING, 500, 500},
	{READING, 500, 500},
	{UP, 500, 500},
};

START_TEST(deadline)
{
	int64_t before_ms = clock_monotonic_ms(), due_ms;

	enter(deadlines[_i].phase);
	due_ms = nats_bus_do_what_is_due(bus, EARLY_MS);
	ck_assert_int_ge(due_ms, before_ms + deadlines[_i].least_ms);
	ck_assert_int_le(due_ms, clock_monotonic_ms() + deadlines[_i].most_ms);
}
END_TEST

/* Each 5 s, once all is read; and what is published has a deadline before that. */
START_TEST(deadline_when_it_is_up)
{
	int64_t before_ms, due_ms;

	enter(UP);
	before_ms = clock_monotonic_ms();
	due_ms = nats_bus_do_what_is_due(bus, bus->next_check_ms);
	ck_assert_int_ge(due_ms, before_ms + 5000);
	ck_assert_int_le(due_ms, clock_monotonic_ms() + 5000);
	nats_publish(bus, fixture_publication("k", 0, 0));
	ck_assert_int_eq(nats_bus_do_what_is_due(bus, EARLY_MS), nats_publish_deadline_ms(bus));
}
END_TEST

/* What may be read again later only is due then. */
START_TEST(deadline_of_a_doubt)
{
	enter(UP);
	bus->reread = (struct nats_reread){clock_monotonic_ms(), 60000, false};
	let_happen(DOUBT);
	ck_assert_int_eq(phase(), UP);
	bus->next_check_ms = INT64_MAX;
	/* After the consumer's silence, though. */
	ck_assert_int_eq(nats_bus_do_what_is_due(bus, EARLY_MS), nats_consumer_deadline_ms(bus));
	bus->origins[bus->session % NATS_ORIGINS].heard_ms = bus->reread.last_ms + 60000;
	ck_assert_int_eq(nats_bus_do_what_is_due(bus, EARLY_MS), bus->reread.last_ms + 60000);
	ck_assert_int_eq(phase(), UP);
	nats_bus_do_what_is_due(bus, bus->reread.last_ms + 60000);
	ck_assert_int_eq(phase(), UP);
	/* The doubt asks the clock itself. */
	bus->reread.last_ms -= 60000;
	nats_bus_do_what_is_due(bus, nats_reread_due_ms(&bus->reread));
	ck_assert_int_eq(phase(), MAKING);
}
END_TEST

/* ---- The end ---- */

START_TEST(the_end_is_no_outage)
{
	enter(UP);
	let_happen(STOP);
	nats_session_end(bus, "The service is stopping.");
	ck_assert_int_eq(phase(), AWAY);
	ck_assert_uint_eq(fixture_count_events()[BUS_DOWN], 0);
}
END_TEST

START_TEST(an_attempt_that_works_at_the_end_comes_to_nothing)
{
	enter(CONNECTING);
	let_happen(STOP);
	fixture_connect_ends(true);
	ck_assert_int_eq(phase(), AWAY);
	ck_assert_uint_eq(made_up.n_wires, 0);
	ck_assert_uint_eq(made_up.n_get_stream, 0);
}
END_TEST

static TCase *new_case(const char *name)
{
	TCase *tests = tcase_create(name);

	tcase_add_checked_fixture(tests, fixture_set_up, fixture_tear_down);
	return tests;
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("nats-session");
	TCase *table = new_case("transitions"), *others = new_case("deadlines and the end");

	tcase_add_loop_test(table, transition, 0, N_EVENTS * N_PHASES);
	tcase_add_loop_test(table, transition_when_reading_again, 0, N_EVENTS * N_PHASES);
	tcase_add_loop_test(others, deadline, 0, sizeof(deadlines) / sizeof(deadlines[0]));
	tcase_add_test(others, deadline_when_it_is_up);
	tcase_add_test(others, deadline_of_a_doubt);
	tcase_add_test(others, the_end_is_no_outage);
	tcase_add_test(others, an_attempt_that_works_at_the_end_comes_to_nothing);
	suite_add_tcase(suite, table);
	suite_add_tcase(suite, others);
	return suite;
}
