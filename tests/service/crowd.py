# SPDX-License-Identifier: BSD-3-Clause
"""Very many subscribers in one process: crowd.py PORT KEY COUNT

It is told what to do by lines on standard input, and answers each with one line:
    open        opens all streams; answers when each has had its greeting
    expect ID   answers when each stream that is open has had the event with that id, or after 60 s
    end         answers when each stream has ended, or after 60 s
Answers: {"open": N, "got": N, "clean": N, "problem": TEXT}
"""
import json
import resource
import select
import socket
import sys
import time

TIMEOUT = 60
SOURCES = 8  # addresses 127.0.0.2 and on: one has not ports enough towards one server
AT_A_TIME = 1500  # a storm: the memory of its requests must not stay
HELD = 600  # bytes kept of a stream: head and greeting, or the last events
IP_BIND_ADDRESS_NO_PORT = 24


class Crowd:
    def __init__(self, port, key, count):
        self.address = ("127.0.0.1", port)
        self.request = (f"GET /sse/environments/{key}/stream HTTP/1.1\r\nHost: x\r\n"
                        "Accept: text/event-stream\r\n\r\n").encode()
        self.count = count
        self.epoll = select.epoll()
        self.socks = {}
        self.tails = {}
        self.got = {}
        self.clean = 0
        self.problem = ""

    def connect(self, i):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.0.0.{2 + i % SOURCES}", 0))
        try:
            sock.connect(self.address)
        except BlockingIOError:
            pass
        self.socks[sock.fileno()] = sock
        self.tails[sock.fileno()] = b""
        self.epoll.register(sock, select.EPOLLOUT)

    def drop(self, fd, problem):
        if problem:
            self.problem = self.problem or problem
        self.epoll.unregister(fd)
        self.socks.pop(fd).close()
        self.tails.pop(fd)

    def receive(self, fd):
        """Takes in what is there.  False: the stream is over."""
        try:
            data = self.socks[fd].recv(65536)
        except OSError as error:
            self.drop(fd, f"recv: {error}")
            return False
        if data:
            self.tails[fd] = (self.tails[fd] + data)[-HELD:]
            return True
        if self.tails[fd].endswith(b"\r\n0\r\n\r\n"):
            self.clean += 1
            self.drop(fd, "")
        else:
            self.drop(fd, f"an end without last chunk after {self.tails[fd]!r}")
        return False

    def open(self):
        started = ready = 0
        deadline = time.monotonic() + TIMEOUT
        while ready < self.count and time.monotonic() < deadline and not self.problem:
            while started < self.count and started - ready < AT_A_TIME:
                self.connect(started)
                started += 1
            for fd, events in self.epoll.poll(1):
                if events & select.EPOLLOUT:
                    error = self.socks[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if error:
                        self.drop(fd, f"connect: {error}")
                        continue
                    self.socks[fd].send(self.request)
                    self.epoll.modify(fd, select.EPOLLIN)
                elif self.receive(fd) and b"\nretry: " in self.tails[fd]:
                    if not self.tails[fd].startswith(b"HTTP/1.1 200 "):
                        self.drop(fd, self.tails[fd].decode())
                    ready += 1

    def expect(self, number):
        mark = b"id: %d\n" % number
        self.got = {fd for fd, tail in self.tails.items() if mark in tail}
        deadline = time.monotonic() + TIMEOUT
        while len(self.got) < len(self.socks) and time.monotonic() < deadline:
            for fd, _ in self.epoll.poll(1):
                if self.receive(fd) and mark in self.tails[fd]:
                    self.got.add(fd)

    def end(self):
        deadline = time.monotonic() + TIMEOUT
        while self.socks and time.monotonic() < deadline:
            for fd, _ in self.epoll.poll(1):
                self.receive(fd)

    def report(self):
        print(json.dumps({"open": len(self.socks), "got": len(self.got), "clean": self.clean,
                          "problem": self.problem}), flush=True)


def main():
    port, key, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Crowd(port, key, count)
    for line in sys.stdin:
        command, *arguments = line.split()
        getattr(crowd, command)(*map(int, arguments))
        crowd.report()


main()
