/* SPDX-License-Identifier: BSD-3-Clause */
/* The other end of a connection, as accept(2) returned it.  It is kept because a socket cannot tell
 * it any more once its client has left. */
#pragma once

#include <sys/socket.h>

#include "net/listen.h"

struct peer {
	struct sockaddr_storage address;
	socklen_t length; /* 0: unknown */
};

/* For people: "127.0.0.1:40000", "unix" for any client of a unix socket. */
void peer_name(const struct peer *peer, char ret_name[static LISTEN_NAME_SIZE]);
