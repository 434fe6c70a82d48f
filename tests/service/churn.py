# SPDX-License-Identifier: BSD-3-Clause
"""Very many subscribers that come and go at once: churn.py PORT KEY

Each line "N SEED" on standard input lets N come, each leaving in one of the ways below, and is answered, when the last
has left, by a line with how many left in which way, as JSON.
"""
import collections
import json
import random
import resource
import select
import socket
import struct
import sys

AT_ONCE = 500
SOURCES = 32  # addresses 127.0.0.2 and on: one has not ports enough, as each stays taken for a minute
IP_BIND_ADDRESS_NO_PORT = 24
RESET = struct.pack("ii", 1, 0)

# (name, weight, how much of the request is sent, whether the stream's begin is awaited, whether it ends by a reset)
WAYS = (
    ("read and closed", 40, 1.0, True, False),
    ("read and reset", 30, 1.0, True, True),
    ("closed unread", 10, 1.0, False, False),
    ("reset unread", 10, 1.0, False, True),
    ("closed within the request", 4, 0.5, False, False),
    ("reset within the request", 4, 0.5, False, True),
    ("closed without a request", 2, 0.0, False, False),
)


class Churn:
    def __init__(self, port, key):
        self.address = ("127.0.0.1", port)
        self.request = (f"GET /sse/environments/{key}/stream HTTP/1.1\r\nHost: x\r\n"
                        "Accept: text/event-stream\r\n\r\n").encode()
        self.epoll = select.epoll()
        self.open = {}  # descriptor -> [socket, way, what has been read]
        self.left = collections.Counter()

    def come(self, i, way):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.0.0.{2 + i % SOURCES}", 0))
        try:
            sock.connect(self.address)
        except BlockingIOError:
            pass
        self.open[sock.fileno()] = [sock, way, b""]
        self.epoll.register(sock, select.EPOLLOUT)

    def leave(self, fd, what):
        sock, way, _ = self.open.pop(fd)
        self.left[what] += 1
        if way[4]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()

    def act(self, fd, events):
        client = self.open[fd]
        sock, (name, _, part, waits, _), _ = client
        if events & select.EPOLLOUT:
            sock.send(self.request[:int(len(self.request) * part)])
            if not waits:
                self.leave(fd, name)
                return
            self.epoll.modify(fd, select.EPOLLIN)
            return
        data = sock.recv(4096)
        client[2] += data
        if b"\nretry: " in client[2]:
            self.leave(fd, name if client[2].startswith(b"HTTP/1.1 200 ") else f"refused: {client[2][:80]}")
        elif not data:
            self.leave(fd, f"cut: {client[2][:80]}")

    def run(self, count, rng):
        self.left.clear()
        ways = rng.choices(WAYS, [way[1] for way in WAYS], k=count)
        come = 0
        while come < count or self.open:
            while come < count and len(self.open) < AT_ONCE:
                self.come(come, ways[come])
                come += 1
            for fd, events in self.epoll.poll(1):
                try:
                    self.act(fd, events)
                except OSError as error:
                    self.leave(fd, f"{type(error).__name__}: {error}")
        print(json.dumps(self.left), flush=True)


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    churn = Churn(int(sys.argv[1]), sys.argv[2])
    for line in sys.stdin:
        count, seed = map(int, line.split())
        churn.run(count, random.Random(seed))


if __name__ == "__main__":
    main()
