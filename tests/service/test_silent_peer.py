# SPDX-License-Identifier: BSD-3-Clause
"""Whom flagsse waits for may fall silent at any point: a server in the handshake, a resolver, a disk, a library."""
import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon import free_port, fresh_key
from nats import Cluster, find_nats_server
from network import ADDRESSES
from silent import SilentServer, info
from test_outbox import wait_away, wait_empty, wait_ready
from wire import wait_until

# How a server falls silent: the scheme of its URL, and what it says before.
SILENCES = {
    "before INFO": ("nats", b""),
    "within INFO": ("nats", info()[:20]),
    "after INFO": ("nats", info()),
    "after INFO that tells of itself": ("nats", None),  # see silent()
    "in the TLS handshake": ("tls", info(tls_required=True)),
    "in the TLS handshake that it asks for": ("nats", info(tls_required=True)),
}

# An end that waits for nothing that does not come: 2 s for a thread, and what a busy machine needs.
END_S = 8


@pytest.fixture(params=SILENCES)
def silent(request):
    """(server, URL)"""
    scheme, greeting = SILENCES[request.param]
    with contextlib.closing(SilentServer(greeting or b"")) as server:
        if greeting is None:  # a cluster's servers tell of each other; nats.c adds them to its list
            server.greeting = info(connect_urls=[f"localhost:{server.port}", f"127.0.0.2:{server.port}"])
        yield server, f"{scheme}://127.0.0.1:{server.port}"


def cpu_s(daemon):
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_idle(daemon, seconds=3):
    """Waits, and has not used a core for it."""
    before = cpu_s(daemon)
    time.sleep(seconds)
    used = cpu_s(daemon) - before
    assert used < seconds / 2, f"{used:.1f} s of CPU in {seconds} s in which there is nothing to do"


def check_end(daemon, timeout=END_S):
    """A clean end, in time; in seconds."""
    begun = time.monotonic()
    daemon.signal(signal.SIGTERM)
    daemon.wait_exit(timeout=timeout)
    return time.monotonic() - begun


# NATS


def test_next_server_is_used(start, silent, key):
    """Soon, though the silent one is asked first, and again and again."""
    server, url = silent
    good = start.nats(start=False)
    daemon = start.daemon(bus="nats", nats_url=f"{url},{good.url}", options=["nats.connect_timeout=1s"], wait="/livez")
    wait_until(lambda: server.count >= 3, "the silent server holds it up", 30)
    wait_away(daemon)
    with daemon.stream(key) as stream:
        queued = daemon.queue(key)
        assert stream.event() == queued
        good.start()
        wait_ready(daemon)
        wait_empty(daemon)
        published = daemon.publish(key)
        assert stream.events_until(published)[-1] == published
    check_idle(daemon)


def test_silent_server_alone(start, silent, key):
    """It is tried again, at no cost; publishers have their 202 at once, and the end is in time."""
    server, url = silent
    daemon = start.daemon(bus="nats", nats_url=url, options=["nats.connect_timeout=1s"], wait="/livez")
    wait_until(lambda: server.count >= 2, "it does not try again", 30)
    daemon.wait_log("(?i)cannot connect to NATS at 127.0.0.1")
    check_idle(daemon)
    for _ in range(10):
        begun = time.monotonic()
        daemon.queue(fresh_key())
        assert time.monotonic() - begun < 1, "NATS is known to be away"
    wait_until(lambda: server.count >= 8, "it does not go on trying", 60)
    tasks = len(list(Path(f"/proc/{daemon.pid}/task").iterdir()))
    descriptors = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
    wait_until(lambda: server.count >= 12, "it does not go on trying", 60)
    assert len(list(Path(f"/proc/{daemon.pid}/task").iterdir())) <= tasks + 2, "threads pile up"
    assert len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())) <= descriptors + 3, "sockets pile up"
    check_end(daemon)


def test_end_in_the_first_attempt(start, silent):
    server, url = silent
    daemon = start.daemon(bus="nats", nats_url=url, options=["nats.connect_timeout=10s"], wait="/livez")
    wait_until(lambda: server.count >= 1, "it does not connect")
    check_end(daemon)


def test_publishers_in_the_first_attempt(start, silent):
    """Once it has taken as long as an acknowledgement may, nobody waits for it any more."""
    server, url = silent
    daemon = start.daemon(bus="nats", nats_url=url, options=["nats.connect_timeout=10s"], wait="/livez")
    wait_until(lambda: server.count >= 1, "it does not connect")
    time.sleep(1.2)
    times = []
    for _ in range(5):
        begun = time.monotonic()
        daemon.queue(fresh_key())
        times.append(time.monotonic() - begun)
    assert server.count == 1, "this was to be within the first attempt"
    assert min(times) < 0.9, f"each has waited for the bus: {times}"
    check_end(daemon)


def test_other_connections_are_left_alone(start, key):
    """What cuts off the silent server touches no stream, and not the session that is there by then."""
    with contextlib.closing(SilentServer(info())) as server:
        daemon = start.daemon(bus="nats", nats_url=f"nats://127.0.0.1:{server.port}", wait="/livez",
                              options=["nats.connect_timeout=1s"])
        streams = [daemon.stream(key) for _ in range(50)]
        wait_until(lambda: server.count >= 4, "it does not go on trying", 30)
        time_us = daemon.queue(key)
        for stream in streams:
            assert stream.event() == time_us
            stream.close()


@pytest.fixture
def resolver(network, tmp_path):
    """A wrapper that runs a daemon where the resolver takes all questions and answers none."""
    configuration = tmp_path / "resolv.conf"
    configuration.write_text("nameserver 127.0.0.1\n")
    swallows = subprocess.Popen(
        [*network.near, "/usr/bin/python3", "-c", "import socket, time\ns = socket.socket(type=socket.SOCK_DGRAM)\n"
         "s.bind(('127.0.0.1', 53))\nprint('bound', flush=True)\ntime.sleep(300)"],
        stdout=subprocess.PIPE, text=True)
    try:
        assert swallows.stdout.readline() == "bound\n"
        yield [*network.near, "unshare", "--mount", "sh", "-c",
               f'mount --bind {configuration} /etc/resolv.conf && exec "$@"', "sh"]
    finally:
        swallows.kill()
        swallows.wait()


def in_network(start, tmp_path, wrapper, nats_url):
    path = f"{tmp_path}/flagsse.sock"
    return start.daemon(bus="nats", nats_url=nats_url, wait="/livez", wrapper=wrapper, address=path,
                        listen=f"unix:{path}", options=["nats.connect_timeout=1s"])


def test_resolver_does_not_answer(start, network, resolver, tmp_path, key):
    """The other server of the list, by its address, is connected to all the same."""
    good = start.nats(start=False, host=ADDRESSES[0], wrapper=network.near)
    begun = time.monotonic()
    daemon = in_network(start, tmp_path, resolver, f"nats://nats.example:4222,{good.url}")
    # The C library alone would take 10 s for each name.
    daemon.wait_log("cannot connect to NATS.*Timeout", timeout=20)
    assert time.monotonic() - begun < 8, "connect_timeout is 1 s"
    daemon.queue(key)
    good.start()
    wait_ready(daemon)
    wait_empty(daemon)
    check_end(daemon)


def test_end_while_the_resolver_does_not_answer(start, resolver, tmp_path, key):
    daemon = in_network(start, tmp_path, resolver, "nats://nats.example:4222,nats://other.example:4222")
    daemon.wait_log("cannot connect to NATS", timeout=20)
    daemon.queue(key)
    assert check_end(daemon) < 5, "attempts hang in the resolver"


# A server that is about to end


def server_of(daemon, servers):
    """The one that the daemon is connected to."""
    inodes = set()
    for fd in Path(f"/proc/{daemon.pid}/fd").iterdir():
        try:
            inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink(fd)))
        except FileNotFoundError:
            pass
    for line in Path(f"/proc/{daemon.pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and fields[3] == "01":
            port = int(fields[2].split(":")[1], 16)
            for server in servers:
                if server.port == port:
                    return server
    return None


def test_lame_duck(start, key):
    """Its clients are told before it ends: flagsse is with another server long before it is sent away."""
    cluster = Cluster(start)
    daemon = start.daemon(bus="nats", nats_url=cluster.url, options=["nats.replicas=3"])
    wait_ready(daemon)
    duck = server_of(daemon, cluster.servers)
    with daemon.stream(key) as stream:
        first = daemon.publish_soon(key)
        stream.events_until(first)
        subprocess.run([find_nats_server(), "--signal", f"ldm={duck.process.pid}"], check=True, capture_output=True)
        begun = time.monotonic()
        wait_until(lambda: server_of(daemon, cluster.servers) not in (None, duck), "it stays with the lame duck", 7)
        last = daemon.publish_soon(key)
        stream.events_until(last)
        assert time.monotonic() - begun < 9, "the grace period of nats-server: then it sends its clients away"
        assert duck.process.poll() is None, "it is there still: flagsse was not sent away"
    daemon.wait_log("lame duck")


def test_lame_duck_alone(start, key):
    """There is no other: flagsse stays as long as it may.  (nats-server ends JetStream at once, from 2.10 on.)"""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    subprocess.run([find_nats_server(), "--signal", f"ldm={server.process.pid}"], check=True, capture_output=True)
    daemon.wait_log("lame duck", timeout=7)
    for _ in range(10):
        daemon.accept(key)
        time.sleep(0.1)


# The disk


@pytest.fixture
def told(notify):
    """What systemd is told, read all the time, as systemd does: the lines so far."""
    lines = []
    ended = threading.Event()

    def read():
        notify.sock.settimeout(0.2)
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                lines.extend(notify.sock.recv(65536).decode().splitlines())

    thread = threading.Thread(target=read)
    thread.start()
    yield lines
    ended.set()
    thread.join()


@pytest.mark.parametrize("bus", ["local", "nats"])
def test_end_while_the_disk_hangs(start, shim, bus):
    """What cannot be written was not acknowledged; what was acknowledged is there after the next start."""
    server = start.nats() if bus == "nats" else None
    daemon = start.daemon(bus=bus, nats_url=server and server.url, env=shim.env)
    if server:
        server.kill()
        wait_away(daemon)
    kept = {key: daemon.accept(key) for key in (fresh_key() for _ in range(20))}
    shim.disk_stalls = 1
    lost, time_us = daemon.offer(fresh_key())
    assert lost.status == 503, "it hangs: nothing is acknowledged"
    took = check_end(daemon)
    shim.disk_stalls = 0
    daemon.start("/livez")
    for key, time_us in kept.items():
        wait_until(lambda: daemon.snapshot(key) == time_us, "what was acknowledged is gone", 20)  # noqa: B023
    assert took < 6


@pytest.mark.parametrize("bus", ["local", "nats"])
def test_disk_hangs_at_the_start(start, shim, key, bus):
    """As after a restart that handed streams over: these are served, and the end is in time."""
    shim.disk_stalls = 1
    daemon = start.daemon(bus=bus, nats_url=f"nats://127.0.0.1:{free_port()}" if bus == "nats" else None, env=shim.env,
                          wait="/livez")
    assert daemon.get("/readyz").status == 503
    assert daemon.offer(key)[0].status == 503
    check_end(daemon)
    daemon.start("/livez")
    shim.disk_stalls = 0
    time_us = wait_until(lambda: t if (o := daemon.offer(key))[0].status in (200, 202) and (t := o[1]) else None,
                         "it never goes on")
    daemon.check_snapshot(key, time_us)


@pytest.mark.parametrize("bus", ["local", "nats"])
def test_disk_hangs_is_told(start, shim, notify, told, key, bus):
    """Without a publisher who has to find out; and when it is over."""
    server = start.nats() if bus == "nats" else None
    daemon = start.daemon(bus=bus, nats_url=server and server.url,
                          env={**shim.env, "NOTIFY_SOCKET": notify.path})
    assert daemon.metrics()['flagsse_thread_alive{thread="flagsse-store"}'] == 1
    shim.disk_stalls = 1
    if server:
        server.kill()
        wait_away(daemon)
    assert daemon.offer(key)[0].status == 503
    daemon.wait_log("The disk of the store does not answer", timeout=30)
    assert daemon.metrics()['flagsse_thread_alive{thread="flagsse-store"}'] == 0
    answer = daemon.get("/readyz")
    assert answer.status == 503 and "disk" in answer.detail.lower()
    wait_until(lambda: any("STATUS=" in line and "disk" in line for line in told), "systemd is not told")
    shim.disk_stalls = 0
    daemon.wait_log("The disk of the store answers again", timeout=30)
    assert daemon.metrics()['flagsse_thread_alive{thread="flagsse-store"}'] == 1
    assert len(daemon.log_lines("The disk of the store does not answer")) == 1


# The library


def test_nats_library_hangs(start, shim, notify, told, key):
    """A call of nats.c that never returns: another thread takes the place of the one that hangs, with the server that
    runs, not with that of a file which waits for a restart."""
    server = start.nats()
    daemon = start.daemon(bus="nats", config=f"[nats]\nurl = {server.url}\n",
                          env={**shim.env, "NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "2000000"},
                          wrapper=["/usr/bin/python3", str(Path(__file__).with_name("activate.py")), "--"])
    other = fresh_key()
    with daemon.stream(key) as stream, daemon.stream(other) as waits:
        assert stream.events_until(daemon.publish(key))
        assert daemon.metrics()['flagsse_thread_alive{thread="nats"}'] == 1
        (daemon.directory / "flagsse.conf").write_text("[nats]\nurl = nats://127.0.0.1:1\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("need a restart: nats.url")
        shim.nats_hang = 1
        wait_until(lambda: shim.nats_hang == 2, "the bus never looks at its stream", 20)
        queued = daemon.queue(other)
        assert waits.event() == queued
        daemon.wait_log("does not answer.*another", timeout=60)
        wait_ready(daemon)
        wait_empty(daemon)
        published = daemon.publish(key)
        assert stream.events_until(published)[-1] == published
        assert shim.nats_hang == 2, "the first one hangs still"
        seen = len(told)
        wait_until(lambda: "WATCHDOG=1" in told[seen:], "the watchdog is not fed")
        assert daemon.metrics()['flagsse_threads_left_behind_total'] == 1
    check_end(daemon)


def test_nats_library_hangs_at_the_end(start, shim, key):
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url, env=shim.env)
    daemon.publish(key)
    shim.nats_hang = 1
    wait_until(lambda: shim.nats_hang == 2, "the bus never looks at its stream", 20)
    daemon.queue(key)
    check_end(daemon)


# A shard


def hang_of_a_shard(start, shim, notify, **env):
    """A daemon, one of whose two shards hangs, and its streams: half of them are of that shard."""
    daemon = start.daemon(options=["streams.shards=2", "streams.keepalive=1s"],
                          env={**shim.env, "NOTIFY_SOCKET": notify.path, **env},
                          wrapper=["/usr/bin/python3", str(Path(__file__).with_name("activate.py")), "--"])
    streams = {key: daemon.stream(key) for key in (fresh_key() for _ in range(6))}
    shim.shard_hang = 1
    wait_until(lambda: shim.shard_hang == 2, "the shard does not wait")
    return daemon, streams


def ends_cleanly(stream):
    try:
        stream.end(15)
    except (AssertionError, OSError):
        return False
    return True


def test_shard_hangs(start, shim, notify, told):
    """It is told of; and before the watchdog kills the process, that ends what it can end cleanly, as a failure."""
    daemon, streams = hang_of_a_shard(start, shim, notify, WATCHDOG_USEC="30000000")
    daemon.wait_log("A thread that serves streams does not answer", timeout=40)
    with ThreadPoolExecutor() as pool:
        ended = sum(pool.map(ends_cleanly, streams.values()))
    assert ended == 3, "those of the other shard end cleanly"
    daemon.wait_exit(1, timeout=40)
    assert any("STOPPING=1" in line for line in told)
    assert len(daemon.log_lines("A thread that serves streams does not answer")) == 1


def test_shard_hangs_without_a_watchdog(start, shim, notify, told):
    """Nobody would start the process again: it goes on with what it has, and when the shard does, all is as before."""
    daemon, streams = hang_of_a_shard(start, shim, notify)
    wait_until(lambda: daemon.get("/readyz").status == 503, "it is not told", 40)
    assert daemon.metrics()['flagsse_thread_alive{thread="shard-0"}'] == 0
    assert daemon.metrics()['flagsse_thread_alive{thread="shard-1"}'] == 1
    wait_until(lambda: any("STATUS=" in line and "does not answer" in line for line in told), "systemd is not told")
    shim.shard_hang = 0
    wait_ready(daemon)
    daemon.wait_log("The thread that serves streams answers again")
    for key, stream in streams.items():
        time_us = daemon.publish(key)
        assert stream.event() == time_us
        stream.close()
