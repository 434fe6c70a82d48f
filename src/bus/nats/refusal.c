/* SPDX-License-Identifier: BSD-3-Clause */
/* What JetStream's errors mean for an update: by their codes, and where one code says several
 * things, by their words. */
#include <string.h>

#include "bus/nats/nats-internal.h"

/* As JSStreamWrongLastSequenceErr, where a write of another is under way; of nats-server 2.12, and
 * not known to nats.c 3.4. */
#define WRONG_LAST_SEQUENCE_CONSTANT 10164

/* What is not here is refused, and so may be all others: full, sealed, too big, beyond the
 * account's limits, and whatever future servers have. */
static const struct meaning {
	int64_t code;
	const char *words; /* in the description; NULL: any */
	enum nats_ack_outcome outcome;
} meanings[] = {
	{JSStreamWrongLastSequenceErr, NULL, NATS_ACK_CONFLICT},
	{WRONG_LAST_SEQUENCE_CONSTANT, NULL, NATS_ACK_CONFLICT},
	/* A cluster that has no leader at the moment. */
	{JSClusterNotAvailErr, NULL, NATS_ACK_LATER},
	{JSClusterNotLeaderErr, NULL, NATS_ACK_LATER},
	{JSClusterNotAssignedErr, NULL, NATS_ACK_LATER},
	{JSStreamStoreFailedErr, "per subject", NATS_ACK_REFUSED_ONE},
};

enum nats_ack_outcome nats_ack_meaning(int64_t code, const char *description)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].code == code &&
			(!meanings[i].words || strstr(description, meanings[i].words)))
			return meanings[i].outcome;
	return NATS_ACK_REFUSED;
}
