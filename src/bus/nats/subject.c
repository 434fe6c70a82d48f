/* SPDX-License-Identifier: BSD-3-Clause */
/* What the bus thread knows of each subject: its last message, so that a publish can be a
 * compare-and-set; and what JetStream has acknowledged and the consumer has not told yet. */
#include <string.h>

#include "base/clock.h"
#include "bus/nats/nats-internal.h"

struct subject *nats_subject_find(const struct nats_bus *bus, const struct key *key)
{
	return TABLE_ITEM(table_find(&bus->subjects, key->text, key->length), struct subject, node);
}

struct subject *nats_subject_get(struct nats_bus *bus, const struct key *key)
{
	struct subject *subject = nats_subject_find(bus, key);

	if (subject)
		return subject;
	subject = calloc(1, sizeof(*subject));
	if (!subject)
		return NULL;
	subject->key = *key;
	STAILQ_INIT(&subject->flying);
	STAILQ_INIT(&subject->waiting);
	if (table_add(&bus->subjects, &subject->node, subject->key.text, subject->key.length) < 0) {
		free(subject);
		return NULL;
	}
	return subject;
}

static void subject_forget(struct nats_bus *bus, struct subject *subject)
{
	subject->last_sequence = 0;
	subject->has_latest = false;
	subject->told_time_us = 0;
	subject->told_sequence = 0;
	if (!STAILQ_EMPTY(&subject->flying) || subject->is_unseen)
		return;
	table_remove(&bus->subjects, &subject->node);
	free(subject);
}

void nats_subjects_forget(struct nats_bus *bus, int64_t stored_until_us)
{
	struct subject *subject, *next;

	TABLE_FOREACH (subject, next, &bus->subjects, node)
		if (!subject->has_latest || subject->stored_us <= stored_until_us)
			subject_forget(bus, subject);
}

void nats_subjects_free(struct nats_bus *bus)
{
	struct subject *subject, *next;

	TABLE_FOREACH (subject, next, &bus->subjects, node)
		subject->is_unseen = false;
	nats_subjects_forget(bus, INT64_MAX);
}

void nats_subject_seen(struct nats_bus *bus, const struct key *key, uint64_t sequence,
	const struct update *update, int64_t told_us)
{
	struct subject *subject = nats_subject_get(bus, key);
	struct update settled;

	/* Without memory, the next publish finds out by a conflict. */
	if (!subject || sequence < subject->last_sequence)
		return;
	subject->last_sequence = sequence;
	subject->has_latest = update;
	if (!update)
		return;
	settled = *update;
	(void)update_settle(&settled, nats_clock_us(bus));
	subject->latest = (struct update_latest){
		.time_us = settled.time_us,
		.told_us = settled.stored_us,
		.accepted_us = update_accepted(&settled),
	};
	if (told_us > 0 && told_us < settled.stored_us)
		subject->latest.told_us = told_us;
	subject->stored_us = settled.stored_us;
}

/* ---- Acknowledged, and not told yet ---- */

/* Whether what the consumer has told is what is unseen, or comes after it. */
static bool subject_has_told(const struct subject *subject)
{
	return subject->told_sequence >= subject->unseen.sequence &&
	       subject->told_time_us >= subject->unseen.time_us;
}

void nats_subject_told(struct nats_bus *bus, const struct update *update)
{
	struct subject *subject = nats_subject_find(bus, &update->key);

	if (!subject)
		return;
	subject->told_time_us = update->time_us;
	subject->told_sequence = update->sequence;
	if (subject->is_unseen && subject_has_told(subject))
		subject->is_unseen = false;
}

/* What was unseen before has been written over by this. */
void nats_subject_await(struct nats_bus *bus, struct subject *subject, const struct update *update)
{
	subject->unseen = *update;
	subject->is_unseen = !subject_has_told(subject);
	subject->unseen_checks = bus->checks;
}

void nats_subjects_find_lost(struct nats_bus *bus)
{
	struct subject *subject, *next;

	TABLE_FOREACH (subject, next, &bus->subjects, node)
		if (subject->is_unseen) {
			subject->is_unseen = false;
			subject->unseen.sequence = 0;
			bus_post_lost(bus->inbox, &subject->unseen);
		}
}

bool nats_subjects_unseen(const struct nats_bus *bus)
{
	struct subject *subject, *next;

	/* From one check to the next, at least. */
	TABLE_FOREACH (subject, next, &bus->subjects, node)
		if (subject->is_unseen && bus->checks - subject->unseen_checks > 1)
			return true;
	return false;
}

uint64_t nats_subjects_alive(const struct nats_bus *bus)
{
	/* Not those that are about to expire, or may have. */
	int64_t since_us = nats_clock_us(bus) - UPDATE_LIFETIME_US + UPDATE_MARGIN_US;
	struct subject *subject, *next;
	uint64_t n = 0;

	TABLE_FOREACH (subject, next, &bus->subjects, node)
		n += subject->has_latest && subject->stored_us > since_us;
	return n;
}
