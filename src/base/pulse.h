/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a thread is alive: it is asked by mail, and answers when it reads that.  One that is in a
 * call that does not return reads no mail. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zeroed, it is one that has never been asked. */
struct pulse {
	unsigned asked;            /* the asking thread's */
	int64_t asked_ms;          /* likewise: the last time, on the monotonic clock */
	_Atomic unsigned answered; /* the answering thread's; the other one reads it */
};

/* The asking thread.  True: the mail that asks is to be posted now.  False: it has not been read
 * since the last time, so it may not be posted again. */
bool pulse_ask(struct pulse *pulse, int64_t now_ms);

/* The asking thread: whether it has been answered all that it has asked. */
bool pulse_is_answered(const struct pulse *pulse);

/* The asking thread: for how long the thread has not answered; 0: it has. */
int64_t pulse_silence_ms(const struct pulse *pulse, int64_t now_ms);

/* The answering thread, once it has read the mail. */
void pulse_answer(struct pulse *pulse);
