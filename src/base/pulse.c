/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a thread is alive. */
#include "base/pulse.h"

bool pulse_is_answered(const struct pulse *pulse)
{
	return atomic_load(&pulse->answered) == pulse->asked;
}

bool pulse_ask(struct pulse *pulse, int64_t now_ms)
{
	if (!pulse_is_answered(pulse))
		return false;
	pulse->asked++;
	pulse->asked_ms = now_ms;
	return true;
}

int64_t pulse_silence_ms(const struct pulse *pulse, int64_t now_ms)
{
	return pulse_is_answered(pulse) ? 0 : now_ms - pulse->asked_ms;
}

void pulse_answer(struct pulse *pulse)
{
	atomic_fetch_add(&pulse->answered, 1);
}
