/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens to the NATS bus, event by event: mail, and times that are due.  Its phases, by what
 * it has:
 *
 *   AWAY        no wire and no attempt: one begins when next_attempt_ms is due
 *   CONNECTING  no wire, but an attempt at one
 *   MAKING      a wire; JetStream has been asked to make a consumer
 *   LOOKING     the consumer has been made, and asked for, as has to be permitted
 *   READING     it is subscribed to, and sends the last values
 *   UP          they have been read; it sends what is new
 *
 *   AWAY        an attempt begins                                            CONNECTING
 *   CONNECTING  it fails, or takes too long                                  AWAY
 *               there is a connection; the stream is found, or made          MAKING
 *   MAKING      the consumer is made                                         LOOKING
 *   LOOKING     it is there                                                  READING
 *               it is there, and there is nothing to read                    UP
 *   MAKING, LOOKING  it is refused, or there is no answer in time            AWAY
 *   READING     the last of them has come, or a check finds that none will   UP
 *   READING, UP doubt (a gap, a silent consumer, a complaint of NATS); but   MAKING
 *               if all was read a moment ago, it is due later
 *   UP          a check finds another stream, fewer messages than there      MAKING
 *               should be, or no consumer
 *   from MAKING to UP  the connection is lost; something is denied without   AWAY
 *               which nothing goes; JetStream does not answer a request, or
 *               refuses it; the clock has jumped; the end
 *
 * Anything else that comes changes nothing: mail about a consumer or a session that was given up,
 * for example.  Main is told BUS_UP with the first UP, and BUS_DOWN with the next AWAY (and if a
 * connection cannot be made); in between the bus counts as up, even while it reads once more.  In
 * lame duck mode an attempt runs beside the session, and the session ends when the attempt
 * succeeds. */
#include "base/clock.h"
#include "base/log.h"
#include "bus/nats/nats-internal.h"

/* How often the stream is looked at, as nobody tells that it was purged; and while its last values
 * are being read. */
#define CHECK_INTERVAL_MS      5000
#define CHECK_SYNC_INTERVAL_MS 500

/* Between attempts to connect: twice as long each time, from ... to. */
#define RECONNECT_MIN_MS 100
#define RECONNECT_MAX_MS 2000

/* A clock that is set changes by more than this between two looks; one that is slewed does not. */
#define CLOCK_JUMP_MS 2000

bool nats_bus_is_starting(const struct nats_bus *bus)
{
	return bus->attempt && bus->sessions == 1;
}

/* ---- Connecting ---- */

static bool wants_connection(const struct nats_bus *bus)
{
	return !bus->attempt && (!bus->wire || bus->is_lame_duck);
}

/* The next server, and after the last one a pause. */
static void plan_attempt(struct nats_bus *bus)
{
	int64_t pause = RECONNECT_MIN_MS;

	bus->server = (bus->server + 1) % bus->n_servers;
	bus->next_attempt_ms = clock_monotonic_ms();
	if (++bus->attempts % (unsigned)bus->n_servers != 0)
		return;
	for (unsigned i = 0; i < bus->failures && pause < RECONNECT_MAX_MS; i++)
		pause *= 2;
	bus->failures++;
	pause = pause < RECONNECT_MAX_MS ? pause : RECONNECT_MAX_MS;
	bus->next_attempt_ms += bus->denied ? NATS_DENIED_PAUSE_MS : pause;
}

static void fail_to_connect(struct nats_bus *bus, const struct nats_problem *problem)
{
	nats_session_refuse(bus, problem);
	plan_attempt(bus);
}

static void try_to_connect(struct nats_bus *bus)
{
	struct nats_problem problem;

	bus->denied = false;
	if (nats_connect_begin(bus, &problem) < 0)
		fail_to_connect(bus, &problem);
}

static void give_up_attempt(struct nats_bus *bus)
{
	struct nats_problem problem;

	nats_connect_give_up(bus, &problem);
	fail_to_connect(bus, &problem);
}

static void on_connect_end(struct nats_bus *bus, struct nats_mail *mail)
{
	struct nats_problem problem;
	struct nats_wire *wire;
	unsigned session;

	if (!nats_connect_on_end(bus, mail, &wire, &session, &problem))
		return; /* was given up */
	if (bus->stopping) {
		nats_wire_free(wire);
	} else if (!wire) {
		fail_to_connect(bus, &problem);
	} else if (nats_session_begin(bus, wire, session)) {
		bus->failures = 0;
		bus->next_check_ms = clock_monotonic_ms() + CHECK_SYNC_INTERVAL_MS;
	} else {
		plan_attempt(bus);
	}
}

/* It goes on serving its clients for a while, and the session stays until another server has been
 * found. */
static void leave_lame_duck(struct nats_bus *bus)
{
	log_notice(
		"The NATS server is in lame duck mode: it is about to end. Another is looked for.");
	bus->is_lame_duck = true;
	bus->server = (bus->server + 1) % bus->n_servers;
	bus->next_attempt_ms = clock_monotonic_ms();
}

/* ---- Mail ---- */

void nats_bus_act_upon(struct nats_bus *bus, struct nats_mail *mail)
{
	switch (mail->type) {
	case NATS_MAIL_MESSAGE:
		nats_session_on_message(bus, mail);
		break;
	case NATS_MAIL_STATUS:
		nats_delivery_on_status(bus, mail);
		break;
	case NATS_MAIL_ACK:
		nats_publish_on_ack(bus, mail);
		break;
	case NATS_MAIL_LAST:
		nats_publish_on_last(bus, mail);
		break;
	case NATS_MAIL_CONSUMER:
		nats_session_on_consumer(bus, mail);
		break;
	case NATS_MAIL_DOUBT:
		if (bus->wire && bus->session == mail->session)
			nats_session_doubt(bus, mail->text);
		break;
	case NATS_MAIL_DENIED:
		if (bus->wire && bus->session == mail->session)
			nats_session_on_denied(bus, mail->text);
		break;
	case NATS_MAIL_CLOSED:
		if (bus->wire && bus->session == mail->session)
			nats_session_end(bus, "The connection to NATS is lost.");
		break;
	case NATS_MAIL_LAME_DUCK:
		if (bus->wire && bus->session == mail->session && !bus->is_lame_duck)
			leave_lame_duck(bus);
		break;
	case NATS_MAIL_CONNECT_END:
		on_connect_end(bus, mail);
		return; /* consumed */
	case NATS_MAIL_PING:
		pulse_answer(&bus->pulse);
		return; /* not from the heap */
	case NATS_MAIL_STOP:
		bus->stopping = true;
		return; /* likewise */
	}
	free(mail);
}

/* ---- What is due ---- */

/* nats.c's timers go by the wall clock: set back, they are not due for as long.  (Nothing of ours
 * goes by it, see clock.c.) */
static void check_clock(struct nats_bus *bus)
{
	int64_t offset_ms = clock_wall_us() / US_PER_MS - clock_monotonic_ms();
	int64_t jump_ms = offset_ms - bus->clock_offset_ms;

	bus->clock_offset_ms = offset_ms;
	if (!bus->wire || (jump_ms < CLOCK_JUMP_MS && jump_ms > -CLOCK_JUMP_MS))
		return;
	log_notice(
		"The system's clock has jumped by %.1f s. The connection to NATS is made anew, and "
		"all last values are read again.",
		(double)jump_ms / MS_PER_S);
	nats_session_end(bus, "The system's clock has jumped.");
}

static int64_t next_due_ms(const struct nats_bus *bus)
{
	int64_t due = nats_publish_deadline_ms(bus);

	if (bus->attempt && bus->attempt_until_ms < due)
		due = bus->attempt_until_ms;
	if (nats_connect_cut_due_ms(bus) < due)
		due = nats_connect_cut_due_ms(bus);
	if (wants_connection(bus) && bus->next_attempt_ms < due)
		due = bus->next_attempt_ms;
	if (bus->wire && bus->next_check_ms < due)
		due = bus->next_check_ms;
	if (bus->wire && nats_reread_due_ms(&bus->reread) < due)
		due = nats_reread_due_ms(&bus->reread);
	if (nats_consumer_deadline_ms(bus) < due)
		due = nats_consumer_deadline_ms(bus);
	return due;
}

int64_t nats_bus_do_what_is_due(struct nats_bus *bus, int64_t now_ms)
{
	check_clock(bus);
	if (bus->attempt && now_ms >= bus->attempt_until_ms)
		give_up_attempt(bus);
	if (nats_connect_cut_due_ms(bus) <= now_ms)
		nats_connect_cut_off(bus);
	if (wants_connection(bus) && now_ms >= bus->next_attempt_ms)
		try_to_connect(bus);
	if (bus->wire && now_ms >= bus->next_check_ms) {
		nats_session_check(bus);
		bus->next_check_ms = clock_monotonic_ms() +
				     (bus->syncing ? CHECK_SYNC_INTERVAL_MS : CHECK_INTERVAL_MS);
	}
	nats_consumer_expire(bus, now_ms);
	if (bus->wire && now_ms >= nats_reread_due_ms(&bus->reread))
		nats_session_doubt(bus, "what was in doubt before is due");
	return next_due_ms(bus);
}
