/* SPDX-License-Identifier: BSD-3-Clause */
/* What sd_notify(3) does, without waiting: a service manager that reads nothing for some time would
 * hold up who tells it something. */
#pragma once

#include "base/cleanup.h"

/* Sends it to $NOTIFY_SOCKET.  0: sent, or there is nobody to be told; -EAGAIN: not now, there is
 * no room at the other end; -errno: it cannot be sent.  The text has less than 1 KB.  Any thread.
 */
int notify_send(const char *format, ...) _printf_(1, 2);
