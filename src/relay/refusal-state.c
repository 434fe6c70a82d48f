/* SPDX-License-Identifier: BSD-3-Clause */
/* The states of a bus that refuses updates. */
#include "relay/refusal-state.h"

static bool change(struct refusal *refusal, enum refusal_state state)
{
	bool changed = refusal->state != state;

	refusal->state = state;
	return changed;
}

/* That others were stored a moment ago shows that not all are refused, unless it was before the
 * first was. */
static bool is_general(const struct refusal *refusal, bool alone, int64_t now_ms)
{
	if (refusal->state == REFUSAL_ALL)
		return true;
	if (alone)
		return false;
	return refusal->state == REFUSAL_NONE || now_ms - refusal->stored_ms >= REFUSAL_DOUBT_MS;
}

bool refusal_refused(struct refusal *refusal, bool alone, int64_t now_ms)
{
	refusal->refused_ms = now_ms;
	return change(refusal, is_general(refusal, alone, now_ms) ? REFUSAL_ALL : REFUSAL_SOME);
}

bool refusal_stored(struct refusal *refusal, size_t left, int64_t now_ms)
{
	refusal->stored_ms = now_ms;
	if (refusal->state == REFUSAL_NONE)
		return false;
	return change(refusal, left > 0 ? REFUSAL_SOME : REFUSAL_NONE);
}

bool refusal_look(struct refusal *refusal, size_t left, int64_t now_ms)
{
	bool forgotten = now_ms - refusal->refused_ms >= REFUSAL_FORGET_MS;

	if (left > 0 || (refusal->state == REFUSAL_ALL && !forgotten))
		return false;
	return change(refusal, REFUSAL_NONE);
}
