# SPDX-License-Identifier: BSD-3-Clause
"""Subscribers that come before the last values have been read: right after a start, when all come back at once."""
import time

import pytest

from daemon import free_port
from wire import wait_until


def with_id(time_us):
    return (("Last-Event-ID", str(time_us)),)


@pytest.fixture
def returning(start, key):
    """(daemon, server, time): the daemon has been started again, and its server, which has an update, has not."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    time_us = daemon.publish(key)
    daemon.stop()
    server.stop()
    daemon.start(wait="/livez")
    return daemon, server, time_us


def test_nobody_is_sent_what_it_has(returning, key):
    """And who has something else, or nothing, is sent the latest."""
    daemon, server, time_us = returning
    knows = daemon.stream(key, headers=with_id(time_us), wait=False)
    others = [daemon.stream(key, headers=headers, wait=False) for headers in ((), with_id(time_us - 1))]
    assert not knows.receive(0.5), "it must wait until its environment's latest update is known"
    server.start()
    for stream in others:
        assert stream.start().event() == time_us
    knows.start().quiet(0.3)
    newer = daemon.publish_soon(key)
    for stream in (knows, *others):
        assert stream.event() == newer
        stream.close()


def test_they_do_not_wait_for_ever(start, key):
    """Without NATS they are served what is known."""
    daemon = start.daemon(bus="nats", nats_url=f"nats://127.0.0.1:{free_port()}", wait="/livez")
    begun = time.monotonic()
    with daemon.stream(key):
        assert time.monotonic() - begun < 9
        assert daemon.metrics()["flagsse_streams"] == 1
        with daemon.stream(key):  # at once, from then on
            assert time.monotonic() - begun < 9


def test_they_count_against_the_limit(start, key):
    daemon = start.daemon(bus="nats", nats_url=f"nats://127.0.0.1:{free_port()}", wait="/livez",
                          options=["streams.max_streams=2"])
    streams = [daemon.stream(key, wait=False) for _ in range(3)]
    refused = wait_until(lambda: daemon.metrics()["flagsse_streams_refused_total"], "nobody is refused", 4)
    assert refused == 1
    for stream in streams:
        stream.close()


def test_an_end_meanwhile(start, key):
    """They get a stream that ends cleanly: some clients never come back after anything else."""
    daemon = start.daemon(bus="nats", nats_url=f"nats://127.0.0.1:{free_port()}", wait="/livez")
    streams = [daemon.stream(key, wait=False) for _ in range(5)]
    assert not streams[0].receive(0.3)
    daemon.stop()
    for stream in streams:
        assert stream.start().end() == []
