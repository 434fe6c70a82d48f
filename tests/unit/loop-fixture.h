/* SPDX-License-Identifier: BSD-3-Clause */
/* An event loop that a test lets go on for a while. */
#pragma once

#include <systemd/sd-event.h>

/* Returns how many turns had something to do within so many milliseconds. */
int loop_turn_ms(sd_event *event, int ms);
