# SPDX-License-Identifier: BSD-3-Clause
"""Subscribers that come before the bus has told its last values: right after a start, or with NATS away."""
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


PROMPT_S = 2  # a start waited for 5 s


def test_head_and_greeting_come_at_once(returning, key):
    """And what the bus tells later comes as an update, whatever id was given."""
    daemon, server, time_us = returning
    begun = time.monotonic()
    streams = [daemon.stream(key, headers=headers) for headers in ((), with_id(time_us), with_id(time_us - 1))]
    assert time.monotonic() - begun < PROMPT_S
    server.start()
    for stream in streams:
        assert stream.event() == time_us
    newer = daemon.publish_soon(key)
    for stream in streams:
        assert stream.event() == newer
        stream.close()


def test_what_the_node_accepts_meanwhile_comes_at_once(returning, key):
    daemon, server, time_us = returning
    begun = time.monotonic()
    with daemon.stream(key) as stream:
        assert time.monotonic() - begun < PROMPT_S
        newer = daemon.queue(key)
        assert stream.event(PROMPT_S) == newer > time_us
        assert daemon.snapshot(key) == newer
        server.start()
        wait_until(lambda: daemon.get("/readyz").status == 200, "the bus is never back")
        newest = daemon.publish_soon(key)
        assert stream.events_until(newest)[-1] == newest


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
    streams = [daemon.stream(key) for _ in range(5)]
    daemon.stop()
    for stream in streams:
        assert stream.end() == []
