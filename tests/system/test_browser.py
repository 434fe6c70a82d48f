# SPDX-License-Identifier: BSD-3-Clause
"""Chromium on a page of another origin: its own EventSource, the JavaScript SDK's, and what CORS lets it see."""
import json

import pytest

from daemon import fresh_key, fresh_time_us, isoformat
from machine import ADDRESS4, PORT
from service import TOKEN, path_of
from sse import Refused
from wire import connect, wait_until

DIRECT = f"http://{ADDRESS4}:{PORT}"
AUTHORIZATION = {"Authorization": f"Token {TOKEN}"}
RETRY_SOON = "[streams]\nretry_min = 100 ms\nretry_max = 200 ms\n"


@pytest.fixture
def page(browser):
    yield browser
    browser.call("end")


def watch(page, key, kind="EventSource", name="source", base=DIRECT):
    page.call("watch", name, kind, base + path_of(key, "stream"))
    wait_opened(page, 1, name)


def wait_opened(page, n, name="source"):
    wait_until(lambda: page.look(name)["opened"] >= n,
               lambda: f"opened less than {n} times: {page.look(name)}")


def wait_ids(page, expected, name="source"):
    wait_until(lambda: len(page.ids(name)) >= len(expected), lambda: f"{expected} never come: {page.look(name)}")
    assert page.ids(name) == expected


def wait_news(page, expected, name="source"):
    """Each in its turn; young ones may be offered again, which an SDK passes over."""
    def news():
        return list(dict.fromkeys(page.ids(name)))
    wait_until(lambda: len(news()) >= len(expected), lambda: f"{expected} never come: {page.look(name)}")
    assert news() == expected


def methods(page, path):
    """With the preflights; their order is not told."""
    return sorted(request["method"] for request in page.requests(path))


def test_event_source(service, page):
    """Every update, through the ends of its streams; it tells by its Last-Event-ID which it has."""
    service.set_bus("local", RETRY_SOON + "max_age = 2s\n")
    key = fresh_key()
    watch(page, key)
    look = page.look("source")
    assert (look["state"], look["credentials"], look["events"]) == (1, False, [])
    published = []
    for _ in range(3):
        published.append(service.publish(key))
        wait_news(page, published)
    wait_opened(page, page.look("source")["opened"] + 1)  # its end by max_age
    published.append(service.publish(key))
    wait_news(page, published)

    requests = page.requests(path_of(key, "stream"))
    assert len(requests) >= 2
    for request in requests:
        assert (request["type"], request["method"]) == ("EventSource", "GET")  # no preflight
        assert request["headers"]["Origin"] == page.origin and "Cookie" not in request["headers"]
    known = [request["headers"].get("Last-Event-ID") for request in requests]
    assert known[0] is None and str(published[2]) in known, known


def test_stop_and_restart_under_an_open_page(service, page):
    """After a stop it comes back, and starts the service by that; of a restart it notices nothing."""
    service.set_bus("local", RETRY_SOON)
    key = fresh_key()
    watch(page, key)
    service.machine.systemctl("stop", "flagsse.service")
    wait_opened(page, 2)
    published = [service.publish(key)]
    wait_ids(page, published)
    before = page.look("source")
    service.machine.systemctl("restart", "flagsse.service")
    published.append(service.publish(key))
    wait_ids(page, published)
    after = page.look("source")
    assert (after["opened"], after["errors"]) == (before["opened"], before["errors"])


def hold_the_only_place(service):
    """A stream that begins as soon as the one that there is has its end."""
    def hold():
        try:
            return service.stream(fresh_key(), sock=connect(service.address, timeout=0.2))
        except (Refused, TimeoutError):  # who is refused is told so seconds later
            return None
    return wait_until(hold, "the place is never free", interval=0)


def test_reconnecting_event_source(service, page):
    """The JavaScript SDK's: after an error it begins anew, and tells by the query what it has."""
    service.set_bus("local", RETRY_SOON + "max_streams = 1\n[profile page]\nuser_agent = Mozilla/\nmax_age = 1s\n")
    key = fresh_key()
    watch(page, key, "ReconnectingEventSource")
    first = service.publish(key)
    wait_news(page, [first])
    path = f"{path_of(key, 'stream')}?lastEventId={first}"
    with hold_the_only_place(service):
        wait_until(lambda: page.requests(path), "it does not begin anew")
    opened = page.look("source")["opened"]
    wait_opened(page, opened + 1)
    second = service.publish(key)
    wait_news(page, [first, second])
    assert {request["type"] for request in page.requests(path)} == {"EventSource"}


def test_many_streams_over_http_2(service, proxies, page):
    """Of HTTP/1.1 the browser opens no more than six connections to one host."""
    key = fresh_key()
    names = [f"source {n}" for n in range(12)]
    for name in names:
        page.call("watch", name, "EventSource", proxies.fronts["nginx"].by_address + path_of(key, "stream"))
    for name in names:
        wait_opened(page, 1, name)
    service.wait_streams(len(names))
    time_us = service.publish(key)
    for name in names:
        wait_ids(page, [time_us], name)
    page.call("end")
    service.wait_streams(0)


def test_preflights(service, page):
    """Whatever a client adds to its request, on both routes."""
    service.wait_ready()
    key = fresh_key()
    time_us = fresh_time_us()
    answer = page.call("ask", DIRECT + path_of(key, "queue-change"), {
        "method": "POST", "headers": {**AUTHORIZATION, "Content-Type": "application/json", "X-Requested-With": "x"},
        "body": json.dumps({"updated_at": isoformat(time_us)})})
    assert answer["status"] == 200 and json.loads(answer["body"])["status"] == "published", answer
    assert methods(page, path_of(key, "queue-change")) == ["OPTIONS", "POST"]

    headers = {**AUTHORIZATION, "X-Requested-With": "XMLHttpRequest", "Last-Event-ID": "1",
               "Cache-Control": "no-cache", "X-Something-Else": "1"}
    answer = page.call("askStream", DIRECT + path_of(key, "stream"), {"headers": headers})
    assert answer["status"] == 200 and answer["body"].startswith(": flagsse\nretry: "), answer
    assert f"\nid: {time_us}\n" in answer["body"]
    assert methods(page, path_of(key, "stream")) == ["GET", "OPTIONS"]


def test_errors_can_be_read(service, page):
    """Without their CORS fields they would be a TypeError, whatever they are of."""
    service.wait_ready()
    for what, options, status in (
            ("bad.key/stream", {}, 400),
            ("ser.key/stream", {"headers": {"Last-Event-ID": "1"}}, 400),
            ("good/nothing", {}, 404),
            ("good/stream", {"method": "POST"}, 405),
            ("good/queue-change", {"method": "POST", "body": "{}"}, 401),
            ("good/queue-change", {"method": "POST", "headers": AUTHORIZATION, "body": "{}"}, 422)):
        answer = page.call("ask", f"{DIRECT}/sse/environments/{what}", options)
        assert answer["status"] == status and json.loads(answer["body"])["detail"], answer


def test_retry_after_can_be_read(service, page):
    service.set_bus("local", "[streams]\nmax_streams = 1\n")
    key = fresh_key()
    watch(page, key)
    answer = page.call("ask", DIRECT + path_of(key, "stream"), {})
    assert answer["status"] == 503 and int(answer["headers"]["retry-after"]) > 0, answer
