/* SPDX-License-Identifier: BSD-3-Clause */
/* A hash table for things that outsiders name: environments, mostly.
 *
 * An item has a `struct table_node` as a member, and owns its key.  Nobody can choose keys that
 * collide, as the hash has a secret: one for all tables of the process, from getrandom(2).  There
 * are as many buckets as items, and 16 at least, whatever the keys are; so chains are short.
 * Buckets come and go one by one (W. Litwin, "Linear hashing", 1980): the work of a call does not
 * grow with the table, except that realloc() is called for the array of buckets whenever its size
 * doubles or halves; the kernel moves a large array by its page table.
 *
 * A table belongs to one thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "base/siphash.h"

struct table_node {
	TAILQ_ENTRY(table_node) link; /* in table.nodes */
	struct table_node *next;      /* in the bucket */
	const char *key;              /* the item's, which does not change it */
	uint32_t length;              /* of the key */
	uint32_t hash;                /* table_hash() of it */
};

TAILQ_HEAD(table_nodes, table_node);

struct table {
	struct table_nodes nodes;    /* all, in the order in which they were added */
	size_t n;                    /* of them */
	struct table_node **buckets; /* NULL while the table is empty */
	size_t n_buckets, capacity;  /* those in use; those that there is room for */
	size_t mask;                 /* the least power of two >= n_buckets, less 1 */
};

/* To be called before all else.  An empty table has no memory, so there is nothing to undo. */
void table_init(struct table *table);

/* The item's node, or NULL. */
struct table_node *table_find(const struct table *table, const char *key, size_t length);

/* Adds an item, whose key is not in the table yet.  0; -ENOMEM: nothing has happened. */
int table_add(struct table *table, struct table_node *node, const char *key, size_t length);

/* Takes out an item that is in the table.  It remains its owner's. */
void table_remove(struct table *table, struct table_node *node);

static inline size_t table_count(const struct table *table)
{
	return table->n;
}

/* The hash that all tables use.  Any thread, once table_init() has been called. */
uint32_t table_hash(const char *key, size_t length);

/* For tests that depend on which keys collide: sets the secret.  There must be no items in any
 * table. */
void table_set_secret(const struct siphash_key *secret);

/* The item of this type whose `member` is the node; NULL if the node is NULL. */
#define TABLE_ITEM(node, type, member)                                                             \
	({                                                                                         \
		struct table_node *_node = (node);                                                 \
		_node ? container_of(_node, type, member) : NULL;                                  \
	})

/* All items, in the order in which they were added.  The loop may remove and free its item:
 * `following`, a variable of the same type, is the next one already. */
#define TABLE_FOREACH(item, following, table, member)                                              \
	for ((item) = TABLE_ITEM(TAILQ_FIRST(&(table)->nodes), __typeof__(*(item)), member);       \
		(item) && ((following) = TABLE_ITEM(TAILQ_NEXT(&(item)->member, link),             \
				   __typeof__(*(item)), member),                                   \
			  true);                                                                   \
		(item) = (following))
