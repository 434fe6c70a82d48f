/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kinds of bus have in common; for src/bus/ only. */
#pragma once

#include "bus/bus.h"
#include "bus/outbox.h"

struct bus {
	const struct bus_operations *operations;
};

struct bus_operations {
	void (*publish)(struct bus *bus, struct publication *publication);
	void (*free)(struct bus *bus);
	void (*ping)(struct bus *bus);
	int64_t (*silence_ms)(const struct bus *bus);
	void (*leave)(struct bus *bus); /* NULL: it cannot be replaced */
};

/* Posts one event.  Out of memory: waits and tries again, as none may be lost. */
void bus_post_event(struct mailbox *inbox, enum bus_event_type type);
void bus_post_update(struct mailbox *inbox, const struct update *update);
void bus_post_clock(struct mailbox *inbox, const struct bus_clock *clock);
void bus_post_lost(struct mailbox *inbox, const struct update *update);
void bus_post_text(struct mailbox *inbox, enum bus_event_type type, const char *format, ...)
	_printf_(3, 4);
/* BUS_DOWN.  `open_text` is `text` without names of hosts, for anybody to read. */
void bus_post_down(struct mailbox *inbox, const char *text, const char *open_text);
void bus_post_answer(struct mailbox *inbox, struct publication *publication);
void bus_post_outbox_row(struct mailbox *inbox, const struct update *update);
void bus_post_outbox_answer(struct mailbox *inbox, struct outbox_item *item);
