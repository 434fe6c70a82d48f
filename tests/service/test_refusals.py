# SPDX-License-Identifier: BSD-3-Clause
"""Subscribers that are refused wait for their answer: most SDKs come back at once after it, and so for ever.

Who waits so costs next to nothing: no place of a stream, none of a request.
"""
import re
import time

import pytest

from attacks import Attackers, Company, cpu_during, wait_connections
from daemon import authorization, free_port
from sse import format_subscription
from test_churn import descriptors
from wire import parse_head, wait_until

EARLIEST, LATEST = 0.9, 7  # seconds: it is 1 to 5, and the machine may be busy
BODY = b'{"updated_at": 1673546928}'
PYTHON = (("User-Agent", "python-requests/2.31.0"),)
DART = (("User-Agent", "Dart/3.0 (dart:io)"),)

# (what is subscribed to, the answer's status; the daemon's only place is taken)
REFUSED = {
    "bad key": ("/sse/environments/a.b/stream", {400}),
    "server-side key": ("/sse/environments/ser.abcdef/stream", {400}),
    "no key": ("/sse/environments//stream", {400, 404}),
    "full": ("/sse/environments/k/stream", {503}),
    "unknown path": ("/events/k", {404}),
}


def subscription(kind, headers=PYTHON, version="1.1"):
    return format_subscription("localhost", None, headers, version, target=REFUSED[kind][0])


def parse_answer(data):
    head, end, body = data.partition(b"\r\n\r\n")
    response = parse_head(head + end)
    response.body = body
    assert int(response.header("Content-Length")) == len(body), response
    return response


def check_answers(attackers, kind):
    """All have been refused, as they should, and their connections closed."""
    for attacker in attackers.everyone:
        response = parse_answer(attacker.received)
        response.check_common()
        assert response.detail and response.status in REFUSED[kind][1], response
        assert response.words("Connection") == {"close"}, response
        assert not attacker.by_reset
        if response.status == 503:
            assert 1 <= int(response.header("Retry-After")) <= 60


def held(daemon):
    """How many refusals are; None if that is not even counted."""
    return daemon.metrics().get("flagsse_refusals_held")


@pytest.fixture
def full(start):
    """A daemon whose only place is taken."""
    daemon = start.daemon(options=["streams.max_streams=1"])
    with daemon.stream("k"):
        yield daemon


@pytest.mark.parametrize("kind, version", [*((kind, "1.1") for kind in REFUSED), ("bad key", "1.0")])
def test_refused_after_a_while(full, kind, version):
    """Each at a time of its own, and counted apart."""
    before = descriptors(full)
    with Attackers(full.address, 40, subscription(kind, version=version)) as subscribers:
        subscribers.attack()
        subscribers.wait(0.3)
        wait_connections(full, 0, EARLIEST, "among the connections")
        counts = [held(full), full.metrics()["flagsse_streams"]]
        cpu = cpu_during(full.pid, 0.3)
        subscribers.wait_answered(LATEST + 3)
        times = sorted(subscriber.answered for subscriber in subscribers.everyone)
        print(f"{counts} are held, and streams; answered after {times[0]:.2f} to {times[-1]:.2f} s")
        assert EARLIEST <= times[0] and times[-1] <= LATEST, times
        assert times[-1] - times[0] > 1.5, f"all come back together: {times}"
        assert counts == [40, 1]
        assert cpu < 0.1, "to hold them takes no work"
        subscribers.wait_ended(3)
        check_answers(subscribers, kind)
    assert held(full) == 0
    wait_until(lambda: descriptors(full) <= before, "descriptors are left", 5)


@pytest.mark.parametrize("kind", REFUSED)
def test_loop_of_an_sdk(full, kind):
    """One that comes back at once after each answer, as Python's does."""
    count, begun = 0, time.monotonic()
    while time.monotonic() - begun < 6:
        count += 1
        with full.connect() as connection:
            connection.send(subscription(kind))
            connection.read_response()
    assert count <= 7, f"{count} requests in 6 s"


def test_held_take_no_place(start, key):
    """Of a stream: all of those are there for others."""
    daemon = start.daemon(options=["streams.max_streams=5"])
    with Attackers(daemon.address, 100, subscription("bad key")) as subscribers:
        subscribers.attack()
        subscribers.wait(0.2)
        streams = [daemon.stream(key) for _ in range(5)]
        assert held(daemon) == 100
        time_us = daemon.publish(key)
        for stream in streams:
            assert stream.event() == time_us
            stream.close()


@pytest.mark.parametrize("way", ["close", "half close"])
def test_who_leaves_is_let_go(full, way):
    """At once, not when its time has come."""
    before = descriptors(full)
    with Attackers(full.address, 300, subscription("bad key")) as subscribers:
        subscribers.attack()
        subscribers.wait(0.2)
        assert held(full) == 300
        begun = time.monotonic()
        if way == "close":
            subscribers.leave()
        else:
            subscribers.shut_down()
        wait_until(lambda: held(full) == 0, "clients that are gone are held", 5)
        wait_until(lambda: descriptors(full) <= before, "descriptors are left", 5)
        assert time.monotonic() - begun < 2, "they are held until their time has come: of 300, one is up to 5 s"


def test_very_many(start):
    """Their number has a bound, and nobody else notices them."""
    daemon = start.daemon()
    with Company(daemon) as company, Attackers(daemon.address, 6000, subscription("bad key")) as subscribers:
        subscribers.attack()
        peak, deadline = 0, time.monotonic() + 20
        while subscribers.count_answered() < 6000 and time.monotonic() < deadline:
            peak = max(peak, held(daemon) or 0)
            subscribers.wait(0.2)
        assert subscribers.count_answered() == 6000, f"only {subscribers.count_answered()} are ever answered"
        assert 2000 < peak <= 5000, f"{peak} were held at a time"
        subscribers.wait_ended(5)
        check_answers(subscribers, "bad key")
        assert not daemon.log_lines("Too many open files")
        company.check_undisturbed()
    assert held(daemon) == 0


def test_very_many_come_back(start):
    """A thousand clients of the impatient kind."""
    daemon = start.daemon()
    with Company(daemon) as company, Attackers(daemon.address, 1000, subscription("no key"), again=True) as subscribers:
        subscribers.attack()
        subscribers.wait(6)
        answers = subscribers.count_answered()
        subscribers.leave()
        company.check_undisturbed()
    assert answers < 3500, f"{answers} answers to 1000 clients in some 6 s"
    assert held(daemon) == 0


def test_drain(start):
    """The end of the process does not wait for them, and they have their answers."""
    daemon = start.daemon()
    with Attackers(daemon.address, 200, subscription("bad key")) as subscribers:
        subscribers.attack()
        subscribers.wait(0.2)
        assert held(daemon) == 200
        daemon.signal(15)
        begun = time.monotonic()
        subscribers.wait_ended(10)
        assert time.monotonic() - begun < 2, "they are not answered at once: of 200, one would take up to 5 s"
        check_answers(subscribers, "bad key")
        daemon.wait_exit(timeout=10)
        assert time.monotonic() - begun < 4


def fields_of_dart(body):
    """What the Flutter SDK's parser would take for a field."""
    return [line for line in re.split(rb"\r\n|\r|\n", body) if line and not line.startswith(b":")]


@pytest.mark.parametrize("kind", REFUSED)
def test_dart_finds_no_field(full, kind):
    """Each line of a refusal that it takes for one makes it try again every 5 s, in addition."""
    with Attackers(full.address, 3, subscription(kind, DART)) as dart, \
            Attackers(full.address, 3, subscription(kind, ())) as others:
        dart.attack()
        others.attack()
        dart.wait_answered(LATEST + 3)
        others.wait_answered(LATEST + 3)
        dart.wait(0.1)
        for client in dart.everyone:
            response = parse_answer(client.received)
            assert response.status in REFUSED[kind][1], response
            assert response.header("Access-Control-Allow-Origin") == "*"
            assert not fields_of_dart(response.body), response
            assert client.answered >= EARLIEST
        others.wait_ended(3)
        check_answers(others, kind)


def quickest(ask):
    """The quickest of three answers: after how many seconds."""
    times = []
    for _ in range(3):
        begun = time.monotonic()
        ask()
        times.append(time.monotonic() - begun)
    return min(times)


@pytest.mark.parametrize("method, target, headers, body, status", [
    ("POST", "/sse/environments/k/queue-change", (authorization("wrong"),), BODY, 401),
    ("POST", "/sse/environments/k/queue-change", (), BODY, 401),
    ("POST", "/sse/environments/k/queue-change", (authorization(),), b"{}", 422),
    ("POST", "/sse/environments/a.b/queue-change", (authorization(),), BODY, 400),
    ("GET", "/events/k", (), None, 404),
    ("GET", "/events/k", (("Accept", "*/*"),), None, 404),
    ("PUT", "/sse/environments/k/queue-change", (), BODY, 405),
])
def test_others_are_not_held(local_service, method, target, headers, body, status):
    def ask():
        assert local_service.request(method, target, headers, body).status == status
    assert quickest(ask) < EARLIEST


def test_probes_are_not_held(start):
    daemon = start.daemon(bus="nats", nats_url=f"nats://127.0.0.1:{free_port()}", wait="/livez")

    def ask():
        assert daemon.get("/readyz").status == 503
    assert quickest(ask) < EARLIEST
