/* SPDX-License-Identifier: BSD-3-Clause */
/* NATS's clock, by which all times of storing are.  NATS tells the time when it makes a consumer,
 * and with each message that has just been stored. */
#include "base/clock.h"
#include "bus/nats/nats-internal.h"

int64_t nats_clock_us(const struct nats_bus *bus)
{
	return bus_clock_us(&bus->clock, clock_wall_us(), clock_steady_us());
}

void nats_clock_read(struct nats_bus *bus, int64_t then_us, int64_t elapsed_us)
{
	int64_t now_us = clock_wall_us();

	if (then_us <= 0)
		return; /* it has not said so */
	if (now_us < then_us)
		now_us = then_us;
	if (now_us > then_us + elapsed_us)
		now_us = then_us + elapsed_us;
	bus_clock_set(&bus->clock, now_us, clock_steady_us());
	bus_post_clock(bus->inbox, &bus->clock);
}

void nats_clock_note(struct nats_bus *bus, int64_t stored_us)
{
	/* The last values, which are read first, are old. */
	if (!bus->syncing && bus_clock_note(&bus->clock, stored_us, clock_steady_us()))
		bus_post_clock(bus->inbox, &bus->clock);
}
