# SPDX-License-Identifier: BSD-3-Clause
"""The blocks of doc/proxies.md, each with the real proxy.  (tests/system has nginx, haproxy and Varnish as Debian's units
run them.)"""
import json
import time

from daemon import authorization, fresh_key, fresh_time_us, isoformat
from sse import Keepalive, format_event
from wire import wait_until

SHORT = ("User-Agent", "Short/1")
SHORT_LIFE_S = 2  # of its streams, with retry_max


def publish(front, key):
    time_us = fresh_time_us()
    response = front.request("POST", f"/sse/environments/{key}/queue-change",
                             (authorization(), ("Content-Type", "application/json")),
                             json.dumps({"updated_at": isoformat(time_us)}).encode())
    assert response.status == 200 and response.json()["status"] == "published", response
    return time_us


def streams(front):
    return front.daemon.metrics()["flagsse_streams"]


def at_once(what):
    """Takes less than it would with the next keep-alive (2 s), or by Nagle's algorithm (haproxy: 0.2 s): in one of five
    times at least, as the machine may be busy."""
    took = []
    for _ in range(5):
        begun = time.monotonic()
        what()
        took.append(time.monotonic() - begun)
    assert min(took) < 0.12, took


def test_at_once(front):
    """The head with the greeting, and each event, in one piece; then keep-alives, by which clients that are gone are
    noticed at the latest."""
    key = fresh_key()
    opened = []
    at_once(lambda: opened.append(front.stream(key)))
    stream = opened.pop()
    for other in opened:
        other.close()

    def publish_and_receive():
        time_us = publish(front, key)
        assert stream.event() == time_us

    at_once(publish_and_receive)
    assert isinstance(stream.next(), Keepalive)
    wait_until(lambda: streams(front) == 1, "flagsse still has the streams of clients that are gone")
    stream.close()
    wait_until(lambda: streams(front) == 0, "flagsse still has the stream of a client that is gone")


def test_what_is_passed_on(front):
    """The id, the query, the User-Agent, the end of a stream; and a publisher's refusal."""
    key = fresh_key()
    known = publish(front, key)
    time.sleep(SHORT_LIFE_S + 0.2)  # an id counts once the update is older
    begun = {"id": front.stream(key, headers=(SHORT, ("Last-Event-ID", str(known)))),
             "query": front.stream(key, headers=(SHORT,), query=f"?lastEventId={known}"),
             "none": front.stream(key, headers=(SHORT,))}
    ended = {name: stream.end() for name, stream in begun.items()}
    assert ended == {"id": [], "query": [], "none": [known]}
    for stream in begun.values():
        stream.close()
    for version in ("--http1.1", *(["--http2"] if front.kind.http2 else [])):
        text = front.curl(key, version, "-A", "Short/1")
        assert text.startswith(b": flagsse\nretry: ") and text.endswith(format_event(known)), text
    response = front.request("POST", f"/sse/environments/{key}/queue-change", (authorization("wrong"),), b"{}")
    assert response.status == 401 and response.detail
