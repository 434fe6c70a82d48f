/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of peers, for people. */
#include "net/peer.h"

#include <stdio.h>

#include "net/listen-internal.h"

void peer_name(const struct peer *peer, char ret_name[static LISTEN_NAME_SIZE])
{
	snprintf(ret_name, LISTEN_NAME_SIZE, "an unknown address");
	if (peer->length == 0)
		return;
	if (peer->address.ss_family == AF_UNIX)
		snprintf(ret_name, LISTEN_NAME_SIZE, "unix"); /* clients do not bind theirs */
	else
		listen_format(&peer->address, peer->length, ret_name);
}
