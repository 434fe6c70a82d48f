/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks whether the sender of a request may make it. */
#pragma once

#include <stdbool.h>

#include "http/routes.h"

struct exchange;

/* True: the sender is one of `who`.  False: it is not, and has been answered 401. */
bool authorize(struct exchange *exchange, enum who who);
