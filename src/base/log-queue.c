/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages on their way to the thread that writes them.  Two halves of memory: one is filled by
 * whoever logs, the other is written by the thread; when that is done they change places.  A
 * message that finds no room is lost, and so is every message after it until they change places:
 * what is missing is missing in one place, where the log says how many there were. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log-internal.h"
#include "base/log.h"
#include "base/messages.h"
#include "base/thread.h"

#define HALF_SIZE (LOG_QUEUE_SIZE / 2)

/* One message, with its texts behind it. */
struct entry {
	size_t size; /* with the texts; a multiple of the alignment */
	struct log_record record;
	char texts[];
};

struct half {
	_Alignas(max_align_t) char memory[HALF_SIZE];
	size_t used;
	uint64_t n_lost; /* messages that had no room after the last one */
};

enum mode {
	MODE_DIRECT,    /* there is no thread */
	MODE_QUEUED,    /* it writes */
	MODE_ABANDONED, /* it still waits in a call; nothing is written any more */
};

static struct half halves[2]; /* guarded by the lock, but for the one that the thread writes */

static struct {
	pthread_mutex_t lock; /* held for as long as it takes to copy a message */
	pthread_cond_t wake;  /* the thread: there is something, or an end */
	pthread_cond_t idle;  /* whoever waits for the thread: all is written */
	enum mode mode;
	bool stopping;
	bool writing;        /* the thread has the other half */
	struct half *filled; /* the half that is being filled */
	pthread_t thread;
} queue = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
	.idle = PTHREAD_COND_INITIALIZER,
	.filled = &halves[0],
};

static atomic_uint_fast64_t n_lost;
static uint64_t n_untold; /* of the lost ones; the thread's */

/* ---- Whoever logs ---- */

static bool is_empty(const struct half *half)
{
	return half->used == 0 && half->n_lost == 0;
}

static void count_lost(void)
{
	atomic_fetch_add_explicit(&n_lost, 1, memory_order_relaxed);
}

uint64_t log_lost(void)
{
	return atomic_load_explicit(&n_lost, memory_order_relaxed);
}

/* Copies a text of at most `max` bytes to *at, which goes behind it. */
static const char *copy_text(char **at, const char *text, size_t max)
{
	char *copy = *at;
	size_t length;

	if (!text)
		return NULL;
	length = strnlen(text, max);
	memcpy(copy, text, length);
	copy[length] = '\0';
	*at += length + 1;
	return copy;
}

static size_t text_size(const char *text, size_t max)
{
	return text ? strnlen(text, max) + 1 : 0;
}

static size_t entry_size(const struct log_record *record)
{
	size_t size = sizeof(struct entry) + text_size(record->text, LOG_TEXT_SIZE) +
		      text_size(record->environment, LOG_FIELD_SIZE) +
		      text_size(record->client, LOG_FIELD_SIZE) +
		      text_size(record->message_id, LOG_FIELD_SIZE);

	return (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
}

/* With the lock held. */
static void add(struct half *half, const struct log_record *record, size_t size)
{
	struct entry *entry = (void *)(half->memory + half->used);
	char *at = entry->texts;

	if (half->n_lost > 0 || size > HALF_SIZE - half->used) {
		half->n_lost++;
		count_lost();
		return;
	}
	entry->size = size;
	entry->record = *record;
	entry->record.text = copy_text(&at, record->text, LOG_TEXT_SIZE);
	entry->record.environment = copy_text(&at, record->environment, LOG_FIELD_SIZE);
	entry->record.client = copy_text(&at, record->client, LOG_FIELD_SIZE);
	entry->record.message_id = copy_text(&at, record->message_id, LOG_FIELD_SIZE);
	half->used += size;
}

bool log_queue_put(const struct log_record *record)
{
	size_t size = entry_size(record);
	bool taken;

	pthread_mutex_lock(&queue.lock);
	taken = queue.mode != MODE_DIRECT;
	if (queue.mode == MODE_QUEUED) {
		if (is_empty(queue.filled))
			pthread_cond_signal(&queue.wake);
		add(queue.filled, record, size);
	} else if (queue.mode == MODE_ABANDONED) {
		count_lost();
	}
	pthread_mutex_unlock(&queue.lock);
	return taken;
}

/* ---- The thread ---- */

/* True: what was lost has been told, if anything was. */
static bool tell_lost(void)
{
	char text[128];
	struct log_record record = {
		.level = LOG_WARNING, /* at any service.log_level */
		.file = __FILE__,
		.line = __LINE__,
		.function = __func__,
		.text = text,
		.message_id = MESSAGE_LOG_LOST,
	};

	if (n_untold == 0)
		return true;
	snprintf(text, sizeof(text), "%" PRIu64 " message%s lost, as the log could not be written.",
		n_untold, n_untold == 1 ? " was" : "s were");
	if (log_sink_write(&record) < 0)
		return false;
	n_untold = 0;
	return true;
}

static void write_half(const struct half *half)
{
	const struct entry *entry;

	for (size_t at = 0; at < half->used; at += entry->size) {
		entry = (const void *)(half->memory + at);
		if (!tell_lost() || log_sink_write(&entry->record) < 0) {
			n_untold++;
			count_lost();
		}
	}
	n_untold += half->n_lost;
	(void)tell_lost();
}

/* Waits for something to write.  NULL: there is nothing left, and the thread has to end. */
static struct half *take_half(void)
{
	struct half *half = NULL;

	pthread_mutex_lock(&queue.lock);
	while (is_empty(queue.filled) && !queue.stopping)
		pthread_cond_wait(&queue.wake, &queue.lock);
	if (!is_empty(queue.filled)) {
		half = queue.filled;
		queue.filled = half == &halves[0] ? &halves[1] : &halves[0];
		queue.writing = true;
	}
	pthread_mutex_unlock(&queue.lock);
	return half;
}

static void give_back(struct half *half)
{
	pthread_mutex_lock(&queue.lock);
	half->used = 0;
	half->n_lost = 0;
	queue.writing = false;
	if (is_empty(queue.filled))
		pthread_cond_broadcast(&queue.idle);
	pthread_mutex_unlock(&queue.lock);
}

static void *run(void *userdata)
{
	struct half *half;

	(void)userdata;
	while ((half = take_half())) {
		write_half(half);
		give_back(half);
	}
	return NULL;
}

/* ---- Its beginning and its end ---- */

int log_start(void)
{
	int r;

	pthread_mutex_lock(&queue.lock);
	queue.stopping = false;
	pthread_mutex_unlock(&queue.lock);
	/* Not with the lock held: if it fails, that is logged. */
	r = thread_start(&queue.thread, "flagsse-log", run, NULL);
	if (r < 0)
		return r;
	pthread_mutex_lock(&queue.lock);
	queue.mode = MODE_QUEUED;
	pthread_mutex_unlock(&queue.lock);
	return 0;
}

/* With the lock held, which it releases while it waits.  False: not everything was written within
 * `ms`. */
static bool wait_until_idle(int64_t ms)
{
	int64_t until_us = clock_monotonic_us() + ms * US_PER_MS;
	struct timespec until = {
		.tv_sec = until_us / US_PER_S,
		.tv_nsec = until_us % US_PER_S * NS_PER_US,
	};

	while (queue.writing || !is_empty(queue.filled))
		if (pthread_cond_clockwait(&queue.idle, &queue.lock, CLOCK_MONOTONIC, &until) != 0)
			return false;
	return true;
}

void log_stop(int64_t ms)
{
	bool idle;

	pthread_mutex_lock(&queue.lock);
	if (queue.mode != MODE_QUEUED) {
		pthread_mutex_unlock(&queue.lock);
		return;
	}
	idle = wait_until_idle(ms);
	queue.mode = idle ? MODE_DIRECT : MODE_ABANDONED;
	queue.stopping = true;
	pthread_cond_signal(&queue.wake);
	pthread_mutex_unlock(&queue.lock);
	if (idle)
		pthread_join(queue.thread, NULL); /* it has nothing to write, and so ends at once */
	else
		pthread_detach(queue.thread);
}

void log_abort(void)
{
	pthread_mutex_lock(&queue.lock);
	if (queue.mode == MODE_QUEUED)
		(void)wait_until_idle(LOG_LAST_MS);
	pthread_mutex_unlock(&queue.lock);
	abort();
}
