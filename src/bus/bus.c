/* SPDX-License-Identifier: BSD-3-Clause */
/* What is common to both kinds of bus: calls go to the kind's operations, events into the inbox. */
#include <stdarg.h>

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

static struct bus_event *new_event(enum bus_event_type type)
{
	struct bus_event *event;

	while (!(event = calloc(1, sizeof(*event))))
		usleep(MEMORY_RETRY_US);
	event->type = type;
	return event;
}

void bus_post_event(struct mailbox *inbox, enum bus_event_type type)
{
	mailbox_post(inbox, &new_event(type)->mail);
}

void bus_post_update(struct mailbox *inbox, const struct update *update)
{
	struct bus_event *event = new_event(BUS_UPDATE);

	event->update = *update;
	mailbox_post(inbox, &event->mail);
}

static void post_text(struct mailbox *inbox, enum bus_event_type type, const char *format,
	va_list arguments) _printf_(3, 0);

static void post_text(
	struct mailbox *inbox, enum bus_event_type type, const char *format, va_list arguments)
{
	struct bus_event *event = new_event(type);

	vsnprintf(event->text, sizeof(event->text), format, arguments);
	mailbox_post(inbox, &event->mail);
}

void bus_post_down(struct mailbox *inbox, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	post_text(inbox, BUS_DOWN, format, arguments);
	va_end(arguments);
}

void bus_post_skipped(struct mailbox *inbox, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	post_text(inbox, BUS_SKIPPED, format, arguments);
	va_end(arguments);
}

void bus_post_answer(struct mailbox *inbox, struct publication *publication)
{
	struct bus_event *event = new_event(BUS_ANSWER);

	event->publication = publication;
	mailbox_post(inbox, &event->mail);
}
