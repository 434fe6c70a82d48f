/* SPDX-License-Identifier: BSD-3-Clause */
/* The limit of open files, and who gets how many of them.  "Full" is decided by counting against
 * these, never by EMFILE. */
#pragma once

#include <stddef.h>

struct descriptor_shares {
	size_t streams; /* at most so many */
	unsigned http;  /* connections that HTTP may have in hand, as long as `clients` allows it */
	size_t clients; /* of all these together, and of whatever else has a client at its other end
			 */
};

/* Raises the limit as far as the system allows.  Returns the new limit. */
size_t descriptors_raise_limit(void);

/* Raises the limit and shares it out.  `configured`: the most streams that are wanted; 0: as many
 * as there can be.  Logs the outcome. */
void descriptors_share(size_t configured, struct descriptor_shares *ret);
