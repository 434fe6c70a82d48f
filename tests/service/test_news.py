# SPDX-License-Identifier: BSD-3-Clause
"""Every accepted update is news: an older one, too, which comes after a younger one, goes out, above that.

Whoever fetched for the younger one may lack the change that the older one is about, and SDKs drop what is not above
what they have.  So the times of an environment's events only ever grow.
"""
import random
import threading
import time

import pytest

from daemon import fresh_key, fresh_time_us
from sse import Stream
from test_jetstream import payload
from test_outbox import DOUBT_S, FAR, wait_away, wait_empty, wait_ready
from wire import wait_until


def wait_last(server, key, time_us):
    """Waits until the last message is of this one."""
    def last():
        message = client.last_message(key)
        return message.payload if message else None

    with server.client() as client:
        wait_until(lambda: last() == payload(time_us), f"it never is of {time_us}")


# ---- One node ----

def test_older_one_is_news(service, key):
    younger = service.publish(key)
    with service.stream(key) as stream:
        assert stream.event() == younger
        for i, older in enumerate((younger - 1, younger - 10**6, younger - 10**9), 1):
            service.publish(key, older)
            assert stream.event() == younger + i
        response, _ = service.offer(key, younger + 3)
        assert response.json() == {"status": "stale"}
        stream.quiet(0.2)
    service.check_snapshot(key, younger + 3)


def test_clock_years_ahead_silences_nobody(service, key):
    with service.stream(key) as stream:
        service.publish(key, FAR)
        assert stream.event() == FAR
        for i in range(1, 4):
            service.publish(key)
            assert stream.event() == FAR + i


def test_last_time_of_all(service, key):
    """The last moment of the year 2999 is accepted, and there is something above it."""
    last = 32503679999_999999
    with service.stream(key) as stream:
        service.publish(key, last)
        assert stream.event() == last
        service.publish(key)
        assert stream.event() == last + 1
    service.check_snapshot(key, last + 1)


class Listener(threading.Thread):
    """A stream, and when each of its events came."""

    def __init__(self, daemon, key):
        super().__init__(daemon=True)
        self.stream = Stream(daemon.address, key)
        self.events = []
        self.start()

    def run(self):
        try:
            while True:
                event = self.stream.event(30)
                self.events.append((time.monotonic(), event))
        except (OSError, EOFError, AssertionError):
            pass

    def close(self):
        self.stream.close()
        self.join(5)


def apart(count):
    """So many times, between which there is room for those that go out above another."""
    now = fresh_time_us()
    return [now - (count - i) * 1000 for i in range(count)]


def publish_at_once(nodes, key, shares):
    """Each share by a thread of its own.  When each update that was accepted as news was sent."""
    sent, problems = [], []

    def work(node, share):
        try:
            for time_us in share:
                at = time.monotonic()
                response, _ = node.offer(key, time_us)
                assert response.status in (200, 202), response
                if response.json()["status"] != "stale":
                    sent.append((at, time_us))
        except (OSError, EOFError, AssertionError) as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(nodes[i % len(nodes)], share)) for i, share in enumerate(shares)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems
    return sent


def check_news(listeners, sent):
    """Each stream has an event after each acceptance, and its times only grow; all end with the same."""
    last_sent = max(at for at, _ in sent)
    highest = max(time_us for _, time_us in sent)

    def are_done():
        ends = {listener.events[-1][1] if listener.events else 0 for listener in listeners}
        return len(ends) == 1 and ends.pop() >= highest and all(
            listener.events[-1][0] >= last_sent for listener in listeners)

    wait_until(are_done, f"the streams do not agree: {[listener.events[-2:] for listener in listeners]}")
    for listener in listeners:
        ids = [event for _, event in listener.events]
        assert ids == sorted(set(ids)), ids


def race(nodes, key):
    """Some publishers in order, and others not."""
    times = apart(120)
    shares = [times[i::6] for i in range(6)]
    for share in shares[2:]:
        random.shuffle(share)
    listeners = [Listener(node, key) for node in nodes for _ in range(2)]
    sent = publish_at_once(nodes, key, shares)
    assert len(sent) == len(times), "none of them is the latest's own"
    check_news(listeners, sent)
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("round_", range(3))
def test_many_publishers_at_once(service, key, round_):
    race([service], key)


def test_after_a_restart(start, bus, key):
    daemon = start.daemon(**start.bus_options(bus))
    younger = daemon.publish(key)
    daemon.kill()
    daemon.start()
    with daemon.stream(key) as stream:
        assert stream.event() == younger
        daemon.publish(key, younger - 5)
        assert stream.event() == younger + 1
        response, _ = daemon.offer(key, younger + 1)
        assert response.json() == {"status": "stale"}


# ---- Two nodes ----

def test_older_one_on_the_other_node(nodes, key):
    a, b = nodes
    with a.stream(key) as on_a, b.stream(key) as on_b:
        younger = a.publish(key)
        assert on_a.event() == on_b.event() == younger
        b.publish(key, younger - 5)
        assert on_a.event() == on_b.event() == younger + 1
        a.publish(key, younger - 9)
        assert on_a.event() == on_b.event() == younger + 2


@pytest.mark.parametrize("round_", range(3))
def test_racing_over_two_nodes(nodes, key, round_):
    race(nodes, key)


def test_another_writer_without_compare_and_set(start, key):
    """v4 writes what it gets: an older one over a younger one.  It is written above that, and once."""
    server = start.nats()
    a, b = (start.daemon(bus="nats", nats_url=server.url) for _ in range(2))
    with a.stream(key) as on_a, b.stream(key) as on_b, server.client() as client:
        younger = a.publish(key)
        assert on_a.event() == on_b.event() == younger
        client.store(key, payload(younger - 5))
        assert on_a.event() == on_b.event() == younger + 1
        on_a.quiet(0.3)
        on_b.quiet(0.3)
        assert client.last_message(key).payload == payload(younger + 1)
        assert client.stream_info()["state"]["last_seq"] == 3


# ---- What waited ----

@pytest.fixture
def away(start):
    """A daemon whose NATS server is down, and that."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    return daemon, server


def take_away(daemon, server):
    server.kill()
    wait_away(daemon)


def come_back(daemon, server, key, time_us, headers=()):
    """While the daemon is down NATS stores another one's update."""
    daemon.kill()
    server.start()
    with server.client() as client:
        client.store(key, payload(time_us), headers)
    daemon.start()
    wait_empty(daemon)


def test_younger_one_from_before(away, key):
    """The row was accepted after it was stored: whoever fetched for that may lack it."""
    daemon, server = away
    mine = fresh_time_us()
    daemon.publish(key, mine + 100)
    time.sleep(DOUBT_S)
    take_away(daemon, server)
    with daemon.stream(key) as stream:
        assert stream.event() == mine + 100
        daemon.queue(key, mine)
        assert stream.event() == mine + 101
        server.start()
        wait_empty(daemon)
        wait_ready(daemon)
        stream.quiet(0.3)
    wait_last(server, key, mine + 101)


def test_younger_one_that_it_did_not_know(away, key):
    """It was stored before the row was accepted, while this node heard nothing."""
    daemon, server = away
    daemon.kill()
    mine = fresh_time_us()
    with server.client() as client:
        client.store(key, payload(mine + 100))
    server.kill()
    time.sleep(DOUBT_S)
    daemon.start(wait="/livez")
    wait_away(daemon)
    with daemon.stream(key) as stream:
        daemon.queue(key, mine)
        assert stream.event() == mine
        server.start()
        wait_empty(daemon)
        assert stream.events_until(mine + 101)[-1] == mine + 101
    wait_last(server, key, mine + 101)


def test_younger_one_from_after(away, key):
    """Whoever fetched for it has the row's change, too: that is stale."""
    daemon, server = away
    take_away(daemon, server)
    mine = daemon.queue(key)
    time.sleep(DOUBT_S)
    come_back(daemon, server, key, mine + 100)
    wait_last(server, key, mine + 100)
    daemon.check_snapshot(key, mine + 100)
    assert daemon.metrics()["flagsse_outbox_published_total"] == 0


def test_younger_one_from_after_that_some_had_before(away, key):
    """Its node had accepted it before the row: streams there have had it since then, and lack the row's change."""
    daemon, server = away
    accepted = time.time_ns() // 1000
    time.sleep(DOUBT_S)
    take_away(daemon, server)
    mine = daemon.queue(key)
    time.sleep(DOUBT_S)
    come_back(daemon, server, key, mine + 100, (("Flagsse-Accepted", str(accepted)),))
    wait_last(server, key, mine + 101)
    daemon.check_snapshot(key, mine + 101)


def test_older_one_from_before(away, key):
    daemon, server = away
    older = daemon.publish(key)
    time.sleep(DOUBT_S)
    take_away(daemon, server)
    mine = daemon.queue(key)
    server.start()
    wait_empty(daemon)
    wait_last(server, key, mine)
    assert mine > older


def test_older_one_from_after(away, key):
    """The streams of this node have had the row's, and not that one."""
    daemon, server = away
    take_away(daemon, server)
    mine = daemon.queue(key)
    time.sleep(DOUBT_S)
    come_back(daemon, server, key, mine - 100)
    wait_last(server, key, mine + 1)
    daemon.check_snapshot(key, mine + 1)


def test_the_same_is_stale(away, key):
    daemon, server = away
    take_away(daemon, server)
    mine = daemon.queue(key)
    assert daemon.offer(key, mine)[0].json() == {"status": "stale"}
    time.sleep(DOUBT_S)
    come_back(daemon, server, key, mine)
    wait_last(server, key, mine)
    with server.client() as client:
        assert client.stream_info()["state"]["last_seq"] == 1
    assert daemon.metrics()["flagsse_outbox_published_total"] == 0


def test_older_ones_while_away(away, key):
    """Each is told at once, above the one before, and the last is what NATS gets, after a crash too."""
    daemon, server = away
    take_away(daemon, server)
    with daemon.stream(key) as stream:
        mine = daemon.queue(key)
        assert stream.event() == mine
        for i in range(1, 4):
            daemon.queue(key, mine - i)
            assert stream.event() == mine + i
    daemon.kill()
    daemon.start(wait="/livez")
    daemon.check_snapshot(key, mine + 3)
    server.start()
    wait_empty(daemon)
    wait_last(server, key, mine + 3)


def reconnect(server, nodes):
    server.start()
    for node in nodes:
        wait_ready(node)
        wait_empty(node)


def test_both_nodes_cut_off(start, key):
    """One accepts a younger one, and then the other an older one: the streams of the first hear of that."""
    server = start.nats()
    nodes = a, b = [start.daemon(bus="nats", nats_url=server.url) for _ in range(2)]
    server.kill()
    for node in nodes:
        wait_away(node)
    with a.stream(key) as on_a, b.stream(key) as on_b:
        mine = fresh_time_us()
        b.queue(key, mine)
        assert on_b.event() == mine
        time.sleep(DOUBT_S)
        a.queue(key, mine - 100)
        assert on_a.event() == mine - 100
        reconnect(server, nodes)
        last = [stream.events_until(mine + 1)[-1] for stream in (on_a, on_b)]
        assert last == [mine + 1, mine + 1]
    wait_last(server, key, mine + 1)


@pytest.mark.parametrize("crash", [False, True])
def test_both_raise_to_the_same_time(start, key, crash):
    """Both know the same latest, of a clock that is ahead: what they accept gets the same time, and is not the same."""
    server = start.nats()
    nodes = a, b = [start.daemon(bus="nats", nats_url=server.url) for _ in range(2)]
    a.publish(key, FAR)
    b.check_snapshot(key, FAR)
    time.sleep(DOUBT_S)
    server.kill()
    for node in nodes:
        wait_away(node)
    with a.stream(key) as on_a, b.stream(key) as on_b:
        assert on_a.event() == on_b.event() == FAR
        a.queue(key)
        b.queue(key)
        assert on_a.event() == on_b.event() == FAR + 1
        if not crash:
            reconnect(server, nodes)
            assert on_a.event() == on_b.event() == FAR + 2
    if crash:
        a.kill()
        b.kill()
        server.start()
        a.start()
        wait_empty(a)
        wait_last(server, key, FAR + 1)
        b.start()
        wait_empty(b)
    wait_last(server, key, FAR + 2)


def test_the_stream_is_lost_meanwhile(start, key):
    """What NATS has lost is written back; what came first on the empty stream is above it then."""
    server = start.nats()
    a, b = [start.daemon(bus="nats", nats_url=server.url) for _ in range(2)]
    younger = a.publish(key)
    b.check_snapshot(key, younger)
    with a.stream(key) as on_a, b.stream(key) as on_b:
        assert on_a.event() == on_b.event() == younger
        time.sleep(DOUBT_S)
        with server.client() as client:
            client.purge_stream()
            a.publish(key, younger - 100)
        for stream in (on_a, on_b):
            assert stream.event() == younger + 1
    wait_last(server, key, younger + 1)


def test_many_environments_back_at_once(start):
    """Rows that are raised do not hold up each other."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    keys = [fresh_key() for _ in range(50)]
    times = {key: daemon.publish(key) for key in keys}
    server.kill()
    wait_away(daemon)
    for key in keys:
        daemon.queue(key, times[key] - 1)
    reconnect(server, [daemon])
    for key in keys:
        wait_last(server, key, times[key] + 1)


def test_one_row_for_two(away, key):
    """The younger one takes the place of the older one's row.  NATS has just the younger one, from another node."""
    daemon, server = away
    daemon.kill()
    younger = fresh_time_us()
    with server.client() as client:
        client.store(key, payload(younger))
    server.kill()
    time.sleep(DOUBT_S)
    daemon.start(wait="/livez")
    wait_away(daemon)
    daemon.queue(key, younger - 100)
    daemon.queue(key, younger)
    server.start()
    wait_empty(daemon)
    wait_last(server, key, younger + 1)
