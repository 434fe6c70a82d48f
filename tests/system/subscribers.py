# SPDX-License-Identifier: BSD-3-Clause
"""Very many subscribers in one process, each read strictly from its first byte to its last.

subscribers.py ADDRESS PORT, with one line of JSON a command on standard input, [NAME, ARGUMENTS], and one line
of JSON as the answer:
    ["open", {"streams": [[KIND, KEY, COUNT], ...]}]    answers when each stream has had its greeting
    ["report", {}]                                      answers at once
    ["expect", {"latest": {KEY: ID, ...}}]              answers when each stream has the latest update of its
                                                        environment; "missing" are so many that have not
    ["wake", {}]                                        those that stall read again
    ["await_failures", {}]                              answers when every stream has failed and come back
    ["end", {}]                                         answers when every stream has ended; none comes back

Kinds: plain, old (HTTP/1.0), dart, faraday, slow (reads a little at a time), stalled (reads nothing until "wake"),
browser (comes back after a failure, as EventSource does).
"""
import heapq
import itertools
import json
import os
import resource
import select
import socket
import struct
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "service"))

from sse import HEAD, ChunkedParser, Event, Greeting, IdentityParser, format_subscription, parse_block  # noqa: E402

TIMEOUT = 240  # seconds; only matters where something has failed
AT_A_TIME = 400  # fewer than flagsse has room for requests here: who is slow then is not turned away
SLOW_PAUSE = 0.3
SLOW_BYTES = 300
FARADAY_PAUSE = 0.5
SMALL_BUFFER = 2048

AGENTS = {"dart": "Dart/3.2 (dart:io)", "faraday": "Faraday v2.7.4"}
ENDS_BY_ITSELF = ("dart", "faraday")  # and its client comes back
LATE = ("slow", "stalled")
PROMPT = ("plain", "old")  # they tell how late an update is: it has just been published


class Subscriber:
    """One client, over however many connections."""
    __slots__ = ("kind", "key", "sock", "head", "parser", "last", "retry", "greeted", "failed_at",
                 "connections", "events")

    def __init__(self, kind, key):
        self.kind = kind
        self.key = key
        self.sock = None
        self.last = 0  # the id of the latest update it has had
        self.retry = 0
        self.failed_at = None
        self.connections = 0

    @property
    def version(self):
        return "1.0" if self.kind == "old" else "1.1"

    def prepare(self):
        self.head = b""
        self.parser = IdentityParser() if self.kind == "old" else ChunkedParser()
        self.greeted = False
        self.connections += 1
        self.events = 0  # of this connection

    def request(self, address):
        headers = []
        if self.kind in AGENTS:
            headers.append(("User-Agent", AGENTS[self.kind]))
        if self.kind == "browser" and self.last:
            headers.append(("Last-Event-ID", str(self.last)))
        return format_subscription(address, self.key, headers, self.version)


class Subscribers:
    def __init__(self, address):
        self.address = address
        self.epoll = select.epoll()
        self.by_fd = {}
        self.all = []
        self.timers = []
        self.order = itertools.count()
        self.starting = 0
        self.to_start = []
        self.ending = False  # no one comes back
        self.problems = []
        self.counts = {"events": 0, "keepalives": 0, "clean": 0, "failed": 0, "back": 0}
        self.longest_us = 0
        self.longest_away = 0.0

    # connections

    def start(self, subscriber):
        sock = socket.socket()
        sock.setblocking(False)
        # Our ports are free again at once, and do not wait for a minute: there are 28,000 only.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if subscriber.kind in LATE:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        try:
            sock.connect(self.address)
        except BlockingIOError:
            pass
        subscriber.sock = sock
        subscriber.prepare()
        self.by_fd[sock.fileno()] = subscriber
        self.starting += 1
        self.epoll.register(sock, select.EPOLLOUT)

    def close(self, subscriber):
        if not subscriber.greeted:
            self.starting -= 1
        fd = subscriber.sock.fileno()
        try:
            self.epoll.unregister(fd)
        except FileNotFoundError:
            pass
        del self.by_fd[fd]
        subscriber.sock.close()
        subscriber.sock = None

    def later(self, seconds, action, subscriber):
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.order), action, subscriber))

    def come_back(self, subscriber, seconds):
        if not self.ending:
            self.later(seconds, self.start, subscriber)

    def problem(self, subscriber, text):
        if len(self.problems) < 10:
            self.problems.append(f"{subscriber.kind} of {subscriber.key}: {text}")

    def fail(self, subscriber, text):
        """The connection has broken."""
        self.close(subscriber)
        self.counts["failed"] += 1
        if subscriber.kind != "browser":
            self.problem(subscriber, text)
            return
        subscriber.failed_at = subscriber.failed_at or time.monotonic()
        self.come_back(subscriber, subscriber.retry / 1000)

    def finish(self, subscriber):
        """The connection has ended: well, or not."""
        if not subscriber.greeted or not subscriber.parser.clean:
            self.fail(subscriber, f"an end within something: {subscriber.parser.buffer!r}")
            return
        self.close(subscriber)
        self.counts["clean"] += 1
        if subscriber.kind in ENDS_BY_ITSELF:
            self.come_back(subscriber, FARADAY_PAUSE if subscriber.kind == "faraday" else 0)
        elif not self.ending:
            self.problem(subscriber, "an end that nobody asked for")

    # reading

    def on_block(self, subscriber, block):
        if isinstance(block, Event):
            self.counts["events"] += 1
            # On a new connection the same one comes again, also to those that say that they have it.
            again = block.id == subscriber.last and subscriber.connections > 1 and not subscriber.events
            if block.id <= subscriber.last and not again:
                self.problem(subscriber, f"{block.id} after {subscriber.last}")
            subscriber.events += 1
            subscriber.last = block.id
            if subscriber.kind in PROMPT:
                self.longest_us = max(self.longest_us, time.time_ns() // 1000 - block.id)
        elif isinstance(block, Greeting):
            if subscriber.greeted:
                self.problem(subscriber, "a second greeting")
                return
            subscriber.greeted = True
            subscriber.retry = block.retry
            self.starting -= 1
            self.on_greeting(subscriber)
        else:
            self.counts["keepalives"] += 1

    def on_greeting(self, subscriber):
        if subscriber.failed_at:
            self.counts["back"] += 1
            self.longest_away = max(
                self.longest_away, time.monotonic() - subscriber.failed_at - subscriber.retry / 1000)
            subscriber.failed_at = None
        if subscriber.kind in LATE:
            self.epoll.unregister(subscriber.sock)
        if subscriber.kind == "slow":
            self.later(SLOW_PAUSE, self.read_slowly, subscriber)

    def take(self, subscriber, data):
        if subscriber.head is not None:
            subscriber.head += data
            end = subscriber.head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = subscriber.head[:end + 4], subscriber.head[end + 4:]
            subscriber.head = None
            if head != HEAD[subscriber.version]:
                self.problem(subscriber, f"a wrong head: {head!r}")
        for block in subscriber.parser.feed(data) if data else ():
            self.on_block(subscriber, parse_block(block))

    def read(self, subscriber, size=65536):
        """Takes in what is there.  False: nothing was, or it is over."""
        try:
            data = subscriber.sock.recv(size)
        except BlockingIOError:
            return False
        except OSError as error:
            self.fail(subscriber, f"recv: {error}")
            return False
        if not data:
            self.finish(subscriber)
            return False
        try:
            self.take(subscriber, data)
        except AssertionError as error:
            self.problem(subscriber, str(error))
            self.close(subscriber)
            return False
        return True

    def read_slowly(self, subscriber):
        if subscriber.sock:
            self.read(subscriber, SLOW_BYTES)
        if subscriber.sock:
            self.later(SLOW_PAUSE, self.read_slowly, subscriber)

    def on_connected(self, subscriber):
        error = subscriber.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.fail(subscriber, f"connect: {os.strerror(error)}")
            return
        subscriber.sock.send(subscriber.request(self.address))
        self.epoll.modify(subscriber.sock, select.EPOLLIN)

    # the loop

    def turn(self):
        while self.to_start and self.starting < AT_A_TIME:
            self.start(self.to_start.pop())
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            _, _, action, subscriber = heapq.heappop(self.timers)
            action(subscriber)
        for fd, events in self.epoll.poll(0.02):
            subscriber = self.by_fd.get(fd)
            if not subscriber:
                continue
            if events & select.EPOLLOUT:
                self.on_connected(subscriber)
            else:
                self.read(subscriber)

    def run_until(self, condition, timeout=TIMEOUT):
        deadline = time.monotonic() + timeout
        while not condition() and time.monotonic() < deadline:
            self.turn()

    def serve(self):
        """Reads commands while the streams are read, too."""
        buffer = b""
        while True:
            self.turn()
            if not select.select([0], [], [], 0)[0]:
                continue
            data = os.read(0, 65536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                name, arguments = json.loads(line)
                answer = getattr(self, f"do_{name}")(**arguments)
                print(json.dumps({**self.state(), **(answer or {})}), flush=True)

    def state(self):
        return {"open": len(self.by_fd), "problems": self.problems, **self.counts,
                "longest_ms": self.longest_us / 1000, "longest_away": self.longest_away}

    # commands

    def do_open(self, streams):
        for kind, key, count in streams:
            added = [Subscriber(kind, key) for _ in range(count)]
            self.all += added
            self.to_start += added
        self.run_until(lambda: self.problems or (not self.to_start and not self.starting))
        self.longest_us = 0

    def do_report(self):
        pass

    def do_expect(self, latest):
        def missing():
            return sum(subscriber.last != latest.get(subscriber.key, 0) for subscriber in self.all)
        self.run_until(lambda: self.problems or not missing())
        return {"missing": missing()}

    def do_wake(self):
        for subscriber in self.all:
            if subscriber.kind == "stalled" and subscriber.sock:
                subscriber.kind = "awake"
                self.epoll.register(subscriber.sock, select.EPOLLIN)

    def do_await_failures(self):
        self.run_until(lambda: self.problems or self.counts["back"] >= len(self.all))

    def do_end(self):
        self.ending = True
        self.run_until(lambda: not self.by_fd)


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Subscribers((sys.argv[1], int(sys.argv[2]))).serve()


main()
