/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints keys that collide in uthash's default hash function, one a line.
 *
 *     collide chain COUNT     so many whose lowest 12 bits are 0: all in one chain of a table that
 *                             has no more buckets, or stops to grow
 *     collide groups COUNT    so many groups of 10, one after the other; the hashes of a group have
 *                             their lowest 24 bits in common: each makes uthash double its buckets,
 *                             until there are so many */
#include <stdlib.h>
#include <string.h>

#include "../jenkins.h"

#define CHAIN_BITS   12
#define GROUP_BITS   24
#define GROUP_SIZE   10
#define GROUPS_MAX   255
#define KEYS_HASHED  (UINT32_C(40) << 20) /* some thousand groups are among so many */
#define GROUP_VALUES (UINT32_C(1) << GROUP_BITS)

static int print_chain(unsigned count)
{
	char key[JENKINS_KEY_LENGTH + 1];
	uint32_t number = 0;

	while (count-- > 0) {
		jenkins_next_colliding(CHAIN_BITS, &number, key);
		puts(key);
	}
	return EXIT_SUCCESS;
}

struct group {
	uint32_t value; /* of the lowest bits */
	unsigned n;
	char keys[GROUP_SIZE][JENKINS_KEY_LENGTH + 1];
};

static uint32_t group_value(uint32_t number, char key[JENKINS_KEY_LENGTH + 1])
{
	jenkins_make_key(number, key);
	return jenkins_hash(key) & (GROUP_VALUES - 1);
}

/* The values that the first keys have often enough.  Returns how many were found. */
static unsigned find_values(unsigned count, struct group groups[])
{
	uint8_t *times = calloc(GROUP_VALUES, 1);
	char key[JENKINS_KEY_LENGTH + 1];
	unsigned found = 0;

	for (uint32_t i = 0; times && i < KEYS_HASHED && found < count; i++) {
		uint32_t value = group_value(i, key);

		if (++times[value] == GROUP_SIZE)
			groups[found++].value = value;
	}
	free(times);
	return found;
}

/* The keys of these values, by one look at each key. */
static void fill_groups(unsigned count, struct group groups[])
{
	uint8_t *wanted = calloc(GROUP_VALUES, 1); /* a group's number and 1 */
	char key[JENKINS_KEY_LENGTH + 1];

	for (unsigned g = 0; wanted && g < count; g++)
		wanted[groups[g].value] = (uint8_t)(g + 1);
	for (uint32_t i = 0; wanted && i < KEYS_HASHED; i++) {
		uint8_t g = wanted[group_value(i, key)];

		if (g > 0 && groups[g - 1].n < GROUP_SIZE)
			memcpy(groups[g - 1].keys[groups[g - 1].n++], key, sizeof(key));
	}
	free(wanted);
}

static int print_groups(unsigned count)
{
	static struct group groups[GROUPS_MAX];

	if (count > GROUPS_MAX || find_values(count, groups) < count)
		return EXIT_FAILURE;
	fill_groups(count, groups);
	for (unsigned g = 0; g < count; g++) {
		if (groups[g].n < GROUP_SIZE)
			return EXIT_FAILURE;
		for (unsigned i = 0; i < GROUP_SIZE; i++)
			puts(groups[g].keys[i]);
	}
	return EXIT_SUCCESS;
}

int main(int argc, char *argv[])
{
	unsigned count = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;

	if (argc == 3 && strcmp(argv[1], "chain") == 0)
		return print_chain(count);
	if (argc == 3 && strcmp(argv[1], "groups") == 0)
		return print_groups(count);
	fprintf(stderr, "usage: collide chain|groups COUNT\n");
	return 2;
}
