/* SPDX-License-Identifier: BSD-3-Clause */
/* What JetStream's errors mean for an update: by their codes; and by their words, where one code
 * means several things. */
#include <string.h>

#include "bus/nats/parse.h"

/* JetStream's codes. */
enum {
	CLUSTER_NOT_ASSIGNED = 10007,
	CLUSTER_NOT_AVAILABLE = 10008,
	CLUSTER_NOT_LEADER = 10009,
	STREAM_WRONG_LAST_SEQUENCE = 10071,
	STREAM_STORE_FAILED = 10077,
	/* As WRONG_LAST_SEQUENCE, where a write of another is under way; since nats-server 2.12. */
	STREAM_WRONG_LAST_SEQUENCE_CONSTANT = 10164,
};

/* What is not here is refused, and so may be all others: full, sealed, too big, beyond the
 * account's limits, and whatever future servers have. */
static const struct meaning {
	int64_t code;
	const char *words; /* in the description; NULL: any */
	enum nats_ack_outcome outcome;
} meanings[] = {
	{STREAM_WRONG_LAST_SEQUENCE, NULL, NATS_ACK_CONFLICT},
	{STREAM_WRONG_LAST_SEQUENCE_CONSTANT, NULL, NATS_ACK_CONFLICT},
	/* A cluster that has no leader at the moment. */
	{CLUSTER_NOT_AVAILABLE, NULL, NATS_ACK_LATER},
	{CLUSTER_NOT_LEADER, NULL, NATS_ACK_LATER},
	{CLUSTER_NOT_ASSIGNED, NULL, NATS_ACK_LATER},
	{STREAM_STORE_FAILED, "per subject", NATS_ACK_REFUSED_ONE},
};

enum nats_ack_outcome nats_ack_meaning(int64_t code, const char *description)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].code == code &&
			(!meanings[i].words || strstr(description, meanings[i].words)))
			return meanings[i].outcome;
	return NATS_ACK_REFUSED;
}
