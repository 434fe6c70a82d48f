/* SPDX-License-Identifier: BSD-3-Clause */
/* What NATS's permissions deny: which subject, what that is needed for, and what to grant.
 *
 * NATS tells of it in words only, some time after the publish or the subscription, and then nothing
 * comes: no acknowledgement, no answer, no message. */
#include <stdio.h>
#include <string.h>

#include "bus/nats/nats-internal.h"

#define PUBLISH   "Permissions Violation for Publish to \""
#define SUBSCRIBE "Permissions Violation for Subscription to \""

/* All that flagsse publishes and subscribes to; flagsse(8) has the same list.  What follows
 * `prefix` differs from time to time, so `permission` is told in its place. */
static const struct need {
	const char *prefix, *permission;
	enum nats_denied what;
} needs[] = {
	{NATS_SUBJECT_PREFIX, NATS_SUBJECT_PREFIX "*", NATS_DENIED_ENVIRONMENT},
	{"$JS.API.STREAM.INFO." NATS_STREAM, "$JS.API.STREAM.INFO." NATS_STREAM,
		NATS_DENIED_REQUEST},
	{"$JS.API.STREAM.CREATE." NATS_STREAM, "$JS.API.STREAM.CREATE." NATS_STREAM,
		NATS_DENIED_REQUEST},
	{"$JS.API.CONSUMER.CREATE." NATS_STREAM, "$JS.API.CONSUMER.CREATE." NATS_STREAM,
		NATS_DENIED_REQUEST},
	{"$JS.API.CONSUMER.INFO." NATS_STREAM ".", "$JS.API.CONSUMER.INFO." NATS_STREAM ".*",
		NATS_DENIED_REQUEST},
	{"$JS.API.STREAM.MSG.GET." NATS_STREAM, "$JS.API.STREAM.MSG.GET." NATS_STREAM,
		NATS_DENIED_OTHER},
	{"$JS.FC." NATS_STREAM ".", "$JS.FC." NATS_STREAM ".>", NATS_DENIED_READING},
	{"_INBOX.", "_INBOX.>", NATS_DENIED_READING},
};

/* The bit for all that we do not know of. */
#define NONE_OF_OURS (1U << 31)

static const struct need *need_of(const char *subject)
{
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		if (strncmp(subject, needs[i].prefix, strlen(needs[i].prefix)) == 0)
			return &needs[i];
	return NULL;
}

/* What stands between the quotation marks; nats.c cuts a long text short. */
static void copy_subject(const char *quoted, char *ret, size_t size)
{
	size_t length = strcspn(quoted, "\"");

	snprintf(ret, size, "%.*s", (int)(length < size ? length : size - 1), quoted);
}

bool nats_denied_parse(const char *text, struct nats_denial *ret)
{
	const char *publish = strstr(text, PUBLISH), *subscribe = strstr(text, SUBSCRIBE);
	const char *permission, *shown;
	const struct need *need;
	char subject[NATS_SUBJECT_SIZE];

	if (!publish && !subscribe)
		return false;
	copy_subject(publish ? publish + strlen(PUBLISH) : subscribe + strlen(SUBSCRIBE), subject,
		sizeof(subject));
	need = need_of(subject);
	permission = need ? need->permission : subject;
	*ret = (struct nats_denial){.what = need ? need->what : NATS_DENIED_OTHER};
	ret->need = need ? 1U << (need - needs) : NONE_OF_OURS;
	if (need && ret->what == NATS_DENIED_ENVIRONMENT && publish &&
		key_parse(subject + strlen(need->prefix), strlen(subject + strlen(need->prefix)),
			&ret->key) < 0)
		ret->what = NATS_DENIED_OTHER;
	/* So that the same is told in the same words each time. */
	shown = ret->what == NATS_DENIED_ENVIRONMENT ? subject : permission;
	snprintf(ret->text, sizeof(ret->text), "%s%.122s\"; grant %s \"%.50s\", see flagsse(8)",
		publish ? PUBLISH : SUBSCRIBE, shown, publish ? "publish" : "subscribe",
		permission);
	return true;
}
