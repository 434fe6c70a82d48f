/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may. */
#pragma once

#include <stdbool.h>

#include "http/routes.h"

struct exchange;

/* Whether the sender of the request is one of these; else it has been answered: 401. */
bool authorize(struct exchange *exchange, enum who who);
