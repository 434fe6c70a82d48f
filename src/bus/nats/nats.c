/* SPDX-License-Identifier: BSD-3-Clause */
/* The NATS bus: its thread, and what reaches it. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "bus/nats/nats-internal.h"

#define THREAD_NAME "nats"

/* How often the stream is looked at, as nobody tells that it was purged; and while its last values
 * are being read. */
#define CHECK_INTERVAL_MS      5000
#define CHECK_SYNC_INTERVAL_MS 500

/* Between attempts to connect: twice as long each time, from ... to. */
#define RECONNECT_MIN_MS 100
#define RECONNECT_MAX_MS 2000

/* For nats.c to end in, its connections being closed; less than the bus thread has. */
#define CLOSE_TIMEOUT_MS 1000

/* A clock that is set changes by more than this between two looks; one that is slewed does not. */
#define CLOCK_JUMP_MS 2000

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

/* ---- The thread ---- */

static void act_upon(struct nats_bus *bus, struct nats_mail *mail)
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

static void on_mail(struct nats_bus *bus, struct mail *mail)
{
	act_upon(bus, container_of(mail, struct nats_mail, mail));
}

static void on_publication(struct nats_bus *bus, struct mail *mail)
{
	nats_publish(bus, container_of(mail, struct publication, mail));
}

/* All of them: at the end. */
static void read_mail(struct nats_bus *bus)
{
	while (nats_mail_read(bus, &bus->mail, on_mail))
		;
	while (nats_mail_read(bus, &bus->messages, on_mail))
		;
}

static void read_publications(struct nats_bus *bus)
{
	while (nats_mail_read(bus, &bus->publications, on_publication))
		;
}

/* nats.c's timers go by the wall clock: set back, they are not due for as long.  (Nothing of ours
 * goes by it, see nats-clock.c.) */
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

/* At the start, what is published waits for the first attempt to connect. */
static bool is_starting(const struct nats_bus *bus)
{
	return bus->attempt && bus->sessions == 1;
}

/* Nothing of nats.c calls back any more, once this has succeeded; unless attempts or another bus
 * use it still. */
static void close_library(struct nats_bus *bus)
{
	if (bus->n_stragglers > 0 || atomic_load(&bus->is_left))
		return;
	/* A reference that it has lost must not keep the streams from being handed over. */
	bus->is_library_closed = nats_library_close(CLOSE_TIMEOUT_MS) == 0;
	if (!bus->is_library_closed)
		log_warning("The NATS library does not end; it is left behind.");
}

/* Does what is due.  Returns when the next thing is, in milliseconds from now. */
static int do_what_is_due(struct nats_bus *bus)
{
	int64_t now = clock_monotonic_ms(), due;

	check_clock(bus);
	if (bus->attempt && now >= bus->attempt_until_ms) {
		give_up_attempt(bus);
	}
	if (nats_connect_cut_due_ms(bus) <= now)
		nats_connect_cut_off(bus);
	if (wants_connection(bus) && now >= bus->next_attempt_ms)
		try_to_connect(bus);
	if (bus->wire && now >= bus->next_check_ms) {
		nats_session_check(bus);
		bus->next_check_ms = clock_monotonic_ms() +
				     (bus->syncing ? CHECK_SYNC_INTERVAL_MS : CHECK_INTERVAL_MS);
	}
	nats_consumer_expire(bus, now);
	if (bus->wire && now >= nats_reread_due_ms(&bus->reread))
		nats_session_doubt(bus, "what was in doubt before is due");
	due = next_due_ms(bus);
	now = clock_monotonic_ms();
	return due > now ? (int)(due - now) : 0;
}

/* One of each kind.  True: there is more. */
static bool read_slices(struct nats_bus *bus)
{
	bool has_more = nats_mail_read(bus, &bus->mail, on_mail);

	/* What is there has been read: no acknowledgement is among what has not. */
	if (!has_more)
		nats_publish_expire(bus, clock_monotonic_ms());
	/* Messages first: they say what a publication would overwrite. */
	has_more |= nats_mail_read(bus, &bus->messages, on_mail);
	if (!is_starting(bus))
		has_more |= nats_mail_read(bus, &bus->publications, on_publication);
	return has_more;
}

static void *run(void *userdata)
{
	struct nats_bus *bus = userdata;
	struct pollfd fds[] = {
		{.fd = mailbox_fd(&bus->mail.mailbox), .events = POLLIN},
		{.fd = mailbox_fd(&bus->messages.mailbox), .events = POLLIN},
		{.events = POLLIN},
	};
	bool has_more = false;

	while (!bus->stopping) {
		int timeout = do_what_is_due(bus);

		/* Not looked at. */
		fds[2].fd = is_starting(bus) ? -1 : mailbox_fd(&bus->publications.mailbox);
		if (poll(fds, 3, has_more ? 0 : timeout) < 0 && errno != EINTR) {
			log_error("The NATS bus cannot wait for mail: %s. Giving up.",
				strerror(errno));
			log_abort();
		}
		/* On a busy machine the others go on, and what they have to tell makes one batch;
		 * on any other there is nobody to wait for. */
		(void)sched_yield();
		has_more = read_slices(bus);
	}
	nats_session_end(bus, "The service is stopping.");
	nats_connect_end(bus, read_mail);
	read_publications(bus);
	close_library(bus);
	return NULL;
}

static void operation_publish(struct bus *base, struct publication *publication)
{
	struct nats_bus *bus = container_of(base, struct nats_bus, bus);

	mailbox_post(&bus->publications.mailbox, &publication->mail);
}

static int init_inlets(struct nats_bus *bus)
{
	int r;

	r = nats_inlet_init(&bus->mail);
	if (r < 0)
		return r;
	r = nats_inlet_init(&bus->messages);
	if (r < 0) {
		nats_inlet_deinit(&bus->mail);
		return r;
	}
	r = nats_inlet_init(&bus->publications);
	if (r < 0) {
		nats_inlet_deinit(&bus->messages);
		nats_inlet_deinit(&bus->mail);
	}
	return r;
}

static void deinit_inlets(struct nats_bus *bus)
{
	nats_inlet_deinit(&bus->publications);
	nats_inlet_deinit(&bus->messages);
	nats_inlet_deinit(&bus->mail);
}

static void nats_bus_free(struct nats_bus *bus)
{
	free(bus->urls);
	free(bus->servers);
	free(bus);
}

static void operation_free(struct bus *base)
{
	struct nats_bus *bus = container_of(base, struct nats_bus, bus);

	bus->stop.type = NATS_MAIL_STOP;
	mailbox_post(&bus->mail.mailbox, &bus->stop.mail);
	if (!thread_end(bus->thread, THREAD_NAME))
		return;
	read_publications(bus);
	/* Something of the library may call back yet, into all this. */
	if (!bus->is_library_closed) {
		threads_note_left_behind();
		return;
	}
	read_mail(bus);
	nats_subjects_free(bus);
	deinit_inlets(bus);
	nats_bus_free(bus);
}

static void operation_ping(struct bus *base)
{
	struct nats_bus *bus = container_of(base, struct nats_bus, bus);

	if (pulse_ask(&bus->pulse, clock_monotonic_ms()))
		mailbox_post(&bus->mail.mailbox, &bus->ping.mail);
}

static int64_t operation_silence_ms(const struct bus *base)
{
	const struct nats_bus *bus = container_of(base, struct nats_bus, bus);

	return pulse_silence_ms(&bus->pulse, clock_monotonic_ms());
}

/* If the thread ever returns from the call that it is in, it gives back what it has, and ends. */
static void operation_leave(struct bus *base)
{
	struct nats_bus *bus = container_of(base, struct nats_bus, bus);

	atomic_store(&bus->is_left, true);
	bus->stop.type = NATS_MAIL_STOP;
	mailbox_post(&bus->mail.mailbox, &bus->stop.mail);
	thread_leave_behind(bus->thread, THREAD_NAME);
}

static const struct bus_operations operations = {
	.publish = operation_publish,
	.free = operation_free,
	.ping = operation_ping,
	.silence_ms = operation_silence_ms,
	.leave = operation_leave,
};

/* Cuts the list of URLs into pieces, in place. */
static int split_urls(struct nats_bus *bus, const char *urls)
{
	size_t n = 1;
	char *rest = NULL;

	for (const char *p = urls; *p; p++)
		n += *p == ',';
	bus->urls = strdup(urls);
	bus->servers = calloc(n, sizeof(bus->servers[0]));
	if (!bus->urls || !bus->servers)
		return -ENOMEM;
	for (char *url = strtok_r(bus->urls, ", ", &rest); url; url = strtok_r(NULL, ", ", &rest))
		bus->servers[bus->n_servers++] = url;
	return bus->n_servers > 0 ? 0 : -EINVAL;
}

static int start(struct nats_bus *bus)
{
	int r;

	r = init_inlets(bus);
	if (r < 0)
		return r;
	r = thread_start(&bus->thread, THREAD_NAME, run, bus);
	if (r < 0)
		deinit_inlets(bus);
	return r;
}

int bus_new_nats(const struct nats_settings *settings, struct mailbox *inbox, struct bus **ret)
{
	struct nats_bus *bus = calloc(1, sizeof(*bus));
	int r;

	if (!bus)
		return -ENOMEM;
	bus->bus.operations = &operations;
	STAILQ_INIT(&bus->held);
	TAILQ_INIT(&bus->flying);
	table_init(&bus->subjects);
	TAILQ_INIT(&bus->stragglers);
	bus->ping.type = NATS_MAIL_PING;
	bus->inbox = inbox;
	bus->connect_timeout_ms = settings->connect_timeout_ms;
	bus->replicas = settings->replicas;
	bus->stream_patience.max_ms = NATS_STREAM_TIMEOUT_MS;
	bus->consumer_patience.max_ms = NATS_CONSUMER_TIMEOUT_MS;
	r = split_urls(bus, settings->urls);
	if (r >= 0)
		bus->server = (int)(random() % bus->n_servers); /* so that nodes spread */
	if (r >= 0)
		r = start(bus);
	if (r < 0) {
		nats_bus_free(bus);
		return r;
	}
	*ret = &bus->bus;
	return 0;
}
