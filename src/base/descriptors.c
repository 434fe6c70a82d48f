/* SPDX-License-Identifier: BSD-3-Clause */
/* The limit of open files, and who gets how many of them. */
#include "base/descriptors.h"

#include <sys/resource.h>

#include "base/log.h"

/* Descriptors that are not for streams: a twentieth of all, within these ... */
#define RESERVE_MIN 128
#define RESERVE_MAX 1000

/* ... and so many of these are not for HTTP either, but for event loops, the bus, the store, the
 * hand-over. */
#define RESERVE_OWN 64

/* With fewer than this, an administrator is warned. */
#define LIMIT_FEW 512

/* Connections in the hands of HTTP are more expensive than streams. */
#define HTTP_MAX 4096

size_t descriptors_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	return limit.rlim_cur;
}

void descriptors_share(size_t configured, struct descriptor_shares *ret)
{
	size_t limit = descriptors_raise_limit(), reserve = limit / 20, most, rest;

	reserve = reserve < RESERVE_MIN ? RESERVE_MIN : reserve;
	reserve = reserve > RESERVE_MAX ? RESERVE_MAX : reserve;
	most = limit > reserve ? limit - reserve : 1;
	ret->streams = configured > 0 && configured < most ? configured : most;
	if (configured > most)
		log_warning("streams.max_streams is %zu, but the limit of open files, %zu, allows "
			    "%zu. Raise LimitNOFILE= of the unit (or `ulimit -n`).",
			configured, limit, most);
	rest = limit > ret->streams + 2 * RESERVE_OWN ? limit - ret->streams - RESERVE_OWN
						      : RESERVE_OWN;
	ret->clients = ret->streams + rest;
	ret->http = (unsigned)(ret->clients > HTTP_MAX ? HTTP_MAX : ret->clients);
	/* A request may take two: see room.c. */
	log_at(limit < LIMIT_FEW ? LOG_WARNING : LOG_INFO,
		"%zu files may be open: %zu for streams, at least %zu for requests.%s", limit,
		ret->streams, rest / 2,
		limit < LIMIT_FEW ? " That is very few: raise LimitNOFILE= of the unit (or `ulimit "
				    "-n`)."
				  : "");
}
