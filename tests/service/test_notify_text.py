# SPDX-License-Identifier: BSD-3-Clause
"""Text that comes from outside, and what it may not do where it goes out again: be a line of its own."""
import re
import socket
import sys
import time
from pathlib import Path

import pytest

from relay import Relay
from wire import parse_metrics, wait_until

ACTIVATE = [sys.executable, str(Path(__file__).with_name("activate.py"))]

# What systemd may be told, each line by itself.
OURS = re.compile(r"(READY=1|WATCHDOG=1|STOPPING=1|EXTEND_TIMEOUT_USEC=\d+|STATUS=[^\x00-\x1f\x7f-\x9f]*)")

HOSTILE = [
    "boom\nWATCHDOG=trigger",
    "boom\r\nX-Forged: 1\r\n\r\n",
    "boom\x00\x01\x1b[2J\x7f",
    "boom\x80\x85\x9fWATCHDOG=trigger",
    "boom\udcff\udcc0\udc8a",  # bytes that are no UTF-8
    "boom" + "\nFDSTOREREMOVE=1" * 200,
]


class Datagrams:
    """All that systemd is told, as it is told it."""

    def __init__(self, notify):
        self.notify = notify
        self.all = []

    def read(self):
        self.all += self.notify.read(0.05)
        return self.all

    def check(self):
        for datagram in self.read():
            for line in datagram.decode().rstrip("\n").split("\n"):
                assert OURS.fullmatch(line), f"systemd was told {datagram!r}"


def check_text(text):
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text), ascii(text)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_error_of_jetstream(start, notify, key, text):
    """In STATUS=, in /readyz, in an answer, in the log, in the metrics."""
    server = start.nats()
    relay = Relay(server.port, text)
    try:
        # One server alone cannot keep three copies, and says so.
        daemon = start.daemon(bus="nats", nats_url=relay.url, options=["nats.replicas=3"], wait="/livez",
                              env={"NOTIFY_SOCKET": notify.path})
        datagrams = Datagrams(notify)
        wait_until(lambda: relay.n_changed > 0, "JetStream has never refused anything")
        wait_until(lambda: any(b"boom" in datagram for datagram in datagrams.read()), "the status never says it")
        datagrams.check()

        answer = daemon.get("/readyz")
        assert answer.status == 503 and "boom" in answer.detail
        check_text(answer.detail)
        response, _ = daemon.offer(key)
        check_text(response.body.decode())
        parse_metrics(daemon.get("/metrics").body.decode())
        daemon.stop()
        datagrams.check()
        assert daemon.log_lines("boom")
        for line in daemon.log().rstrip("\n").split("\n"):
            check_text(line)
            assert re.match("(error|warning|notice|info): ", line), line
    finally:
        relay.close()


@pytest.mark.parametrize("value", [b"X-A\rX-Forged: 1", b"X-A\tX-B", b"X-\x01A", b"X-\x7fA", b"X-\xc2\x85A", b"X-\xffA",
                                   b"X-\xc0\x8aA", b'X-"A', b"X-A: b"])
def test_preflight_sends_back_names_only(local_service, value):
    """The one answer with a field whose value comes from the request."""
    with local_service.connect() as connection:
        connection.send(b"OPTIONS /sse/environments/abc/stream HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n"
                        b"Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: " + value + b"\r\n\r\n")
        response = connection.read_response("OPTIONS")
    assert response.status in (204, 400), response
    for name, text in response.headers:
        assert re.fullmatch(r"[\t\x20-\x7e]*", text), response
        assert name != "X-Forged"
    if response.status == 204 and b"\t" not in value:
        assert response.words("Access-Control-Allow-Headers") >= {"authorization", "last-event-id"}, response
    assert local_service.get("/livez").status == 200


@pytest.mark.parametrize("token", [b"t\x85", b"t\xff\xfe", b"t\x01"])
def test_request_with_control_characters_in_its_token(start, key, token):
    """It is refused, and the log's lines are ours."""
    daemon = start.daemon()
    with daemon.connect() as connection:
        connection.send(b"POST /sse/environments/" + key.encode() + b"/queue-change HTTP/1.1\r\nHost: x\r\n"
                        b"Authorization: Token " + token + b"\r\nContent-Length: 2\r\n\r\n{}")
        assert connection.read_response("POST").status in (400, 401)
    daemon.stop()
    for line in daemon.log().rstrip("\n").split("\n"):
        check_text(line)


def test_nobody_reads_what_systemd_is_told(start, notify, key):
    """The service does not wait for it, and says later what it has to say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"STATUS=of another", notify.path)
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "1000000"}, wrapper=[*ACTIVATE, "--"])
    with daemon.stream(key) as stream:
        for _ in range(10):
            time_us = daemon.publish(key)
            assert stream.event() == time_us
            time.sleep(0.1)
        for text in ("STATUS=1 stream,", "READY=1", "WATCHDOG=1"):
            notify.wait(text)
    daemon.stop()
