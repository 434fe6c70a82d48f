# SPDX-License-Identifier: BSD-3-Clause
"""What may happen to NATS, to the network, to the machine and to the daemon itself: what was accepted is delivered."""
import json
import random
import resource
import signal
import socket
import subprocess
import threading
import time

import pytest

from daemon import JUST_ABOVE_US, fresh_key, fresh_time_us, is_or_is_just_above, isoformat, under_sanitizer
from nats import Cluster
from namespaces import private
from network import ADDRESSES
from relay import Relay
from sse import Refused
from test_jetstream import payload
from test_outbox import DOUBT_S, fill, inside, on_tmpfs, queued, refused, wait_away, wait_empty, wait_ready
from wire import wait_until


def two_nodes(start, url, **options):
    return [start.daemon(bus="nats", nats_url=url, **options) for _ in range(2)]


def all_deliver(nodes, streams, times):
    """Each stream ends with its environment's newest accepted update, or with one that is just above that; and all
    nodes know the same.  What that is."""
    def agreed(key, time_us):
        last = {node.snapshot(key) for node in nodes}
        us = last.pop()
        return us if not last and is_or_is_just_above(us, time_us) else None

    for node in nodes:
        wait_ready(node)
        wait_empty(node)
    last = {key: wait_until(lambda: agreed(key, time_us), lambda: f"the nodes do not agree on {time_us} of {key}: "
                            f"{[node.snapshot(key) for node in nodes]}")
            for key, time_us in times.items()}
    for key, us in last.items():
        for stream in streams.get(key, ()):
            got = stream.events_until(us, 30)
            assert got == sorted(set(got)), got
    return last


class Publisher(threading.Thread):
    """Publishes to some environments, one after the other, until it is told to end; notes what was accepted."""

    def __init__(self, nodes, keys):
        super().__init__()
        self.nodes, self.keys = nodes, keys
        self.accepted = {}
        self.slowest = 0
        self.statuses = []
        self.ends = threading.Event()

    def run(self):
        while not self.ends.is_set():
            key, node = random.choice(self.keys), random.choice(self.nodes)
            begun = time.monotonic()
            try:
                response, time_us = node.offer(key)
            except (OSError, EOFError):
                time.sleep(0.01)
                continue  # the node is down
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.statuses.append(response.status)
            if response.status in (200, 202):
                self.accepted[key] = time_us

    def end(self):
        self.ends.set()
        self.join()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end()


# NATS


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_nats_restarts_under_load(start, how):
    """Killed or stopped, and back with its store: no update is refused, and each arrives on both nodes."""
    server = start.nats()
    nodes = two_nodes(start, server.url)
    keys = [fresh_key() for _ in range(10)]
    streams = {key: [node.stream(key) for node in nodes] for key in keys}
    with Publisher(nodes, keys) as publisher:
        for _ in range(3):
            time.sleep(random.uniform(0.1, 0.5))
            getattr(server, how)()
            time.sleep(random.uniform(0.1, 1.5))
            server.start()
            time.sleep(random.uniform(0.1, 1))
    assert set(publisher.statuses) == {200, 202} and publisher.slowest < 2
    all_deliver(nodes, streams, publisher.accepted)


def test_nats_freezes_under_load(start):
    server = start.nats()
    nodes = two_nodes(start, server.url)
    keys = [fresh_key() for _ in range(10)]
    streams = {key: [node.stream(key) for node in nodes] for key in keys}
    with Publisher(nodes, keys) as publisher:
        for seconds in (0.5, 3, 8):
            time.sleep(0.3)
            server.freeze()
            time.sleep(seconds)
            server.thaw()
            wait_ready(nodes[0])
    assert set(publisher.statuses) == {200, 202} and publisher.slowest < 2
    all_deliver(nodes, streams, publisher.accepted)


def test_nats_loses_its_disk_while_updates_wait(start):
    """Back with nothing: what it had before comes from the registry, what waited from the outbox."""
    server = start.nats()
    nodes = two_nodes(start, server.url)
    times = {fresh_key(): None for _ in range(20)}
    streams = {key: [node.stream(key) for node in nodes] for key in times}
    for i, key in enumerate(times):
        times[key] = nodes[i % 2].publish(key)
    time.sleep(DOUBT_S)
    server.kill()
    server.forget()
    for i, key in enumerate(times):
        if i % 3 == 0:
            times[key] = nodes[i % 2].accept(key)
    server.start()
    last = all_deliver(nodes, streams, times)
    for node in nodes:  # the bus has it all, not only the nodes' memory
        node.stop()
        node.start()
        for key, time_us in last.items():
            node.check_snapshot(key, time_us)


def test_nats_is_out_of_disk(start, tmp_path):
    """JetStream cannot store: the outbox can, until there is space again."""
    store = tmp_path / "disk"
    server = start.nats(wrapper=on_tmpfs(store, "1m"), store=store / "jetstream")
    nodes = two_nodes(start, server.url)
    times = {key: nodes[0].publish(key) for key in (fresh_key() for _ in range(5))}
    streams = {key: [node.stream(key) for node in nodes] for key in times}
    fill(inside(server.process, store))
    keys = list(times)
    for i in range(300):  # some still fit
        key = keys[i % 5]
        response, time_us = nodes[0].offer(key)
        assert response.status in (200, 202), response
        times[key] = time_us
        if i >= 100 and response.status == 202:
            break
    assert nodes[0].metrics()['flagsse_publishes_total{status="queued"}'] > 0, "the disk is not full"
    subprocess.run(["rm", f"{inside(server.process, store)}/ballast"], check=True)
    # As a tmpfs of its own ends with it, the server comes back empty, too.
    server.kill()
    server.start()
    all_deliver(nodes, streams, times)


@pytest.mark.parametrize("what", ["delete", "purge", "consumer"])
def test_stream_is_disturbed_under_load(start, what):
    server = start.nats()
    nodes = two_nodes(start, server.url)
    keys = [fresh_key() for _ in range(10)]
    streams = {key: [node.stream(key) for node in nodes] for key in keys}
    with server.client() as client, Publisher(nodes, keys) as publisher:
        for _ in range(5):
            time.sleep(random.uniform(0.2, 1))
            if what == "delete":
                wait_until(lambda: client.api("STREAM.NAMES")["streams"], "it is not made anew")
                client.delete_stream()
            elif what == "purge":
                client.purge_stream()
            else:
                for name in client.api("CONSUMER.NAMES.environments-stream")["consumers"] or ():
                    client.api(f"CONSUMER.DELETE.environments-stream.{name}")
    assert set(publisher.statuses) <= {200, 202} and publisher.slowest < 2
    all_deliver(nodes, streams, publisher.accepted)
    time.sleep(6)  # nobody tells of a purge: it is looked after each 5 s
    last = all_deliver(nodes, {}, publisher.accepted)
    for node in nodes:
        node.stop()
        node.start()
        for key, time_us in last.items():
            node.check_snapshot(key, time_us)


def test_lost_before_it_was_told(start, key):
    """The consumer is gone, so nobody hears of an update but by its acknowledgement; then the stream loses it."""
    server = start.nats()
    nodes = two_nodes(start, server.url)
    first = nodes[0].publish(key)
    streams = {key: [node.stream(key) for node in nodes]}
    for stream in streams[key]:
        assert stream.event() == first
    with server.client() as client:
        for name in client.api("CONSUMER.NAMES.environments-stream")["consumers"]:
            client.api(f"CONSUMER.DELETE.environments-stream.{name}")
        second = nodes[0].publish(key)
        client.purge_stream()
        for stream in streams[key]:
            assert stream.event(30) == second
        wait_until(lambda: (m := client.last_message(key)) and m.payload == payload(second), "it is not written back")
    all_deliver(nodes, {}, {key: second})


# A cluster


@pytest.fixture
def cluster(start):
    return Cluster(start)


def test_cluster_loses_its_leader(start, cluster):
    """A pause, nothing else."""
    nodes = two_nodes(start, cluster.url, options=["nats.replicas=3"])
    keys = [fresh_key() for _ in range(10)]
    streams = {key: [node.stream(key) for node in nodes] for key in keys}
    with Publisher(nodes, keys) as publisher:
        for _ in range(2):
            time.sleep(1)
            leader, _ = cluster.leader()
            leader.kill()
            time.sleep(5)
            leader.start(wait=False)
            cluster.wait()
            wait_ready(nodes[0])
    assert set(publisher.statuses) <= {200, 202} and publisher.slowest < 2
    all_deliver(nodes, streams, publisher.accepted)


def test_cluster_loses_its_quorum(start, cluster, key):
    nodes = two_nodes(start, cluster.url, options=["nats.replicas=3"])
    first = nodes[0].publish(key)
    streams = {key: [node.stream(key) for node in nodes]}
    for stream in streams[key]:
        assert stream.event() == first
    leader, others = cluster.leader()
    leader.kill()
    others[0].kill()
    times = {key: nodes[0].queue(key)}
    assert streams[key][0].event() == times[key], "the node's own streams get it at once"
    wait_away(nodes[0])
    for k in [fresh_key() for _ in range(20)]:
        times[k] = nodes[1].queue(k)
    time.sleep(DOUBT_S)
    times[key] = nodes[1].queue(key)
    leader.start(wait=False)
    others[0].start(wait=False)
    cluster.wait()
    all_deliver(nodes, streams, times)


# The network


def test_cut_off_from_nats(start, network, tmp_path):
    """Packets go nowhere, and nobody says so: noticed within seconds, and mended when they arrive again."""
    server = start.nats(host=ADDRESSES[1], wrapper=network.far)
    near, far = (start.daemon(bus="nats", nats_url=server.url, wrapper=prefix, listen=f"unix:{tmp_path}/{name}",
                              address=f"{tmp_path}/{name}")
                 for prefix, name in ((network.near, "near"), (network.far, "far")))
    key = fresh_key()
    with near.stream(key) as on_near, far.stream(key) as on_far:
        first = near.publish(key)
        assert on_near.event() == on_far.event() == first
        network.pull()
        begun = time.monotonic()
        older = near.queue(key)
        assert on_near.event() == older
        wait_away(near)
        assert time.monotonic() - begun < 10
        newer = far.publish(key)
        assert on_far.event() == newer
        times = {k: near.queue(k) for k in (fresh_key() for _ in range(20))}
        network.plug()
        assert on_near.events_until(newer, 30)[-1] == newer
        on_far.quiet(0.5)
    all_deliver([near, far], {}, {**times, key: newer})


def test_half_open_peer(start, network, tmp_path, key):
    """Its machine is gone without a word: found out by TCP_USER_TIMEOUT once a keep-alive is not acknowledged."""
    port = 8088
    daemon = start.daemon(wrapper=network.near, listen=f"unix:{tmp_path}/s,{ADDRESSES[0]}:{port}",
                          address=f"{tmp_path}/s", options=["streams.user_timeout=2s", "streams.keepalive=1s"])
    peer = subprocess.Popen([*network.far, "curl", "-sSN", f"http://{ADDRESSES[0]}:{port}/sse/environments/{key}/stream"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: daemon.metrics()["flagsse_streams"] == 1, "no stream")
        network.pull()
        wait_until(lambda: daemon.metrics()["flagsse_streams"] == 0, "it is never given up", 15)
        assert peer.poll() is None
    finally:
        peer.kill()
        peer.wait()


def test_name_of_nats_changes(start, tmp_path, key):
    """It is resolved again with each attempt to connect."""
    etc = tmp_path / "etc"
    subprocess.run(["cp", "-r", "/etc", str(etc)], check=False, capture_output=True)  # what one may read
    hosts = etc / "hosts"
    hosts.write_text("127.0.0.2 nats.test\n")
    server = start.nats(host="127.0.0.2")
    daemon = start.daemon(bus="nats", nats_url=f"nats://nats.test:{server.port}", wrapper=[
        *private(), "sh", "-euc", 'mount --bind "$1" /etc; shift; exec "$@"', "sh", str(etc)])
    with daemon.stream(key) as stream:
        time_us = daemon.publish(key)
        assert stream.event() == time_us
        server.kill()
        moved = start.nats(host="127.0.0.3", port=server.port)
        queued_us = daemon.queue(key)
        assert stream.event() == queued_us
        hosts.write_text("127.0.0.3 nats.test\n")
        wait_ready(daemon)
        wait_empty(daemon)
        assert moved.process
        time_us = daemon.publish(key)
        assert stream.event() == time_us


# The daemon itself


@pytest.mark.parametrize("bus", ["local", "nats", "away"])
def test_killed_while_publishing(start, bus):
    """With kill -9, again and again, at random points: what it had answered is known afterwards."""
    server = start.nats() if bus != "local" else None
    daemon = start.daemon(bus="local" if bus == "local" else "nats", nats_url=server and server.url)
    if bus == "away":
        server.kill()
        wait_away(daemon)
    keys = [fresh_key() for _ in range(20)]
    accepted = {}
    for _ in range(12):
        publishers = [Publisher([daemon], keys[i::4]) for i in range(4)]
        for publisher in publishers:
            publisher.start()
        time.sleep(random.uniform(0.02, 0.4))
        daemon.process.send_signal(signal.SIGKILL)
        daemon.kill()
        for publisher in publishers:
            publisher.end()
            accepted.update(publisher.accepted)
            assert set(publisher.statuses) <= {200, 202}
        daemon.start("/livez")
        if bus == "away":
            wait_until(lambda: queued(daemon) >= len(accepted), "the outbox has lost some")
    if server and not server.process:
        server.start()
    wait_ready(daemon)
    wait_empty(daemon)
    for key, time_us in accepted.items():
        # One that was taken, but whose answer was lost, may be the newest.
        assert (daemon.snapshot(key) or 0) >= time_us
    if server:
        with server.client() as client:
            for key, time_us in accepted.items():
                assert client.last_message(key).payload >= payload(time_us)


# The machine


@pytest.mark.parametrize("bus", ["local", "nats"])
def test_disk_stalls(start, shim, key, bus):
    """It neither takes nor refuses: publishers are told in time, the service goes on, and so does all when it is over."""
    server = start.nats() if bus == "nats" else None
    daemon = start.daemon(bus=bus, nats_url=server and server.url, env=shim.env)
    with daemon.stream(key) as stream:
        first = daemon.publish(key)
        assert stream.event() == first
        if server:
            server.kill()
            wait_away(daemon)
        shim.disk_stalls = 1
        try:
            refused(daemon, key, "disk")
            begun = time.monotonic()
            for _ in range(20):
                refused(daemon, key, "disk")
            assert time.monotonic() - begun < 2, "known to be stalled: at once"
            assert daemon.get("/livez").status == 200
            daemon.check_snapshot(key, first)
        finally:
            shim.disk_stalls = 0
        kept = stream.event()  # refused, and yet kept at last: no harm
        assert kept > first
        last = wait_until(lambda: t if (o := daemon.offer(key))[0].status in (200, 202) and (t := o[1]) else None,
                          "it never goes on")
        assert stream.events_until(last)[-1] == last
        if server:
            server.start()
            wait_ready(daemon)
            wait_empty(daemon)
        daemon.check_snapshot(key, last)


def test_nats_library_does_not_end(start, shim, key):
    """A connection that nats.c has lost track of keeps the daemon from its end no longer than a moment."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url, env=shim.env)
    shim.nats_leaks = 1
    daemon.publish(key)
    daemon.stop()
    assert daemon.log_lines("The NATS library does not end")


@pytest.mark.parametrize("bus", ["local", "nats"])
def test_clock_jumps(start, shim, key, bus):
    """A day ahead and back: streams go on, and updates that are published are delivered each time."""
    server = start.nats() if bus == "nats" else None
    daemon = start.daemon(bus=bus, nats_url=server and server.url, env=shim.env,
                          options=["streams.keepalive=1s"])
    other = fresh_key()
    known = daemon.publish(other)
    above = JUST_ABOVE_US if bus == "nats" else 0
    with daemon.stream(key) as stream:
        for offset in (0, 86400, -86400, 30, 0, -5, 0):
            shim.clock_offset_s = offset
            for _ in range(3):
                time_us = daemon.accept(key)
                stream.events_until(time_us, above=above)  # the one before may come again
                time.sleep(0.05)  # more than a message takes to come from NATS
            wait_until(lambda: time_us <= (daemon.snapshot(key) or 0) <= time_us + above,
                       lambda: f"{offset} s: a new subscriber gets {daemon.snapshot(key)}, not {time_us}", 15)
        wait_ready(daemon)
        wait_empty(daemon)
        assert stream.settle(time_us, 1.5) == daemon.snapshot(key)
    wait_until(lambda: daemon.snapshot(other) == known, "what was published before is forgotten", 20)


@pytest.mark.parametrize("offset", [0, -5, -30, 5])
def test_clock_is_wrong(start, shim, key, offset):
    """Of two in the outbox, JetStream has the first, from another writer.  The second is above it, even where the node's
    clock says that it was accepted before the first was published; and it is written once more, as that was stored
    after it was told."""
    server = start.nats()
    shim.clock_offset_s = offset
    daemon = start.daemon(bus="nats", nats_url=server.url, env=shim.env)
    other = fresh_key()
    with daemon.stream(other) as stream:
        for _ in range(5):  # by the one that takes least time it knows NATS's clock
            time_us = daemon.publish(other)
            assert stream.event() == time_us
    server.kill()
    wait_away(daemon)
    first = daemon.queue(key)
    time.sleep(3)  # longer than a message may take on a busy machine, and shorter than the clock is behind
    last = daemon.queue(key)
    daemon.kill()
    time.sleep(DOUBT_S)
    server.start()
    last += 1
    with server.client() as client:
        client.store(key, payload(first))
        daemon.start()
        wait_empty(daemon)
        daemon.check_snapshot(key, last)
        # The outbox may be read only after NATS is connected to: then it seems to be empty before.
        wait_until(lambda: client.last_message(key).payload == payload(last), "the later one does not get to NATS")


def test_no_descriptors(start, key):
    """EMFILE, though the limit was counted with: somebody lowers it.  Streams go on, and all else comes back."""
    daemon = start.daemon()
    with daemon.stream(key) as stream, daemon.stream(key) as other:
        before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (5, before[1]))
        waiting = [socket.create_connection(daemon.address) for _ in range(20)]
        for connection in waiting:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1.5)
        cpu = sum(int(n) for n in open(f"/proc/{daemon.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[11:13])
        time.sleep(1)
        after = sum(int(n) for n in open(f"/proc/{daemon.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[11:13])
        assert after - cpu < 30, "it spins"
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
        for connection in waiting:
            connection.settimeout(10)
            answer = connection.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 200")
            connection.close()
        time_us = daemon.publish(key)
        assert stream.event() == other.event() == time_us


@pytest.mark.parametrize("bus", ["local", "nats", "away"])
def test_memory_runs_out(start, shim, bus):
    """Each allocation that the main thread makes for a request fails once: the request fails, or not, and the service lives."""
    if under_sanitizer():
        pytest.skip("a sanitizer's allocator cannot be made to fail; the same test runs without one")
    server = start.nats() if bus != "local" else None
    daemon = start.daemon(bus="local" if bus == "local" else "nats", nats_url=server and server.url, env=shim.env)
    if bus == "away":
        server.kill()
        wait_away(daemon)
    accepted, failed = {}, 0
    watched = fresh_key()
    with daemon.stream(watched) as stream:
        for n in range(1, 120):
            before = shim.failures
            key = fresh_key()
            shim.fail_at = (n + 1) // 2
            try:
                time_us = fresh_time_us()
                body = payload(time_us) if n % 2 else json.dumps({"updated_at": isoformat(time_us)}).encode()
                response = daemon.post(key, body)
                assert response.status in (200, 202, 500, 503), response
                if response.status in (200, 202):
                    accepted[key] = time_us
            except (OSError, EOFError):
                pass  # the connection was dropped
            try:
                daemon.stream(key).close()
            except (Refused, OSError, EOFError):
                pass
            shim.fail_at = 0
            failed += shim.failures - before
            assert daemon.get("/livez").status == 200
        time_us = daemon.accept(watched)
        assert stream.event() == time_us
    assert failed > 20, "hardly anything failed"
    for key, time_us in accepted.items():
        wait_until(lambda: daemon.snapshot(key) == time_us, "accepted, and lost")


def test_memory_runs_out_as_a_session_begins(start, shim):
    """Each allocation fails once that the NATS bus's thread makes from the request for a consumer to the first publish."""
    if under_sanitizer():
        pytest.skip("a sanitizer's allocator cannot be made to fail; the same test runs without one")
    relay = Relay(start.nats().port, "nothing is refused")
    try:
        daemon = start.daemon(bus="nats", nats_url=relay.url, env=shim.env)
        pid = daemon.pid
        with daemon.stream(key := fresh_key()) as stream:
            for n in range(1, 1000):
                before = shim.failures
                shim.nats_fail_at = n
                relay.cut()
                time_us = daemon.publish_soon(key, 30)
                stream.events_until(time_us, 30)
                if shim.failures == before:
                    break
            else:
                raise AssertionError("they never come to an end")
    finally:
        relay.close()
    # One that comes later, in what the session does from then on, may fail yet.
    assert before > 10, "hardly anything failed"
    assert before == n - 1, "not each of them failed"
    assert daemon.pid == pid
