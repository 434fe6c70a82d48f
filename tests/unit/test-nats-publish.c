/* SPDX-License-Identifier: BSD-3-Clause */
/* Publishing as compare-and-set: what is sent, what JetStream answers, and what the publisher is
 * told then. */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "nats-publishing.h"
#include "runner.h"

/* ---- The states of a subject, and all that may happen in each ---- */

enum state {
	IDLE,
	FLYING, /* sent: an acknowledgement is awaited */
	ASKING, /* after a conflict: the last message is */
	N_STATES,
};

enum event {
	PUBLISH,
	STORED, /* acknowledgements of what was sent last */
	CONFLICT,
	NO_STREAM,
	LATER,
	REFUSED,
	REFUSED_ONE,
	OLD_ACK,   /* of another publish */
	LAST_NONE, /* answers to the last question */
	LAST_OLDER,
	LAST_NEWER,
	LAST_SAME,
	LAST_NO_UPDATE,
	LAST_UNREADABLE,
	OLD_LAST,
	DENIED,
	NOT_YET_LATE,
	LATE,
	SESSION_ENDS,
	N_EVENTS,
};

/* What becomes of the publication that is in flight. */
#define STAYS (-1)

static const struct {
	int outcome;      /* or STAYS */
	enum state next;  /* if nothing waits */
	unsigned n_sends; /* likewise */
	const char *problem;
} transitions[N_STATES][N_EVENTS] =
	{
		[IDLE] =
			{
				[PUBLISH] = {STAYS, FLYING, 1, NULL},
				[STORED] = {STAYS, IDLE, 0, NULL},
				[CONFLICT] = {STAYS, IDLE, 0, NULL},
				[NO_STREAM] = {STAYS, IDLE, 0, NULL},
				[LATER] = {STAYS, IDLE, 0, NULL},
				[REFUSED] = {STAYS, IDLE, 0, NULL},
				[REFUSED_ONE] = {STAYS, IDLE, 0, NULL},
				[OLD_ACK] = {STAYS, IDLE, 0, NULL},
				[LAST_NONE] = {STAYS, IDLE, 0, NULL},
				[LAST_OLDER] = {STAYS, IDLE, 0, NULL},
				[LAST_NEWER] = {STAYS, IDLE, 0, NULL},
				[LAST_SAME] = {STAYS, IDLE, 0, NULL},
				[LAST_NO_UPDATE] = {STAYS, IDLE, 0, NULL},
				[LAST_UNREADABLE] = {STAYS, IDLE, 0, NULL},
				[OLD_LAST] = {STAYS, IDLE, 0, NULL},
				[DENIED] = {STAYS, IDLE, 0, NULL},
				[NOT_YET_LATE] = {STAYS, IDLE, 0, NULL},
				[LATE] = {STAYS, IDLE, 0, NULL},
				[SESSION_ENDS] = {STAYS, IDLE, 0, NULL},
			},
		[FLYING] =
			{
				[PUBLISH] = {STAYS, FLYING, 0, NULL},
				[STORED] = {PUBLISH_STORED, IDLE, 0, ""},
				[CONFLICT] = {STAYS, ASKING, 1, NULL},
				[NO_STREAM] = {STAYS, FLYING, 1, NULL},
				[LATER] = {PUBLISH_UNAVAILABLE, IDLE,
					0, "JetStream has not stored the update: as NATS says it. Try again."},
				[REFUSED] = {PUBLISH_REFUSED, IDLE, 0, "as NATS says it"},
				[REFUSED_ONE] = {PUBLISH_REFUSED_ONE, IDLE, 0, "as NATS says it"},
				[OLD_ACK] = {STAYS, FLYING, 0, NULL},
				[LAST_NONE] = {STAYS, FLYING, 0, NULL},
				[LAST_OLDER] = {STAYS, FLYING, 0, NULL},
				[LAST_NEWER] = {STAYS, FLYING, 0, NULL},
				[LAST_SAME] = {STAYS, FLYING, 0, NULL},
				[LAST_NO_UPDATE] = {STAYS, FLYING, 0, NULL},
				[LAST_UNREADABLE] = {STAYS, FLYING, 0, NULL},
				[OLD_LAST] = {STAYS, FLYING, 0, NULL},
				[DENIED] = {PUBLISH_REFUSED, IDLE, 0, "denied, grant it"},
				[NOT_YET_LATE] = {STAYS, FLYING, 0, NULL},
				[LATE] =
					{PUBLISH_UNAVAILABLE, IDLE,
						0, "JetStream has not acknowledged the update in time. Try again."},
				[SESSION_ENDS] = {PUBLISH_UNAVAILABLE, IDLE, 0, "It is over."},
			},
		[ASKING] =
			{
				[PUBLISH] = {STAYS, ASKING, 0, NULL},
				[STORED] = {STAYS, ASKING, 0, NULL},
				[CONFLICT] = {STAYS, ASKING, 0, NULL},
				[NO_STREAM] = {STAYS, ASKING, 0, NULL},
				[LATER] = {STAYS, ASKING, 0, NULL},
				[REFUSED] = {STAYS, ASKING, 0, NULL},
				[REFUSED_ONE] = {STAYS, ASKING, 0, NULL},
				[OLD_ACK] = {STAYS, ASKING, 0, NULL},
				[LAST_NONE] = {STAYS, FLYING, 1, NULL},
				[LAST_OLDER] = {STAYS, FLYING, 1, NULL},
				[LAST_NEWER] = {STAYS, FLYING, 1, NULL},
				[LAST_SAME] = {PUBLISH_STALE, IDLE, 0, ""},
				[LAST_NO_UPDATE] = {STAYS, FLYING, 1, NULL},
				[LAST_UNREADABLE] = {PUBLISH_UNAVAILABLE, IDLE, 0,
					"JetStream does not say what it has for this environment. Try "
					"again."},
				[OLD_LAST] = {STAYS, ASKING, 0, NULL},
				[DENIED] = {PUBLISH_REFUSED, IDLE, 0, "denied, grant it"},
				[NOT_YET_LATE] = {STAYS, ASKING, 0, NULL},
				[LATE] =
					{PUBLISH_UNAVAILABLE, IDLE, 0,
						"JetStream does not say what it has for this environment. Try "
						"again."},
				[SESSION_ENDS] = {PUBLISH_UNAVAILABLE, IDLE, 0, "It is over."},
			},
};

#define TIME_US (-1 * S) /* of the publication in flight */

static uint64_t publish_flight, question_flight;

static enum state state(void)
{
	const struct key key = fixture_key("k");
	const struct subject *subject = nats_subject_find(bus, &key);

	if (!subject || subject->flight == 0)
		return IDLE;
	return subject->is_asking ? ASKING : FLYING;
}

/* The publication that is in flight, or NULL. */
static const struct publication *enter(enum state which)
{
	const struct publication *publication;

	publish_flight = question_flight = 12345; /* nobody's */
	if (which == IDLE)
		return NULL;
	publication = publish(TIME_US, TIME_US);
	publish_flight = expect_update(0, TIME_US);
	if (which == ASKING) {
		acknowledge(publish_flight, NATS_ACK_CONFLICT, 0);
		question_flight = expect_question();
	}
	return publication;
}

/* With an update that would make the publication stale, if it counted. */
static void answer_question(struct nats_ack ack, const char *problem)
{
	struct nats_mail mail = {
		.type = NATS_MAIL_LAST,
		.update = {.key = fixture_key("k"),
			.time_us = FIXTURE_NOW_US + TIME_US,
			.stored_us = FIXTURE_NOW_US + TIME_US,
			.sequence = 7},
		.number = question_flight,
		.problem = problem,
		.ack = ack,
	};

	fixture_mail(&mail);
}

static void deny(void)
{
	const struct nats_denial denial = {
		NATS_DENIED_ENVIRONMENT, fixture_key("k"), 1, "denied, grant it"};

	nats_publish_on_denied(bus, &denial);
}

/* What is in flight was sent a minute ago: what is sent next is not late when that is.  Returns its
 * deadline. */
static int64_t date_back(void)
{
	struct subject *subject = TAILQ_FIRST(&bus->flying);

	if (subject)
		subject->flying_until_ms -= 60 * MS_PER_S;
	return nats_publish_deadline_ms(bus);
}

static void let_happen(enum event event)
{
	int64_t deadline_ms = date_back();

	switch (event) {
	case PUBLISH:
		publish(0, 0);
		break;
	case STORED:
	case CONFLICT:
	case NO_STREAM:
	case LATER:
	case REFUSED:
	case REFUSED_ONE:
		acknowledge(publish_flight, NATS_ACK_STORED + (event - STORED), 17);
		break;
	case OLD_ACK:
		acknowledge(publish_flight + 1000, NATS_ACK_STORED, 17);
		break;
	case LAST_NONE:
		tell_last(question_flight, 0, 0, 0);
		break;
	case LAST_OLDER:
		tell_last(question_flight, 7, TIME_US - S, TIME_US - S);
		break;
	case LAST_NEWER:
		tell_last(question_flight, 7, TIME_US + S, TIME_US + S);
		break;
	case LAST_SAME:
		tell_last(question_flight, 7, TIME_US, TIME_US);
		break;
	case LAST_NO_UPDATE:
		answer_question((struct nats_ack){0}, "it is no update");
		break;
	case LAST_UNREADABLE:
		answer_question((struct nats_ack){NATS_ACK_REFUSED, 0, "unreadable"}, NULL);
		break;
	case OLD_LAST:
		tell_last(question_flight + 1000, 7, TIME_US, TIME_US);
		break;
	case DENIED:
		deny();
		break;
	case NOT_YET_LATE:
		nats_publish_expire(bus, deadline_ms - 1);
		break;
	case LATE:
		nats_publish_expire(bus, deadline_ms);
		break;
	case SESSION_ENDS:
		nats_session_end(bus, "It is over.");
		break;
	case N_EVENTS:
		break;
	}
}

START_TEST(transition)
{
	enum state from = (enum state)(_i / N_EVENTS);
	enum event event = (enum event)(_i % N_EVENTS);
	const struct publication *publication = enter(from);

	let_happen(event);
	ck_assert_msg(state() == transitions[from][event].next, "from %d by %d to %d", from, event,
		state());
	ck_assert_uint_eq(fixture_count_sent(), transitions[from][event].n_sends);
	if (transitions[from][event].outcome == STAYS)
		ck_assert(!publication || !fixture_is_answered(publication));
	else
		expect_answer(publication, (enum publish_outcome)transitions[from][event].outcome,
			event == STORED ? 17 : 0, transitions[from][event].problem);
}
END_TEST

/* If another one waits behind it, that has its turn whenever the first is answered, but at the end
 * of the session. */
START_TEST(transition_with_one_that_waits)
{
	enum state from = (enum state)(_i / N_EVENTS);
	enum event event = (enum event)(_i % N_EVENTS);
	bool lands = transitions[from][event].outcome != STAYS;
	const struct publication *first = enter(from), *second;

	if (from == IDLE)
		return;
	second = publish(0, 0);
	expect_nothing_sent();
	let_happen(event);
	ck_assert_int_eq(fixture_is_answered(first), lands);
	ck_assert_int_eq(fixture_is_answered(second), event == SESSION_ENDS);
	if (event == SESSION_ENDS) {
		expect_answer(second, PUBLISH_UNAVAILABLE, 0, "It is over.");
		ck_assert_int_eq(state(), IDLE);
	} else if (lands) {
		ck_assert_int_eq(state(), FLYING);
		ck_assert_uint_eq(fixture_count_sent(), 1);
	} else {
		ck_assert_int_eq(state(), transitions[from][event].next);
	}
}
END_TEST

/* ---- Conflicts ---- */

START_TEST(is_sent_again_above_what_another_node_has_stored)
{
	const struct publication *publication = publish(0, -2 * S);

	acknowledge(expect_update(0, -2 * S), NATS_ACK_CONFLICT, 0);
	tell_last(expect_question(), 7, -1 * S, -1 * S);
	acknowledge(expect_update(7, -1 * S + 1), NATS_ACK_STORED, 8);
	expect_answer(publication, PUBLISH_STORED, 8, "");
}
END_TEST

/* The message that was the last has expired, or the stream was purged. */
START_TEST(is_sent_again_as_it_is_if_there_is_no_message_any_more)
{
	publish(0, -20 * S);
	acknowledge(expect_update(0, -20 * S), NATS_ACK_STORED, 41);
	publish(0, -30 * S);
	acknowledge(expect_update(41, -20 * S + 1), NATS_ACK_CONFLICT, 0);
	tell_last(expect_question(), 0, 0, 0);
	expect_update(0, -30 * S);
}
END_TEST

/* What the consumer tells while the answer is awaited counts, if it is newer. */
START_TEST(the_consumer_may_be_faster_than_the_answer)
{
	const struct update told = {
		.key = fixture_key("k"),
		.time_us = FIXTURE_NOW_US - S,
		.stored_us = FIXTURE_NOW_US - S,
		.sequence = 8,
	};
	uint64_t question;

	publish(0, -2 * S);
	acknowledge(expect_update(0, -2 * S), NATS_ACK_CONFLICT, 0);
	question = expect_question();
	nats_subject_seen(bus, &told.key, told.sequence, &told, 0);
	tell_last(question, 7, -3 * S, -3 * S);
	expect_update(8, -1 * S + 1);
}
END_TEST

START_TEST(gives_up_after_a_hundred_conflicts)
{
	const struct publication *publication = publish(0, 0);
	unsigned n = 0;

	while (!fixture_is_answered(publication)) {
		ck_assert_uint_lt(n, 1000);
		acknowledge(expect_update(n, 0), NATS_ACK_CONFLICT, 0);
		if (++n < 100) {
			struct nats_mail mail = {
				.type = NATS_MAIL_LAST,
				.update = {.key = fixture_key("k"), .sequence = n},
				.number = expect_question(),
				.problem = "it is no update",
			};

			fixture_mail(&mail);
		}
	}
	ck_assert_uint_eq(n, 100);
	expect_nothing_sent();
	expect_answer(publication, PUBLISH_UNAVAILABLE, 0,
		"JetStream does not say what it has for this environment. Try again.");
}
END_TEST

/* Each publication begins to count anew. */
START_TEST(conflicts_are_counted_for_each)
{
	publish(0, 0);
	for (unsigned n = 0; n < 90; n++) {
		acknowledge(expect_update(0, 0), NATS_ACK_CONFLICT, 0);
		if (n == 50)
			publish(0, 0);
		tell_last(expect_question(), 0, 0, 0);
	}
	acknowledge(expect_update(0, 0), NATS_ACK_REFUSED, 0);
	for (unsigned n = 0; n < 90; n++) {
		acknowledge(expect_update(0, 0), NATS_ACK_CONFLICT, 0);
		tell_last(expect_question(), 0, 0, 0);
	}
	expect_update(0, 0);
	ck_assert_int_eq(state(), FLYING);
}
END_TEST

START_TEST(the_question_may_fail)
{
	const struct publication *publication = publish(0, 0);
	uint64_t flight = expect_update(0, 0);

	made_up.send = -EIO;
	acknowledge(flight, NATS_ACK_CONFLICT, 0);
	expect_answer(publication, PUBLISH_UNAVAILABLE, 0,
		"JetStream does not say what it has for this environment. Try again.");
}
END_TEST

/* ---- No stream ---- */

START_TEST(gives_up_when_there_is_no_stream_three_times)
{
	const struct publication *publication = publish(0, 0);

	for (int i = 0; i < 3; i++)
		acknowledge(expect_update(0, 0), NATS_ACK_NO_STREAM, 0);
	acknowledge(expect_update(0, 0), NATS_ACK_NO_STREAM, 0);
	expect_nothing_sent();
	expect_answer(publication, PUBLISH_UNAVAILABLE, 0,
		"There is no JetStream stream for the update. Try again.");
	ck_assert_uint_eq(made_up.n_get_stream, 3);
}
END_TEST

/* One look at the stream is enough for all that were sent before it. */
START_TEST(looks_for_the_stream_once)
{
	struct publication *other = fixture_publication("other", 0, 0);
	struct nats_mail mail = {
		.type = NATS_MAIL_ACK,
		.update.key = fixture_key("other"),
		.ack.outcome = NATS_ACK_NO_STREAM,
	};
	uint64_t flight;

	publish(0, 0);
	flight = expect_update(0, 0);
	nats_publish(bus, other);
	fixture_count_sent();
	mail.number = bus->flights;
	acknowledge(flight, NATS_ACK_NO_STREAM, 0);
	ck_assert_uint_eq(made_up.n_get_stream, 1);
	fixture_mail(&mail);
	ck_assert_uint_eq(made_up.n_get_stream, 1);
	ck_assert_uint_eq(fixture_count_sent(), 2);
}
END_TEST

/* It is made anew, all is read again, and the update is sent meanwhile. */
START_TEST(a_stream_that_is_gone_is_made)
{
	publish(0, 0);
	made_up.get_stream = -ENOENT;
	acknowledge(expect_update(0, 0), NATS_ACK_NO_STREAM, 0);
	ck_assert_uint_eq(made_up.n_make_stream, 1);
	ck_assert_ptr_nonnull(strstr(fixture_sent()->subject, "CONSUMER.CREATE"));
	expect_update(0, 0);
}
END_TEST

START_TEST(the_look_for_the_stream_may_end_the_session)
{
	const struct publication *publication = publish(0, 0);

	made_up.get_stream = -ETIMEDOUT;
	acknowledge(expect_update(0, 0), NATS_ACK_NO_STREAM, 0);
	ck_assert_ptr_null(bus->wire);
	expect_answer(publication, PUBLISH_UNAVAILABLE, 0,
		"JetStream does not answer in time (asking for the stream environments-stream). A "
		"cluster needs a majority.");
	expect_nothing_sent();
}
END_TEST

/* ---- Where nothing is taken, or nothing acknowledged ---- */

START_TEST(the_connection_may_not_take_it)
{
	const struct publication *publication;

	made_up.send = -EIO;
	publication = publish(0, 0);
	expect_answer(publication, PUBLISH_UNAVAILABLE, 0,
		"NATS did not take the update: Made Up. Try again.");
	ck_assert_int_eq(state(), IDLE);
	ck_assert_int_eq(nats_publish_deadline_ms(bus), INT64_MAX);
}
END_TEST

START_TEST(a_stream_that_acknowledges_nothing)
{
	const struct publication *publication;

	bus->no_acks = true;
	publication = publish(0, 0);
	expect_update(0, 0);
	expect_answer(publication, PUBLISH_UNAVAILABLE, 0,
		"JetStream's stream is set up to acknowledge nothing. Try again.");
	ck_assert_int_eq(state(), IDLE);
}
END_TEST

/* Once something was stored in this session, it is this environment's alone. */
START_TEST(is_denied_after_something_was_stored)
{
	const struct publication *publication;

	publish(0, -1 * S);
	acknowledge(expect_update(0, -1 * S), NATS_ACK_STORED, 1);
	publication = publish(0, 0);
	deny();
	expect_answer(publication, PUBLISH_REFUSED_ONE, 0, "denied, grant it");
}
END_TEST

START_TEST(is_held_until_the_last_values_are_read)
{
	struct publication *publication;

	bus->up = false;
	publication = publish(0, 0);
	expect_nothing_sent();
	ck_assert(!fixture_is_answered(publication));
	bus->up = true;
	nats_publish_held(bus);
	expect_update(0, 0);
	ck_assert(!fixture_is_answered(publication));
}
END_TEST

START_TEST(is_given_back_at_once_while_nats_is_away)
{
	nats_session_end(bus, "It is over.");
	expect_answer(publish(0, 0), PUBLISH_UNAVAILABLE, 0, "NATS is away. Try again.");
}
END_TEST

START_TEST(what_is_held_is_given_back_at_the_end)
{
	const struct publication *publication;

	bus->up = false;
	publication = publish(0, 0);
	nats_session_end(bus, "It is over.");
	expect_answer(publication, PUBLISH_UNAVAILABLE, 0, "It is over.");
}
END_TEST

/* ---- Deadlines ---- */

START_TEST(each_has_a_deadline_of_its_own)
{
	struct publication *other = fixture_publication("other", 0, 0);
	int64_t begin_ms = clock_monotonic_ms(), deadline_ms;
	const struct publication *publication = publish(0, 0);

	deadline_ms = nats_publish_deadline_ms(bus);
	ck_assert_int_ge(deadline_ms, begin_ms + 1500);
	ck_assert_int_le(deadline_ms, clock_monotonic_ms() + 1500);
	nats_publish(bus, other);
	TAILQ_LAST(&bus->flying, subject_queue)->flying_until_ms = deadline_ms + 10;
	nats_publish_expire(bus, deadline_ms + 9);
	ck_assert(fixture_is_answered(publication) && !fixture_is_answered(other));
	ck_assert_int_eq(nats_publish_deadline_ms(bus), deadline_ms + 10);
	nats_publish_expire(bus, deadline_ms + 10);
	ck_assert(fixture_is_answered(other));
	ck_assert_int_eq(nats_publish_deadline_ms(bus), INT64_MAX);
}
END_TEST

static TCase *new_case(const char *name)
{
	TCase *tests = tcase_create(name);

	tcase_add_checked_fixture(tests, publishing_set_up, fixture_tear_down);
	return tests;
}

static TCase *new_transitions(void)
{
	TCase *tests = new_case("transitions");

	tcase_add_loop_test(tests, transition, 0, N_STATES * N_EVENTS);
	tcase_add_loop_test(tests, transition_with_one_that_waits, 0, N_STATES * N_EVENTS);
	return tests;
}

static TCase *new_answers(void)
{
	TCase *tests = new_case("answers");

	tcase_add_test(tests, is_sent_again_above_what_another_node_has_stored);
	tcase_add_test(tests, is_sent_again_as_it_is_if_there_is_no_message_any_more);
	tcase_add_test(tests, the_consumer_may_be_faster_than_the_answer);
	tcase_add_test(tests, gives_up_after_a_hundred_conflicts);
	tcase_add_test(tests, conflicts_are_counted_for_each);
	tcase_add_test(tests, the_question_may_fail);
	tcase_add_test(tests, gives_up_when_there_is_no_stream_three_times);
	tcase_add_test(tests, looks_for_the_stream_once);
	tcase_add_test(tests, a_stream_that_is_gone_is_made);
	tcase_add_test(tests, the_look_for_the_stream_may_end_the_session);
	return tests;
}

static TCase *new_trouble(void)
{
	TCase *tests = new_case("trouble");

	tcase_add_test(tests, the_connection_may_not_take_it);
	tcase_add_test(tests, a_stream_that_acknowledges_nothing);
	tcase_add_test(tests, is_denied_after_something_was_stored);
	tcase_add_test(tests, is_held_until_the_last_values_are_read);
	tcase_add_test(tests, is_given_back_at_once_while_nats_is_away);
	tcase_add_test(tests, what_is_held_is_given_back_at_the_end);
	tcase_add_test(tests, each_has_a_deadline_of_its_own);
	return tests;
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("nats-publish");

	suite_add_tcase(suite, new_transitions());
	suite_add_tcase(suite, new_answers());
	suite_add_tcase(suite, new_trouble());
	return suite;
}
