# SPDX-License-Identifier: BSD-3-Clause
"""Clocks that are wrong, or set: this node's, NATS's.  No update is silenced by one, none comes back by one."""
import time

import pytest

from daemon import fresh_key, fresh_time_us
from nats import SUBJECT
from skew import SkewedNats
from test_jetstream import payload
from test_outbox import wait_away, wait_empty, wait_ready
from test_sdks import FARADAY
from wire import wait_until

HOUR_S = 3600
YEAR_S = 365 * 24 * HOUR_S


@pytest.fixture
def skewed():
    proxies = []

    def make(server, **skew):
        proxies.append(SkewedNats(server, **skew))
        return proxies[-1]
    yield make
    for proxy in proxies:
        proxy.close()


# Standalone


@pytest.mark.parametrize("restart", ["never", "ahead", "right"])
@pytest.mark.parametrize("ahead_s", [HOUR_S, YEAR_S])
def test_clock_ahead_is_set_right(start, shim, key, ahead_s, restart):
    """One update while all clocks of the machine are ahead; then they are right, and all that follow are heard: by
    the same process, by one that was started before they were set right, and by one that was started after."""
    shim.clock_offset_s = ahead_s
    daemon = start.daemon(bus="local", env=shim.env)
    ahead = daemon.publish(key, fresh_time_us() + ahead_s * 10**6)
    if restart == "ahead":
        daemon.stop()
        daemon.start()
    shim.clock_offset_s = 0
    if restart == "right":
        daemon.stop()
        daemon.start()
    with daemon.stream(key) as stream:
        for i in range(1, 4):
            daemon.publish(key)
            stream.events_until(ahead + i)  # after what it begins with
            daemon.check_snapshot(key, ahead + i)
    daemon.stop()
    daemon.start()
    daemon.check_snapshot(key, ahead + 3)
    daemon.publish(key)
    daemon.check_snapshot(key, ahead + 4)


def test_clock_ahead_is_told(start, shim, key):
    """Not in silence: the log says what was found, once."""
    shim.clock_offset_s = HOUR_S
    daemon = start.daemon(bus="local", env=shim.env)
    daemon.publish(key)
    daemon.stop()
    shim.clock_offset_s = 0
    daemon.start()
    for _ in range(3):
        daemon.publish(key)
    assert len(daemon.wait_log("warning: The update of .* time that is still to come")) == 1


def test_clock_behind_is_set_right(start, shim, key):
    """What was stored before the clock fell behind is not forgotten, and not old when that is over."""
    daemon = start.daemon(bus="local", env=shim.env)
    known = daemon.publish(key)
    shim.clock_offset_s = -2 * HOUR_S
    daemon.publish(fresh_key())
    daemon.check_snapshot(key, known)
    daemon.stop()
    daemon.start()
    daemon.publish(fresh_key())
    daemon.check_snapshot(key, known)
    shim.clock_offset_s = 0
    daemon.check_snapshot(key, known)
    daemon.stop()
    daemon.start()
    daemon.check_snapshot(key, known)


# On NATS


def test_clock_ahead_with_nats_away(start, shim, key):
    """The node has never heard of NATS: its own clock is all it has.  That is ahead, and then set right."""
    server = start.nats(start=False)
    shim.clock_offset_s = HOUR_S
    daemon = start.daemon(wait="/livez", bus="nats", nats_url=server.url, env=shim.env)
    wait_away(daemon)
    ahead = daemon.queue(key, fresh_time_us() + HOUR_S * 10**6)
    shim.clock_offset_s = 0
    with daemon.stream(key) as stream:
        for i in range(1, 3):
            daemon.queue(key)
            stream.events_until(ahead + i)
    server.start()
    wait_ready(daemon)
    wait_empty(daemon)
    with server.client() as client:
        assert client.last_message(key).payload == payload(ahead + 2)


@pytest.mark.parametrize("offset", [-YEAR_S, -2 * HOUR_S, 2 * HOUR_S, YEAR_S])
def test_snapshots_by_the_clock_of_nats(start, shim, key, offset):
    """However wrong the node's own clock is: what NATS has stored in the last hour is what new subscribers get."""
    server = start.nats()
    shim.clock_offset_s = offset
    daemon = start.daemon(bus="nats", nats_url=server.url, env=shim.env)
    first = daemon.publish(key)
    daemon.check_snapshot(key, first)
    daemon.stop()
    daemon.start()
    daemon.check_snapshot(key, first)
    daemon.check_snapshot(key, daemon.publish(key))


def test_long_poll_by_the_clock_of_nats(start, shim, key):
    """How old an update is, for a client that sends no id: its stream ends after a quarter of that, 1 s at least."""
    server = start.nats()
    shim.clock_offset_s = HOUR_S // 2
    daemon = start.daemon(bus="nats", nats_url=server.url, env=shim.env)
    time_us = daemon.publish(key)
    daemon.check_snapshot(key, time_us)
    with daemon.stream(key, headers=FARADAY) as stream:
        assert stream.event(3) == time_us
        assert stream.end(20) == [], "by its own clock it would stay for minutes"
    shim.clock_offset_s = -HOUR_S // 2
    wait_until(lambda: daemon.log_lines("has jumped"), "it does not notice", 15)
    wait_ready(daemon)
    time.sleep(6)
    begun = time.monotonic()
    with daemon.stream(key, headers=FARADAY) as stream:
        assert stream.event(3) == time_us
        assert stream.end(20) == []
    assert time.monotonic() - begun > 1.4, "by its own clock it would end after 1 s"


def test_expiry_is_no_purge(start, skewed, key):
    """A node 90 s behind NATS knows an update that is an hour old on NATS, and not on its own clock.  NATS drops it.
    The node must not take that for a loss and write it back, which would tell all streams of all nodes again."""
    server = start.nats()
    left_s = 15
    ahead = skewed(server, clock_s=90, age_s=HOUR_S - left_s)
    right = skewed(server, age_s=HOUR_S - left_s)
    with server.client() as client:
        client.create_stream()
        client.store(key, payload(fresh_time_us() - HOUR_S * 10**6))
        expires = time.monotonic() + left_s
        behind, other = (start.daemon(bus="nats", nats_url=proxy.url) for proxy in (ahead, right))
        for node in (behind, other):
            wait_until(lambda: node.metrics()["flagsse_environments"] == 1, "it does not know the update")
        time.sleep(max(0.0, expires + 0.5 - time.monotonic()))
        client.api("STREAM.MSG.DELETE.environments-stream", {"seq": 1})
        for proxy in (ahead, right):
            proxy.age_s = 0  # what is stored from now on
        with other.stream(key) as stream:
            stream.quiet(12)  # two checks of the stream
        assert client.last_message(key) is None, "what has expired is back"
        assert behind.metrics()["flagsse_updates_repaired_total"] == 0
        assert not behind.log_lines("deleted or purged")
        last = behind.publish(key)
        for node in (behind, other):
            node.check_snapshot(key, last)


def test_a_purge_is_one(start, skewed, key):
    """The same node mends what NATS loses before its time."""
    server = start.nats()
    behind = start.daemon(bus="nats", nats_url=skewed(server, clock_s=90).url)
    time_us = behind.publish(key)
    with server.client() as client:
        client.purge_stream()
        wait_until(lambda: client.last_message(key), "it is not written back", 20)
        assert client.last_message(key).subject == SUBJECT + key
        assert client.last_message(key).payload == payload(time_us)
