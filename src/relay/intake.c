/* SPDX-License-Identifier: BSD-3-Clause */
/* What bus and outbox tell: updates go through the registry, which says whether they are new, to
 * the hub; what the bus has lost is written back. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "server/server-internal.h"

/* Events of the bus in one turn of the loop. */
#define EVENTS_PER_TURN 256

/* Out of memory: again after this. */
#define RETRY_US (100 * US_PER_MS)

int64_t updates_now_us(const struct server *server)
{
	return bus_clock_us(&server->bus_clock, clock_wall_us(), clock_steady_us());
}

int updates_offer(struct server *server, const struct update *update)
{
	const struct update *latest;
	struct frame *frame;
	int verdict, r;

	verdict = registry_offer(server->registry, update, updates_now_us(server), &latest, &frame);
	if (verdict < 0)
		return verdict;
	/* What the outbox has is not on the bus. */
	if (verdict == REGISTRY_OLDER && update->sequence > 0)
		publish_write_back(server, latest);
	if (verdict == REGISTRY_OVERTAKEN && update->sequence > 0)
		publish_again_above(server, update, latest->time_us);
	if (verdict != REGISTRY_NEWER && !server->undelivered)
		return 0;
	r = hub_publish(server->hub, &update->key, frame);
	server->undelivered = r < 0;
	if (r < 0)
		return r;
	server->counters.updates++;
	log_with(LOG_DEBUG, (&(struct log_fields){.environment = update->key.text}),
		"Update of environment %s, number %llu on the bus (0: in the outbox).",
		update->key.text, (unsigned long long)update->sequence);
	return 0;
}

static void write_back(const struct update *update, void *userdata)
{
	publish_write_back(userdata, update);
}

/* As the bus lacks it, it is written back at BUS_SYNC_END.  If the registry has another one, that
 * may be about less. */
static int on_lost(struct server *server, const struct update *update)
{
	struct update latest;
	int r = updates_offer(server, update);

	if (r >= 0 &&
		registry_latest(
			server->registry, &update->key, updates_now_us(server), &latest, NULL) &&
		latest.time_us > update->time_us && update_accepted(&latest) < update->stored_us)
		publish_again_above(server, update, latest.time_us);
	return r;
}

static void on_sync_end(struct server *server)
{
	int64_t now_us = updates_now_us(server);

	registry_expire(server->registry, now_us);
	registry_sync_end(server->registry, now_us, write_back, server);
}

static void on_up(struct server *server)
{
	static const struct log_fields back = {.message_id = MESSAGE_BUS_BACK};
	double seconds = (double)(clock_monotonic_ms() - server->bus_down_since_ms) / MS_PER_S;

	if (server->bus_up)
		return;
	server->bus_up = true;
	if (server->bus_was_up)
		log_with(LOG_NOTICE, &back, "The bus is back after %.1f s.", seconds);
	else
		log_notice("The bus is connected and its last values are read (%.1f s).", seconds);
	server->bus_was_up = true;
	notify_ready(server->notify);
	notify_status(server->notify);
	queue_on_bus_up(server);
}

/* Attempts to connect fail again and again, and not always for the same reason.  True: this one is
 * new in this outage, and to be logged. */
static bool note_problem(struct server *server, const char *text)
{
	for (size_t i = 0; i < server->n_problems_told; i++)
		if (strcmp(server->problems_told[i], text) == 0)
			return false;
	if (server->n_problems_told == PROBLEMS_TOLD_MAX)
		return false;
	snprintf(server->problems_told[server->n_problems_told++], BUS_TEXT_SIZE, "%s", text);
	return true;
}

void updates_set_problem(struct server *server, const char *text, const char *open_text)
{
	snprintf(server->bus_problem, sizeof(server->bus_problem), "%s", text);
	snprintf(server->bus_open_problem, sizeof(server->bus_open_problem), "%s", open_text);
}

void updates_on_bus_down(struct server *server, const char *text, const char *open_text)
{
	static const struct log_fields away = {.message_id = MESSAGE_BUS_AWAY};
	bool is_new;

	if (server->bus_up) {
		server->bus_down_since_ms = clock_monotonic_ms();
		server->n_problems_told = 0;
	}
	server->bus_up = false;
	updates_set_problem(server, text, open_text);
	is_new = note_problem(server, text);
	if (is_new && server->n_problems_told == 1)
		log_with(LOG_WARNING, &away,
			"The bus is away: %s Streams are served what is known; updates are %s "
			"until it is back.",
			text, status_keeps_updates(server) ? "kept in the outbox" : "refused");
	else if (is_new)
		log_info("The bus is still away: %s", text);
	notify_status(server->notify);
}

static int on_outbox_up(struct server *server)
{
	if (queue_on_outbox_up(server) < 0)
		return -ENOMEM;
	server->outbox_up = true;
	if (server->outbox_problem[0])
		log_notice("The outbox can be written again.");
	server->outbox_problem[0] = '\0';
	notify_status(server->notify);
	return 0;
}

static void on_outbox_down(struct server *server, const char *text)
{
	server->outbox_up = false;
	snprintf(server->outbox_problem, sizeof(server->outbox_problem), "%s", text);
	log_with(LOG_ERR, (&(struct log_fields){.message_id = MESSAGE_OUTBOX_DOWN}),
		"There is no outbox: %s Updates are refused while NATS is away.", text);
	notify_status(server->notify);
}

/* Logs the first, the second, the fourth, and so on: whoever sends them sends many. */
static void on_skipped(struct server *server, const char *text)
{
	uint64_t n = ++server->counters.skipped;

	if ((n & (n - 1)) == 0)
		log_warning("Skipped a message on the bus (%llu so far): %s", (unsigned long long)n,
			text);
}

static int act_upon(struct server *server, const struct bus_event *event)
{
	switch (event->type) {
	case BUS_CLOCK:
		server->bus_clock = event->clock;
		break;
	case BUS_UPDATE:
		return updates_offer(server, &event->update);
	case BUS_SYNC_BEGIN:
		registry_sync_begin(server->registry);
		break;
	case BUS_SYNC_END:
		on_sync_end(server);
		break;
	case BUS_UP:
		on_up(server);
		break;
	case BUS_DOWN:
		updates_on_bus_down(server, event->text, event->open_text);
		break;
	case BUS_LOST:
		return on_lost(server, &event->update);
	case BUS_SKIPPED:
		on_skipped(server, event->text);
		break;
	case BUS_FAULT:
		refused_on_fault(server, event->text);
		break;
	case BUS_ANSWER:
		publish_on_answer(server, event->publication);
		break;
	case BUS_OUTBOX_BEGIN:
		queue_on_outbox_begin(server);
		break;
	case BUS_OUTBOX_ROW:
		return queue_take_up(server, &event->update);
	case BUS_OUTBOX_END:
		return queue_on_outbox_end(server);
	case BUS_OUTBOX_UP:
		return on_outbox_up(server);
	case BUS_OUTBOX_DOWN:
		on_outbox_down(server, event->text);
		break;
	case BUS_OUTBOX_ANSWER:
		return publish_on_outbox_answer(server, event->item);
	}
	return 0;
}

static int on_backlog(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;

	(void)usec;
	for (unsigned i = 0; i < EVENTS_PER_TURN && !STAILQ_EMPTY(&server->bus_mail); i++) {
		struct mail *mail = STAILQ_FIRST(&server->bus_mail);
		struct bus_event *event = container_of(mail, struct bus_event, mail);

		if (act_upon(server, event) < 0) {
			log_error("Out of memory: an update waits.");
			(void)sd_event_source_set_time_relative(source, RETRY_US);
			return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
		}
		STAILQ_REMOVE_HEAD(&server->bus_mail, link);
		free(event);
	}
	if (STAILQ_EMPTY(&server->bus_mail))
		return 0;
	(void)sd_event_source_set_time_relative(source, 0);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Of a bus that was left behind, and goes on. */
static void take_back(struct server *server, struct mail_list *list)
{
	struct mail *mail;

	while ((mail = STAILQ_FIRST(list))) {
		struct bus_event *event = container_of(mail, struct bus_event, mail);

		STAILQ_REMOVE_HEAD(list, link);
		if (event->type == BUS_ANSWER)
			publish_on_late_answer(server, event->publication);
		free(event);
	}
}

static void take_mail(struct inbox *inbox)
{
	struct mail_list arrived;

	mailbox_take(&inbox->mailbox, &arrived);
	if (inbox->is_former)
		take_back(inbox->server, &arrived);
	else
		STAILQ_CONCAT(&inbox->server->bus_mail, &arrived);
}

static int on_inbox(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct inbox *inbox = userdata;
	struct server *server = inbox->server;
	bool idle = STAILQ_EMPTY(&server->bus_mail);

	(void)source;
	(void)fd;
	(void)revents;
	take_mail(inbox);
	return idle ? on_backlog(server->backlog_source, 0, server) : 0;
}

void updates_deliver(struct server *server)
{
	static const char stopping[] = "The service is stopping. Try again.";
	struct mail *mail;

	take_mail(server->bus_inbox);
	take_mail(server->outbox_inbox);
	while ((mail = STAILQ_FIRST(&server->bus_mail))) {
		struct bus_event *event = container_of(mail, struct bus_event, mail);

		/* The bus keeps it, and tells it to the next process. */
		if (act_upon(server, event) < 0)
			log_error(
				"Out of memory: an update reaches the streams after the restart.");
		STAILQ_REMOVE_HEAD(&server->bus_mail, link);
		free(event);
	}
	server->bus_up = false;
	server->n_problems_told = PROBLEMS_TOLD_MAX;
	updates_set_problem(server, stopping, stopping);
}

/* ---- Inboxes ---- */

static struct inbox *inbox_free(struct inbox *inbox)
{
	if (!inbox)
		return NULL;
	sd_event_source_disable_unref(inbox->source);
	if (inbox->mailbox.fd >= 0)
		mailbox_deinit(&inbox->mailbox);
	free(inbox);
	return NULL;
}
DEFINE_CLEANUP(struct inbox *, inbox_free)

static int inbox_new(struct server *server, struct inbox **ret)
{
	_cleanup_(inbox_freep) struct inbox *inbox = calloc(1, sizeof(*inbox));
	int r;

	if (!inbox)
		return -ENOMEM;
	inbox->server = server;
	inbox->mailbox.fd = -1;
	r = mailbox_init(&inbox->mailbox);
	if (r < 0)
		return r;
	r = sd_event_add_io(server->event, &inbox->source, mailbox_fd(&inbox->mailbox), EPOLLIN,
		on_inbox, inbox);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(inbox);
	return 0;
}

int updates_replace_inbox(struct server *server)
{
	struct inbox *former = server->bus_inbox;
	int r;

	/* What it has posted until now counts, and goes first. */
	take_mail(former);
	if (!STAILQ_EMPTY(&server->bus_mail))
		(void)on_backlog(server->backlog_source, 0, server);
	if (!STAILQ_EMPTY(&server->bus_mail))
		return -EAGAIN;
	r = inbox_new(server, &server->bus_inbox);
	if (r < 0)
		return r;
	former->is_former = true;
	return 0;
}

void updates_prepare(struct server *server)
{
	STAILQ_INIT(&server->bus_mail);
	TAILQ_INIT(&server->pending);
}

int updates_init(struct server *server)
{
	int r;

	r = inbox_new(server, &server->bus_inbox);
	if (r < 0)
		return r;
	r = inbox_new(server, &server->outbox_inbox);
	if (r < 0)
		return r;
	r = sd_event_add_time(
		server->event, &server->backlog_source, CLOCK_MONOTONIC, 0, 1, on_backlog, server);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(server->backlog_source, SD_EVENT_OFF);
}

static void drop_mail(struct server *server)
{
	struct mail *mail;

	while ((mail = STAILQ_FIRST(&server->bus_mail))) {
		struct bus_event *event = container_of(mail, struct bus_event, mail);

		STAILQ_REMOVE_HEAD(&server->bus_mail, link);
		if (event->type == BUS_ANSWER)
			publish_on_answer(server, event->publication);
		else if (event->type == BUS_OUTBOX_ANSWER)
			publish_forget_item(server, event->item);
		free(event);
	}
}

void updates_deinit(struct server *server)
{
	sd_event_source_disable_unref(server->backlog_source);
	if (server->bus_inbox)
		take_mail(server->bus_inbox);
	if (server->outbox_inbox)
		take_mail(server->outbox_inbox);
	drop_mail(server);
	server->bus_inbox = inbox_free(server->bus_inbox);
	server->outbox_inbox = inbox_free(server->outbox_inbox);
}
