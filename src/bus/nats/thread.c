/* SPDX-License-Identifier: BSD-3-Clause */
/* The NATS bus: its thread, its mailboxes, its beginning and end. */
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

/* For nats.c to end in, its connections being closed; less than the bus thread has. */
#define CLOSE_TIMEOUT_MS 1000

/* ---- The thread ---- */

static void on_mail(struct nats_bus *bus, struct mail *mail)
{
	nats_bus_act_upon(bus, container_of(mail, struct nats_mail, mail));
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

/* One of each kind.  True: there is more. */
static bool read_slices(struct nats_bus *bus)
{
	bool has_more = nats_mail_read(bus, &bus->mail, on_mail);

	/* What is there has been read: no acknowledgement is among what has not. */
	if (!has_more)
		nats_publish_expire(bus, clock_monotonic_ms());
	/* Messages first: they say what a publication would overwrite. */
	has_more |= nats_mail_read(bus, &bus->messages, on_mail);
	if (!nats_bus_is_starting(bus))
		has_more |= nats_mail_read(bus, &bus->publications, on_publication);
	return has_more;
}

/* Returns in how many milliseconds the next thing is due. */
static int do_what_is_due(struct nats_bus *bus)
{
	int64_t due = nats_bus_do_what_is_due(bus, clock_monotonic_ms());
	int64_t now = clock_monotonic_ms();

	return due > now ? (int)(due - now) : 0;
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
		fds[2].fd = nats_bus_is_starting(bus) ? -1 : mailbox_fd(&bus->publications.mailbox);
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
