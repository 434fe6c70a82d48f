# SPDX-License-Identifier: BSD-3-Clause
"""Namespaces that some tests make for themselves: of the network, and of mounts.

Root may make them, unless a container has taken CAP_NET_ADMIN or CAP_SYS_ADMIN away; in a user namespace anybody may,
unless the machine forbids those.  Where neither works, the tests that need it are not run, and are listed at the end.
With FLAGSSE_TESTS=all, as CI has it, they fail.
"""
import functools
import os
import shutil
import subprocess

import pytest

AS_USER = ("--user", "--map-root-user")

# For each kind: the program and its package, the capability, and what tests do there, to be tried.
KINDS = {
    "net": ("ip", "iproute2", "CAP_NET_ADMIN", "ip link add trial0 type veth peer name trial1"),
    "mount": ("mount", "mount", "CAP_SYS_ADMIN", "mount -t tmpfs none /mnt"),
}


@functools.cache
def way_to(kind):
    """What unshare(1) needs besides --KIND for a namespace in which tests can do what they do; None: nothing helps."""
    program, package, _, trial = KINDS[kind]
    assert shutil.which(program), f"{program} is missing; it is in the package {package}"
    for way in ((), AS_USER):
        if subprocess.run(["unshare", f"--{kind}", *way, "sh", "-c", trial], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=20, check=False).returncode == 0:
            return way
    return None


def need(kind):
    """way_to(), or the end of the test."""
    way = way_to(kind)
    if way is None:
        end = pytest.fail if os.environ.get("FLAGSSE_TESTS") == "all" else pytest.skip
        end(f"needs {KINDS[kind][2]}, or user namespaces")
    return way


def private():
    """A wrapper that gives a command mounts of its own."""
    return ["unshare", "--mount", *need("mount")]
