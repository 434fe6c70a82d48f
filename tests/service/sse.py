# SPDX-License-Identifier: BSD-3-Clause
"""A subscriber that forgives nothing.

Browsers' parsers take almost anything; some of the SDKs' hand-written ones take just one spelling.  So the bytes
are compared with that one spelling: chunk sizes, line ends, field order, a single event in each chunk.
"""
import re
import select
import time
from dataclasses import dataclass

from wire import TIMEOUT, BufferedSocket, Connection, connect, host_field

# The whole response head, in this order; nothing else, not even a Date.
HEAD = {
    "1.1": (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: text/event-stream\r\n"
        b"Cache-Control: no-cache, no-transform\r\n"
        b"X-Accel-Buffering: no\r\n"
        b"Connection: close\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Access-Control-Expose-Headers: Retry-After\r\n"
        b"Transfer-Encoding: chunked\r\n"
        b"\r\n"
    ),
    "1.0": (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: text/event-stream\r\n"
        b"Cache-Control: no-cache, no-transform\r\n"
        b"X-Accel-Buffering: no\r\n"
        b"Connection: close\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"Access-Control-Expose-Headers: Retry-After\r\n"
        b"\r\n"
    ),
}

KEEPALIVE = b":\n\n"

CHUNK_SIZE = re.compile(rb"[1-9a-fA-F][0-9a-fA-F]{0,7}")
FIELD = re.compile(r"(id|event|data|retry): (\S.*)")
COMMENT = re.compile(r":( \S.*)?")
EVENT = re.compile(
    rb"id: ([1-9][0-9]*)\nevent: environment_updated\ndata: "
    rb'\{"updated_at": ([1-9][0-9]*)\.([0-9]{6})\}\n\n'
)
GREETING = re.compile(rb": [ -~]+\nretry: ([1-9][0-9]*)\n\n")


class Malformed(AssertionError):
    """What came is not what any of the SDKs may be sent."""


@dataclass(frozen=True)
class Event:
    id: int  # updated_at in microseconds


@dataclass(frozen=True)
class Greeting:
    retry: int  # milliseconds


@dataclass(frozen=True)
class Keepalive:
    pass


def format_event(time_us):
    """The bytes of the event of an update."""
    seconds, us = divmod(time_us, 1_000_000)
    return (
        f"id: {time_us}\nevent: environment_updated\ndata: "
        f'{{"updated_at": {seconds}.{us:06}}}\n\n'
    ).encode()


def format_chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def check_lines(data):
    """The rules that hold for any block of the stream, whatever it is."""
    if b"\r" in data:
        raise Malformed(f"a CR: {data!r}")
    if data.startswith(b"\xef\xbb\xbf"):
        raise Malformed(f"a byte-order mark: {data!r}")
    if not data.endswith(b"\n\n"):
        raise Malformed(f"the block does not end with an empty line: {data!r}")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(f"not ASCII: {data!r}") from None
    for line in text[:-2].split("\n"):
        if line == "":
            raise Malformed(f"more than one event in one chunk: {data!r}")
        if not COMMENT.fullmatch(line) and not FIELD.fullmatch(line):
            raise Malformed(f"neither a comment nor a known field with one space: {line!r}")


def parse_block(data):
    """One block (what one chunk holds) to Event, Greeting or Keepalive."""
    check_lines(data)
    if data == KEEPALIVE:
        return Keepalive()
    match = GREETING.fullmatch(data)
    if match:
        return Greeting(int(match[1]))
    match = EVENT.fullmatch(data)
    if not match:
        raise Malformed(f"neither keep-alive, greeting nor event: {data!r}")
    if int(match[1]) != int(match[2] + match[3]):
        raise Malformed(f"the id is not updated_at: {data!r}")
    return Event(int(match[1]))


class ChunkedParser:
    """Bytes to the content of each chunk, for HTTP/1.1."""

    def __init__(self):
        self.buffer = b""
        self.finished = False

    def feed(self, data):
        if self.finished:
            raise Malformed(f"bytes after the last chunk: {data!r}")
        self.buffer += data
        chunks = []
        while True:
            chunk = self._next()
            if chunk is None:
                return chunks
            if chunk == b"":
                self.finished = True
                if self.buffer:
                    raise Malformed(f"bytes after the last chunk: {self.buffer!r}")
                return chunks
            chunks.append(chunk)

    def _next(self):
        """A chunk; b"" for the last one; None until there is a whole one."""
        line, newline, _ = self.buffer.partition(b"\r\n")
        if not newline:
            if len(line) > 9 or not re.fullmatch(rb"[0-9a-fA-F]*\r?", line):
                raise Malformed(f"no chunk size: {line!r}")
            return None
        start = len(line) + 2
        if line == b"0":
            if len(self.buffer) < start + 2:
                return None
            if self.buffer[start : start + 2] != b"\r\n":
                raise Malformed(f"the last chunk ends badly: {self.buffer!r}")
            self.buffer = self.buffer[start + 2 :]
            return b""
        if not CHUNK_SIZE.fullmatch(line):
            raise Malformed(f"no chunk size: {line!r}")
        end = start + int(line, 16)
        if len(self.buffer) < end + 2:
            return None
        if self.buffer[end : end + 2] != b"\r\n":
            raise Malformed(f"no CRLF after the chunk: {self.buffer[:end + 2]!r}")
        chunk, self.buffer = self.buffer[start:end], self.buffer[end + 2 :]
        return chunk

    @property
    def clean(self):
        """Whether the connection may end here."""
        return self.finished


class IdentityParser:
    """Bytes to blocks, for HTTP/1.0: the body ends with the connection."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data):
        *blocks, self.buffer = (self.buffer + data).split(b"\n\n")
        return [block + b"\n\n" for block in blocks]

    @property
    def clean(self):
        return not self.buffer


class Refused(Exception):
    """The answer was not a stream; `response` is what it was."""

    def __init__(self, response):
        super().__init__(str(response))
        self.response = response


def format_subscription(address, key, headers=(), version="1.1", query="", target=None):
    target = target or f"/sse/environments/{key}/stream"
    text = f"GET {target}{query} HTTP/{version}\r\n"
    if version == "1.1":
        text += f"Host: {host_field(address)}\r\n"
    if not any(name.lower() == "accept" for name, _ in headers):
        text += "Accept: text/event-stream\r\n"
    for name, value in headers:
        text += f"{name}: {value}\r\n"
    return (text + "\r\n").encode("latin-1")


class Stream:
    """One subscriber.  Making it sends the request and checks the head; the greeting must come first."""

    def __init__(self, address, key, *, headers=(), version="1.1", query="", target=None,
                 receive_buffer=None, extra=b"", wait=True, sock=None):
        self.address = address
        self.version = version
        self.sock = sock or connect(address, receive_buffer=receive_buffer)
        self.parser = ChunkedParser() if version == "1.1" else IdentityParser()
        self.blocks = []
        self.raw = b""  # the body, as it came
        self.retry = None
        self.ended = False
        self.sock.sendall(
            format_subscription(address, key, headers, version, query, target) + extra)
        if wait:
            self.start()

    def start(self):
        """Reads the head and the greeting."""
        try:
            self._read_head()
            greeting = self.next()
            assert isinstance(greeting, Greeting), f"the greeting must be first: {greeting}"
            self.retry = greeting.retry
        except BaseException:
            self.close()
            raise
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def _read_head(self):
        reader = BufferedSocket(self.sock)
        head = reader.take_until(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            self._refused(head + reader.buffer)
        self.check_head(head)
        self._feed(reader.buffer)

    def check_head(self, head):
        assert head == HEAD[self.version], head

    def split_chunk(self, chunk):
        """What a chunk holds, block by block: one, as flagsse writes them."""
        return (chunk,)

    def _refused(self, begun):
        connection = Connection(self.address, sock=self.sock)
        connection.buffer = begun
        raise Refused(connection.read_response())

    def _feed(self, data):
        self.raw += data
        chunks = self.parser.feed(data) if data else ()
        for block in (block for chunk in chunks for block in self.split_chunk(chunk)):
            parsed = parse_block(block)
            if isinstance(parsed, Greeting) and (self.retry is not None or self.blocks):
                raise Malformed(f"a greeting within the stream: {block!r}")
            self.blocks.append(parsed)

    def receive(self, timeout=TIMEOUT):
        """Takes in one piece.  False: nothing came in time, or the stream had its end."""
        if self.ended or not select.select([self.sock], [], [], timeout)[0]:
            return False
        data = self.sock.recv(65536)
        if not data:
            self.ended = True
            if not self.parser.clean:
                raise Malformed(f"the stream ended within something: {self.parser.buffer!r}")
            return False
        self._feed(data)
        return True

    def next(self, timeout=TIMEOUT):
        """The next block of whatever kind."""
        deadline = time.monotonic() + timeout
        while not self.blocks:
            if not self.receive(max(0, deadline - time.monotonic())):
                what = "the stream ended" if self.ended else f"nothing came in {timeout} s"
                raise AssertionError(what)
        return self.blocks.pop(0)

    def event(self, timeout=TIMEOUT):
        """The id of the next event; keep-alives are passed over."""
        deadline = time.monotonic() + timeout
        while True:
            block = self.next(max(0, deadline - time.monotonic()))
            if isinstance(block, Event):
                return block.id
            assert isinstance(block, Keepalive), block

    def events_until(self, last, timeout=TIMEOUT, above=0):
        """The ids up to and with `last`, or one that is at most so far above it."""
        ids = []
        deadline = time.monotonic() + timeout
        while not ids or not last <= ids[-1] <= last + above:
            try:
                ids.append(self.event(deadline - time.monotonic()))
            except AssertionError as error:
                raise AssertionError(f"waited for {last}, got only {ids}: {error}") from None
        return ids

    def quiet(self, seconds):
        """Asserts that no event comes, and no end."""
        deadline = time.monotonic() + seconds
        while self.receive(max(0, deadline - time.monotonic())):
            pass
        assert not self.ended, "the stream ended"
        events = [block for block in self.blocks if not isinstance(block, Keepalive)]
        assert not events, f"not wanted: {events}"
        self.blocks.clear()

    def settle(self, last, seconds):
        """The id of the last event, `last` if no more come, once none has come for so long."""
        deadline = time.monotonic() + TIMEOUT + seconds
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.receive(max(0, until - time.monotonic()))
            assert not self.ended, "the stream ended"
            for block in self.blocks:
                if isinstance(block, Event):
                    last, until = block.id, time.monotonic() + seconds
            self.blocks.clear()
            assert until < deadline, f"events go on, the last is {last}"
        return last

    def end(self, timeout=TIMEOUT):
        """Asserts that the stream ends cleanly, and gives the ids that came before."""
        deadline = time.monotonic() + timeout
        while self.receive(max(0, deadline - time.monotonic())):
            pass
        assert self.ended, f"the stream goes on after {timeout} s"
        ids = [block.id for block in self.blocks if isinstance(block, Event)]
        self.blocks.clear()
        self.close()
        return ids
