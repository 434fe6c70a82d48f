/* SPDX-License-Identifier: BSD-3-Clause */
/* The hash table: its secret, its buckets, its items. */
#include "base/table.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define BUCKETS_MIN 16

static struct siphash_key secret;

/* ---- The secret ---- */

static void secret_draw(void)
{
	siphash_draw_key(&secret);
}

static void secret_need(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, secret_draw);
}

void table_set_secret(const struct siphash_key *chosen)
{
	secret_need();
	secret = *chosen;
}

uint32_t table_hash(const char *key, size_t length)
{
	return (uint32_t)siphash(&secret, key, length);
}

/* ---- Buckets ---- */

/* The bucket of a hash.  Buckets from n_buckets on do not exist yet; until they do, their items are
 * in the bucket with the same lower bits. */
static struct table_node **bucket_of(const struct table *table, uint32_t hash)
{
	size_t i = hash & table->mask;

	return &table->buckets[i < table->n_buckets ? i : i & (table->mask >> 1)];
}

/* Makes room for so many buckets.  0 or -ENOMEM. */
static int set_capacity(struct table *table, size_t capacity)
{
	struct table_node **buckets =
		reallocarray(table->buckets, capacity, sizeof(table->buckets[0]));

	if (!buckets)
		return -ENOMEM;
	table->buckets = buckets;
	table->capacity = capacity;
	return 0;
}

static int begin_buckets(struct table *table)
{
	int r = set_capacity(table, BUCKETS_MIN);

	if (r < 0)
		return r;
	memset(table->buckets, 0, BUCKETS_MIN * sizeof(table->buckets[0]));
	table->n_buckets = BUCKETS_MIN;
	table->mask = BUCKETS_MIN - 1;
	return 0;
}

/* Adds a bucket, which gets its items from the one where they were until now. */
static void split_bucket(struct table *table)
{
	size_t i = table->n_buckets++;
	struct table_node **from, **to, *node;

	if (i > table->mask)
		table->mask = 2 * table->mask + 1;
	from = &table->buckets[i & (table->mask >> 1)];
	to = &table->buckets[i];
	*to = NULL;
	while ((node = *from)) {
		if ((node->hash & table->mask) != i) {
			from = &node->next;
			continue;
		}
		*from = node->next;
		node->next = *to;
		*to = node;
	}
}

/* Removes a bucket: the reverse. */
static void merge_bucket(struct table *table)
{
	size_t last = --table->n_buckets;
	struct table_node **end = &table->buckets[last & (table->mask >> 1)];

	while (*end)
		end = &(*end)->next;
	*end = table->buckets[last];
	if (table->n_buckets == (table->mask >> 1) + 1)
		table->mask >>= 1;
}

/* Makes the number of buckets right for one more item.  0 or -ENOMEM. */
static int grow(struct table *table)
{
	int r = 0;

	if (table->n == 0)
		return begin_buckets(table);
	if (table->n < table->n_buckets)
		return 0;
	if (table->n_buckets == table->capacity)
		r = set_capacity(table, 2 * table->capacity);
	if (r < 0)
		return r;
	split_bucket(table);
	return 0;
}

/* Makes it right after an item is gone. */
static void shrink(struct table *table)
{
	if (table->n == 0) {
		free(TAKE_PTR(table->buckets));
		return;
	}
	if (table->n_buckets == BUCKETS_MIN)
		return;
	merge_bucket(table);
	/* Not at a half already, or the room would grow and shrink again and again.  If this fails,
	 * the room that remains does no harm. */
	if (table->n_buckets <= table->capacity / 4)
		(void)set_capacity(table, table->capacity / 2);
}

/* ---- Items ---- */

void table_init(struct table *table)
{
	secret_need();
	*table = (struct table){0};
	TAILQ_INIT(&table->nodes);
}

struct table_node *table_find(const struct table *table, const char *key, size_t length)
{
	uint32_t hash = table_hash(key, length);
	struct table_node *node;

	if (table->n == 0)
		return NULL;
	for (node = *bucket_of(table, hash); node; node = node->next)
		if (node->hash == hash && node->length == length &&
			memcmp(node->key, key, length) == 0)
			break;
	return node;
}

int table_add(struct table *table, struct table_node *node, const char *key, size_t length)
{
	struct table_node **bucket;
	int r = grow(table);

	if (r < 0)
		return r;
	node->key = key;
	node->length = (uint32_t)length;
	node->hash = table_hash(key, length);
	bucket = bucket_of(table, node->hash);
	node->next = *bucket;
	*bucket = node;
	TAILQ_INSERT_TAIL(&table->nodes, node, link);
	table->n++;
	return 0;
}

void table_remove(struct table *table, struct table_node *node)
{
	struct table_node **at = bucket_of(table, node->hash);

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	TAILQ_REMOVE(&table->nodes, node, link);
	table->n--;
	shrink(table);
}
