/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash-2-4: a hash with a secret key, fast for short inputs.  Nobody can make inputs that
 * collide without knowing the key (J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input
 * PRF", 2012). */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint8_t bytes[16];
};

/* A key that nobody knows.  Does not wait, and always gives one. */
void siphash_draw_key(struct siphash_key *ret);

uint64_t siphash(const struct siphash_key *key, const void *data, size_t length);
