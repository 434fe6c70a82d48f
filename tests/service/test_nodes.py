# SPDX-License-Identifier: BSD-3-Clause
"""Two daemons on one NATS: they are one service."""
import random
import threading
import time

import pytest

from daemon import fresh_key, fresh_time_us


def test_published_here_received_there(nodes, key):
    a, b = nodes
    with a.stream(key) as on_a, b.stream(key) as on_b:
        for publisher in (a, b, a, b):
            time_us = publisher.publish(key)
            assert on_a.event() == on_b.event() == time_us
            time.sleep(0.005)  # the other node's stream may be told before this node's registry is


def test_the_latest_is_known_everywhere(nodes, key):
    a, b = nodes
    first = a.publish(key)
    b.check_snapshot(key, first)
    response, _ = b.offer(key, first)
    assert response.json() == {"status": "stale"}
    second = b.publish(key)
    a.check_snapshot(key, second)


def test_a_node_that_comes_later_knows_it_too(start, key):
    url = start.nats().url
    first = start.daemon(bus="nats", nats_url=url)
    keys = [fresh_key() for _ in range(50)]
    times = [first.publish(k) for k in keys]
    late = start.daemon(bus="nats", nats_url=url)
    assert [late.snapshot(k) for k in keys] == times
    response, _ = late.offer(keys[0], times[0])
    assert response.json() == {"status": "stale"}


def test_resuming_on_the_other_node(nodes, key):
    """The id is the same on every node."""
    a, b = nodes
    time_us = a.publish(key)
    b.check_snapshot(key, time_us)
    with b.stream(key, headers=(("Last-Event-ID", str(time_us)),)) as stream:
        newer = a.publish(key)
        assert stream.events_until(newer)[-1] == newer


def race(nodes, key, times):
    """Each publisher offers its share in an order of its own, all at once."""
    problems = []
    outcomes = []

    def work(node, share):
        try:
            for time_us in share:
                response, _ = node.offer(key, time_us)
                assert response.status == 200, response
                outcomes.append(response.json()["status"])
        except (AssertionError, OSError, EOFError) as error:
            problems.append(error)

    shares = [times[i::4] for i in range(4)]
    random.shuffle(shares[0])
    shares[1].reverse()
    random.shuffle(shares[2])
    threads = [threading.Thread(target=work, args=(nodes[i % 2], share))
               for i, share in enumerate(shares)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems
    return outcomes


@pytest.mark.parametrize("round_", range(5))
def test_racing_each_other(nodes, key, round_):
    """Older and newer at once on both: each is published, no stream's times go back, and all end with the same."""
    now = fresh_time_us()
    times = [now - (120 - i) * 1000 for i in range(120)]
    streams = [node.stream(key) for node in nodes for _ in range(3)]
    assert race(nodes, key, times) == ["published"] * len(times)
    last = nodes[0].publish(key)
    for stream in streams:
        got = stream.events_until(last)
        assert got == sorted(set(got)), got
        stream.quiet(0.1)
        stream.close()
    for node in nodes:
        node.check_snapshot(key, last)


def test_racing_with_clocks_ahead(nodes, key):
    """Where updated_at is in the future, others are heard all the same, above that: both nodes decide alike."""
    far = 4102444800_000000
    times = [far + i * 1000 for i in range(60)]
    random.shuffle(times)
    streams = [node.stream(key) for node in nodes]
    race(nodes, key, times)
    last = nodes[0].publish(key, far + 10**6)
    for stream in streams:
        got = stream.events_until(last)
        assert got == sorted(set(got)), got
        stream.quiet(0.1)
        stream.close()
    nodes[0].publish(key)
    for node in nodes:
        node.check_snapshot(key, last + 1)


def test_many_environments_at_once(nodes):
    keys = [fresh_key() for _ in range(40)]
    streams = {k: [node.stream(k) for node in nodes] for k in keys}
    last = {}
    for i, k in enumerate(keys * 3):
        last[k] = nodes[i % 2].publish(k)
    for k, pair in streams.items():
        for stream in pair:
            got = stream.events_until(last[k])
            assert got == sorted(set(got))
            stream.close()


def test_one_node_down_the_other_serves(start, key):
    url = start.nats().url
    a, b = (start.daemon(bus="nats", nats_url=url) for _ in range(2))
    with b.stream(key) as stream:
        time_us = a.publish(key)
        assert stream.event() == time_us
        a.kill()
        time_us = b.publish(key)
        assert stream.event() == time_us
    a.start()
    a.check_snapshot(key, time_us)
