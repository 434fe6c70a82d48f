/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of what is tested: a connection over loopback, and what comes through it. */
#pragma once

/* A connected pair over loopback: [0] the server's end, which does not block, [1] the client's.
 * `receive_buffer`: of the client, in bytes; 0: the system's default. */
void connect_pair(int ret[2], int receive_buffer);

/* Reads what is there within a moment.  "EOF" is appended at the end; a reset fails the test.  The
 * text is valid until the next call. */
const char *receive(int fd);

/* As receive(), but waits for `expected`, however long a busy machine takes, and then a moment for
 * what must not come. */
const char *receive_expected(int fd, const char *expected);
