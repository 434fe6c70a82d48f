/* SPDX-License-Identifier: BSD-3-Clause */
/* What sd_notify(3) does, without waiting: a service manager that reads nothing for some time would
 * hold up the caller. */
#pragma once

#include "base/cleanup.h"

/* Sends the text, which is shorter than 1 KB, to $NOTIFY_SOCKET.  0: it is sent, or there is nobody
 * to send it to; -EAGAIN: there is no room at the other end now; another -errno: it cannot be sent.
 * Any thread. */
int notify_send(const char *format, ...) _printf_(1, 2);
