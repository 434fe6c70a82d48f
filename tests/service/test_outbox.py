# SPDX-License-Identifier: BSD-3-Clause
"""The outbox: what is accepted while NATS is away reaches everybody, in order, and overwrites nothing newer."""
import contextlib
import json
import os
import sqlite3
import time

import pytest

from daemon import JUST_ABOVE_US, authorization, fresh_key, fresh_time_us, isoformat
from namespaces import private
from nats import SUBJECT
from test_jetstream import payload
from wire import format_request, wait_until

FAR = 4102444800_000000  # a publisher's clock decades ahead
DOUBT_S = 1.2  # of what was accepted within 1 s nobody knows what was first


def wait_away(daemon):
    wait_until(lambda: daemon.get("/readyz").status == 503, "it does not notice", 20)


def wait_ready(daemon):
    wait_until(lambda: daemon.get("/readyz").status == 200, f"it never gets ready: {daemon.log_tail()}", 30)


def queued(daemon):
    return daemon.metrics()["flagsse_outbox_updates"]


def wait_empty(daemon):
    wait_until(lambda: queued(daemon) == 0, "the outbox is never empty", 30)


@pytest.fixture
def away(start):
    """A daemon whose NATS server is down."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    server.kill()
    wait_away(daemon)
    return daemon, server


def test_streams_get_it_at_once(away, key):
    daemon, server = away
    with daemon.stream(key) as stream:
        first = daemon.queue(key)
        assert stream.event() == first
        daemon.check_snapshot(key, first)
        second = daemon.queue(key)
        assert stream.event() == second
        assert daemon.offer(key, second)[0].json() == {"status": "stale"}
        assert queued(daemon) == 1, "one row an environment"
        server.start()
        wait_ready(daemon)
        wait_empty(daemon)
        stream.quiet(0.3)
        with server.client() as client:
            assert client.last_message(key).payload == payload(second)
        third = daemon.publish(key)
        assert stream.event() == third
    metrics = daemon.metrics()
    assert metrics['flagsse_publishes_total{status="queued"}'] == 2
    assert metrics["flagsse_outbox_published_total"] == 1


def test_in_order_of_acceptance(away):
    """Whatever they say of their time: the order on the bus is that in which they were accepted."""
    daemon, server = away
    keys = [fresh_key() for _ in range(300)]  # more than go at once
    for i, key in enumerate(keys):
        daemon.queue(key, fresh_time_us() + (10**6 if i % 2 else 0))
    for key in keys[::10]:
        daemon.queue(key, fresh_time_us() + 2 * 10**6)
    expected = [key for key in keys if key not in keys[::10]] + keys[::10]
    server.start(wait=True)
    wait_ready(daemon)
    wait_empty(daemon)
    with server.client() as client:
        info = client.stream_info()["state"]
        assert info["messages"] == info["last_seq"] == len(keys), "each is stored once"
        subjects = [client.api("STREAM.MSG.GET.environments-stream", {"seq": i + 1})["message"]["subject"]
                    for i in range(len(keys))]
    assert subjects == [SUBJECT + key for key in expected]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_outlives_the_process(away, key, end):
    daemon, server = away
    times = {k: daemon.queue(k) for k in (key, fresh_key(), fresh_key())}
    getattr(daemon, end)()
    daemon.start("/livez")
    wait_until(lambda: queued(daemon) == 3, "the outbox is forgotten")
    for k, time_us in times.items():
        assert daemon.snapshot(k) == time_us, "it is served before NATS is back"
    daemon.wait_log("outbox holds 3 updates")
    server.start()
    wait_ready(daemon)
    wait_empty(daemon)
    with server.client() as client:
        for k, time_us in times.items():
            assert client.last_message(k).payload == payload(time_us)
    daemon.stop()
    with contextlib.closing(sqlite3.connect(daemon.directory / "state" / "flagsse.db")) as database:
        rows = database.execute("SELECT * FROM outbox").fetchall()
    assert not rows, "what was published is still in the file"


def test_newer_one_of_another_wins(away, key):
    """While it waited, another node published a newer one: it goes as stale, and nobody goes back."""
    daemon, server = away
    with daemon.stream(key) as stream:
        mine = daemon.queue(key)
        assert stream.event() == mine
        daemon.kill()
        server.start()
        time.sleep(DOUBT_S)
        newer = fresh_time_us()
        with server.client() as client:
            client.store(key, payload(newer))
    daemon.start()
    wait_empty(daemon)
    daemon.check_snapshot(key, newer)
    with server.client() as client:
        assert client.last_message(key).payload == payload(newer)
    assert daemon.metrics()["flagsse_outbox_published_total"] == 0


def test_clock_ahead_does_not_silence(start, key):
    """A queued update from a clock decades ahead meets one that was published meanwhile: its node's streams lack that,
    and all go on above it."""
    server = start.nats()
    a, b = (start.daemon(bus="nats", nats_url=server.url) for _ in range(2))
    server.kill()
    wait_away(a)
    a.queue(key, FAR)
    a.kill()
    server.start()
    wait_ready(b)
    time.sleep(DOUBT_S)
    b.publish(key)
    a.start()
    wait_empty(a)
    for node in (a, b):
        node.check_snapshot(key, FAR + 1)
    with server.client() as client:
        assert client.last_message(key).payload == payload(FAR + 1)
    b.publish(key)
    a.check_snapshot(key, FAR + 2)


def test_clock_ahead_is_told_once(away, key):
    """That the bus has stored it is no news."""
    daemon, server = away
    with daemon.stream(key) as stream:
        daemon.queue(key, FAR)
        assert stream.event() == FAR
        server.start()
        wait_empty(daemon)
        wait_ready(daemon)
        stream.quiet(1)
        daemon.publish(key)
        assert stream.event() == FAR + 1


def test_newer_one_published_directly(start, key):
    """The older one still waits in the outbox while NATS takes the newer one: that wins everywhere."""
    server = start.nats()
    a, b = (start.daemon(bus="nats", nats_url=server.url) for _ in range(2))
    with a.stream(key) as on_a, b.stream(key) as on_b:
        server.freeze()
        older = a.queue(key)
        assert on_a.event() == older
        server.thaw()
        newer = a.accept(key)
        for stream in (on_a, on_b):
            got = stream.events_until(newer)
            assert got == sorted(set(got))
        wait_ready(a)
        wait_empty(a)
        for stream in (on_a, on_b):
            stream.quiet(0.3)
        for node in (a, b):
            wait_ready(node)
            node.check_snapshot(key, newer)
    with server.client() as client:
        assert client.last_message(key).payload == payload(newer)


def test_taken_though_the_answer_was_lost(start, key):
    """JetStream has it already when the outbox gives it again."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    with daemon.stream(key) as stream:
        server.freeze()
        time_us = daemon.queue(key)  # is in the server's socket
        assert stream.event() == time_us
        server.thaw()
        wait_ready(daemon)
        wait_empty(daemon)
        stream.quiet(0.5)
        with server.client() as client:
            assert client.last_message(key).payload == payload(time_us)
            assert client.stream_info()["state"]["last_seq"] <= 2


def test_nats_goes_again_in_the_middle(away):
    daemon, server = away
    times = {}
    for _ in range(400):
        key = fresh_key()
        times[key] = daemon.queue(key)
    for _ in range(4):
        server.start()
        wait_until(lambda: queued(daemon) < 400 or daemon.get("/readyz").status == 200, "nothing goes", 30, 0.001)
        server.kill()
        wait_away(daemon)
    server.start()
    wait_ready(daemon)
    wait_empty(daemon)
    with server.client() as client:
        for key, time_us in times.items():
            assert client.last_message(key).payload == payload(time_us)


def test_older_than_an_hour(away, key):
    """A long outage: it is published all the same, and reaches who is there."""
    daemon, server = away
    daemon.queue(key)
    daemon.kill()
    with contextlib.closing(sqlite3.connect(daemon.directory / "state" / "flagsse.db")) as database, database:
        database.execute("UPDATE outbox SET stored_us = stored_us - 7200000000, time_us = time_us - 7200000000")
        old = database.execute("SELECT time_us FROM outbox").fetchone()[0]
    daemon.start("/livez")
    with daemon.stream(key) as stream:
        server.start()
        assert stream.event(30) == old
    wait_ready(daemon)
    wait_empty(daemon)
    daemon.check_snapshot(key, old)


def test_status_says_it(away, key):
    daemon, server = away
    daemon.queue(key)
    assert "outbox, which holds 1" in daemon.get("/readyz").detail
    server.start()
    wait_ready(daemon)
    assert daemon.get("/readyz").json() == {"status": "ready"}


# Where the outbox cannot be written


def refused(daemon, key, *words):
    """503 in time, with an invitation to try again, and why."""
    begun = time.monotonic()
    response, _ = daemon.offer(key)
    assert time.monotonic() - begun < 2
    assert response.status == 503, response
    assert int(response.header("Retry-After")) >= 1
    for word in words:
        assert word in response.detail, response
        assert word in daemon.get("/readyz").detail
    return response


def on_tmpfs(directory, size):
    """A wrapper that gives the command a small file system of its own there; /proc/PID/root shows it."""
    directory.mkdir(parents=True, exist_ok=True)
    return [*private(), "sh", "-euc", f'mount -t tmpfs -o size={size} none "$1"; shift; exec "$@"', "sh", str(directory)]


def inside(process, directory):
    return f"/proc/{process.pid}/root{directory}"


def fill(directory):
    """Leaves no space in its file system."""
    with open(f"{directory}/ballast", "wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(4096))
        except OSError:
            pass


def full_disk(start, tmp_path, **options):
    state = tmp_path / "disk"
    daemon = start.daemon(wrapper=on_tmpfs(state, "1m"), options=[f"service.state_dir={state}/state"], **options)
    wait_until(lambda: os.path.exists(inside(daemon.process, state) + "/state/flagsse.db"), "no database")
    return daemon, inside(daemon.process, state)


def test_disk_full(start, tmp_path):
    """NATS away and no space left: refused with the reason; once there is space all goes on by itself."""
    server = start.nats()
    daemon, disk = full_disk(start, tmp_path, bus="nats", nats_url=server.url)
    kept = daemon.publish(fresh_key())
    assert kept
    server.kill()
    wait_away(daemon)
    times = {key: daemon.queue(key) for key in (fresh_key() for _ in range(3))}
    fill(disk)
    keys = [fresh_key() for _ in range(200)]
    for key in keys:  # until the space is used that the file has of its own
        response, time_us = daemon.offer(key)
        if response.status == 503:
            break
        assert response.status == 202
        times[key] = time_us
    refused(daemon, fresh_key(), "full")
    refused(daemon, fresh_key(), "full")
    assert len(daemon.wait_log("There is no outbox")) == 1, "once"
    with daemon.stream(keys[0]) as stream:
        assert stream.event() == times[keys[0]]
    os.unlink(f"{disk}/ballast")
    key = fresh_key()
    times[key] = daemon.queue(key)
    daemon.wait_log("outbox can be written again")
    server.start()
    wait_ready(daemon)
    wait_empty(daemon)
    with server.client() as client:
        for key, time_us in times.items():
            assert client.last_message(key).payload == payload(time_us), "accepted, and lost"


def test_disk_full_with_nats_there(start, tmp_path, key):
    """Nothing needs the outbox; /readyz warns once it has been found out."""
    server = start.nats()
    daemon, disk = full_disk(start, tmp_path, bus="nats", nats_url=server.url)
    fill(disk)
    with daemon.stream(key) as stream:
        time_us = daemon.publish(key)
        assert stream.event() == time_us
    assert daemon.get("/readyz").status == 200


def test_local_disk_full(start, tmp_path):
    daemon, disk = full_disk(start, tmp_path, bus="local")
    times = {key: daemon.publish(key) for key in (fresh_key() for _ in range(3))}
    fill(disk)
    for key in (fresh_key() for _ in range(1000)):
        response, time_us = daemon.offer(key)
        if response.status == 503:
            break
        times[key] = time_us
    refused(daemon, fresh_key(), "full")
    for key, time_us in times.items():
        assert daemon.snapshot(key) == time_us
    os.unlink(f"{disk}/ballast")
    daemon.publish(fresh_key())
    assert daemon.get("/readyz").status == 200


def read_only(directory):
    """A wrapper that lets the command not write there."""
    return [*private(), "sh", "-euc", 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"', "sh",
            str(directory)]


def test_read_only(start, tmp_path, key):
    """The service starts and serves, and says that there is no outbox."""
    server = start.nats()
    (tmp_path / "state").mkdir()
    daemon = start.daemon(wrapper=read_only(tmp_path / "state"), bus="nats", nats_url=server.url,
                          options=[f"service.state_dir={tmp_path}/state"])
    assert str(tmp_path / "state") in daemon.get("/readyz").json()["warning"]
    assert len(daemon.wait_log("error: There is no outbox")) == 1
    with daemon.stream(key) as stream:
        time_us = daemon.publish(key)
        assert stream.event() == time_us
        server.kill()
        wait_away(daemon)
        refused(daemon, key, "cannot be opened")
        server.start()
        wait_ready(daemon)
        time_us = daemon.publish(key)
        assert stream.event() == time_us


def test_state_directory_cannot_be_made(start, tmp_path, key):
    """And then it can: it is opened without a restart."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url, options=[f"service.state_dir={tmp_path}/a/b"])
    assert f"{tmp_path}/a/b" in daemon.get("/readyz").json()["warning"]
    daemon.publish(key)
    server.kill()
    wait_away(daemon)
    refused(daemon, key, "the directory does not exist")
    (tmp_path / "a").mkdir()
    wait_until(lambda: daemon.offer(key)[0].status == 202, "the outbox is never opened", 10, 0.2)
    server.start()
    wait_ready(daemon)
    wait_empty(daemon)


def test_in_use(start, key):
    """Two daemons with one state directory: the second has no outbox until the first is gone."""
    server = start.nats()
    first = start.daemon(bus="nats", nats_url=server.url)
    second = start.daemon(bus="nats", nats_url=server.url, options=[f"service.state_dir={first.directory}/state"])
    wait_until(lambda: "another process" in second.get("/readyz").json().get("warning", ""), "it does not say so")
    server.kill()
    wait_away(second)
    refused(second, key, "another process")
    first.stop()
    wait_until(lambda: second.offer(key)[0].status == 202, "the outbox is never opened", 10, 0.2)


def test_corrupt_at_the_start(away, key):
    """Set aside under a name that says so; a new one is begun."""
    daemon, server = away
    daemon.queue(key)
    daemon.kill()
    path = daemon.directory / "state" / "flagsse.db"
    path.write_bytes(b"x" * 10000)
    daemon.start("/livez")
    assert daemon.wait_log("warning: .*corrupt.*a new one is begun")
    assert list(path.parent.glob("flagsse.db.corrupt-*"))
    time_us = daemon.queue(key)
    server.start()
    wait_ready(daemon)
    wait_empty(daemon)
    daemon.check_snapshot(key, time_us)


def offer_many(daemon, keys):
    """Publishes an update for each, many at a time.  {key: its time} of those that were kept, and the rest's answers."""
    times, others = {}, []
    connections = [daemon.connect() for _ in range(100)]
    for i in range(0, len(keys), len(connections)):
        sent = []
        for connection, key in zip(connections, keys[i:i + len(connections)]):
            time_us = fresh_time_us()
            body = json.dumps({"updated_at": isoformat(time_us)}).encode()
            connection.send(format_request(daemon.address, "POST", f"/sse/environments/{key}/queue-change",
                                           [authorization()], body))
            sent.append((connection, key, time_us))
        for connection, key, time_us in sent:
            response = connection.read_response("POST")
            if response.status == 202:
                times[key] = time_us
            else:
                others.append(response)
    for connection in connections:
        connection.close()
    return times, others


def spoil(state):
    """All pages but the first of the database and its log."""
    for name in ("flagsse.db", "flagsse.db-wal"):
        with open(state / name, "r+b") as file:
            file.seek(4096)
            file.write(b"x" * (os.fstat(file.fileno()).st_size - 4096))


def test_corrupt_while_it_runs(away):
    """What was accepted is known to the process, and written to the new file."""
    daemon, server = away
    state = daemon.directory / "state"
    # More than SQLite keeps in memory, so that it has to read its file.
    keys = [fresh_key() + 78 * "k" for _ in range(12000)]
    times, others = offer_many(daemon, keys)
    assert len(times) == len(keys), others[:3]
    spoil(state)
    for i in range(0, len(keys), 100):
        times.update(offer_many(daemon, keys[i:i + 100])[0])
        if daemon.log_lines("a new one is begun"):
            break
    assert daemon.wait_log("warning: .*corrupt.*a new one is begun")
    last = fresh_key()
    times.update(wait_until(lambda: offer_many(daemon, [last])[0], "it does not go on"))
    assert queued(daemon) == len(times)
    daemon.kill()
    daemon.start("/livez")
    wait_until(lambda: queued(daemon) == len(times), "what was accepted is not in the new file")
    server.start()
    wait_ready(daemon)
    wait_empty(daemon)
    with server.client() as client:
        for key in (last, *keys[::100]):
            # Of what was being written just then, the process cannot know whether the file had it.
            assert payload(times[key]) <= client.last_message(key).payload <= payload(times[key] + JUST_ABOVE_US)


def fill_outbox(daemon, keys):
    """As if it had accepted an update for each, in a former life; the first one it has."""
    daemon.queue(keys[0])
    daemon.kill()
    now_us = time.time_ns() // 1000
    with contextlib.closing(sqlite3.connect(daemon.directory / "state" / "flagsse.db")) as database, database:
        database.executemany("INSERT INTO outbox (key, time_us, stored_us) VALUES (?, ?, ?)",
                             [(key, now_us - len(keys) + i, now_us - len(keys) + i) for i, key in enumerate(keys[1:])])
    daemon.start("/livez")
    wait_until(lambda: queued(daemon) == len(keys), "it has not read them")


def make_corrupt(daemon, keys):
    """Offers updates until it has noticed."""
    spoil(daemon.directory / "state")
    for i in range(0, len(keys), 100):
        offer_many(daemon, keys[i:i + 100])
        if daemon.log_lines("The file is set aside and a new one begun"):
            return
    raise AssertionError("it never reads its file")


def check_kept(daemon, keys):
    """That the file, which is a new one, has them all."""
    # The second one's turn comes after all that was written because of the first one.
    for key in (fresh_key(), fresh_key()):
        wait_until(lambda k=key: offer_many(daemon, [k])[0], "it does not go on")
    daemon.kill()
    with contextlib.closing(sqlite3.connect(daemon.directory / "state" / "flagsse.db")) as database:
        kept = {key for (key,) in database.execute("SELECT key FROM outbox")}
    assert len(set(keys) - kept) == 0, "accepted, and not in the new file"


@pytest.fixture
def full_outbox(start, shim):
    """A daemon whose NATS server is down, with more in its outbox than SQLite keeps in memory; and the keys."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url, env=shim.env)
    server.kill()
    wait_away(daemon)
    keys = [fresh_key() + 78 * "k" for _ in range(12000)]
    fill_outbox(daemon, keys)
    wait_away(daemon)
    return daemon, keys


def test_corrupt_while_the_disk_hangs(full_outbox, shim):
    """It hangs just as the new file is begun: what was accepted is written to it once the disk answers."""
    daemon, keys = full_outbox
    shim.renames_stall = 1
    try:
        make_corrupt(daemon, keys)
        refused(daemon, fresh_key(), "disk")
        assert not daemon.log_lines("a new one is begun"), "the disk has not hung"
    finally:
        shim.renames_stall = 0
    assert daemon.wait_log("warning: .*corrupt.*a new one is begun")
    check_kept(daemon, keys)


def test_corrupt_and_the_new_file_fails(full_outbox, shim):
    """In the middle of writing again what was accepted, which is a dozen transactions: that is tried again."""
    daemon, keys = full_outbox
    shim.renames_stall = 1
    try:
        make_corrupt(daemon, keys)
        shim.sync_fails_at = 15  # beginning the file takes less than ten, the rows twelve
    finally:
        shim.renames_stall = 0
    daemon.wait_log("The store cannot be written: disk I/O error")
    assert daemon.log_lines("a new one is begun"), "it has failed too early"
    daemon.wait_log("The outbox can be written again", 2)
    check_kept(daemon, keys)
