# SPDX-License-Identifier: BSD-3-Clause
"""Two network namespaces with a cable between them, which can be pulled: nothing arrives any more, and nobody is told.

Commands run in a namespace behind its prefix; from outside, daemons in it are reached by unix sockets.
"""
import os
import subprocess

from namespaces import need
from wire import wait_until

ADDRESSES = ("192.0.2.1", "192.0.2.2")


def _execute(*command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"


class Network:
    def __init__(self):
        self.holders = []
        way = need("net")
        enter = ["--user", "--preserve-credentials"] if way else []
        self._hold(["unshare", "--net", *way])
        self.near = ["nsenter", "--target", str(self.holders[0].pid), *enter, "--net", "--"]
        self._hold([*self.near, "unshare", "--net"])
        self.far = ["nsenter", "--target", str(self.holders[1].pid), *enter, "--net", "--"]
        _execute(*self.near, "ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns",
                 self.holders[1].pid)
        for prefix, address in zip((self.near, self.far), ADDRESSES):
            _execute(*prefix, "ip", "address", "add", f"{address}/30", "dev", "cable")
            _execute(*prefix, "ip", "link", "set", "lo", "up")
            _execute(*prefix, "ip", "link", "set", "cable", "up")

    def _hold(self, command):
        """A process that keeps a new namespace."""
        ours = os.readlink("/proc/self/ns/net")
        before = {ours, *(os.readlink(f"/proc/{holder.pid}/ns/net") for holder in self.holders)}
        holder = subprocess.Popen([*command, "sleep", "infinity"], stdin=subprocess.DEVNULL)
        self.holders.append(holder)

        def is_there():
            assert holder.poll() is None, "a network namespace cannot be made"
            return (os.readlink(f"/proc/{holder.pid}/ns/net") not in before
                    and open(f"/proc/{holder.pid}/comm", encoding="ascii").read() == "sleep\n")
        wait_until(is_there, "the network namespace is not made")

    def pull(self):
        """At the far end, so that the near one sends into nowhere."""
        _execute(*self.far, "ip", "link", "set", "cable", "down")

    def plug(self):
        _execute(*self.far, "ip", "link", "set", "cable", "up")

    def remove(self):
        for holder in self.holders:
            holder.kill()
            holder.wait()
