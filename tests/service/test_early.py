# SPDX-License-Identifier: BSD-3-Clause
"""Subscribers that come before the bus has told its last values: right after a start, or with NATS away."""
import signal
import time

import pytest

from daemon import free_port, fresh_time_us
from handover import HandedOver, make_state
from sse import format_chunk, format_event
from test_takeup import STREAMS, start_after
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
    newer = daemon.publish_some(key)
    for stream in streams:
        assert [stream.event() for _ in newer] == newer
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


# A hand-over meanwhile: NATS was away when the former process ended, and has not been back.


@pytest.fixture
def away(start, notify):
    """Starts the next process, which takes streams up, with NATS away."""
    def begin(handed, url=None):
        daemon = start_after(start, notify, handed, bus="nats", nats_url=url or f"nats://127.0.0.1:{free_port()}")
        daemon.wait_log(f"Took up {STREAMS} streams of 1 environment")
        return daemon
    return begin


def check_outlives(daemon, handed, key):
    """The streams live, and have what is accepted at once; so has who comes anew."""
    handed.check_silent()
    begun = time.monotonic()
    newer = daemon.queue(key)
    handed.check_receive(format_chunk(format_event(newer)))
    assert daemon.snapshot(key) == newer
    assert time.monotonic() - begun < PROMPT_S
    handed.check_silent()
    return newer


def test_hand_over_with_nats_away(away, key):
    with HandedOver(make_state(key, STREAMS), STREAMS) as handed:
        daemon = away(handed)
        check_outlives(daemon, handed, key)
        daemon.signal(signal.SIGTERM)
        handed.check_ended()
        daemon.wait_exit()


def test_hand_over_of_what_was_accepted_with_nats_away(away, key):
    """By the former process, which did not get to send it."""
    latest_us, time_us = fresh_time_us(), fresh_time_us()
    with HandedOver(make_state(key, STREAMS, latest_us=latest_us, update_us=time_us), STREAMS) as handed:
        daemon = away(handed)
        handed.check_receive(format_chunk(format_event(time_us)))
        assert daemon.snapshot(key) == time_us
        check_outlives(daemon, handed, key)


def test_what_the_bus_tells_after_a_hand_over(returning, away, key):
    """Streams that were begun with NATS away get what it tells then; none gets what it has again."""
    former, server, time_us = returning
    former.stop()
    with HandedOver(make_state(key, STREAMS), STREAMS) as handed:
        daemon = away(handed, server.url)
        handed.check_silent()
        server.start()
        handed.check_receive(format_chunk(format_event(time_us)))
        for newer in daemon.publish_some(key):
            handed.check_receive(format_chunk(format_event(newer)))
        handed.check_silent()


def test_what_was_accepted_meanwhile_is_not_told_twice(returning, away, key):
    former, server, time_us = returning
    former.stop()
    with HandedOver(make_state(key, STREAMS), STREAMS) as handed:
        daemon = away(handed, server.url)
        newer = check_outlives(daemon, handed, key)
        assert newer > time_us
        server.start()
        wait_until(lambda: daemon.metrics()["flagsse_outbox_updates"] == 0, "the update does not reach the bus")
        for newest in daemon.publish_some(key):
            handed.check_receive(format_chunk(format_event(newest)))
