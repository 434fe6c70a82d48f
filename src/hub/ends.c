/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of the reasons for which a stream ends. */
#include "hub/ends.h"

#include <errno.h>

enum manner {
	CUT,
	CLEAN,
};

static const struct end {
	const char *word;
	enum manner manner;
} ends[] = {
#define END(reason, word, manner) {word, manner},
#include "hub/ends.def"
};

const char *end_word(enum end_reason reason)
{
	return ends[reason].word;
}

bool end_is_clean(enum end_reason reason)
{
	return ends[reason].manner == CLEAN;
}

enum end_reason end_of_error(int error)
{
	switch (error) {
	case -EPIPE: /* its FIN was read, or it has closed and answers by a reset */
		return END_CLIENT_CLOSED;
	case -ETIMEDOUT: /* TCP_USER_TIMEOUT, or TCP's own patience */
		return END_TIMED_OUT;
	case -ENOMEM:
		return END_OUT_OF_MEMORY;
	default:
		return END_CLIENT_GONE;
	}
}
