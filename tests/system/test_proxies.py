# SPDX-License-Identifier: BSD-3-Clause
"""The reverse proxies of the field, as doc/proxies.md has them, and nginx with its defaults."""
import json
import time

import pytest

from daemon import fresh_key, fresh_time_us
from proxies import FRONTS
from service import path_of
from sse import Keepalive, Refused, format_event

SHORT = (("User-Agent", "Short/1"),)
SHORT_LIFE_S = 2  # with retry_max
RUBY = (("User-Agent", "Faraday v2.7.4"),)


@pytest.fixture(params=FRONTS)
def front(proxies, request):
    return proxies.fronts[request.param]


def check_what_is_passed_on(front, key, known):
    """The id, the query, the odd forms of the path, and (by a profile) the User-Agent."""
    streams = {
        "Last-Event-ID": front.stream(key, headers=(*SHORT, ("Last-Event-ID", str(known)))),
        "lastEventId": front.stream(key, headers=SHORT, query=f"?lastEventId={known}"),
        "no id": front.stream(key, headers=SHORT),
        "two slashes": front.stream(key, target="/" + path_of(key, "stream")),
        "a slash at the end": front.stream(key, target=path_of(key, "stream/")),
        "Ruby": front.stream(key, headers=RUBY),
    }
    try:
        # An id counts once the update is older than a stream's life.
        assert {way: streams[way].end() for way in ("Last-Event-ID", "lastEventId", "no id")} == {
            "Last-Event-ID": [], "lastEventId": [], "no id": [known]}
        time_us = front.publish(key)
        for way in ("two slashes", "a slash at the end"):
            assert streams[way].events_until(time_us) == [known, time_us], way
        assert streams["Ruby"].end() in ([known], [known, time_us])  # soon, whether one comes meanwhile or not
    finally:
        for stream in streams.values():
            stream.close()


def test_stream(service, front):
    """At once, all of it, in the bytes of flagsse; and when the clients are gone, their streams are."""
    service.set_bus("local", "[streams]\nkeepalive = 1s\nretry_max = 1s\n"
                             "[profile short]\nuser_agent = Short/\nmax_age = 1s\n")
    key = fresh_key()
    with front.stream(key) as stream:
        for _ in range(5):
            time_us = front.publish(key)
            assert stream.event() == time_us
        for _ in range(2):
            assert isinstance(stream.next(), Keepalive)
        service.wait_streams(1)
    service.wait_streams(0)
    time.sleep(SHORT_LIFE_S)
    check_what_is_passed_on(front, key, time_us)
    service.wait_streams(0)


def test_end(service, front):
    """Of a stream that is old enough, and of all when the service stops: cleanly.  (18 would be a curl cut off.)"""
    service.set_bus("local", "[profile short]\nuser_agent = Short/\nmax_age = 1s\n")
    key = fresh_key()
    with front.stream(key, headers=(("User-Agent", "Short/1"),)) as short, front.stream(key) as stream:
        assert short.end() == []
        watches = [front.watch(key, version) for version in front.http_versions()]
        try:
            for watch in watches:
                watch.wait_for(b"retry: ")
            time_us = front.publish(key)
            for watch in watches:
                watch.wait_for(format_event(time_us))
            service.machine.systemctl("stop", "--no-block", "flagsse.socket")
            assert stream.end() == [time_us]
            for watch in watches:
                assert watch.end() == 0, watch.process.stderr.read()
                assert watch.text.startswith(b": flagsse\nretry: ") and watch.text.endswith(format_event(time_us))
        finally:
            for watch in watches:
                watch.__exit__()


def test_answers(service, front):
    """To publishers and to preflights; errors too, as a browser and an administrator need them."""
    service.set_bus("local", "[streams]\nmax_streams = 1\nkeepalive = 1h\n")
    key = fresh_key()
    time_us = front.publish(key)
    response = front.offer(key, time_us)
    assert response.status == 200 and response.json() == {"status": "stale"}
    response = front.offer(key, fresh_time_us(), token="wrong")
    assert response.status == 401 and response.json() == {"detail": "Invalid authorization header"}
    assert response.header("WWW-Authenticate") == "Token"
    for what in ("stream", "queue-change"):
        preflight = (("Origin", "https://app.example.com"), ("Access-Control-Request-Method", "GET"),
                     ("Access-Control-Request-Headers", "authorization,content-type"))
        response = front.request("OPTIONS", path_of(key, what), preflight)
        assert response.status == 204
        assert {"authorization", "content-type"} <= response.words("Access-Control-Allow-Headers")
        response = front.request("DELETE", path_of(key, what))
        assert response.status == 405 and response.header("Allow") and response.detail
    big = json.dumps({"updated_at": 1673546928, "more": "x" * 5000}).encode()
    for method, target, body, status in (
            ("GET", path_of("bad.key", "stream"), None, 400), ("GET", path_of("ser.key", "stream"), None, 400),
            ("GET", path_of(key, "nothing"), None, 404)):
        response = front.request(method, target, (), body)
        assert response.status == status and response.detail, response
    token = ("Authorization", "Token test-token-0123456789")
    for body, status in ((b"{}", 422), (big, 413)):
        response = front.request("POST", path_of(key, "queue-change"), (token,), body)
        assert response.status == status and response.detail, response
    with front.stream(key) as stream:
        assert stream.event() == time_us
        with pytest.raises(Refused) as refused:
            front.stream(key)
        response = refused.value.response.check_common()
        assert response.status == 503 and response.header("Retry-After") and response.detail
    # Without a keep-alive that would fail, the proxy still sees that the client is gone.
    service.wait_streams(0)
