# SPDX-License-Identifier: BSD-3-Clause
"""Where the time goes: the histograms at /metrics are whole, and move by what happens, and by no more."""
import math
import re
import shutil
import time
from dataclasses import dataclass, field

import pytest

from daemon import fresh_key, fresh_time_us
from wire import wait_until

STATUSES = ("published", "stale", "queued", "unavailable")
SHARDS = 2
SPREAD_S = 0.5


@dataclass
class Histogram:
    bounds: list = field(default_factory=list)  # le, in order
    buckets: list = field(default_factory=list)  # the numbers to them
    sum: float = None
    count: int = None

    def __sub__(self, before):
        """What has been counted since then."""
        assert self.bounds == before.bounds
        buckets = [n - n_before for n, n_before in zip(self.buckets, before.buckets)]
        return Histogram(self.bounds, buckets, self.sum - before.sum, self.count - before.count)

    def below(self, bound):
        return self.buckets[self.bounds.index(bound)]

    def check(self):
        """As the format 0.0.4, and Prometheus, have it."""
        assert self.bounds[-1] == math.inf
        assert self.bounds == sorted(set(self.bounds)) and self.bounds[0] > 0
        assert self.buckets == sorted(self.buckets) and self.buckets[0] >= 0
        assert self.buckets[-1] == self.count
        assert self.sum >= 0 and (self.sum == 0 or self.count > 0)


def histograms(daemon):
    """All series of all histograms, by name and label: (NAME, VALUE), or (NAME, None)."""
    text = daemon.get("/metrics").body.decode()
    names = "|".join(re.findall(r"^# TYPE (\w+) histogram$", text, re.M))
    sample = re.compile(rf'({names})_(bucket|sum|count)(?:\{{(?:(?!le=)\w+="(\w+)")?,?(?:le="([^"]+)")?\}})? (\d+(?:\.\d+)?)')
    found = {}
    for line in text.splitlines():
        if not re.match(rf"(?:{names})_", line):
            continue
        name, part, label, bound, value = sample.fullmatch(line).groups()
        series = found.setdefault((name, label), Histogram())
        assert (bound is not None) == (part == "bucket"), line
        if part == "bucket":
            assert series.sum is None and series.count is None, f"after its sum: {line}"
            series.bounds.append(float(bound))
            series.buckets.append(int(value))
        else:
            assert getattr(series, part) is None, f"twice: {line}"
            setattr(series, part, float(value) if part == "sum" else int(value))
    for series in found.values():
        series.check()
    return found


@pytest.fixture(scope="module", params=["local", "nats"])
def service(request, start_shared):
    return start_shared.daemon(options=[f"streams.shards={SHARDS}"], **start_shared.bus_options(request.param))


class Watched:
    """What has been counted since it was made."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.before = histograms(daemon)
        self.begun = time.monotonic()

    def now(self, name, label=None):
        return histograms(self.daemon)[name, label] - self.before[name, label]

    def publishes(self):
        """How many, by status."""
        now = histograms(self.daemon)
        name = "flagsse_publish_seconds"
        counts = {status: (now[name, status] - self.before[name, status]).count for status in STATUSES}
        return {status: n for status, n in counts.items() if n}

    def delivered(self, n):
        """The deliveries, once there are so many: the last one is counted after the event is sent."""
        name = "flagsse_delivery_seconds"
        wait_until(lambda: self.now(name).count >= n, lambda: f"{self.now(name)}")
        return self.now(name)

    def seconds(self):
        return time.monotonic() - self.begun


def test_every_series_is_there_from_the_start(start):
    series = histograms(start.daemon())
    assert set(series) == {("flagsse_delivery_seconds", None), ("flagsse_publish_lag_seconds", None),
                           *(("flagsse_publish_seconds", status) for status in STATUSES)}
    assert all(set(histogram.buckets) == {0} and histogram.sum == 0 for histogram in series.values())


def test_publishers_wait(service, key):
    """As long as they do: by its own clock the publisher has waited longer."""
    watched = Watched(service)
    time_us = service.publish(key)
    waited = watched.seconds()
    published = watched.now("flagsse_publish_seconds", "published")
    assert published.count == 1 and 0 < published.sum <= waited
    assert service.offer(key, time_us)[0].json() == {"status": "stale"}
    assert service.post(key, b"{}").status == 422
    assert watched.publishes() == {"published": 1, "stale": 1}
    assert watched.now("flagsse_publish_lag_seconds").count == 1, "what is stale, or refused, is not accepted"


def test_lag(service):
    """From updated_at on.  A publisher whose clock is ahead has none."""
    watched = Watched(service)
    service.publish(fresh_key(), fresh_time_us() - 8_000_000)
    lag = watched.now("flagsse_publish_lag_seconds")
    assert lag.count == 1 and lag.below(5) == 0
    assert 7.5 <= lag.sum <= 8.5 + watched.seconds(), "the bus's clock is not exactly ours"
    service.publish(fresh_key(), fresh_time_us() + 60_000_000)
    ahead = watched.now("flagsse_publish_lag_seconds") - lag
    assert ahead.count == 1 and ahead.below(0.01) == 1 and ahead.sum == pytest.approx(0)


def test_those_that_are_queued(start, key):
    """Publishers wait for the outbox, not for NATS; the update is accepted just once."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    server.kill()
    wait_until(lambda: daemon.get("/readyz").status == 503, "it does not notice", 20)
    watched = Watched(daemon)
    with daemon.stream(key) as stream:
        time_us = daemon.queue(key)
        assert stream.event() == time_us
        watched.delivered(1)
    assert watched.publishes() == {"queued": 1}
    server.start()
    wait_until(lambda: daemon.metrics()["flagsse_outbox_updates"] == 0, "it never goes to NATS", 30)
    assert watched.publishes() == {"queued": 1}
    assert watched.now("flagsse_publish_lag_seconds").count == 1


def test_those_that_are_refused(start, key):
    """The store's file is gone, and none can be made: the publisher waits for that answer, but nothing is accepted."""
    daemon = start.daemon()
    state = daemon.directory / "state"
    watched = Watched(daemon)
    shutil.rmtree(state)
    state.write_text("in the way")
    assert daemon.offer(key)[0].status == 503
    assert watched.publishes() == {"unavailable": 1}
    assert watched.now("flagsse_publish_lag_seconds").count == 0
    state.unlink()
    state.mkdir()


def test_delivery(service):
    """One for each thread with streams of the environment, however many there are."""
    key, other = fresh_key(), fresh_key()
    watched = Watched(service)
    with service.stream(key) as first, service.stream(key) as second, service.stream(key) as third:
        time_us = service.publish(key)
        assert {stream.event() for stream in (first, second, third)} == {time_us}
        delivery = watched.delivered(SHARDS)
        assert delivery.count == SHARDS and 0 < delivery.sum <= SHARDS * watched.seconds()
        service.publish(other)
        service.publish(key)
        assert watched.delivered(2 * SHARDS).count == 2 * SHARDS


def test_delivery_takes_as_long_as_the_spread(start, key):
    daemon = start.daemon(options=["streams.shards=1", f"streams.spread={SPREAD_S}s"])
    watched = Watched(daemon)
    with daemon.stream(key) as first, daemon.stream(key) as second:
        time_us = daemon.publish(key)
        assert first.event() == second.event() == time_us
        delivery = watched.delivered(1)
    assert delivery.count == 1 and SPREAD_S / 4 < delivery.sum < watched.seconds()
