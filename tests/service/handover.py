# SPDX-License-Identifier: BSD-3-Clause
"""What a process leaves in systemd's store, made here: the state, the streams, and their clients.

See src/hub/handover-layout.h and src/restart/stash.c.
"""
import array
import fcntl
import os
import socket
import struct
import time

from wire import wait_until

VERSION = 3
HEADER = struct.Struct("=8sQII8Iq")
UPDATE = struct.Struct("=qqB103s")
ENVIRONMENT = struct.Struct("=qB103s")
STREAM = struct.Struct("=qIIHBBIq")
CHUNKED = 1  # a stream's flag, and the kind of its descriptor
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def monotonic_ms():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000


def checksum(data):
    """FNV-1a."""
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return value


def make_state(key, n, *, age_s=0, latest_us=0, update_us=0):
    """Of `n` chunked streams of one environment, which have had the update of `latest_us` (0: none)."""
    made_ms = monotonic_ms() - age_s * 1000
    name = key.encode()
    updates = [UPDATE.pack(update_us, time.time_ns() // 1000, len(name), name)] if update_us else []
    environments = [ENVIRONMENT.pack(latest_us, len(name), name)]
    streams = [STREAM.pack(made_ms, 0, 0, 0, 0, CHUNKED, 0, 0)] * n
    sections = (UPDATE.size, len(updates), ENVIRONMENT.size, 1, STREAM.size, n, 1, 0)
    records = b"".join(updates + environments + streams)
    tail = HEADER.pack(b"flagsse", 0, VERSION, HEADER.size, *sections, made_ms)[16:] + records
    return struct.pack("=8sQ", b"flagsse", checksum(tail)) + tail


class Client:
    def __init__(self, listener):
        self.sock = socket.create_connection(listener.getsockname(), 10)
        self.sock.setblocking(False)
        self.text = b""
        self.ended = False

    def read(self):
        """What has come; closes as soon as the daemon has, which waits for that."""
        while not self.ended:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                return
            self.text += data
            if not data:
                self.ended = True
                self.sock.close()


class HandedOver:
    """systemd's part: it keeps them, whatever the processes do that they are given to."""

    def __init__(self, state, n):
        self.clients = []
        self.memfd = os.memfd_create("flagsse-state", os.MFD_ALLOW_SEALING)
        os.write(self.memfd, state)
        fcntl.fcntl(self.memfd, fcntl.F_ADD_SEALS, SEALS)
        self.pair, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with socket.create_server(("127.0.0.1", 0)) as listener, sender:
            ends = [self._connect(listener) for _ in range(n)]
            sender.sendmsg([struct.pack("=Q", 0) + bytes([CHUNKED] * n)],
                           [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [end.fileno() for end in ends]))])
        for end in ends:
            end.close()

    def _connect(self, listener):
        self.clients.append(Client(listener))
        end, _ = listener.accept()
        end.setblocking(False)
        return end

    @property
    def fds(self):
        return [self.memfd, self.pair.fileno()]

    @property
    def arguments(self):
        """Of activate.py."""
        return [f"{self.memfd}=flagsse-state", f"{self.pair.fileno()}=flagsse-streams"]

    def read(self):
        for client in self.clients:
            client.read()

    def _wait(self, condition):
        def met():
            self.read()
            return all(condition(client) for client in self.clients)
        wait_until(met, lambda: f"not all have got that: {[client.text for client in self.clients]}")

    def check_receive(self, data):
        """Each client gets this, and nothing else before."""
        self._wait(lambda client: client.ended or len(client.text) >= len(data))
        for client in self.clients:
            assert client.text.startswith(data), client.text
            client.text = client.text[len(data):]

    def check_ended(self):
        """With the last chunk, and no reset."""
        self._wait(lambda client: client.ended)
        texts = [client.text for client in self.clients]
        assert texts == [b"0\r\n\r\n"] * len(texts)

    def check_silent(self):
        self.read()
        assert not any(client.text or client.ended for client in self.clients), [c.text for c in self.clients]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.memfd)
        for sock in [self.pair, *(client.sock for client in self.clients)]:
            sock.close()
