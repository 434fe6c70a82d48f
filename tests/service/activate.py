# SPDX-License-Identifier: BSD-3-Clause
"""Execs a program as systemd does: activate.py [FD[=NAME]...] -- PROGRAM [ARGUMENT...]

The descriptors become 3, 4, ... and are announced in LISTEN_FDS, with their names where they have some;
$WATCHDOG_USEC gets the WATCHDOG_PID to it.  What is to be preloaded into the program is in $ACTIVATE_PRELOAD.
"""
import os
import sys

split = sys.argv.index("--")
given = [text.partition("=") for text in sys.argv[1:split]]
fds = [os.dup(int(text)) for text, _, _ in given]
fds = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i)
if fds:
    os.environ["LISTEN_FDS"] = str(len(fds))
    os.environ["LISTEN_PID"] = str(os.getpid())
    if any(name for _, _, name in given):
        os.environ["LISTEN_FDNAMES"] = ":".join(name or "unknown" for _, _, name in given)
if "WATCHDOG_USEC" in os.environ:
    os.environ["WATCHDOG_PID"] = str(os.getpid())
if "ACTIVATE_PRELOAD" in os.environ:
    os.environ["LD_PRELOAD"] = os.environ.pop("ACTIVATE_PRELOAD")
os.execv(sys.argv[split + 1], sys.argv[split + 1:])
