/* SPDX-License-Identifier: BSD-3-Clause */
/* Last answers, held or not, and the ends of their connections. */
#include "net/farewell.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* For the answer to go out, and the client to close: then it is cut off. */
#define ENDING_MS 3000

/* What a client may still send after its answer; who sends more is cut off. */
#define DISCARD_MAX  (1024 * 1024)
#define DISCARD_SIZE 16384

#define EVENTS_PER_TURN 64 /* then others of the loop have theirs */

enum phase {
	HELD,
	SENDING,
	LINGERING, /* our side has ended */
};

struct farewell {
	int fd;
	enum phase phase;
	int64_t deadline_ms;        /* CLOCK_MONOTONIC; HELD: when it is due */
	TAILQ_ENTRY(farewell) link; /* in farewells.held[] or .ending */
	size_t length, sent;        /* bytes of `text` */
	size_t discarded;           /* bytes received */
	char text[];
};

static struct farewell_queue *slot_of(struct farewells *farewells, int64_t deadline_ms)
{
	return &farewells->held[deadline_ms / FAREWELL_SLOT_MS % FAREWELL_SLOTS];
}

static void unlink_from_queue(struct farewells *farewells, struct farewell *farewell)
{
	if (farewell->phase == HELD) {
		TAILQ_REMOVE(slot_of(farewells, farewell->deadline_ms), farewell, link);
		farewells->n_held--;
	} else {
		TAILQ_REMOVE(&farewells->ending, farewell, link);
		farewells->n_ending--;
	}
}

static void farewell_end(struct farewells *farewells, struct farewell *farewell)
{
	unlink_from_queue(farewells, farewell);
	/* Not by close(2) alone: somebody may still have another descriptor of the same socket. */
	(void)epoll_ctl(farewells->epoll, EPOLL_CTL_DEL, farewell->fd, NULL);
	close(farewell->fd);
	free(farewell);
}

/* What has not been taken by now need not be kept by the kernel, either. */
static void farewell_cut_off(struct farewells *farewells, struct farewell *farewell)
{
	static const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(farewell->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	farewell_end(farewells, farewell);
}

static int watch(const struct farewells *farewells, struct farewell *farewell, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = farewell};

	return epoll_ctl(farewells->epoll, EPOLL_CTL_MOD, farewell->fd, &event);
}

/* Returns false if the connection is of no use any more. */
static bool send_rest(struct farewell *farewell)
{
	ssize_t n = send(farewell->fd, farewell->text + farewell->sent,
		farewell->length - farewell->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	farewell->sent += (size_t)n;
	return true;
}

/* Goes on with the answer, and ends our side behind it. */
static void farewell_send(struct farewells *farewells, struct farewell *farewell)
{
	if (!send_rest(farewell)) {
		farewell_end(farewells, farewell);
	} else if (farewell->sent < farewell->length) {
		if (watch(farewells, farewell, EPOLLOUT) < 0)
			farewell_cut_off(farewells, farewell);
	} else {
		farewell->phase = LINGERING;
		if (shutdown(farewell->fd, SHUT_WR) < 0 ||
			watch(farewells, farewell, EPOLLIN | EPOLLRDHUP) < 0)
			farewell_end(farewells, farewell);
	}
}

/* The answer goes out, and then there is an end.  It is in no queue. */
static void farewell_begin_end(struct farewells *farewells, struct farewell *farewell)
{
	farewell->phase = SENDING;
	farewell->deadline_ms = clock_monotonic_ms() + ENDING_MS;
	TAILQ_INSERT_TAIL(&farewells->ending, farewell, link);
	farewells->n_ending++;
	farewell_send(farewells, farewell);
}

static void farewell_discard(struct farewells *farewells, struct farewell *farewell)
{
	char bytes[DISCARD_SIZE];
	ssize_t n = recv(farewell->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		farewell_end(farewells, farewell);
		return;
	}
	farewell->discarded += (size_t)n;
	if (farewell->discarded > DISCARD_MAX)
		farewell_cut_off(farewells, farewell);
}

static void farewell_act(struct farewells *farewells, struct farewell *farewell)
{
	switch (farewell->phase) {
	case HELD: /* watched for the client's end only; it may have ended its side alone */
		(void)send_rest(farewell);
		farewell_end(farewells, farewell);
		break;
	case SENDING:
		farewell_send(farewells, farewell);
		break;
	case LINGERING:
		farewell_discard(farewells, farewell);
		break;
	}
}

static int epoll_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int n = epoll_wait(fd, events, EVENTS_PER_TURN, 0);

	(void)source;
	(void)revents;
	for (int i = 0; i < n; i++)
		farewell_act(userdata, events[i].data.ptr);
	return 0;
}

static void release_slot(struct farewells *farewells, struct farewell_queue *slot)
{
	struct farewell *farewell;

	while ((farewell = TAILQ_FIRST(slot))) {
		unlink_from_queue(farewells, farewell);
		farewell_begin_end(farewells, farewell);
	}
}

static void tick_arm(struct farewells *farewells)
{
	farewells->ticking = farewells_count(farewells) > 0;
	if (!farewells->ticking)
		return;
	(void)sd_event_source_set_time_relative(
		farewells->tick, FAREWELL_SLOT_MS * (uint64_t)US_PER_MS);
	(void)sd_event_source_set_enabled(farewells->tick, SD_EVENT_ONESHOT);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct farewells *farewells = userdata;
	int64_t now_ms = clock_monotonic_ms(), slot = now_ms / FAREWELL_SLOT_MS;
	struct farewell *first;

	(void)source;
	(void)usec;
	if (slot - farewells->slot > FAREWELL_SLOTS)
		farewells->slot = slot - FAREWELL_SLOTS;
	while (farewells->slot < slot)
		release_slot(farewells, &farewells->held[++farewells->slot % FAREWELL_SLOTS]);
	while ((first = TAILQ_FIRST(&farewells->ending)) && first->deadline_ms <= now_ms)
		farewell_cut_off(farewells, first);
	tick_arm(farewells);
	return 0;
}

int farewells_init(struct farewells *farewells, sd_event *event)
{
	int r;

	for (int i = 0; i < FAREWELL_SLOTS; i++)
		TAILQ_INIT(&farewells->held[i]);
	TAILQ_INIT(&farewells->ending);
	farewells->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (farewells->epoll < 0)
		return -errno;
	farewells->event = sd_event_ref(event);
	r = sd_event_add_io(event, &farewells->epoll_readable, farewells->epoll, EPOLLIN,
		epoll_readable, farewells);
	if (r < 0)
		return r;
	r = sd_event_add_time(
		event, &farewells->tick, CLOCK_MONOTONIC, 0, US_PER_MS, on_tick, farewells);
	return r < 0 ? r : sd_event_source_set_enabled(farewells->tick, SD_EVENT_OFF);
}

void farewells_deinit(struct farewells *farewells)
{
	struct farewell *farewell;

	if (!farewells->event)
		return;
	for (int i = 0; i < FAREWELL_SLOTS; i++)
		while ((farewell = TAILQ_FIRST(&farewells->held[i])))
			farewell_end(farewells, farewell);
	while ((farewell = TAILQ_FIRST(&farewells->ending)))
		farewell_end(farewells, farewell);
	sd_event_source_disable_unref(farewells->tick);
	sd_event_source_disable_unref(farewells->epoll_readable);
	sd_event_unref(farewells->event);
	close(farewells->epoll);
}

static struct farewell *farewell_new(int fd, const char *text, size_t length)
{
	struct farewell *farewell = calloc(1, sizeof(*farewell) + length);

	if (!farewell)
		return NULL;
	farewell->fd = fd;
	memcpy(farewell->text, text, length);
	farewell->length = length;
	return farewell;
}

/* In the slot after the one in which it is due: then that time is over. */
static void farewell_hold(struct farewells *farewells, struct farewell *farewell, int64_t hold_ms)
{
	farewell->phase = HELD;
	farewell->deadline_ms = clock_monotonic_ms() + hold_ms + FAREWELL_SLOT_MS;
	TAILQ_INSERT_TAIL(slot_of(farewells, farewell->deadline_ms), farewell, link);
	farewells->n_held++;
}

static struct farewell *next_due(struct farewells *farewells)
{
	for (int64_t i = 1; farewells->n_held > 0 && i <= FAREWELL_SLOTS; i++) {
		struct farewell *first =
			TAILQ_FIRST(&farewells->held[(farewells->slot + i) % FAREWELL_SLOTS]);

		if (first)
			return first;
	}
	return NULL;
}

int farewell_give(
	struct farewells *farewells, int fd, const char *text, size_t length, int64_t hold_ms)
{
	struct farewell *farewell = farewell_new(fd, text, length), *next;
	struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = farewell};

	if (!farewell)
		return -ENOMEM;
	if (epoll_ctl(farewells->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		int r = -errno;

		free(farewell);
		return r;
	}
	if (!farewells->ticking)
		farewells->slot = clock_monotonic_ms() / FAREWELL_SLOT_MS;
	if (farewells->n_held >= FAREWELL_HELD_MAX && (next = next_due(farewells))) {
		unlink_from_queue(farewells, next);
		farewell_begin_end(farewells, next);
	}
	if (hold_ms > 0)
		farewell_hold(farewells, farewell, hold_ms);
	else
		farewell_begin_end(farewells, farewell);
	if (!farewells->ticking)
		tick_arm(farewells);
	return 0;
}

unsigned farewells_make_room(struct farewells *farewells, unsigned n)
{
	struct farewell *farewell;
	unsigned n_ended = 0;

	for (; n_ended < n && (farewell = TAILQ_FIRST(&farewells->ending)); n_ended++)
		farewell_cut_off(farewells, farewell);
	for (; n_ended < n && (farewell = next_due(farewells)); n_ended++) {
		(void)send_rest(farewell);
		farewell_end(farewells, farewell);
	}
	return n_ended;
}

void farewells_release(struct farewells *farewells)
{
	for (int i = 0; i < FAREWELL_SLOTS; i++)
		release_slot(farewells, &farewells->held[i]);
}

unsigned farewells_count(const struct farewells *farewells)
{
	return farewells->n_held + farewells->n_ending;
}
