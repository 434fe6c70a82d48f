/* SPDX-License-Identifier: BSD-3-Clause */
/* What is known of a bus that refuses updates: all of them, or those of some environments only.  A
 * refusal seldom says which it is; what becomes of the others does. */
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

/* Each takes the time (CLOCK_MONOTONIC) and returns whether the state has changed. */

/* The bus has refused one.  `alone`: for a reason of its own. */
bool refusal_refused(struct refusal *refusal, bool alone, int64_t now_ms);

/* The bus has taken one; so many are left. */
bool refusal_stored(struct refusal *refusal, size_t left, int64_t now_ms);

/* Nothing of that kind, but so many are left by now. */
bool refusal_look(struct refusal *refusal, size_t left, int64_t now_ms);
