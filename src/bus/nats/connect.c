/* SPDX-License-Identifier: BSD-3-Clause */
/* Connecting to NATS.  natsConnection_Connect() has no limit of its own for all that it does: it
 * resolves the name, which takes as long as the resolver does; nats.c 3.4 loops for ever if the
 * server says INFO and no more, and up to 3.10 it blocks in read() if the server is silent in the
 * TLS handshake.  So each attempt has a thread of its own, which is given up when its time is over.
 *
 * An attempt that is given up must not go on for ever either: its socket is shut down, and then
 * natsConnection_Connect() fails.  nats.c does not tell the descriptor before it is connected, so
 * the process's sockets are searched for it: see is_of_nats(). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "bus/nats/library-internal.h"

#define THREAD_NAME "nats-connect"

/* nats.c is given so much longer than connect_timeout: where it notices by itself that this is
 * over, it knows better what was the matter. */
#define GRACE_MS 200

#define CUT_INTERVAL_MS 500

/* At the end, for attempts that have just been cut off; and how often to look for what they open in
 * place of that. */
#define END_MS      500
#define END_LOOK_MS 50

/* ---- Cutting off ---- */

/* Whether nats.c has opened it.  It sets SO_LINGER with 0 s on each socket that it has connected,
 * and nobody else here sets it on any.  (A unit test looks whether that is so with this nats.c.) */
static bool is_of_nats(int fd)
{
	struct linger linger;
	socklen_t length = sizeof(linger);

	return getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && linger.l_onoff &&
	       linger.l_linger == 0;
}

/* In host byte order; 0: it has none. */
static int local_port(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address = {0};
	socklen_t length = sizeof(address);

	if (getsockname(fd, &address.any, &length) < 0)
		return 0;
	if (address.any.sa_family == AF_INET)
		return ntohs(address.v4.sin_port);
	return address.any.sa_family == AF_INET6 ? ntohs(address.v6.sin6_port) : 0;
}

/* The session's, which is not to be cut off; 0: there is none. */
static int port_of_session(const struct nats_bus *bus)
{
	char *ip = NULL;
	int port = 0;

	if (!bus->wire ||
		natsConnection_GetLocalIPAndPort(bus->wire->connection, &ip, &port) != NATS_OK)
		port = 0;
	free(ip);
	return port;
}

/* Another thread may close the descriptor at any time, and then it may be a client's: so what is
 * looked at, and shut down, is a duplicate. */
static void cut_off(int fd, int spared_port)
{
	_cleanup_(closep) int copy = -1;

	if (!is_of_nats(fd))
		return;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy >= 0 && is_of_nats(copy) && local_port(copy) != spared_port)
		(void)shutdown(copy, SHUT_RDWR);
}

/* All sockets of nats.c but the session's.  With very many streams this takes a tenth of a second;
 * it happens only while a server is silent. */
void nats_connect_cut_off(struct nats_bus *bus)
{
	int spared_port = port_of_session(bus);
	DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;

	bus->next_cut_ms = clock_monotonic_ms() + CUT_INTERVAL_MS;
	if (!directory) {
		log_debug("Cannot read /proc/self/fd: %s.", strerror(errno));
		return;
	}
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			cut_off(atoi(entry->d_name), spared_port);
	closedir(directory);
}

int64_t nats_connect_cut_due_ms(const struct nats_bus *bus)
{
	/* Not the socket of one that is awaited. */
	return bus->n_stragglers > 0 && !bus->attempt ? bus->next_cut_ms : INT64_MAX;
}

/* ---- The attempt's thread ---- */

static void *run(void *userdata)
{
	struct nats_attempt *attempt = userdata;

	attempt->status = natsConnection_Connect(&attempt->wire->connection, attempt->options);
	if (attempt->status != NATS_OK)
		nats_failure_describe(
			attempt->url, attempt->status, nats_GetLastError(NULL), &attempt->problem);
	natsOptions_Destroy(attempt->options);
	nats_ReleaseThreadMemory();
	mailbox_post(&attempt->bus->mail.mailbox, &attempt->mail.mail);
	return NULL;
}

/* ---- The bus thread ---- */

/* Those that callbacks may still come from, though nobody waits for them. */
static bool is_origin_used(const struct nats_bus *bus, unsigned session)
{
	const struct nats_attempt *straggler;

	if (bus->wire && bus->session % NATS_ORIGINS == session % NATS_ORIGINS)
		return true;
	TAILQ_FOREACH (straggler, &bus->stragglers, link)
		if (straggler->session % NATS_ORIGINS == session % NATS_ORIGINS)
			return true;
	return false;
}

struct nats_origin *nats_connect_next_origin(struct nats_bus *bus)
{
	struct nats_origin *origin;

	do
		bus->sessions++;
	while (is_origin_used(bus, bus->sessions));
	origin = &bus->origins[bus->sessions % NATS_ORIGINS];
	origin->bus = bus;
	atomic_store(&origin->session, bus->sessions);
	return origin;
}

static struct nats_attempt *attempt_free(struct nats_attempt *attempt)
{
	if (!attempt)
		return NULL;
	nats_wire_free(attempt->wire);
	free(attempt);
	return NULL;
}
DEFINE_CLEANUP(struct nats_attempt *, attempt_free)

/* NULL: out of memory. */
static struct nats_attempt *attempt_new(struct nats_bus *bus)
{
	_cleanup_(attempt_freep) struct nats_attempt *attempt = calloc(1, sizeof(*attempt));

	if (!attempt)
		return NULL;
	attempt->wire = calloc(1, sizeof(*attempt->wire));
	if (!attempt->wire)
		return NULL;
	attempt->bus = bus;
	attempt->url = bus->servers[bus->server];
	attempt->mail.type = NATS_MAIL_CONNECT_END;
	return TAKE_PTR(attempt);
}

static natsStatus start(struct nats_bus *bus, struct nats_attempt *attempt)
{
	natsStatus s = natsOptions_Create(&attempt->options);

	if (s == NATS_OK) {
		attempt->wire->origin = nats_connect_next_origin(bus);
		s = nats_callbacks_set_options(bus, attempt->wire->origin, attempt->options);
	}
	attempt->session = bus->sessions;
	if (s == NATS_OK && thread_start(&attempt->thread, THREAD_NAME, run, attempt) < 0)
		s = NATS_NO_MEMORY;
	if (s != NATS_OK)
		natsOptions_Destroy(attempt->options);
	return s;
}

static natsStatus begin(struct nats_bus *bus)
{
	_cleanup_(attempt_freep) struct nats_attempt *attempt = NULL;
	natsStatus s;

	/* What a former attempt has opened since it was given up. */
	if (bus->n_stragglers > 0)
		nats_connect_cut_off(bus);
	if (bus->n_stragglers == NATS_STRAGGLERS_MAX)
		return NATS_TIMEOUT;
	attempt = attempt_new(bus);
	if (!attempt)
		return NATS_NO_MEMORY;
	s = start(bus, attempt);
	if (s != NATS_OK)
		return s;
	bus->attempt = TAKE_PTR(attempt);
	bus->attempt_until_ms = clock_monotonic_ms() + bus->connect_timeout_ms + GRACE_MS;
	return NATS_OK;
}

/* Where no more is known. */
static void describe(natsStatus status, struct nats_problem *ret)
{
	ret->open_text = natsStatus_GetText(status);
	snprintf(ret->text, sizeof(ret->text), "%s", ret->open_text);
}

int nats_connect_begin(struct nats_bus *bus, struct nats_problem *ret_problem)
{
	natsStatus s = begin(bus);
	struct nats_error error;

	if (s == NATS_OK)
		return 0;
	describe(s, ret_problem);
	return nats_failure_read(s, 0, &error);
}

void nats_connect_give_up(struct nats_bus *bus, struct nats_problem *ret_problem)
{
	struct nats_attempt *attempt = TAKE_PTR(bus->attempt);

	TAILQ_INSERT_TAIL(&bus->stragglers, attempt, link);
	bus->n_stragglers++;
	nats_connect_cut_off(bus);
	describe(NATS_TIMEOUT, ret_problem);
}

bool nats_connect_on_end(struct nats_bus *bus, struct nats_mail *mail, struct nats_wire **ret_wire,
	unsigned *ret_session, struct nats_problem *ret_problem)
{
	struct nats_attempt *attempt = container_of(mail, struct nats_attempt, mail);
	bool was_awaited = attempt == bus->attempt;

	if (was_awaited) {
		bus->attempt = NULL;
		*ret_wire = attempt->status == NATS_OK ? TAKE_PTR(attempt->wire) : NULL;
		*ret_session = attempt->session;
		*ret_problem = attempt->problem;
	} else {
		TAILQ_REMOVE(&bus->stragglers, attempt, link);
		bus->n_stragglers--;
		attempt->wire = nats_wire_free(attempt->wire); /* mostly not connected */
	}
	/* The mail is the last thing that it does. */
	if (thread_end(attempt->thread, THREAD_NAME))
		attempt_free(attempt);
	return was_awaited;
}

void nats_connect_end(struct nats_bus *bus, void (*read_mail)(struct nats_bus *bus))
{
	int64_t until_ms = clock_monotonic_ms() + END_MS;
	struct pollfd pollfd = {.fd = mailbox_fd(&bus->mail.mailbox), .events = POLLIN};
	struct nats_attempt *attempt;
	struct nats_problem problem;

	if (bus->attempt)
		nats_connect_give_up(bus, &problem);
	while (bus->n_stragglers > 0 && clock_monotonic_ms() < until_ms) {
		nats_connect_cut_off(bus);
		(void)poll(&pollfd, 1, END_LOOK_MS);
		read_mail(bus);
	}
	/* In the resolver, mostly, which nothing can hurry. */
	TAILQ_FOREACH (attempt, &bus->stragglers, link)
		thread_leave_behind(attempt->thread, THREAD_NAME);
}
