# SPDX-License-Identifier: BSD-3-Clause
"""Honest clients beside an attack, in a process of their own: honest.py PORT TOKEN STREAMS ADDRESS

STREAMS subscribers of several environments, from addresses that no attacker uses, and once every 0.1 s a publisher and
a prober of /livez, each on a new connection from ADDRESS.  The process reads nothing but lines on standard input and
answers each with a line of JSON:
    open    all streams are open, and publishing begins: {"streams": N}
    finish  publishing has stopped, and all that was awaited has come or is given up: see report().  Streams stay open.
"""
import json
import re
import resource
import select
import socket
import sys
import time

from daemon import fresh_time_us, isoformat

ENVIRONMENTS = 10
SOURCES = 4  # addresses 127.1.0.1 and on
OPEN_AT_A_TIME = 100
OPEN_TIME = 60
INTERVAL = 0.1  # between two publishes, and between two probes
ANSWER_TIME = 5  # then an answer is given up
DELIVERY_TIME = 5  # after the last answer
HELD = 400  # bytes kept of a stream: an event's id is never above its middle
IP_BIND_ADDRESS_NO_PORT = 24
EVENT_ID = re.compile(rb"id: ([0-9]+)\n")


class Subscriber:
    def __init__(self, key):
        self.key = key
        self.tail = b""
        self.is_open = False
        self.last = 0  # the newest event's id

    def request(self):
        return (f"GET /sse/environments/{self.key}/stream HTTP/1.1\r\nHost: x\r\n"
                "Accept: text/event-stream\r\n\r\n").encode()

    def receive(self, data):
        self.tail += data
        self.is_open = self.is_open or (self.tail.startswith(b"HTTP/1.1 200 ") and b"\nretry: " in self.tail)
        for match in EVENT_ID.finditer(self.tail):
            self.last = max(self.last, int(match[1]))
        if self.is_open:
            self.tail = self.tail[-HELD:]


class Exchange:
    """One request on its own connection, and its answer."""

    def __init__(self, kind, data, key=None, time_us=None):
        self.kind = kind
        self.data = data
        self.key = key
        self.time_us = time_us
        self.begun = time.monotonic()
        self.answer = b""

    def request(self):
        return self.data

    def receive(self, data):
        self.answer += data

    def is_whole(self):
        head, end, body = self.answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
        return bool(end and length) and len(body) >= int(length[1])


class Honest:
    def __init__(self, port, token, streams, source):
        self.address = ("127.0.0.1", port)
        self.token = token
        self.count = streams
        self.source = source
        self.epoll = select.epoll()
        self.epoll.register(sys.stdin, select.EPOLLIN)
        self.clients = {}  # descriptor -> (socket, Subscriber or Exchange)
        self.exchanges = set()  # descriptors
        self.problems = []
        self.times = {"publish": [], "livez": []}  # seconds, of those answered 200
        self.asked = 0
        self.cut = 0
        self.newest = {}  # key -> the newest update that was answered 200
        self.next_begin = None  # when the next publish and probe begin

    # connections

    def connect(self, client, source):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
        try:
            sock.connect(self.address)
        except BlockingIOError:
            pass
        self.clients[sock.fileno()] = (sock, client)
        self.epoll.register(sock, select.EPOLLOUT)
        return sock.fileno()

    def drop(self, fd):
        sock, _ = self.clients.pop(fd)
        self.exchanges.discard(fd)
        self.epoll.unregister(fd)
        sock.close()

    def lose(self, fd, why):
        """What an honest client must not see."""
        _, client = self.clients[fd]
        self.drop(fd)
        if isinstance(client, Subscriber):
            self.cut += 1
            self.problems.append(f"stream of {client.key}: {why} after {client.tail[:100]!r}")
        else:
            seconds = time.monotonic() - client.begun
            self.problems.append(f"{client.kind}: {why} after {seconds:.2f} s and {client.answer[:100]!r}")

    def act(self, fd, events):
        sock, client = self.clients[fd]
        try:
            if events & select.EPOLLOUT:
                sock.send(client.request())
                self.epoll.modify(fd, select.EPOLLIN)
                return
            data = sock.recv(65536)
        except OSError as error:
            self.lose(fd, f"{type(error).__name__}")
            return
        if not data:
            self.lose(fd, "the end")
            return
        client.receive(data)
        if isinstance(client, Exchange) and client.is_whole():
            self.complete(fd, client)

    def turn(self, seconds):
        """False: the test is gone.  Gives the line that it has sent, if any."""
        line = None
        for fd, events in self.epoll.poll(seconds):
            if fd == sys.stdin.fileno():
                line = sys.stdin.readline()
                if not line:
                    sys.exit()
            elif fd in self.clients:
                self.act(fd, events)
        return line

    # what it does

    def open(self):
        deadline = time.monotonic() + OPEN_TIME
        waiting = []
        started = 0
        while (started < self.count or waiting) and time.monotonic() < deadline:
            while started < self.count and len(waiting) < OPEN_AT_A_TIME:
                subscriber = Subscriber(f"honest-{started % ENVIRONMENTS}")
                self.connect(subscriber, f"127.1.0.{1 + started % SOURCES}")
                waiting.append(subscriber)
                started += 1
            self.turn(0.1)
            waiting = [subscriber for subscriber in waiting if not subscriber.is_open]
        self.next_begin = time.monotonic()
        return {"streams": self.count_open(), "problems": self.problems[:5]}

    def count_open(self):
        return sum(isinstance(client, Subscriber) and client.is_open for _, client in self.clients.values())

    def publication(self):
        key = f"honest-{self.asked % ENVIRONMENTS}"
        time_us = fresh_time_us()
        body = json.dumps({"updated_at": isoformat(time_us)})
        return Exchange("publish", (
            f"POST /sse/environments/{key}/queue-change HTTP/1.1\r\nHost: x\r\nAuthorization: Token {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode(), key, time_us)

    def begin(self):
        """The next publish and probe, whatever has become of those before."""
        self.next_begin += INTERVAL
        for exchange in (self.publication(), Exchange("livez", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")):
            self.exchanges.add(self.connect(exchange, self.source))
        self.asked += 1

    def complete(self, fd, exchange):
        if not exchange.answer.startswith(b"HTTP/1.1 200 "):
            self.lose(fd, "a refusal")
            return
        self.times[exchange.kind].append(time.monotonic() - exchange.begun)
        if exchange.key:
            self.newest[exchange.key] = max(self.newest.get(exchange.key, 0), exchange.time_us)
        self.drop(fd)

    def give_up(self):
        now = time.monotonic()
        for fd in list(self.exchanges):
            if now - self.clients[fd][1].begun > ANSWER_TIME:
                self.lose(fd, "given up")

    def behind(self):
        """Streams that lack an update which was answered 200, and no newer one has replaced."""
        return sum(client.last < self.newest.get(client.key, 0) for _, client in self.clients.values()
                   if isinstance(client, Subscriber))

    def finish(self):
        self.next_begin = None
        while self.exchanges:
            self.turn(0.1)
            self.give_up()
        deadline = time.monotonic() + DELIVERY_TIME
        while self.behind() and time.monotonic() < deadline:
            self.turn(0.1)
        return self.report()

    def report(self):
        return {"streams": self.count_open(), "cut": self.cut, "behind": self.behind(), "asked": self.asked,
                "times": self.times, "problems": self.problems}

    def run(self):
        while True:
            pause = 60 if self.next_begin is None else max(0, self.next_begin - time.monotonic())
            line = self.turn(pause)
            if line:
                print(json.dumps(getattr(self, line.strip())()), flush=True)
            elif self.next_begin is not None and time.monotonic() >= self.next_begin:
                self.begin()
            self.give_up()


def main():
    port, token, streams, source = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Honest(port, token, streams, source).run()


main()
