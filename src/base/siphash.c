/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash, with the names of the paper: v0 to v3 are the state, m is a word of the input. */
#include "base/siphash.h"

#include <endian.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

#include "base/clock.h"

#define ROUNDS_A_WORD  2
#define ROUNDS_AT_LAST 4

struct state {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotate_left(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static uint64_t load(const uint8_t *bytes)
{
	uint64_t x;

	memcpy(&x, bytes, sizeof(x));
	return le64toh(x);
}

static void mix(struct state *s, unsigned rounds)
{
	for (; rounds > 0; rounds--) {
		s->v0 += s->v1;
		s->v1 = rotate_left(s->v1, 13) ^ s->v0;
		s->v0 = rotate_left(s->v0, 32);
		s->v2 += s->v3;
		s->v3 = rotate_left(s->v3, 16) ^ s->v2;
		s->v0 += s->v3;
		s->v3 = rotate_left(s->v3, 21) ^ s->v0;
		s->v2 += s->v1;
		s->v1 = rotate_left(s->v1, 17) ^ s->v2;
		s->v2 = rotate_left(s->v2, 32);
	}
}

static void take_word(struct state *s, uint64_t m)
{
	s->v3 ^= m;
	mix(s, ROUNDS_A_WORD);
	s->v0 ^= m;
}

/* What is left after the whole words, filled up with zeros, and the length as its last byte. */
static uint64_t last_word(const uint8_t *rest, size_t n_rest, size_t length)
{
	uint8_t bytes[8] = {0};

	memcpy(bytes, rest, n_rest);
	bytes[7] = (uint8_t)length;
	return load(bytes);
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t length)
{
	const uint8_t *at = data;
	uint64_t k0 = load(key->bytes), k1 = load(key->bytes + 8);
	struct state s = {
		.v0 = k0 ^ UINT64_C(0x736f6d6570736575),
		.v1 = k1 ^ UINT64_C(0x646f72616e646f6d),
		.v2 = k0 ^ UINT64_C(0x6c7967656e657261),
		.v3 = k1 ^ UINT64_C(0x7465646279746573),
	};

	for (size_t words = length / 8; words > 0; words--, at += 8)
		take_word(&s, load(at));
	take_word(&s, last_word(at, length % 8, length));
	s.v2 ^= 0xff;
	mix(&s, ROUNDS_AT_LAST);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* For when the kernel has no good random numbers yet, soon after the boot, or gives none to this
 * process.  The 16 bytes that it gives to each program that it starts (getauxval(3)) are the best
 * there is then.  They are mixed with the time, since they have other uses that the key must not
 * reveal. */
static void draw_without_random(struct siphash_key *ret)
{
	const void *given = (const void *)getauxval(AT_RANDOM);
	int64_t times[] = {clock_wall_us(), clock_monotonic_us()};
	struct siphash_key key = {0};

	if (given)
		memcpy(key.bytes, given, sizeof(key.bytes));
	for (size_t half = 0; half < 2; half++) {
		uint64_t hash = siphash(&key, &times[half], sizeof(times[half]));

		memcpy(ret->bytes + half * sizeof(hash), &hash, sizeof(hash));
	}
}

void siphash_draw_key(struct siphash_key *ret)
{
	/* So few bytes come whole or not at all. */
	if (getrandom(ret->bytes, sizeof(ret->bytes), GRND_NONBLOCK) != sizeof(ret->bytes))
		draw_without_random(ret);
}
