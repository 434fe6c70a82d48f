# SPDX-License-Identifier: BSD-3-Clause
"""Malformed requests over sockets, very many at once, against the whole daemon; started by `./dev fuzz`.

To each connection the daemon answers, or it closes it.  It lives; a stream that was open before is open after, and
gets its update; descriptors are as many as before, memory does not grow; and it ends cleanly, which the address
sanitizer's look for leaks is part of.
"""
import argparse
import collections
import os
import random
import re
import resource
import select
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1] / "service")]

from daemon import Daemon, program, under_sanitizer  # noqa: E402
from requests import TOKEN, conversation  # noqa: E402
from wire import wait_until  # noqa: E402

AT_ONCE = 4000  # many of them are subscribers that are refused, and wait for seconds
PAUSE = 0.02  # between pieces, seconds
PATIENCE = 30  # for an answer or the end; the daemon gives up on a request after REQUEST_TIMEOUT
REQUEST_TIMEOUT = 1
ENOUGH = 0.3  # after an answer, what else may come is awaited so long
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
STATUSES = {100, 200, 202, 204, 400, 401, 404, 405, 408, 411, 413, 414, 417, 422, 431, 501, 503, 505}
STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
GROWTH = 24 * 2**20  # bytes of memory, from the first tenth to the last; see main()


class Conversation:
    def __init__(self, seed, address):
        self.seed = seed
        self.pieces, self.closes, self.count = conversation(seed)
        self.received = b""
        self.due = 0.0  # when the next piece goes out
        self.deadline = time.monotonic() + PATIENCE
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.bind((f"127.0.0.{2 + seed % 16}", 0))
        try:
            self.sock.connect(address)
        except BlockingIOError:
            pass

    def send(self, now):
        """What is due.  False: all has been sent."""
        while self.pieces and now >= self.due:
            sent = self.sock.send(self.pieces[0])
            self.pieces[0] = self.pieces[0][sent:]
            if self.pieces[0]:
                return True
            self.pieces.pop(0)
            self.due = now + PAUSE
        if not self.pieces and self.closes:
            self.sock.shutdown(socket.SHUT_WR)
        return bool(self.pieces)


class Attack:
    def __init__(self, address, seed, total):
        self.address = address
        self.seed = seed
        self.total = total
        self.requests = self.started = self.done = 0
        self.open = {}
        self.waiting = set()  # for their next piece
        self.next_sweep = 0.0
        self.epoll = select.epoll()
        self.outcomes = collections.Counter()
        self.problems = []

    def run(self, on_tenth):
        tenth = 0
        while self.requests < self.total or self.open:
            while self.requests < self.total and len(self.open) < AT_ONCE:
                self._begin()
            self._turn()
            if self.requests * 10 // self.total > tenth:
                tenth = self.requests * 10 // self.total
                on_tenth(tenth)

    def _begin(self):
        talk = Conversation(self.seed * 10**7 + self.started, self.address)
        self.started += 1
        self.requests += talk.count
        self.open[talk.sock.fileno()] = talk
        self.epoll.register(talk.sock, select.EPOLLIN | select.EPOLLOUT)

    def _turn(self):
        for fd, events in self.epoll.poll(0.01):
            talk = self.open[fd]
            try:
                if events & select.EPOLLOUT and talk.pieces:
                    self._send(fd, talk)
                if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                    self._receive(fd, talk)
            except OSError as error:
                self._end(fd, f"reset ({type(error).__name__})")
        if time.monotonic() >= self.next_sweep:
            self._sweep()

    def _sweep(self):
        """What nothing has happened to."""
        now = time.monotonic()
        self.next_sweep = now + PAUSE / 2
        for fd, talk in list(self.open.items()):
            if talk.received and now > talk.deadline:
                self._end(fd, "answered, and open")
            elif now > talk.deadline:
                self.problems.append(f"neither answer nor end in {PATIENCE} s: seed {talk.seed}")
                self._end(fd, "silence")
            elif fd in self.waiting and now >= talk.due:
                self.waiting.discard(fd)
                self.epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

    def _send(self, fd, talk):
        now = time.monotonic()
        if not talk.send(now):
            self.epoll.modify(fd, select.EPOLLIN)
        elif now < talk.due:
            self.waiting.add(fd)
            self.epoll.modify(fd, select.EPOLLIN)

    def _receive(self, fd, talk):
        data = talk.sock.recv(65536)
        if not data:
            self._end(fd, "answered, and closed" if talk.received else "closed")
            return
        talk.received += data
        talk.deadline = min(talk.deadline, time.monotonic() + (ENOUGH if not talk.pieces else PATIENCE))

    def _end(self, fd, outcome):
        talk = self.open.pop(fd)
        self.waiting.discard(fd)
        self.epoll.unregister(fd)
        talk.sock.close()
        self.outcomes[outcome] += 1
        if not talk.received:
            return
        match = STATUS.match(talk.received.removeprefix(CONTINUE) or CONTINUE)
        if not match or int(match[1]) not in STATUSES:
            self.problems.append(f"an answer that must not be: {talk.received[:200]!r}, seed {talk.seed}")
        else:
            self.outcomes[f"first status {match[1].decode()}"] += 1


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def memory(daemon):
    """Bytes that are the process's own, or its share of what it shares."""
    text = Path(f"/proc/{daemon.pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: *(\d+)", text, re.M)[1]) * 1024


def attack(daemon, seed, total):
    samples = []

    def on_tenth(tenth):
        samples.append(memory(daemon))
        print(f"{tenth * 10:4} %: {samples[-1] / 2**20:6.1f} MiB, {descriptors(daemon)} descriptors", flush=True)
    before = descriptors(daemon)
    with daemon.stream("steady") as stream:
        assault = Attack(daemon.address, seed, total)
        begun = time.monotonic()
        assault.run(on_tenth)
        print(f"{assault.requests} requests on {assault.started} connections in {time.monotonic() - begun:.0f} s")
        print("; ".join(f"{n} {what}" for what, n in sorted(assault.outcomes.items())))
        assert not assault.problems, "\n".join(assault.problems[:20])
        assert daemon.get("/livez").status == 200
        time_us = daemon.publish("steady")
        assert stream.event() == time_us
    wait_until(lambda: descriptors(daemon) <= before, f"there were {before} descriptors before the attack")
    assert samples[-1] - samples[0] < GROWTH, f"memory has grown from {samples[0]} to {samples[-1]} bytes"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}; {program()}")
    assert under_sanitizer(), "FLAGSSE_SANITIZER says that the program has no sanitizer"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Freed memory is kept aside by the sanitizer, 256 MiB by default: growth would not be seen.
    options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"
    with tempfile.TemporaryDirectory(prefix="flagsse-attack.") as directory:
        daemon = Daemon(Path(directory), token=TOKEN.decode(), env={"ASAN_OPTIONS": options.lstrip(":")},
                        options=[f"http.request_timeout={REQUEST_TIMEOUT}s", "http.idle_timeout=1s",
                                 "service.log_level=warning"])
        daemon.start()
        try:
            attack(daemon, arguments.seed, arguments.requests)
            daemon.stop()
        finally:
            daemon.kill()


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"attack: {error}")
