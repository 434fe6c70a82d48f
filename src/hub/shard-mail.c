/* SPDX-License-Identifier: BSD-3-Clause */
/* What a shard is told: main writes it as mail, the shard's thread reads it and acts upon it. */
#include <errno.h>

#include "base/clock.h"
#include "hub/shard-internal.h"

enum shard_mail_type {
	SHARD_ARRIVAL,
	SHARD_UPDATE,
	SHARD_SETTINGS,
	SHARD_DRAIN,
	SHARD_PING,
	SHARD_STOP,
};

struct shard_mail {
	struct mail mail;
	enum shard_mail_type type;
};

struct arrival_mail {
	struct shard_mail head;
	struct hub_arrival arrival; /* with its descriptor and a reference of the snapshot */
};

struct update_mail {
	struct shard_mail head;
	struct key key;
	struct frame *frame; /* a reference */
	int64_t told_us;
};

struct settings_mail {
	struct shard_mail head;
	struct shard_settings settings;
};

struct drain_mail {
	struct shard_mail head;
	int64_t over_ms;
};

#define DRAINS_MAX 2 /* in good order; at once */

/* Mail that must not fail for want of memory: there is at most one of each under way. */
struct shard_standing_mail {
	struct drain_mail drains[DRAINS_MAX];
	unsigned n_drains; /* that have been posted */
	struct shard_mail ping, stop;
};

/* ---- The main thread's side ---- */

static void shard_post(struct shard *shard, struct shard_mail *mail, enum shard_mail_type type)
{
	mail->type = type;
	mailbox_post(&shard->mailbox, &mail->mail);
}

int shard_adopt(struct shard *shard, const struct hub_arrival *arrival)
{
	struct arrival_mail *mail = malloc(sizeof(*mail));

	if (!mail)
		return -ENOMEM;
	mail->arrival = *arrival;
	if (arrival->snapshot)
		frame_ref(arrival->snapshot);
	shard_subscribe(shard, table_hash(arrival->key.text, arrival->key.length));
	atomic_fetch_add(&shard->n_streams, 1);
	shard_post(shard, &mail->head, SHARD_ARRIVAL);
	return 0;
}

struct shard_mail *shard_prepare_update(const struct key *key, struct frame *frame, int64_t told_us)
{
	struct update_mail *mail = malloc(sizeof(*mail));

	if (!mail)
		return NULL;
	mail->head.type = SHARD_UPDATE;
	mail->key = *key;
	mail->frame = frame_ref(frame);
	mail->told_us = told_us;
	return &mail->head;
}

struct shard_mail *shard_prepare_settings(const struct shard_settings *settings)
{
	struct settings_mail *mail = malloc(sizeof(*mail));

	if (!mail)
		return NULL;
	mail->head.type = SHARD_SETTINGS;
	mail->settings = *settings;
	return &mail->head;
}

void shard_deliver(struct shard *shard, struct shard_mail *mail)
{
	shard_post(shard, mail, mail->type);
}

void shard_discard(struct shard_mail *mail)
{
	if (mail->type == SHARD_UPDATE)
		frame_unref(container_of(mail, struct update_mail, head)->frame);
	free(mail);
}

void shard_drain(struct shard *shard, int64_t over_ms)
{
	struct shard_standing_mail *standing = shard->standing;
	struct drain_mail *mail;

	if (standing->n_drains == DRAINS_MAX)
		return;
	mail = &standing->drains[standing->n_drains++];
	mail->over_ms = over_ms;
	shard_post(shard, &mail->head, SHARD_DRAIN);
}

void shard_ping(struct shard *shard)
{
	if (pulse_ask(&shard->pulse, clock_monotonic_ms()))
		shard_post(shard, &shard->standing->ping, SHARD_PING);
}

void shard_tell_to_stop(struct shard *shard)
{
	shard_post(shard, &shard->standing->stop, SHARD_STOP);
}

struct shard_standing_mail *shard_standing_mail_new(void)
{
	return calloc(1, sizeof(struct shard_standing_mail));
}

/* ---- The shard's side ---- */

static void shard_act_upon(struct shard *shard, struct shard_mail *mail)
{
	switch (mail->type) {
	case SHARD_ARRIVAL: {
		struct arrival_mail *arrival = container_of(mail, struct arrival_mail, head);

		stream_begin(shard, &arrival->arrival);
		free(arrival);
		break;
	}
	case SHARD_UPDATE: {
		struct update_mail *update = container_of(mail, struct update_mail, head);

		environment_update(shard, &update->key, update->frame, update->told_us);
		shard_discard(mail);
		break;
	}
	case SHARD_SETTINGS:
		shard->settings = container_of(mail, struct settings_mail, head)->settings;
		shard_discard(mail);
		break;
	case SHARD_DRAIN:
		shard_begin_drain(shard, container_of(mail, struct drain_mail, head)->over_ms);
		break;
	case SHARD_PING:
		pulse_answer(&shard->pulse);
		break;
	case SHARD_STOP:
		shard->stopping = true;
		break;
	}
}

void shard_read_mail(struct shard *shard)
{
	struct mail_list arrived;

	mailbox_take(&shard->mailbox, &arrived);
	STAILQ_CONCAT(&shard->mail, &arrived);
	for (unsigned i = 0; i < SHARD_SLICE && !STAILQ_EMPTY(&shard->mail); i++) {
		struct mail *mail = STAILQ_FIRST(&shard->mail);

		STAILQ_REMOVE_HEAD(&shard->mail, link);
		shard_act_upon(shard, container_of(mail, struct shard_mail, mail));
	}
}
