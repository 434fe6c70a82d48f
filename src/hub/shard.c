/* SPDX-License-Identifier: BSD-3-Clause */
/* The shard's loop: epoll, mail, and in slices what is due: fan-outs, keep-alives, ends. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/trim.h"
#include "hub/shard-internal.h"

#define EVENTS_PER_TURN 256

/* From this many streams on, the memory that they leave behind is worth giving back. */
#define CROWD 4096

/* The pause between two turns of a drain that has time. */
#define DRAIN_PAUSE_MS 5

/* ---- The main thread's side ---- */

bool shard_is_subscribed(const struct shard *shard, const struct key *key)
{
	uint32_t hash = table_hash(key->text, key->length);

	/* In order with shard_adopt(), as both are main's. */
	return atomic_load_explicit(
		       &shard->subscribed[hash % SUBSCRIBED_SLOTS], memory_order_relaxed) > 0;
}

bool shard_is_alive(const struct shard *shard)
{
	return pulse_is_answered(&shard->pulse);
}

int64_t shard_silence_ms(const struct shard *shard)
{
	return pulse_silence_ms(&shard->pulse, clock_monotonic_ms());
}

size_t shard_streams(const struct shard *shard)
{
	return atomic_load(&shard->n_streams);
}

size_t shard_environments(const struct shard *shard)
{
	return atomic_load(&shard->n_environments);
}

const struct metrics *shard_metrics(const struct shard *shard)
{
	return &shard->metrics;
}

uint64_t shard_ended(const struct shard *shard, enum end_reason reason)
{
	return counter_get(&shard->ended[reason]);
}

/* ---- The shard's side ---- */

/* Ends the streams whose time has come. */
static void shard_turn_wheel(struct shard *shard)
{
	uint32_t now = (uint32_t)((shard->now_ms - shard->start_ms) / WHEEL_TICK_MS);

	/* After a long sleep one turn of the wheel has met every slot. */
	if (now - shard->tick > WHEEL_SLOTS)
		shard->tick = now - WHEEL_SLOTS;
	while (shard->tick != now) {
		struct stream_list *slot = &shard->wheel[++shard->tick % WHEEL_SLOTS];
		struct stream *stream = LIST_FIRST(slot);

		while (stream) {
			struct stream *next = LIST_NEXT(stream, of_wheel);

			if (stream->end_tick <= now)
				stream_close(shard, stream, END_MAX_AGE);
			stream = next;
		}
	}
}

static int64_t ending_limit_ms(const struct shard *shard)
{
	int64_t user_timeout_ms = shard->settings.user_timeout_ms;

	return user_timeout_ms > 0 ? user_timeout_ms : SHARD_ENDING_MS;
}

/* Gives up the streams that have been in this queue of ended streams for `limit_ms`. */
static void reap(struct shard *shard, struct stream_queue *queue, int64_t limit_ms)
{
	struct stream *oldest;

	while ((oldest = TAILQ_FIRST(queue)) && shard->now_ms - oldest->last_ms >= limit_ms)
		stream_close(shard, oldest, END_TIMED_OUT);
}

static void shard_reap(struct shard *shard)
{
	reap(shard, &shard->ending, ending_limit_ms(shard));
	reap(shard, &shard->lingering, SHARD_LINGER_MS);
}

static void shard_trim(struct shard *shard)
{
	if (trim_is_due(&shard->peak, shard_streams(shard), CROWD))
		malloc_trim(0);
}

void shard_begin_drain(struct shard *shard, int64_t over_ms)
{
	shard->draining = true;
	shard->drain_begin_ms = shard->now_ms;
	shard->drain_end_ms = shard->now_ms + over_ms;
	shard->drain_open = shard_streams(shard);
	shard->drain_ended = 0;
}

/* How many streams the drain may have ended by now: of those that were there, in proportion to the
 * time; if the drain has no time, all, also those that come later. */
static size_t drain_allowance(const struct shard *shard)
{
	double elapsed = (double)(shard->now_ms - shard->drain_begin_ms);

	if (shard->drain_end_ms <= shard->drain_begin_ms)
		return SIZE_MAX;
	if (shard->now_ms >= shard->drain_end_ms)
		return shard->drain_open;
	return (size_t)((double)shard->drain_open * elapsed /
			(double)(shard->drain_end_ms - shard->drain_begin_ms));
}

static void shard_end_some(struct shard *shard)
{
	size_t allowance = drain_allowance(shard);

	for (unsigned i = 0; i < SHARD_SLICE && !TAILQ_EMPTY(&shard->open); i++) {
		if (shard->drain_ended >= allowance)
			return;
		shard->drain_ended++;
		stream_close(shard, TAILQ_FIRST(&shard->open), END_DRAIN);
	}
}

/* Milliseconds until the drain has something to do, if that is before `limit`. */
static int64_t drain_wait(const struct shard *shard, int64_t limit)
{
	if (!shard->draining || TAILQ_EMPTY(&shard->open))
		return limit;
	if (shard->drain_ended < drain_allowance(shard))
		return 0;
	return limit < DRAIN_PAUSE_MS ? limit : DRAIN_PAUSE_MS;
}

/* Milliseconds until a slot of the wheel that is not empty, if that is before `limit`. */
static int64_t wheel_wait(const struct shard *shard, int64_t limit)
{
	int64_t wait = shard->start_ms + (int64_t)(shard->tick + 1) * WHEEL_TICK_MS - shard->now_ms;

	for (uint32_t i = 1; i <= WHEEL_SLOTS && wait < limit; i++, wait += WHEEL_TICK_MS)
		if (!LIST_EMPTY(&shard->wheel[(shard->tick + i) % WHEEL_SLOTS]))
			return wait;
	return limit;
}

/* Milliseconds until the queue's first has been there for `after_ms`, if that is before `limit`. */
static int64_t queue_wait(const struct shard *shard, const struct stream_queue *queue,
	int64_t after_ms, int64_t limit)
{
	const struct stream *first = TAILQ_FIRST(queue);
	int64_t due = first ? first->last_ms + after_ms - shard->now_ms : limit;

	return due < limit ? due : limit;
}

/* How long the loop may sleep, in milliseconds; -1: until somebody wakes it. */
static int shard_wait(const struct shard *shard, int fan_out_wait)
{
	int64_t wait = fan_out_wait >= 0 ? fan_out_wait : INT32_MAX;

	if (!STAILQ_EMPTY(&shard->mail))
		return 0;
	wait = drain_wait(shard, wait);
	wait = queue_wait(shard, &shard->ending, ending_limit_ms(shard), wait);
	wait = queue_wait(shard, &shard->lingering, SHARD_LINGER_MS, wait);
	wait = keepalives_wait(shard, wait);
	if (!TAILQ_EMPTY(&shard->open))
		wait = wheel_wait(shard, wait);
	if (wait == INT32_MAX)
		return -1;
	return wait > 0 ? (int)wait : 0;
}

/* Streams first: a stream is freed by its own event or by what follows, never by another's, so that
 * no event of this turn is left pointing to one that is gone. */
static void shard_dispatch(struct shard *shard, const struct epoll_event events[], int n)
{
	for (int i = 0; i < n; i++)
		if (events[i].data.ptr)
			stream_on_event(shard, events[i].data.ptr, wire_events(events[i].events));
}

int shard_step(struct shard *shard, bool wait)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int timeout, n;

	shard->now_ms = shard->settings.clock_ms();
	timeout = shard_wait(shard, environments_fan_out(shard));
	n = epoll_wait(shard->epoll_fd, events, EVENTS_PER_TURN, wait ? timeout : 0);
	if (n < 0 && errno != EINTR)
		return -errno;
	shard->now_ms = shard->settings.clock_ms();
	shard_dispatch(shard, events, n);
	shard_read_mail(shard);
	keepalives_send(shard);
	shard_turn_wheel(shard);
	shard_reap(shard);
	if (shard->draining)
		shard_end_some(shard);
	shard_trim(shard);
	return 0;
}

static void *shard_run(void *userdata)
{
	struct shard *shard = userdata;

	while (!shard->stopping) {
		int r = shard_step(shard, true);

		if (r < 0) {
			log_error("A shard cannot wait for its streams: %s. Giving up.",
				strerror(-r));
			log_abort();
		}
	}
	return NULL;
}

/* ---- Making and unmaking ---- */

int shard_new(const struct shard_settings *settings, struct shard **ret)
{
	_cleanup_(shard_freep) struct shard *shard = calloc(1, sizeof(*shard));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	int r;

	if (!shard)
		return -ENOMEM;
	shard->settings = *settings;
	shard->epoll_fd = -1;
	shard->start_ms = shard->now_ms = settings->clock_ms();
	table_init(&shard->environments);
	STAILQ_INIT(&shard->mail);
	TAILQ_INIT(&shard->fan_outs);
	TAILQ_INIT(&shard->open);
	TAILQ_INIT(&shard->ending);
	TAILQ_INIT(&shard->lingering);
	r = mailbox_init(&shard->mailbox);
	if (r < 0) {
		free(TAKE_PTR(shard));
		return r;
	}
	shard->standing = shard_standing_mail_new();
	if (!shard->standing)
		return -ENOMEM;
	shard->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (shard->epoll_fd < 0)
		return -errno;
	if (epoll_ctl(shard->epoll_fd, EPOLL_CTL_ADD, mailbox_fd(&shard->mailbox), &event) < 0)
		return -errno;
	*ret = TAKE_PTR(shard);
	return 0;
}

int shard_start(struct shard *shard, unsigned number)
{
	char name[16];
	int r;

	if (shard->is_left)
		return 0; /* it has a thread, that does not come back */
	snprintf(name, sizeof(name), "shard-%u", number);
	r = thread_start(&shard->thread, name, shard_run, shard);
	shard->started = r == 0;
	return r;
}

bool shard_halt(struct shard *shard)
{
	if (!shard->started)
		return !shard->is_left;
	/* It comes last, so all mail has been read by then. */
	shard_tell_to_stop(shard);
	shard->started = false;
	shard->is_left = !thread_end(shard->thread, "shard");
	if (!shard->is_left)
		shard->stopping = false;
	return !shard->is_left;
}

static void shard_drop_mail(struct shard *shard)
{
	/* As if it had been read, so that what it owns is freed. */
	do
		shard_read_mail(shard);
	while (!STAILQ_EMPTY(&shard->mail));
}

static void shard_drop_streams(struct shard *shard, struct stream_queue *queue)
{
	struct stream *stream;

	while ((stream = TAILQ_FIRST(queue)))
		stream_close(shard, stream, END_STOPPED);
}

struct shard *shard_free(struct shard *shard)
{
	if (!shard)
		return NULL;
	if (!shard_halt(shard))
		return NULL; /* stays as it is, for the thread that was left behind */
	if (shard->epoll_fd >= 0) {
		shard_drop_mail(shard);
		shard_drop_streams(shard, &shard->open);
		shard_drop_streams(shard, &shard->ending);
		shard_drop_streams(shard, &shard->lingering);
		close(shard->epoll_fd);
	}
	mailbox_deinit(&shard->mailbox);
	free(shard->standing);
	free(shard);
	return NULL;
}
