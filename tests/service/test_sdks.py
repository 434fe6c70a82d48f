# SPDX-License-Identifier: BSD-3-Clause
"""Clients that behave as each of Flagsmith's SDKs does, with what is peculiar to each.

Their parsers here are as crude as the originals: what these take, the SDKs take.
"""
import json
import re
import shutil
import socket
import subprocess
import time

import pytest

from daemon import fresh_key, fresh_time_us, run
from sse import format_chunk, format_event, format_subscription
from wire import connect


@pytest.fixture(scope="module")
def service(start_shared):
    """flutter's own 37 s are too long for a test, and so is the life of a stream that an id is valid after."""
    return start_shared.daemon(config=(
        "[streams]\nretry_min = 1ms\nretry_max = 1ms\n[profile flutter]\nmax_age = 2s\n"
        "[profile known]\nuser_agent = Known/\nmax_age = 1s\n"))


# Browsers, the JavaScript SDK

BROWSER = (
    ("Connection", "keep-alive"), ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0 Safari/537.36"),
    ("Accept", "text/event-stream"), ("Cache-Control", "no-store"), ("Origin", "https://app.example.com"),
    ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"),
    ("Referer", "https://app.example.com/"), ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-US,en;q=0.9"))


def test_browser(service, key):
    """EventSource reconnects with Last-Event-ID; the head with its CORS fields is compared byte for byte."""
    with service.stream(key, headers=BROWSER) as stream:
        time_us = service.publish(key)
        assert stream.event() == time_us
    with service.stream(key, headers=(*BROWSER, ("Last-Event-ID", str(time_us)))) as stream:
        newer = service.publish(key)
        assert stream.events_until(newer)[-1] == newer


class JavaScript:
    """Compares updated_at before it fetches; drops events while it loads, but the browser records their ids."""

    def __init__(self, fetched):
        self.fetched, self.last_id, self.loading = fetched, None, False

    def headers(self):
        return (*BROWSER, ("Last-Event-ID", str(self.last_id))) if self.last_id else BROWSER

    def take(self, event):
        self.last_id = event
        if not self.loading and event > self.fetched:
            self.fetched = event


def test_a_dropped_event_is_offered_again(service, key):
    sdk = JavaScript(fetched=fresh_time_us())
    sdk.loading = True
    with service.stream(key, headers=sdk.headers()) as stream:
        time_us = service.publish(key)
        sdk.take(stream.event())
    sdk.loading = False
    assert sdk.fetched < time_us == sdk.last_id
    with service.stream(key, headers=sdk.headers()) as stream:
        sdk.take(stream.event())
    assert sdk.fetched == time_us


def test_header_wins_over_query(service, key):
    """The browser's own reconnect of a URL with an older query argument: the header is the later one.

    An id counts once its update is older than a stream's life.
    """
    known = ("User-Agent", "Known/1")
    first = service.publish(key)
    second = service.publish(key)
    time.sleep(1.3)
    with service.stream(key, headers=(known, ("Last-Event-ID", str(second))),
                        query=f"?lastEventId={first}") as stream:
        stream.quiet(0.3)
    with service.stream(key, headers=(known, ("Last-Event-ID", str(first))),
                        query=f"?lastEventId={second}") as stream:
        assert stream.event() == second


# React Native


def test_react_native(service, key):
    """XMLHttpRequest with X-Requested-With: a preflight first where it runs on the web."""
    fields = (("Origin", "http://localhost:8081"), ("Access-Control-Request-Method", "GET"),
              ("Access-Control-Request-Headers", "cache-control,x-requested-with"))
    response = service.request("OPTIONS", f"/sse/environments/{key}/stream", fields)
    assert response.status == 204
    assert {"x-requested-with", "cache-control"} <= response.words("Access-Control-Allow-Headers")
    headers = (("User-Agent", "okhttp/4.9.2"), ("X-Requested-With", "XMLHttpRequest"),
               ("Cache-Control", "no-cache"), ("Accept", "text/event-stream"))
    with service.stream(key, headers=headers) as stream:
        assert stream.retry > 0  # 0 means never again
        time_us = service.publish(key)
        assert stream.event() == time_us


# Android

ANDROID = (("Accept", "application/json, text/event-stream"), ("Accept", "text/event-stream"),
           ("User-Agent", "okhttp/4.11.0"), ("Accept-Encoding", "gzip"), ("Connection", "Keep-Alive"))


def test_android(service, key):
    """Two Accept lines.  It comes back only after a clean end."""
    with service.stream(key, headers=ANDROID) as stream:
        time_us = service.publish(key)
        assert stream.event() == time_us


@pytest.mark.parametrize("accept", ["application/json", "text/html", "image/png;q=0.1", "", "*/*;q=0", "x"])
def test_accept_is_never_a_reason(service, key, accept):
    with service.stream(key, headers=(("Accept", accept),)) as stream:
        time_us = service.publish(key)
        assert stream.event() == time_us


# iOS


def parse_ios(piece):
    """URLSession's didReceive data: each piece alone, nothing kept between two."""
    event = {}
    for line in piece.decode().split("\n"):
        if line.startswith("event: "):
            event["event"] = line[len("event: "):]
        if line.startswith("data: "):
            event["data"] = json.loads(line[len("data: "):])
    return event


def test_ios(service, key):
    """It refetches on every event, and sends no id."""
    with connect(service.address) as sock:
        headers = (("User-Agent", "App/1 CFNetwork/1490.0.4 Darwin/23.2.0"), ("Cache-Control", "no-cache"))
        sock.sendall(format_subscription(service.address, key, headers))
        sock.recv(65536)
        for _ in range(10):
            time_us = service.publish(key)
            piece = sock.recv(65536)
            assert piece == format_chunk(format_event(time_us))
            assert parse_ios(piece) == {"event": "environment_updated", "data": {"updated_at": time_us / 10**6}}


# Flutter


def test_flutter_streams_end_soon(service, key):
    """It opens a new one every 29 s and never closes the old: its profile ends them."""
    begun = time.monotonic()
    with service.stream(key, headers=(("User-Agent", "Dart/3.2 (dart:io)"),)) as dart, \
            service.stream(key, headers=(("User-Agent", "NotDart/3.2"),)) as other:
        time_us = service.publish(key)
        assert dart.event() == time_us
        assert dart.end() == []
        assert 1.4 < time.monotonic() - begun < 15
        assert other.event() == time_us
        other.quiet(0.5)


FLUTTER_ON_THE_WEB = (
    *(field for field in BROWSER if field[0] != "Accept"), ("Accept", "application/json , text/event-stream"))


def test_flutter_on_the_web(service, key):
    """Its User-Agent is the browser's."""
    with service.stream(key, headers=FLUTTER_ON_THE_WEB) as web, service.stream(key, headers=BROWSER) as other:
        assert web.end() == []
        other.quiet(0.2)


def fields_of_dart(body):
    """Those that flutter_client_sse does not know: each begins a chain of retries."""
    fields = [line.split(":")[0] for line in re.split("\r\n|\r|\n", body.decode()) if line]
    return [field for field in fields if field not in ("", "event", "data", "id", "retry")]


@pytest.mark.parametrize("headers", [(("User-Agent", "Dart/3.2 (dart:io)"),), FLUTTER_ON_THE_WEB])
def test_flutter_is_refused_without_a_field(service, headers):
    with connect(service.address) as sock, sock.makefile("rb") as reader:
        sock.sendall(format_subscription(service.address, "ser.x", headers))
        head, _, body = reader.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and body
    assert fields_of_dart(body) == []


def test_flutter_is_never_without_a_stream(start):
    """The next one is there after 29 s: before 80 % of this."""
    daemon = start.daemon()
    printed = run("--print-config", env={"SSE_AUTHENTICATION_TOKEN": daemon.token}).stdout
    section = printed.split("[profile flutter]")[1].split("\n[")[0]
    assert int(re.search(r"^max_age = (\d+) s$", section, re.M)[1]) * 0.8 > 29


def test_flutter_updated_at(service, key):
    """`data['updated_at'] is double` in Dart: an integer is passed over, so the point is always there."""
    service.publish(key, 1673546928_000000)
    with service.stream(key, headers=(("User-Agent", "Dart/3.2 (dart:io)"),)) as stream:
        stream.event()
        assert b'"updated_at": 1673546928.000000}' in stream.raw


# Python


def lines_of_requests(sock_file):
    """requests' iter_lines() over urllib3's chunks: without chunks it waits for whole buffers."""
    while True:
        size = int(sock_file.readline(), 16)
        if not size:
            return
        chunk = sock_file.read(size)
        assert sock_file.readline() == b"\r\n"
        yield from chunk.decode().splitlines()


def test_python(service, key):
    headers = (("User-Agent", "python-requests/2.31.0"), ("Accept-Encoding", "gzip, deflate"),
               ("Accept", "application/json, text/event-stream"), ("Connection", "keep-alive"))
    time_us = service.publish(key)
    with connect(service.address) as sock, sock.makefile("rb") as reader:
        sock.sendall(format_subscription(service.address, key, headers))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += reader.readline()
        assert b"\r\nTransfer-Encoding: chunked\r\n" in head
        for line in lines_of_requests(reader):
            if line.startswith("data: "):
                # datetime.fromtimestamp() of the SDK raises on milliseconds
                assert json.loads(line[len("data: "):])["updated_at"] == time_us / 10**6
                break


# Ruby

FARADAY = (("User-Agent", "Faraday v2.7.4"), ("Accept", "text/event-stream"), ("Cache-Control", "no-cache"),
           ("Accept-Encoding", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3"), ("Connection", "keep-alive"))


def test_faraday_waits_for_an_update(service, key):
    """It looks at the body once it has all of it: one update, and a clean end."""
    with service.stream(key, headers=FARADAY) as stream:
        stream.quiet(0.5)
        time_us = service.publish(key)
        assert stream.end() == [time_us]
        assert stream.raw.endswith(format_chunk(format_event(time_us)) + b"0\r\n\r\n")


class Ruby:
    """Reads the whole body, compares times, comes back 0.5 s after the end, and sends no id."""

    def __init__(self, service, key):
        self.service, self.key = service, key
        self.fetched = self.streams = 0

    def follow(self, time_us, timeout=30):
        deadline = time.monotonic() + timeout
        while self.fetched < time_us:
            assert time.monotonic() < deadline, f"never learns of {time_us}"
            for event in self.service.stream(self.key, headers=FARADAY).end():
                self.fetched = max(self.fetched, event)
            self.streams += 1
            time.sleep(0.5)


def test_faraday_learns_what_it_was_away_for(start, shim, key):
    """However long: the snapshot comes at once, and the end soon."""
    daemon = start.daemon(env=shim.env)
    ruby = Ruby(daemon, key)
    ruby.follow(daemon.publish(key))
    missed = daemon.publish(key)
    shim.clock_offset_s = 20
    ruby.follow(missed)
    assert ruby.streams == 2


def test_faraday_comes_back_ever_less_often(start, shim, key):
    """It stays for a quarter of the update's age, but a newer one ends that at once."""
    daemon = start.daemon(env=shim.env)
    time_us = daemon.publish(key)
    shim.clock_offset_s = 2000
    with daemon.stream(key, headers=FARADAY) as stream:
        assert stream.event() == time_us
        stream.quiet(2)
        newer = daemon.publish(key)
        assert stream.end() == [newer]


def test_faraday_stays_no_longer_than_max_age(start, shim, key):
    daemon = start.daemon(env=shim.env, config="[profile ruby]\nmax_age = 2s\n")
    time_us = daemon.publish(key)
    shim.clock_offset_s = 2000
    with daemon.stream(key, headers=FARADAY) as stream:
        assert stream.end() == [time_us]


def test_old_updated_at_is_not_an_old_snapshot(service, key):
    """What counts is when the bus stored it."""
    time_us = service.publish(key, 1673546928_028060)
    with service.stream(key, headers=FARADAY) as stream:
        assert stream.end() == [time_us]


def test_faraday_loop(service, key):
    """Some rounds of it: each update ends one."""
    for _ in range(3):
        stream = service.stream(key, headers=FARADAY)
        time_us = service.publish(key)
        assert stream.end()[-1] == time_us
        key = fresh_key()


def test_faraday_http_1_0(service, key):
    with service.stream(key, headers=FARADAY, version="1.0") as stream:
        time_us = service.publish(key)
        assert stream.end() == [time_us]


# Go


def test_go(service, key):
    """A scanner over lines that matches "data: " at their beginnings."""
    with connect(service.address) as sock, sock.makefile("rb") as reader:
        sock.sendall(format_subscription(
            service.address, key, (("User-Agent", "Go-http-client/1.1"), ("Accept-Encoding", "gzip"))))
        time_us = service.publish(key)
        for line in reader:
            if line.startswith(b"data: "):
                assert json.loads(line[len(b"data: "):])["updated_at"] == time_us / 10**6
                break


# Proxies in front


def test_nginx_default(service, key):
    """HTTP/1.0 and Connection: close towards its upstream."""
    headers = (("X-Real-IP", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.1"), ("Connection", "close"))
    with service.stream(key, version="1.0", headers=headers) as stream:
        time_us = service.publish(key)
        assert stream.event() == time_us


# curl


def curl():
    program = shutil.which("curl")
    assert program, "there is no curl: apt-get install curl"
    return program


@pytest.mark.parametrize("option", ["--http1.1", "--http1.0", "--compressed"])
def test_curl_watches(start, key, option):
    """18 would be a body that was cut off."""
    daemon = start.daemon()
    url = f"http://127.0.0.1:{daemon.address[1]}/sse/environments/{key}/stream"
    process = subprocess.Popen(
        [curl(), "-sSN", option, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout.readline().startswith(b":")
        assert process.stdout.readline().startswith(b"retry: ")
        assert process.stdout.readline() == b"\n"
        time_us = daemon.publish(key)
        expected = format_event(time_us)
        assert process.stdout.read(len(expected)) == expected
        daemon.stop()
        rest, errors = process.communicate(timeout=20)
        assert (process.returncode, rest, errors) == (0, b"", b"")
    finally:
        process.kill()
        process.wait()


def test_curl_publishes(service, key):
    time_us = fresh_time_us()
    result = subprocess.run(
        [curl(), "-sS", "-X", "POST", "-H", f"Authorization: Token {service.token}", "-d",
         json.dumps({"updated_at": time_us / 10**6}), "-w", "%{http_code}",
         f"http://127.0.0.1:{service.address[1]}/sse/environments/{key}/queue-change"],
        capture_output=True, text=True, timeout=20, check=True)
    assert result.stdout.startswith('{"status":"published","sequence":')
    assert result.stdout.endswith("}200")
    service.check_snapshot(key, time_us)


# Profiles from a file


def test_own_profiles(start, key):
    """The longest prefix wins; the built-in ones can be changed by their names."""
    daemon = start.daemon(config=(
        "[profile tv]\nuser_agent = TV/\nmax_age = 1s\n"
        "[profile tv2]\nuser_agent = TV/2\nclose_after_update = yes\nmax_age = 0\n"
        "[profile ruby]\nclose_after_update = no\n"))
    with daemon.stream(key, headers=(("User-Agent", "TV/1.0"),)) as short, \
            daemon.stream(key, headers=(("User-Agent", "TV/2.0"),)) as poll, \
            daemon.stream(key, headers=FARADAY) as ruby:
        assert short.end() == []
        poll.quiet(0.5)
        time_us = daemon.publish(key)
        assert poll.end() == [time_us]
        assert ruby.event() == time_us
        ruby.quiet(0.3)


def test_android_survives_a_stop(start, key):
    """Each stream that the daemon ends at SIGTERM ends cleanly, whatever the client has sent meanwhile."""
    daemon = start.daemon()
    streams = [daemon.stream(key, headers=ANDROID, extra=b"\r\n") for _ in range(20)]
    for stream in streams:
        stream.sock.sendall(b"z" * 5000)
        stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    daemon.signal(15)
    for stream in streams:
        assert stream.end() == []
    daemon.wait_exit()
