/* SPDX-License-Identifier: BSD-3-Clause */
/* nats.c as a whole. */
#include <errno.h>

#include "bus/nats/library-internal.h"

int nats_library_close(int64_t timeout_ms)
{
	return nats_CloseAndWait(timeout_ms) == NATS_TIMEOUT ? -ETIMEDOUT : 0;
}

const char *bus_library_version(void)
{
	return nats_GetVersion();
}
