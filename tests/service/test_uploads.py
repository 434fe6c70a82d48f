# SPDX-License-Identifier: BSD-3-Clause
"""Subscribers that go on sending after their request: nobody has to listen to that for ever."""
import select
import time

import pytest

from wire import wait_until

BOUND = 255 * 1024  # of what is read while the stream is open, and again while it ends
SOCKETS = 32 * 2**20  # more than the sockets of both sides hold
FLOOD = 8 * SOCKETS  # what is sent at the most, so that the test has an end
TRICKLE = 5000  # likewise, a byte at a time


@pytest.fixture
def daemon(start):
    return start.daemon(options=["streams.max_age=0", "streams.keepalive=600s"])


def flood(sock):
    """Sends until the socket has taken no more for a moment.  How much it took."""
    sock.setblocking(False)
    data, sent = bytes(2**20), 0
    while sent < FLOOD and select.select([], [sock], [], 0.5)[1]:
        sent += sock.send(data)
    return sent


def trickle(stream):
    """Sends bytes one by one until the stream ends.  How many."""
    for sent in range(TRICKLE):
        stream.sock.send(b"x")
        stream.receive(0.001)
        if stream.ended:
            return sent
    return TRICKLE


def check_others(daemon, key, witness):
    """They are served as ever, and it is forgotten."""
    time_us = daemon.publish(key)
    assert witness.event() == time_us
    wait_until(lambda: daemon.metrics()["flagsse_streams"] == 1, "the stream is not given up")


def test_flood(daemon, key):
    """It is ended cleanly, and what it goes on sending waits in the sockets and costs nothing."""
    with daemon.stream(key) as witness, daemon.stream(key) as stream:
        sent = flood(stream.sock)
        assert stream.end() == []
        assert BOUND < sent < BOUND + SOCKETS
        check_others(daemon, key, witness)


def test_flood_by_many(daemon, key):
    """None of them delays the one who listens."""
    with daemon.stream(key) as witness:
        streams = [daemon.stream(key) for _ in range(20)]
        sent = [flood(stream.sock) for stream in streams]
        assert max(sent) < BOUND + SOCKETS
        for stream in streams:
            stream.close()
        check_others(daemon, key, witness)


def test_trickle(daemon, key):
    """Many reads of a byte cost as much as those of many bytes, and count so."""
    with daemon.stream(key) as witness, daemon.stream(key) as stream:
        assert trickle(stream) < TRICKLE
        assert stream.end() == []
        check_others(daemon, key, witness)


def test_a_little_is_forgiven(daemon, key):
    """A client library that sends an empty line now and then is left alone."""
    with daemon.stream(key) as stream:
        for _ in range(50):
            stream.sock.send(b"\r\n" * 100)
            time.sleep(0.005)
        time_us = daemon.publish(key)
        assert stream.event() == time_us
        stream.quiet(0.2)
