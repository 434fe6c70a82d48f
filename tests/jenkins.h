/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys that collide in the hash function that uthash has by default, Bob Jenkins' of 1996: it has
 * no secret, so anybody can make them.  For tests of tables, which must not care. */
#pragma once

#include <stdint.h>
#include <stdio.h>

/* Keys are told by a number, so that they need not be kept: "c" and five digits of base 64. */
#define JENKINS_KEY_LENGTH 6
#define JENKINS_KEYS       (UINT32_C(1) << 30)

static inline void jenkins_make_key(uint32_t number, char ret[JENKINS_KEY_LENGTH + 1])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	ret[0] = 'c';
	for (unsigned i = 1; i < JENKINS_KEY_LENGTH; i++, number >>= 6)
		ret[i] = digits[number & 63];
	ret[JENKINS_KEY_LENGTH] = '\0';
}

/* The hash of a key of that length, which is one block. */
static inline uint32_t jenkins_hash(const char key[JENKINS_KEY_LENGTH])
{
	const unsigned char *k = (const unsigned char *)key;
	uint32_t a = 0x9e3779b9, b = 0x9e3779b9, c = 0xfeedbeef + JENKINS_KEY_LENGTH;

	a += (uint32_t)k[0] | (uint32_t)k[1] << 8 | (uint32_t)k[2] << 16 | (uint32_t)k[3] << 24;
	b += (uint32_t)k[4] | (uint32_t)k[5] << 8;
	a = (a - b - c) ^ (c >> 13);
	b = (b - c - a) ^ (a << 8);
	c = (c - a - b) ^ (b >> 13);
	a = (a - b - c) ^ (c >> 12);
	b = (b - c - a) ^ (a << 16);
	c = (c - a - b) ^ (b >> 5);
	a = (a - b - c) ^ (c >> 3);
	b = (b - c - a) ^ (a << 10);
	c = (c - a - b) ^ (b >> 15);
	return c;
}

/* The first key from *number on whose hash has its lowest `bits` bits 0; *number is that after it.
 */
static inline void jenkins_next_colliding(
	unsigned bits, uint32_t *number, char ret[JENKINS_KEY_LENGTH + 1])
{
	do
		jenkins_make_key((*number)++, ret);
	while (jenkins_hash(ret) & ((UINT32_C(1) << bits) - 1));
}
