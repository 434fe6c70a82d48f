/* SPDX-License-Identifier: BSD-3-Clause */
/* What neighbours that are made up were asked to do, written down in order: "one, another". */
#pragma once

#include "base/cleanup.h"

extern char acts[];

void acts_clear(void);
void acts_add(const char *format, ...) _printf_(1, 2);

/* They have to be these, after what the script has had done. */
void acts_check(const char *script, const char *expected);
