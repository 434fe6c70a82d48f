/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a thread is alive: it is asked by mail, and answers when it reads the mail.  A thread in
 * a call that does not return reads none. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A zeroed one is of a thread that has never been asked. */
struct pulse {
	unsigned asked;            /* the asking thread's */
	int64_t asked_ms;          /* likewise: the last time, on the monotonic clock */
	_Atomic unsigned answered; /* the answering thread's; the asking one reads it */
};

/* The asking thread.  True: post the mail that asks.  False: the thread has not read it since the
 * last time, so it must not be posted again. */
bool pulse_ask(struct pulse *pulse, int64_t now_ms);

/* The asking thread: whether everything that it has asked was answered. */
bool pulse_is_answered(const struct pulse *pulse);

/* The asking thread: how long the other one has been silent; 0: it has answered. */
int64_t pulse_silence_ms(const struct pulse *pulse, int64_t now_ms);

/* The answering thread, once it has read the mail. */
void pulse_answer(struct pulse *pulse);
