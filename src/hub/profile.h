/* SPDX-License-Identifier: BSD-3-Clause */
/* Client profiles: kinds of clients, known by fields of their requests, that need something other
 * than the standard.  The table does not change once it has been made.  Main thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct profile {
	const char *user_agent;  /* prefix of the field; "": it is not known by this one */
	const char *accept;      /* likewise */
	int64_t max_age_ms;      /* how long a stream lives; 0: for ever */
	bool close_after_update; /* its stream ends after one update */
};

/* The profile with the longest prefix of `user_agent` among `profiles`; if none fits, the one with
 * the longest prefix of `accept`; else `fallback`.  Either field may be NULL: it was not sent. */
const struct profile *profile_find(const struct profile profiles[], size_t n_profiles,
	const char *user_agent, const char *accept, const struct profile *fallback);
