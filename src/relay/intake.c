/* SPDX-License-Identifier: BSD-3-Clause */
/* What bus and outbox tell: updates go through the registry, which says whether they are new, to
 * the hub; what the bus has lost is written back. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/messages.h"
#include "relay/relay-internal.h"

/* How many events of the bus are acted upon in one turn of the loop. */
#define EVENTS_PER_TURN 256

/* How long until the next try after memory was short. */
#define RETRY_US (100 * US_PER_MS)

int intake_offer(struct relay *relay, const struct update *update)
{
	const struct update *latest;
	struct frame *frame;
	int verdict, r;

	verdict = registry_offer(relay->registry, update, relay_now_us(relay), &latest, &frame);
	if (verdict < 0)
		return verdict;
	/* What the outbox has is not on the bus. */
	if (verdict == REGISTRY_OLDER && update->sequence > 0)
		publish_write_back(relay, latest);
	if (verdict == REGISTRY_OVERTAKEN && update->sequence > 0)
		publish_again_above(relay, update, latest->time_us);
	if (verdict != REGISTRY_NEWER && !relay->intake.undelivered)
		return 0;
	r = hub_publish(relay->hub, &update->key, frame, relay->intake.told_us);
	relay->intake.undelivered = r < 0;
	if (r < 0)
		return r;
	metrics_add(&relay->metrics, COUNT_UPDATES, 1);
	log_with(LOG_DEBUG, (&(struct log_fields){.environment = update->key.text}),
		"Update of environment %s, number %llu on the bus (0: in the outbox).",
		update->key.text, (unsigned long long)update->sequence);
	return 0;
}

static void write_back(const struct update *update, void *userdata)
{
	publish_write_back(userdata, update);
}

/* Whether the latest may be about less than `lost`, or is below it. */
static bool is_not_covered(const struct update *lost, const struct update *latest)
{
	return latest->time_us < lost->time_us ||
	       (latest->time_us > lost->time_us && update_accepted(latest) < lost->stored_us);
}

/* As the bus lacks it, it is written back at BUS_SYNC_END if it is the latest now.  If the registry
 * keeps another one, it is published again: that is the last that anybody knows of it. */
static int on_lost(struct relay *relay, const struct update *update)
{
	struct update latest;
	int r = intake_offer(relay, update);

	if (r >= 0 &&
		registry_latest(
			relay->registry, &update->key, relay_now_us(relay), &latest, NULL) &&
		is_not_covered(update, &latest))
		publish_again_above(relay, update, latest.time_us);
	return r;
}

static void on_sync_end(struct relay *relay)
{
	int64_t now_us = relay_now_us(relay);

	registry_expire(relay->registry, now_us);
	registry_sync_end(relay->registry, now_us, write_back, relay);
}

static void on_up(struct relay *relay)
{
	static const struct log_fields back = {.message_id = MESSAGE_BUS_BACK};
	double seconds = (double)(clock_monotonic_ms() - relay->bus_state.down_since_ms) / MS_PER_S;

	if (relay->bus_state.is_up)
		return;
	relay->bus_state.is_up = true;
	if (relay->bus_state.was_up)
		log_with(LOG_NOTICE, &back, "The bus is back after %.1f s.", seconds);
	else
		log_notice("The bus is connected and its last values are read (%.1f s).", seconds);
	relay->bus_state.was_up = true;
	relay->operations->on_up(relay->userdata);
	relay_changed(relay);
	backlog_on_bus_up(relay);
}

/* Attempts to connect fail again and again, and not always for the same reason.  True: this one is
 * new in this outage, and to be logged. */
static bool note_problem(struct relay *relay, const char *text)
{
	for (size_t i = 0; i < relay->bus_state.n_told; i++)
		if (strcmp(relay->bus_state.told[i], text) == 0)
			return false;
	if (relay->bus_state.n_told == PROBLEMS_TOLD_MAX)
		return false;
	snprintf(relay->bus_state.told[relay->bus_state.n_told++], BUS_TEXT_SIZE, "%s", text);
	return true;
}

void intake_set_problem(struct relay *relay, const char *text, const char *open_text)
{
	snprintf(relay->bus_state.problem, sizeof(relay->bus_state.problem), "%s", text);
	snprintf(relay->bus_state.open_problem, sizeof(relay->bus_state.open_problem), "%s",
		open_text);
}

void intake_on_bus_down(struct relay *relay, const char *text, const char *open_text)
{
	static const struct log_fields away = {.message_id = MESSAGE_BUS_AWAY};
	bool is_new;

	if (relay->bus_state.is_up) {
		relay->bus_state.down_since_ms = clock_monotonic_ms();
		relay->bus_state.n_told = 0;
	}
	relay->bus_state.is_up = false;
	intake_set_problem(relay, text, open_text);
	is_new = note_problem(relay, text);
	if (is_new && relay->bus_state.n_told == 1)
		log_with(LOG_WARNING, &away,
			"The bus is away: %s Streams are served what is known; updates are %s "
			"until it is back.",
			text, relay_keeps_updates(relay) ? "kept in the outbox" : "refused");
	else if (is_new)
		log_info("The bus is still away: %s", text);
	relay_changed(relay);
}

static int on_outbox_up(struct relay *relay)
{
	if (backlog_on_outbox_up(relay) < 0)
		return -ENOMEM;
	relay->outbox_state.is_up = true;
	if (relay->outbox_state.problem[0])
		log_notice("The outbox can be written again.");
	relay->outbox_state.problem[0] = '\0';
	relay_changed(relay);
	return 0;
}

static void on_outbox_down(struct relay *relay, const char *text)
{
	relay->outbox_state.is_up = false;
	snprintf(relay->outbox_state.problem, sizeof(relay->outbox_state.problem), "%s", text);
	log_with(LOG_ERR, (&(struct log_fields){.message_id = MESSAGE_OUTBOX_DOWN}),
		"There is no outbox: %s Updates are refused while NATS is away.", text);
	relay_changed(relay);
}

/* Logs the first, the second, the fourth, and so on: whoever sends them sends many. */
static void on_skipped(struct relay *relay, const char *text)
{
	uint64_t n;

	metrics_add(&relay->metrics, COUNT_MESSAGES_SKIPPED, 1);
	n = metrics_get(&relay->metrics, COUNT_MESSAGES_SKIPPED);
	if ((n & (n - 1)) == 0)
		log_warning("Skipped a message on the bus (%llu so far): %s", (unsigned long long)n,
			text);
}

static int act_upon(struct relay *relay, const struct bus_event *event)
{
	relay->intake.told_us = event->posted_us;
	switch (event->type) {
	case BUS_CLOCK:
		relay->bus_state.clock = event->clock;
		break;
	case BUS_UPDATE:
		return intake_offer(relay, &event->update);
	case BUS_SYNC_BEGIN:
		registry_sync_begin(relay->registry);
		break;
	case BUS_SYNC_END:
		on_sync_end(relay);
		break;
	case BUS_UP:
		on_up(relay);
		break;
	case BUS_DOWN:
		intake_on_bus_down(relay, event->text, event->open_text);
		break;
	case BUS_LOST:
		return on_lost(relay, &event->update);
	case BUS_SKIPPED:
		on_skipped(relay, event->text);
		break;
	case BUS_FAULT:
		refusals_on_fault(relay, event->text);
		break;
	case BUS_ANSWER:
		publish_on_answer(relay, event->publication);
		break;
	case BUS_OUTBOX_BEGIN:
		backlog_on_begin(relay);
		break;
	case BUS_OUTBOX_ROW:
		return backlog_take_up(relay, &event->update);
	case BUS_OUTBOX_END:
		return backlog_on_end(relay);
	case BUS_OUTBOX_UP:
		return on_outbox_up(relay);
	case BUS_OUTBOX_DOWN:
		on_outbox_down(relay, event->text);
		break;
	case BUS_OUTBOX_ANSWER:
		return publish_on_outbox_answer(relay, event->item);
	}
	return 0;
}

static int on_backlog(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct relay *relay = userdata;

	(void)usec;
	for (unsigned i = 0; i < EVENTS_PER_TURN && !STAILQ_EMPTY(&relay->intake.mail); i++) {
		struct mail *mail = STAILQ_FIRST(&relay->intake.mail);
		struct bus_event *event = container_of(mail, struct bus_event, mail);

		if (act_upon(relay, event) < 0) {
			log_error("Out of memory: an update waits.");
			(void)sd_event_source_set_time_relative(source, RETRY_US);
			return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
		}
		STAILQ_REMOVE_HEAD(&relay->intake.mail, link);
		free(event);
	}
	if (STAILQ_EMPTY(&relay->intake.mail))
		return 0;
	(void)sd_event_source_set_time_relative(source, 0);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Takes the mail of a bus that was left behind and still posts. */
static void take_back(struct relay *relay, struct mail_list *list)
{
	struct mail *mail;

	while ((mail = STAILQ_FIRST(list))) {
		struct bus_event *event = container_of(mail, struct bus_event, mail);

		STAILQ_REMOVE_HEAD(list, link);
		if (event->type == BUS_ANSWER)
			publish_on_late_answer(relay, event->publication);
		free(event);
	}
}

static void take_mail(struct inbox *inbox)
{
	struct mail_list arrived;

	mailbox_take(&inbox->mailbox, &arrived);
	if (inbox->is_former)
		take_back(inbox->relay, &arrived);
	else
		STAILQ_CONCAT(&inbox->relay->intake.mail, &arrived);
}

static int on_inbox(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct inbox *inbox = userdata;
	struct relay *relay = inbox->relay;
	bool idle = STAILQ_EMPTY(&relay->intake.mail);

	(void)source;
	(void)fd;
	(void)revents;
	take_mail(inbox);
	return idle ? on_backlog(relay->intake.source, 0, relay) : 0;
}

void intake_deliver(struct relay *relay)
{
	static const char stopping[] = "The service is stopping. Try again.";
	struct mail *mail;

	take_mail(relay->intake.bus_inbox);
	take_mail(relay->intake.outbox_inbox);
	while ((mail = STAILQ_FIRST(&relay->intake.mail))) {
		struct bus_event *event = container_of(mail, struct bus_event, mail);

		/* The bus keeps it, and tells it to the next process. */
		if (act_upon(relay, event) < 0)
			log_error(
				"Out of memory: an update reaches the streams after the restart.");
		STAILQ_REMOVE_HEAD(&relay->intake.mail, link);
		free(event);
	}
	relay->bus_state.is_up = false;
	relay->bus_state.n_told = PROBLEMS_TOLD_MAX;
	intake_set_problem(relay, stopping, stopping);
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

static int inbox_new(struct relay *relay, struct inbox **ret)
{
	_cleanup_(inbox_freep) struct inbox *inbox = calloc(1, sizeof(*inbox));
	int r;

	if (!inbox)
		return -ENOMEM;
	inbox->relay = relay;
	inbox->mailbox.fd = -1;
	r = mailbox_init(&inbox->mailbox);
	if (r < 0)
		return r;
	r = sd_event_add_io(relay->event, &inbox->source, mailbox_fd(&inbox->mailbox), EPOLLIN,
		on_inbox, inbox);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(inbox);
	return 0;
}

int intake_replace_inbox(struct relay *relay)
{
	struct inbox *former = relay->intake.bus_inbox;
	int r;

	/* What it has posted until now counts, and goes first. */
	take_mail(former);
	if (!STAILQ_EMPTY(&relay->intake.mail))
		(void)on_backlog(relay->intake.source, 0, relay);
	if (!STAILQ_EMPTY(&relay->intake.mail))
		return -EAGAIN;
	r = inbox_new(relay, &relay->intake.bus_inbox);
	if (r < 0)
		return r;
	former->is_former = true;
	former->next_former = relay->intake.former;
	relay->intake.former = former;
	return 0;
}

int intake_init(struct relay *relay)
{
	int r;

	r = inbox_new(relay, &relay->intake.bus_inbox);
	if (r < 0)
		return r;
	r = inbox_new(relay, &relay->intake.outbox_inbox);
	if (r < 0)
		return r;
	r = sd_event_add_time(
		relay->event, &relay->intake.source, CLOCK_MONOTONIC, 0, 1, on_backlog, relay);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(relay->intake.source, SD_EVENT_OFF);
}

static void drop_mail(struct relay *relay)
{
	struct mail *mail;

	while ((mail = STAILQ_FIRST(&relay->intake.mail))) {
		struct bus_event *event = container_of(mail, struct bus_event, mail);

		STAILQ_REMOVE_HEAD(&relay->intake.mail, link);
		if (event->type == BUS_ANSWER)
			publish_on_answer(relay, event->publication);
		else if (event->type == BUS_OUTBOX_ANSWER)
			publish_forget_item(relay, event->item);
		free(event);
	}
}

static void free_former(struct relay *relay)
{
	struct inbox *former;

	while ((former = relay->intake.former)) {
		relay->intake.former = former->next_former;
		take_mail(former);
		inbox_free(former);
	}
}

void intake_deinit(struct relay *relay)
{
	sd_event_source_disable_unref(relay->intake.source);
	free_former(relay);
	if (relay->intake.bus_inbox)
		take_mail(relay->intake.bus_inbox);
	if (relay->intake.outbox_inbox)
		take_mail(relay->intake.outbox_inbox);
	drop_mail(relay);
	relay->intake.bus_inbox = inbox_free(relay->intake.bus_inbox);
	relay->intake.outbox_inbox = inbox_free(relay->intake.outbox_inbox);
}
