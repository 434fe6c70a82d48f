# SPDX-License-Identifier: BSD-3-Clause
"""Clients that mean harm, by the thousand, beside a thousand honest streams, a publisher and a prober.

None of those is disturbed: each update gets to each stream, publishers and probes are answered at once; and when it is
over, the daemon is back to where it was.
"""
import time

import pytest

from attacks import Attackers, Company, assert_alive, cpu_during, wait_connections
from daemon import TOKEN
from test_churn import descriptors
from test_process import ACTIVATE
from wire import wait_until

CHANGE = "POST /sse/environments/honest-0/queue-change HTTP/1.1\r\nHost: x\r\n"
PUBLISHERS = ["127.0.0.1", "127.0.0.2"]  # the attackers' own address, as behind a proxy; another one


# Bodies without an end

def chunked(line, method="POST", path="/x", fields=""):
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}Transfer-Encoding: chunked\r\n\r\n".encode() + line


ENDLESS = {
    "size": chunked(b"0" * 25000),
    "extension": chunked(b"5;" + b"a" * 40000),
    "after a large header": chunked(b"0" * 9000, fields=f"X: {'y' * 15900}\r\n"),
    "GET": chunked(b"0" * 25000, "GET"),
    "stream": chunked(b"0" * 25000, "GET", "/sse/environments/k/stream"),
    "livez": chunked(b"5;" + b"a" * 40000, "GET", "/livez"),
    "publish": chunked(b"0" * 25000, path="/sse/environments/k/queue-change",
                       fields=f"Authorization: Token {TOKEN}\r\n"),
    "second line": chunked(b"1\r\nx\r\n" + b"0" * 25000),
    "trailer": chunked(b"0\r\n" + b"X" * 40000),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_endless_chunk_line(start, kind):
    """libmicrohttpd before 1.0 never ends when such a line fills its buffer."""
    daemon = start.daemon()
    with daemon.connect(timeout=10) as connection:
        connection.send(ENDLESS[kind])
        time.sleep(0.3)
        assert_alive(daemon)
        response = connection.read_response().check_common()
        assert response.status == 411
        assert response.words("Connection") == {"close"}
        assert connection.read_rest() == b""
    assert cpu_during(daemon.pid, 0.5) < 0.25, "it spins"


@pytest.mark.parametrize("kind", ["size", "extension", "after a large header"])
def test_endless_chunk_lines(start, kind):
    daemon = start.daemon()
    with Company(daemon) as company, Attackers(daemon.address, 200, ENDLESS[kind]) as attackers:
        attackers.attack()
        attackers.wait(3)
        assert_alive(daemon)
        attackers.wait_ended(10)
        for attacker in attackers.everyone:
            assert attacker.received.startswith(b"HTTP/1.1 411 "), attacker.received
        company.check_undisturbed()


@pytest.mark.parametrize("since", ["the start", "now"])
def test_library_that_never_rests(start, shim, notify, key, since):
    """libmicrohttpd says "again, at once" for ever: that starves neither timers, signals and the watchdog nor HTTP."""
    shim.mhd_restless = since == "the start"
    daemon = start.daemon(env={**shim.env, "NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "1000000"},
                          wrapper=[*ACTIVATE, "--"], wait=None,
                          options=["streams.keepalive=1s", "http.request_timeout=1s"])
    notify.wait("READY=1", 10)
    with daemon.stream(key) as stream, daemon.connect() as half:
        shim.mhd_restless = 1
        half.send(b"GET /livez HTTP/1.1\r\n")
        begun = time.monotonic()
        assert_alive(daemon)
        time_us = daemon.publish(key)
        assert stream.event(5) == time_us
        assert stream.receive(5), "no keep-alive comes"
        assert half.read_rest() == b"" and time.monotonic() - begun < 10, "a deadline is not kept"
        notify.lines.clear()
        notify.wait("WATCHDOG=1", 5)
        assert cpu_during(daemon.pid, 3) < 3 * 0.6, "it spins"
        assert_alive(daemon)
        daemon.signal(15)
        assert stream.end(10) == []
        daemon.wait_exit(timeout=10)


# Answers that nobody reads

def request(path, count):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * count


@pytest.mark.parametrize("source", PUBLISHERS)
@pytest.mark.parametrize("path, count", [("/metrics", 5), ("/unknown", 20), ("/livez", 50)])
def test_unread_answers(start, path, count, source):
    """They are ended within seconds, and whole, though the attackers keep their ends."""
    daemon = start.daemon()
    with Company(daemon, source) as company, \
            Attackers(daemon.address, 1200, request(path, count), reads=False) as attackers:
        attackers.attack()
        attackers.wait(8)
        wait_connections(daemon, 5, 7, "answers that nobody reads are held")  # the company has some, too
        _, files = company.usage_before
        wait_until(lambda: descriptors(daemon) <= files + 5, "connections are not closed whole", 2)
        company.check_undisturbed()


def test_slow_reader_gets_all(local_service):
    """A little every second is not nothing."""
    with local_service.connect(receive_buffer=1) as connection:
        connection.send(request("/metrics", 1))
        received = b""
        while not is_whole(received):
            time.sleep(0.5)
            data = connection.sock.recv(200)
            assert data, f"the end after {len(received)} bytes"
            received += data
    assert received.startswith(b"HTTP/1.1 200 ")


def is_whole(answer):
    head, end, body = answer.partition(b"\r\n\r\n")
    return end and len(body) == int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])


# Requests that never get whole

HALF = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "
SLOW = {
    "wrong token": f"{CHANGE}Authorization: Token wrong\r\nContent-Length: 100\r\n\r\n".encode(),
    "right token": f"{CHANGE}Authorization: Token {TOKEN}\r\nContent-Length: 100\r\n\r\n".encode(),
}


@pytest.mark.parametrize("source", PUBLISHERS)
@pytest.mark.parametrize("again", [False, True])
def test_half_requests(start, source, again):
    daemon = start.daemon()
    with Company(daemon, source) as company, Attackers(daemon.address, 3000, HALF, again=again) as attackers:
        attackers.attack()
        attackers.wait(6)
        attackers.leave()
        company.check_undisturbed()


@pytest.mark.parametrize("source", PUBLISHERS)
@pytest.mark.parametrize("token", SLOW)
def test_slow_bodies(start, token, source):
    daemon = start.daemon()
    with Company(daemon, source) as company, Attackers(daemon.address, 3000, SLOW[token]) as attackers:
        attackers.attack()
        attackers.wait(6, b"{")
        attackers.leave()
        company.check_undisturbed()


@pytest.mark.parametrize("source", PUBLISHERS)
def test_silent_connections(start, source):
    daemon = start.daemon()
    with Company(daemon, source) as company, Attackers(daemon.address, 2000, b"") as attackers:
        attackers.attack()
        attackers.wait(6)
        attackers.leave()
        company.check_undisturbed()
