/* SPDX-License-Identifier: BSD-3-Clause */
/* What is common to both kinds of bus: calls go to the kind's operations, events into the inbox. */
#include <stdarg.h>

#include "base/clock.h"
#include "bus/bus-internal.h"

#define MEMORY_RETRY_US 10000

struct bus *bus_free(struct bus *bus)
{
	if (bus)
		bus->operations->free(bus);
	return NULL;
}

void bus_publish(struct bus *bus, struct publication *publication)
{
	bus->operations->publish(bus, publication);
}

void bus_ping(struct bus *bus)
{
	bus->operations->ping(bus);
}

int64_t bus_silence_ms(const struct bus *bus)
{
	return bus->operations->silence_ms(bus);
}

void bus_leave(struct bus *bus)
{
	bus->operations->leave(bus);
}

static struct bus_event *new_event(enum bus_event_type type)
{
	struct bus_event *event;

	while (!(event = calloc(1, sizeof(*event))))
		usleep(MEMORY_RETRY_US);
	event->type = type;
	event->posted_us = clock_monotonic_us();
	return event;
}

void bus_post_event(struct mailbox *inbox, enum bus_event_type type)
{
	mailbox_post(inbox, &new_event(type)->mail);
}

static void post_with_update(
	struct mailbox *inbox, enum bus_event_type type, const struct update *update)
{
	struct bus_event *event = new_event(type);

	event->update = *update;
	mailbox_post(inbox, &event->mail);
}

void bus_post_update(struct mailbox *inbox, const struct update *update)
{
	post_with_update(inbox, BUS_UPDATE, update);
}

void bus_post_clock(struct mailbox *inbox, const struct bus_clock *clock)
{
	struct bus_event *event = new_event(BUS_CLOCK);

	event->clock = *clock;
	mailbox_post(inbox, &event->mail);
}

void bus_post_lost(struct mailbox *inbox, const struct update *update)
{
	post_with_update(inbox, BUS_LOST, update);
}

void bus_post_outbox_row(struct mailbox *inbox, const struct update *update)
{
	post_with_update(inbox, BUS_OUTBOX_ROW, update);
}

void bus_post_text(struct mailbox *inbox, enum bus_event_type type, const char *format, ...)
{
	struct bus_event *event = new_event(type);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(event->text, sizeof(event->text), format, arguments);
	va_end(arguments);
	mailbox_post(inbox, &event->mail);
}

void bus_post_down(struct mailbox *inbox, const char *text, const char *open_text)
{
	struct bus_event *event = new_event(BUS_DOWN);

	snprintf(event->text, sizeof(event->text), "%s", text);
	snprintf(event->open_text, sizeof(event->open_text), "%s", open_text);
	mailbox_post(inbox, &event->mail);
}

void bus_post_answer(struct mailbox *inbox, struct publication *publication)
{
	struct bus_event *event = new_event(BUS_ANSWER);

	event->publication = publication;
	mailbox_post(inbox, &event->mail);
}

void bus_post_outbox_answer(struct mailbox *inbox, struct outbox_item *item)
{
	struct bus_event *event = new_event(BUS_OUTBOX_ANSWER);

	event->item = item;
	mailbox_post(inbox, &event->mail);
}
