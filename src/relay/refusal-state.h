/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a bus that refuses updates refuses all of them, or only those of some environments.  A
 * refusal seldom says which; what becomes of other updates does. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "Left" are the environments whose update was refused and waits to be tried again.
 *
 *   state | what happens                                    | next
 *   ------+-------------------------------------------------+---------------
 *   none  | one is refused, and so may be all others        | all
 *         | one is refused for a reason of its own          | some
 *   some  | one is refused, and so may be all others,       | all
 *         |   and none was stored for REFUSAL_DOUBT_MS      |
 *   all   | one is stored, some are left                    | some
 *   all   | one is stored, none is left                     | none
 *   some  | none is left, for whatever reason               | none
 *   any   | none is left, and none was refused for          | none
 *         |   REFUSAL_FORGET_MS (the outbox keeps nothing)  |
 *
 * All else changes nothing. */
enum refusal_state {
	REFUSAL_NONE,
	REFUSAL_SOME,
	REFUSAL_ALL,
};

#define REFUSAL_DOUBT_MS  10000
#define REFUSAL_FORGET_MS 30000

struct refusal {
	enum refusal_state state;
	int64_t stored_ms;  /* when the bus last took one; 0: never */
	int64_t refused_ms; /* when it last refused one */
};

/* Each function takes the time (CLOCK_MONOTONIC) and returns whether the state has changed. */

/* The bus has refused an update.  `alone`: for a reason that concerns only that one. */
bool refusal_refused(struct refusal *refusal, bool alone, int64_t now_ms);

/* The bus has taken an update; `left` environments are left. */
bool refusal_stored(struct refusal *refusal, size_t left, int64_t now_ms);

/* Neither, but `left` environments are left by now. */
bool refusal_look(struct refusal *refusal, size_t left, int64_t now_ms);
