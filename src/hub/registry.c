/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry: a table of latest updates, each with its frame. */
#include "hub/registry.h"

#include <errno.h>

#include "base/table.h"

struct entry {
	struct table_node node; /* by the update's key */
	struct update update;
	struct frame *frame;
	int64_t known_us;    /* when the bus had stored what this has replaced; 0: nobody knows */
	unsigned generation; /* of the last sync in which the bus told it */
};

struct registry {
	struct table entries;
	unsigned generation; /* counts the syncs */
};

int registry_new(struct registry **ret)
{
	struct registry *registry = calloc(1, sizeof(*registry));

	if (!registry)
		return -ENOMEM;
	table_init(&registry->entries);
	*ret = registry;
	return 0;
}

static void registry_remove(struct registry *registry, struct entry *entry)
{
	table_remove(&registry->entries, &entry->node);
	frame_unref(entry->frame);
	free(entry);
}

struct registry *registry_free(struct registry *registry)
{
	struct entry *entry, *next;

	if (!registry)
		return NULL;
	TABLE_FOREACH (entry, next, &registry->entries, node)
		registry_remove(registry, entry);
	free(registry);
	return NULL;
}

static struct entry *registry_find(const struct registry *registry, const struct key *key)
{
	return TABLE_ITEM(
		table_find(&registry->entries, key->text, key->length), struct entry, node);
}

/* An entry without a frame: the first update makes it. */
static struct entry *registry_add(struct registry *registry, const struct update *update)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->update = *update;
	if (table_add(&registry->entries, &entry->node, entry->update.key.text,
		    entry->update.key.length) < 0) {
		free(entry);
		return NULL;
	}
	return entry;
}

/* As it counts at `now_us`. */
static struct update settle(const struct entry *entry, int64_t now_us)
{
	struct update settled = entry->update;

	(void)update_settle(&settled, now_us);
	return settled;
}

static bool entry_is_expired(const struct entry *entry, int64_t now_us)
{
	struct update settled = settle(entry, now_us);

	return update_is_expired(&settled, now_us);
}

/* On the bus's own word the later number was stored later.  Where its clock says otherwise, because
 * it has jumped back, the number is right: or an accepted update would count as older.  One that
 * another process has known has no number, as that may have been another bus's. */
static struct update with_steady_clock(const struct update *update, const struct update *latest)
{
	struct update steady = *update;

	if (latest->sequence > 0 && update->sequence > latest->sequence &&
		update->stored_us <= latest->stored_us)
		steady.stored_us = latest->stored_us + 1;
	return steady;
}

static int entry_set(struct entry *entry, const struct update *update)
{
	struct frame *frame = frame_new_update(update->time_us);

	if (!frame)
		return -ENOMEM;
	frame_unref(entry->frame);
	entry->frame = frame;
	if (entry->update.sequence > 0)
		entry->known_us = entry->update.stored_us;
	entry->update = *update;
	return REGISTRY_NEWER;
}

static int registry_offer_first(
	struct registry *registry, const struct update *update, struct entry **ret)
{
	struct entry *entry = registry_add(registry, update);

	if (!entry)
		return -ENOMEM;
	if (entry_set(entry, update) < 0) {
		registry_remove(registry, entry);
		return -ENOMEM;
	}
	*ret = entry;
	return REGISTRY_NEWER;
}

/* Read again, or written back by somebody, or told by the outbox before: then it lives longer now.
 */
static int entry_confirm(
	struct entry *entry, const struct update *settled, const struct update *update)
{
	if (update->sequence > 0) {
		entry->update.sequence = update->sequence;
		entry->update.is_raised = false;
	}
	/* What it is about was accepted when it was, whenever it was stored. */
	entry->update.accepted_us = update_accepted(settled);
	if (update->stored_us > settled->stored_us)
		entry->update.stored_us = update->stored_us;
	return REGISTRY_SAME;
}

/* What was accepted until then is older than the latest.  What the outbox holds was accepted
 * by this node's idea of the bus's clock: taken for older, an update that was stored just after
 * that would never reach this node's streams.  But what was known by then is older. */
static int64_t older_until(const struct entry *entry, const struct update *latest)
{
	int64_t surely_us = latest->stored_us - UPDATE_DOUBT_US;

	if (latest->sequence > 0)
		return latest->stored_us;
	return surely_us > entry->known_us ? surely_us : entry->known_us;
}

/* Of an update whose time is above the latest's.  What has no number is compared by when the two
 * were accepted: the bus may have stored the latest again since, as somebody has written it back.
 */
static bool is_after(const struct update *update, const struct update *latest)
{
	if (update->sequence > 0)
		return update->stored_us > latest->stored_us;
	return update->stored_us > update_accepted(latest);
}

static int registry_offer_next(struct entry *entry, const struct update *update, int64_t now_us)
{
	struct update latest = settle(entry, now_us);
	struct update steady = with_steady_clock(update, &latest);

	if (update_is_expired(&latest, steady.stored_us))
		return entry_set(entry, &steady);
	if (steady.time_us == latest.time_us)
		return entry_confirm(entry, &latest, &steady);
	if (steady.time_us > latest.time_us)
		return is_after(&steady, &latest) ? entry_set(entry, &steady) : REGISTRY_OLDER;
	return update_accepted(&steady) > older_until(entry, &latest) ? REGISTRY_OVERTAKEN
								      : REGISTRY_OLDER;
}

int registry_offer(struct registry *registry, const struct update *update, int64_t now_us,
	const struct update **ret_latest, struct frame **ret_frame)
{
	struct entry *entry = registry_find(registry, &update->key);
	int verdict;

	verdict = entry ? registry_offer_next(entry, update, now_us)
			: registry_offer_first(registry, update, &entry);
	if (verdict < 0)
		return verdict;
	if (verdict != REGISTRY_OLDER && update->sequence > 0)
		entry->generation = registry->generation;
	else if (verdict == REGISTRY_NEWER)
		entry->generation = registry->generation - 1; /* the bus has another one */
	*ret_latest = &entry->update;
	*ret_frame = entry->frame;
	return verdict;
}

bool registry_latest(const struct registry *registry, const struct key *key, int64_t now_us,
	struct update *ret_update, struct frame **ret_frame)
{
	struct entry *entry = registry_find(registry, key);

	if (!entry || entry_is_expired(entry, now_us))
		return false;
	*ret_update = settle(entry, now_us);
	if (ret_frame)
		*ret_frame = entry->frame;
	return true;
}

void registry_sync_begin(struct registry *registry)
{
	registry->generation++;
}

void registry_sync_end(struct registry *registry, int64_t now_us,
	void (*missing)(const struct update *update, void *userdata), void *userdata)
{
	struct entry *entry, *next;

	TABLE_FOREACH (entry, next, &registry->entries, node)
		if (entry->generation != registry->generation && !entry_is_expired(entry, now_us))
			missing(&entry->update, userdata);
}

int registry_restore(struct registry *registry, const struct update *update)
{
	struct entry *entry = registry_find(registry, &update->key);
	struct update numberless = *update;
	int r;

	if (entry)
		return 0;
	numberless.sequence = 0;
	r = registry_offer_first(registry, &numberless, &entry);
	return r < 0 ? r : 0;
}

int registry_each(const struct registry *registry, int64_t now_us,
	int (*each)(const struct update *update, void *userdata), void *userdata)
{
	struct entry *entry, *next;
	int r = 0;

	TABLE_FOREACH (entry, next, &registry->entries, node) {
		if (entry_is_expired(entry, now_us))
			continue;
		r = each(&entry->update, userdata);
		if (r != 0)
			break;
	}
	return r;
}

void registry_expire(struct registry *registry, int64_t now_us)
{
	struct entry *entry, *next;

	TABLE_FOREACH (entry, next, &registry->entries, node)
		if (entry_is_expired(entry, now_us))
			registry_remove(registry, entry);
}

size_t registry_size(const struct registry *registry)
{
	return table_count(&registry->entries);
}
