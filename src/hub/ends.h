/* SPDX-License-Identifier: BSD-3-Clause */
/* Why a stream ends: the reasons of ends.def. */
#pragma once

#include <stdbool.h>

enum end_reason {
#define END(reason, word, manner) END_##reason,
#include "hub/ends.def"
	END_REASONS /* how many there are */
};

/* The reason's name in the metrics; static. */
const char *end_word(enum end_reason reason);

/* Whether the client gets a whole, clean end; else the connection is closed at once. */
bool end_is_clean(enum end_reason reason);

/* The reason that an -errno of a function of the wire or the stream stands for. */
enum end_reason end_of_error(int error);
