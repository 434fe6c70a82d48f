/* SPDX-License-Identifier: BSD-3-Clause */
/* Publishing to JetStream as compare-and-set: a message is stored only if the subject's last one is
 * the one it was compared with.  At most one message is in flight for each environment; updates
 * that come meanwhile go out after it, all in one message.  The states of a subject:
 *
 *   IDLE     nothing is in flight, and nothing waits
 *   FLYING   a message was sent; its acknowledgement is awaited
 *   ASKING   after a conflict: JetStream has been asked which message is the last
 *
 *   IDLE     something is published that is not stale                             FLYING
 *   FLYING   the message is stored, refused, denied, or not acknowledged in time  landed
 *            another message is the last                                          ASKING
 *            likewise, for the hundredth time in a row                            landed
 *            there is no stream: it is looked for, or made                        FLYING
 *            there is none for the fourth time                                    landed
 *   ASKING   it is known what is the last                                         FLYING
 *            and by that all is stale; or it is denied, not told, or not in time  landed
 *   landed   all that the message was for is answered; something waits            FLYING
 *            nothing waits                                                        IDLE
 *   any      the session ends: all is given back, what waits too                  IDLE */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "bus/nats/nats-internal.h"

/* JetStream's acknowledgement of a publish, or its answer to what the last message is. */
#define ACK_TIMEOUT_MS 1500

/* The sequence number of the message that must be the subject's last; 0: there must be none. */
#define LAST_SEQUENCE_HEADER "Nats-Expected-Last-Subject-Sequence"

/* So many conflicts in a row are no race any more.  Each may take two answers of JetStream, none of
 * which is waited for longer than ACK_TIMEOUT_MS. */
#define CONFLICTS_MAX 100

/* So often a publish is tried for which there is no stream. */
#define NO_STREAM_MAX 3

static void subject_send(struct nats_bus *bus, struct subject *subject);

/* ---- Answers ---- */

static void answer(struct nats_bus *bus, struct publication *publication,
	enum publish_outcome outcome, uint64_t sequence, const char *problem)
{
	publication->outcome = outcome;
	publication->sequence = sequence;
	snprintf(publication->problem, sizeof(publication->problem), "%s", problem);
	bus_post_answer(bus->inbox, publication);
}

static void answer_all(struct nats_bus *bus, struct mail_list *list, enum publish_outcome outcome,
	uint64_t sequence, const char *problem)
{
	struct mail *mail;

	while ((mail = STAILQ_FIRST(list))) {
		STAILQ_REMOVE_HEAD(list, link);
		answer(bus, container_of(mail, struct publication, mail), outcome, sequence,
			problem);
	}
}

/* An answer that comes from now on is of no interest. */
static void subject_stop_waiting(struct nats_bus *bus, struct subject *subject)
{
	if (subject->flight > 0)
		TAILQ_REMOVE(&bus->flying, subject, link);
	subject->flight = 0;
}

/* Nothing flies any more.  What waits flies next. */
static void subject_go_on(struct nats_bus *bus, struct subject *subject)
{
	subject_stop_waiting(bus, subject);
	if (STAILQ_EMPTY(&subject->waiting))
		return;
	STAILQ_CONCAT(&subject->flying, &subject->waiting);
	subject->conflicts = 0;
	subject_send(bus, subject);
}

static void subject_land(struct nats_bus *bus, struct subject *subject,
	enum publish_outcome outcome, uint64_t sequence, const char *problem)
{
	answer_all(bus, &subject->flying, outcome, sequence, problem);
	subject_go_on(bus, subject);
}

/* ---- Sending ---- */

/* An answer that names the flight is awaited from now on. */
static void subject_wait(struct nats_bus *bus, struct subject *subject, uint64_t flight)
{
	subject_stop_waiting(bus, subject);
	subject->flight = flight;
	subject->is_asking = false;
	subject->flying_until_ms = clock_monotonic_ms() + ACK_TIMEOUT_MS;
	subject->checks = bus->checks;
	TAILQ_INSERT_TAIL(&bus->flying, subject, link);
}

/* A stream that is not ours may keep what has expired. */
static bool subject_has_latest(const struct nats_bus *bus, const struct subject *subject)
{
	return subject->has_latest && subject->stored_us + UPDATE_LIFETIME_US > nats_clock_us(bus);
}

/* Whether the publication is news; then `flown` is so for it, too. */
static bool subject_takes(
	const struct nats_bus *bus, struct subject *subject, const struct publication *publication)
{
	const struct update *update = &publication->update;
	struct update *flown = &subject->flown;
	int64_t time_us = update->time_us;

	if (subject_has_latest(bus, subject) &&
		!update_follow(update, publication->has_waited, &subject->latest, &time_us))
		return false;
	if (time_us > flown->time_us)
		flown->time_us = time_us;
	if (update->stored_us > flown->stored_us)
		flown->stored_us = update->stored_us;
	if (update->stored_us < subject->told_us)
		subject->told_us = update->stored_us;
	return true;
}

/* Whether something in `flying` was accepted after what `waited`, and is about something else. */
static bool subject_has_after(const struct subject *subject, const struct update *waited)
{
	struct mail *mail;

	STAILQ_FOREACH (mail, &subject->flying, link) {
		const struct publication *other = container_of(mail, struct publication, mail);

		if (other->update.stored_us > waited->stored_us &&
			(other->update.time_us != waited->time_us || waited->is_raised))
			return true;
	}
	return false;
}

/* Streams of this node have had what waited, under its own time.  If that is to be the message's,
 * too, they would not hear of what was accepted after it. */
static bool subject_hides(const struct subject *subject)
{
	struct mail *mail;

	STAILQ_FOREACH (mail, &subject->flying, link) {
		const struct publication *waited = container_of(mail, struct publication, mail);

		if (waited->has_waited && waited->update.time_us == subject->flown.time_us &&
			subject_has_after(subject, &waited->update))
			return true;
	}
	return false;
}

/* Makes one message of all that are in `flying`, which are compared with the latest that is known
 * by now, each by itself; those that are stale are answered.  False: all are. */
static bool subject_gather(struct nats_bus *bus, struct subject *subject)
{
	struct mail_list all = STAILQ_HEAD_INITIALIZER(all);
	struct mail *mail;

	STAILQ_CONCAT(&all, &subject->flying);
	subject->flown = (struct update){.key = subject->key};
	subject->told_us = INT64_MAX;
	while ((mail = STAILQ_FIRST(&all))) {
		struct publication *publication = container_of(mail, struct publication, mail);

		STAILQ_REMOVE_HEAD(&all, link);
		if (subject_takes(bus, subject, publication))
			STAILQ_INSERT_TAIL(&subject->flying, mail, link);
		else
			answer(bus, publication, PUBLISH_STALE, 0, "");
	}
	if (subject_hides(subject))
		subject->flown.time_us++;
	return !STAILQ_EMPTY(&subject->flying);
}

/* Publishes `flown`.  0, or -errno and why. */
static int subject_publish(
	struct nats_bus *bus, struct subject *subject, struct nats_error *ret_error)
{
	char name[NATS_SUBJECT_SIZE], reply[NATS_REPLY_SIZE], payload[UPDATE_PAYLOAD_SIZE];
	char last[sizeof("18446744073709551615")], accepted[NATS_ACCEPTED_SIZE];
	struct nats_message message = {
		.subject = name,
		.reply = reply,
		.headers = {{LAST_SEQUENCE_HEADER, last}, {NATS_ACCEPTED_HEADER, accepted}},
		.body = payload,
	};
	int r;

	snprintf(name, sizeof(name), NATS_SUBJECT_PREFIX "%s", subject->key.text);
	nats_ack_format_reply(bus, &subject->key, ++bus->flights, reply);
	snprintf(last, sizeof(last), "%" PRIu64, subject->last_sequence);
	nats_accepted_format(subject->told_us, subject->flown.stored_us, accepted);
	message.length = update_format_payload(subject->flown.time_us, payload);
	r = nats_wire_send(bus->wire, &message, ret_error);
	if (r == 0)
		subject_wait(bus, subject, bus->flights);
	return r;
}

/* Sends what is in `flying` and is not stale. */
static void subject_send(struct nats_bus *bus, struct subject *subject)
{
	struct nats_error error;
	char text[128];

	if (!subject_gather(bus, subject)) {
		subject_go_on(bus, subject);
		return;
	}
	if (subject_publish(bus, subject, &error) < 0) {
		snprintf(text, sizeof(text), "NATS did not take the update: %s. Try again.",
			error.name);
		subject_land(bus, subject, PUBLISH_UNAVAILABLE, 0, text);
	} else if (bus->no_acks) {
		/* Whether it was stored the consumer tells. */
		subject_land(bus, subject, PUBLISH_UNAVAILABLE, 0,
			"JetStream's stream is set up to acknowledge nothing. Try again.");
	}
}

void nats_publish(struct nats_bus *bus, struct publication *publication)
{
	struct subject *subject;

	if (!bus->up && bus->wire) {
		STAILQ_INSERT_TAIL(&bus->held, &publication->mail, link);
		return;
	}
	if (!bus->up) {
		answer(bus, publication, PUBLISH_UNAVAILABLE, 0, "NATS is away. Try again.");
		return;
	}
	subject = nats_subject_get(bus, &publication->update.key);
	if (!subject) {
		answer(bus, publication, PUBLISH_UNAVAILABLE, 0, "Out of memory. Try again.");
		return;
	}
	if (!STAILQ_EMPTY(&subject->flying)) {
		STAILQ_INSERT_TAIL(&subject->waiting, &publication->mail, link);
		return;
	}
	STAILQ_INSERT_TAIL(&subject->flying, &publication->mail, link);
	subject->conflicts = 0;
	subject_send(bus, subject);
}

/* ---- JetStream's answers ---- */

static void subject_land_unknown(struct nats_bus *bus, struct subject *subject)
{
	subject_land(bus, subject, PUBLISH_UNAVAILABLE, 0,
		"JetStream does not say what it has for this environment. Try again.");
}

/* Another node was faster, or the message has expired.  What is last now?  The answer is awaited as
 * an acknowledgement is, and for as long; others go on meanwhile. */
static void subject_on_conflict(struct nats_bus *bus, struct subject *subject)
{
	/* What the consumer tells until the answer is here counts, too. */
	subject->last_sequence = 0;
	subject->has_latest = false;
	if (++subject->conflicts >= CONFLICTS_MAX ||
		nats_last_ask(bus, &subject->key, ++bus->flights) < 0) {
		subject_land_unknown(bus, subject);
		return;
	}
	subject_wait(bus, subject, bus->flights);
	subject->is_asking = true;
}

/* Nobody takes the subject: the stream has been deleted.  The check makes it anew, if there was
 * none since the update was sent. */
static void subject_on_no_stream(struct nats_bus *bus, struct subject *subject)
{
	if (++subject->conflicts > NO_STREAM_MAX) {
		subject_land(bus, subject, PUBLISH_UNAVAILABLE, 0,
			"There is no JetStream stream for the update. Try again.");
		return;
	}
	if (subject->checks == bus->checks)
		nats_session_check(bus);
	/* If that has ended the session, the update has been answered. */
	if (bus->wire)
		subject_send(bus, subject);
}

static void subject_on_stored(struct nats_bus *bus, struct subject *subject, uint64_t sequence)
{
	struct update stored = subject->flown;

	bus->has_stored = true;
	stored.sequence = sequence;
	nats_subject_await(bus, subject, &stored);
	/* When it was stored the consumer tells, or has told; until then it is about now. */
	stored.accepted_us = stored.stored_us;
	stored.stored_us = nats_clock_us(bus);
	if (sequence > subject->last_sequence)
		nats_subject_seen(bus, &subject->key, sequence, &stored, subject->told_us);
	subject_land(bus, subject, PUBLISH_STORED, sequence, "");
}

static bool subject_awaits(const struct subject *subject, uint64_t flight)
{
	return subject && subject->flight != 0 && subject->flight == flight;
}

void nats_publish_on_last(struct nats_bus *bus, const struct nats_mail *mail)
{
	struct subject *subject = nats_subject_find(bus, &mail->update.key);

	if (!subject_awaits(subject, mail->number))
		return; /* was given up */
	if (mail->ack.outcome != NATS_ACK_STORED) {
		subject_land_unknown(bus, subject);
		return;
	}
	if (mail->update.sequence > 0)
		nats_subject_seen(bus, &mail->update.key, mail->update.sequence,
			mail->problem ? NULL : &mail->update, mail->told_us);
	subject_send(bus, subject);
}

void nats_publish_on_ack(struct nats_bus *bus, struct nats_mail *mail)
{
	struct subject *subject = nats_subject_find(bus, &mail->update.key);
	char text[BUS_TEXT_SIZE];

	if (!subject_awaits(subject, mail->number))
		return; /* was given up */
	switch (mail->ack.outcome) {
	case NATS_ACK_STORED:
		subject_on_stored(bus, subject, mail->ack.sequence);
		break;
	case NATS_ACK_CONFLICT:
		subject_on_conflict(bus, subject);
		break;
	case NATS_ACK_NO_STREAM:
		subject_on_no_stream(bus, subject);
		break;
	case NATS_ACK_LATER:
		snprintf(text, sizeof(text), "JetStream has not stored the update: %s. Try again.",
			mail->ack.text);
		subject_land(bus, subject, PUBLISH_UNAVAILABLE, 0, text);
		break;
	case NATS_ACK_REFUSED:
		subject_land(bus, subject, PUBLISH_REFUSED, 0, mail->ack.text);
		break;
	case NATS_ACK_REFUSED_ONE:
		subject_land(bus, subject, PUBLISH_REFUSED_ONE, 0, mail->ack.text);
		break;
	}
}

/* NATS names the subject and not the publish: of each subject one is in flight. */
void nats_publish_on_denied(struct nats_bus *bus, const struct nats_denial *denial)
{
	struct subject *subject = nats_subject_find(bus, &denial->key);

	if (subject && subject->flight > 0)
		subject_land(bus, subject, bus->has_stored ? PUBLISH_REFUSED_ONE : PUBLISH_REFUSED,
			0, denial->text);
}

void nats_publish_expire(struct nats_bus *bus, int64_t now_ms)
{
	struct subject *first;

	while ((first = TAILQ_FIRST(&bus->flying)) && first->flying_until_ms <= now_ms)
		if (first->is_asking)
			subject_land_unknown(bus, first);
		else
			subject_land(bus, first, PUBLISH_UNAVAILABLE, 0,
				"JetStream has not acknowledged the update in time. Try again.");
}

int64_t nats_publish_deadline_ms(const struct nats_bus *bus)
{
	const struct subject *first = TAILQ_FIRST(&bus->flying);

	return first ? first->flying_until_ms : INT64_MAX;
}

void nats_publish_held(struct nats_bus *bus)
{
	struct mail *mail;

	while ((mail = STAILQ_FIRST(&bus->held))) {
		STAILQ_REMOVE_HEAD(&bus->held, link);
		nats_publish(bus, container_of(mail, struct publication, mail));
	}
}

void nats_publish_fail_all(struct nats_bus *bus, const char *why)
{
	struct subject *subject, *next;

	answer_all(bus, &bus->held, PUBLISH_UNAVAILABLE, 0, why);
	TABLE_FOREACH (subject, next, &bus->subjects, node) {
		subject_stop_waiting(bus, subject);
		answer_all(bus, &subject->flying, PUBLISH_UNAVAILABLE, 0, why);
		answer_all(bus, &subject->waiting, PUBLISH_UNAVAILABLE, 0, why);
	}
}
