# SPDX-License-Identifier: BSD-3-Clause
"""Clients that read, fail and come back as Flagsmith's SDKs do: each has its fields, and its own idea of a stream.

Each is a thread.  What it takes an update to be is in `updates`, in the order in which it came.
"""
import http.client
import json
import random
import socket
import threading
from contextlib import contextmanager

from service import path_of

EVENT_STREAM = "text/event-stream"


class Failed(Exception):
    """The stream could not be had, or broke off."""


def microseconds(updated_at):
    return round(updated_at * 1_000_000)


class Sdk(threading.Thread):
    headers = ()

    def __init__(self, address, key):
        super().__init__(name=type(self).__name__)
        self.address = address
        self.key = key
        self.updates = []
        self.opened = 0
        self.ended = 0
        self.error = None  # why it does not go on
        self.stopping = threading.Event()
        self.sockets = set()

    def stop(self):
        self.stopping.set()
        for sock in list(self.sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has its end

    def pause(self, seconds):
        self.stopping.wait(seconds)

    def run(self):
        try:
            while not self.stopping.is_set():
                self.listen()
        except BaseException as error:  # pylint: disable=broad-except
            if not self.stopping.is_set():
                self.error = repr(error)

    def listen(self):
        """One stream, and what it does between that and the next."""
        raise NotImplementedError

    @contextmanager
    def stream(self, headers=(), query=""):
        """The response, of which only the headers are read.  All that goes wrong is Failed."""
        connection = http.client.HTTPConnection(*self.address, timeout=20)  # keep-alives come more often
        sock = None
        try:
            connection.connect()
            sock = connection.sock  # which http.client forgets
            self.sockets.add(sock)
            connection.putrequest("GET", path_of(self.key, "stream") + query, skip_accept_encoding=True)
            for name, value in (*self.headers, *headers):
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            if response.status != 200:
                raise Failed(f"status {response.status}")
            self.opened += 1
            yield response
            self.ended += 1
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failed(repr(error)) from error
        finally:
            self.sockets.discard(sock)
            connection.close()

    def take(self, data):
        self.updates.append(microseconds(json.loads(data)["updated_at"]))

    def take_lines(self, lines):
        """As a scanner does that looks for one spelling, and knows no events."""
        for line in lines:
            if line.startswith(b"data: "):
                self.take(line[len(b"data: "):])


class EventSource(Sdk):
    """By the standard: fields, events, the last id, and a pause that the server tells."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.last_id = None
        self.retry = 3.0

    def read(self, response):
        event = {}
        for line in iter(response.readline, b""):
            name, _, value = line.decode().rstrip("\n").partition(":")
            value = value.removeprefix(" ")
            if name:
                event[name] = value
            if name == "retry":
                self.retry = int(value) / 1000
            if not name and not value:
                self.dispatch(event)
                event = {}

    def dispatch(self, event):
        self.last_id = event.get("id", self.last_id)
        if event.get("event") == "environment_updated" and "data" in event:
            self.take(event["data"])

    def known(self):
        return (("Last-Event-ID", self.last_id),) if self.last_id else ()


class JavaScript(EventSource):
    """reconnecting-eventsource over a browser's: after an error status a new one, with the id in its query."""

    headers = (("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0 Safari/537.36"), ("Accept", EVENT_STREAM),
               ("Cache-Control", "no-store"), ("Origin", "https://app.example.com"), ("Sec-Fetch-Mode", "cors"),
               ("Accept-Encoding", "gzip, deflate, br"))

    def listen(self):
        query = f"?lastEventId={self.last_id}" if self.last_id else ""
        headers = ()
        try:
            while not self.stopping.is_set():
                with self.stream(headers, query) as response:
                    self.read(response)
                self.pause(self.retry)
                headers = self.known()
        except Failed:
            self.pause(3 * random.random())


class ReactNative(EventSource):
    """react-native-sse: an XMLHttpRequest, polled again after `retry`."""

    headers = (("User-Agent", "okhttp/4.9.2"), ("X-Requested-With", "XMLHttpRequest"), ("Accept", EVENT_STREAM),
               ("Cache-Control", "no-cache"), ("Accept-Encoding", "gzip"))

    def listen(self):
        try:
            with self.stream(self.known()) as response:
                self.read(response)
        except Failed:
            pass
        self.pause(self.retry)


class Android(EventSource):
    """okhttp-sse: again at once after a clean end, and after anything else never."""

    headers = (("Accept", f"application/json, {EVENT_STREAM}"), ("Accept", EVENT_STREAM),
               ("User-Agent", "okhttp/4.11.0"), ("Accept-Encoding", "gzip"), ("Connection", "Keep-Alive"))

    def listen(self):
        with self.stream() as response:
            self.read(response)


class Ios(Sdk):
    """URLSession: each piece that comes is parsed alone, and what is half a line in it is an error."""

    headers = (("User-Agent", "App/1 CFNetwork/1490.0.4 Darwin/23.2.0"), ("Connection", "keep-alive"),
               ("Accept", f"{EVENT_STREAM}, application/json; charset=utf-8"), ("Cache-Control", "no-cache"))

    def listen(self):
        try:
            with self.stream() as response:
                while piece := response.read1(65536):  # of one chunk
                    for line in piece.split(b"\n"):
                        if line.startswith(b"data:"):
                            self.take(line.replace(b"data:", b""))
        except Failed:
            self.pause(0.5)


class Flutter(Sdk):
    """A new stream every so often; the old ones are kept until the server ends them."""

    headers = (("User-Agent", "Dart/3.2 (dart:io)"), ("Accept", EVENT_STREAM), ("Cache-Control", "no-cache"),
               ("Accept-Encoding", "gzip"))
    period = 1.0  # 29 s, if it were not for the time that a test may take

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.readers = []

    def listen(self):
        self.readers.append(threading.Thread(target=self.read))
        self.readers[-1].start()
        self.pause(self.period)

    def read(self):
        try:
            with self.stream() as response:
                for line in iter(response.readline, b""):
                    if line.startswith(b"data: "):
                        updated_at = json.loads(line[len(b"data: "):])["updated_at"]
                        if isinstance(updated_at, float):  # "is double": an integer is passed over
                            self.updates.append(microseconds(updated_at))
        except Failed:
            pass  # the next one comes anyway

    def join(self, timeout=None):
        super().join(timeout)
        for reader in self.readers:
            reader.join(timeout)


class Python(Sdk):
    """requests and sseclient: whole events, again at once whatever happened."""

    headers = (("User-Agent", "python-requests/2.31.0"), ("Accept-Encoding", "gzip, deflate"),
               ("Accept", f"application/json, {EVENT_STREAM}"), ("Connection", "keep-alive"))

    def listen(self):
        try:
            with self.stream() as response:
                if not response.chunked:
                    raise Failed("not chunked: requests would wait for full buffers")
                rest = b""
                while piece := response.read1(65536):
                    *events, rest = (rest + piece).split(b"\n\n")
                    for event in events:
                        self.take_lines(event.split(b"\n"))
        except Failed:
            self.pause(0.01)


class Ruby(Sdk):
    """Faraday: it looks at the body when it has all of it."""

    headers = (("User-Agent", "Faraday v2.7.4"), ("Accept", "*/*"),
               ("Accept-Encoding", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3"))

    def listen(self):
        self.pause(0.5)
        try:
            with self.stream() as response:
                self.take_lines(response.read().splitlines())
        except Failed:
            pass


class Go(Sdk):
    """A scanner over lines; again at once after an end, and after a while after errors."""

    headers = (("User-Agent", "Go-http-client/1.1"), ("Accept-Encoding", "gzip"))

    def listen(self):
        try:
            with self.stream() as response:
                self.take_lines(iter(response.readline, b""))
        except Failed:
            self.pause(0.2)


ALL = (JavaScript, ReactNative, Android, Ios, Flutter, Python, Ruby, Go)


@contextmanager
def all_sdks(address, key):
    """All of them at once, by name."""
    sdks = {kind.__name__: kind(address, key) for kind in ALL}
    try:
        for sdk in sdks.values():
            sdk.start()
        yield sdks
    finally:
        for sdk in sdks.values():
            sdk.stop()
        for sdk in sdks.values():
            sdk.join(30)
