# SPDX-License-Identifier: BSD-3-Clause
"""The service manager's end of sd_notify(3)."""
import socket
import time

import pytest


class Notify:
    """What systemd hears at $NOTIFY_SOCKET."""

    def __init__(self, directory):
        self.path = str(directory / "notify")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.lines = []

    def read(self, quiet=0.01):
        """All datagrams that have come, until there is none for so many seconds."""
        datagrams = []
        self.sock.settimeout(quiet)
        try:
            while True:
                datagrams.append(self.sock.recv(65536))
        except TimeoutError:
            return datagrams

    def wait(self, text, timeout=20):
        """Gives the first line with that text; later calls look only at what came after."""
        deadline = time.monotonic() + timeout
        while True:
            while self.lines:
                line = self.lines.pop(0)
                if text in line:
                    return line
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                self.lines += self.sock.recv(65536).decode().splitlines()
            except TimeoutError:
                raise AssertionError(f"{text} was never said") from None

    def silent(self, text, seconds):
        with pytest.raises(AssertionError):
            self.wait(text, seconds)
