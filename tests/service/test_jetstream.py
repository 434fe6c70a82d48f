# SPDX-License-Identifier: BSD-3-Clause
"""The NATS bus as seen from NATS: the stream's settings, v4's messages, and all that may happen to it meanwhile."""
import json
import re
import signal
import subprocess
import time

import pytest

from daemon import fresh_key, fresh_time_us, isoformat
from nats import STREAM, STREAM_CONFIG, SUBJECT
from wire import wait_until

T = 1673546928


def payload(time_us):
    """As v4.0.0-beta writes it."""
    return b'{"updated_at": %d.%06d}' % divmod(time_us, 10**6)


def config_of(client):
    return client.stream_info()["config"]


def check_settings(client):
    config = config_of(client)
    for name, value in STREAM_CONFIG.items():
        assert config[name] == value, (name, config[name], value)


# What flagsse makes and writes


def test_creates_the_stream(on_nats):
    check_settings(on_nats.client)
    assert not on_nats.client.stream_info()["config"].get("sealed")


def test_replicas_are_configured(start):
    """Three of them need a cluster, which is not here: it must be asked for, and the refusal said."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url, options=["nats.replicas=3"], wait="/livez")
    response = wait_until(lambda: not_ready(daemon), "it is ready without replicas")
    assert response.detail
    daemon.wait_log(r"(?i)replica|cluster")


def test_what_is_stored(on_nats, key):
    time_us = on_nats.daemon.publish(key, T * 10**6 + 28060)
    message = on_nats.client.last_message(key)
    assert message.subject == SUBJECT + key
    assert message.payload == b'{"updated_at": 1673546928.028060}' == payload(time_us)
    assert "nats-msg-id" not in {name.lower() for name, _ in message.headers}


def test_sequence_is_the_streams(on_nats, key):
    response, _ = on_nats.daemon.offer(key)
    assert response.json()["sequence"] == on_nats.client.stream_info()["state"]["last_seq"]


def test_one_message_an_environment(on_nats):
    keys = [fresh_key() for _ in range(3)]
    for key in keys * 4:
        on_nats.daemon.publish(key)
    assert on_nats.client.stream_info()["state"]["messages"] == 3


def test_stale_ones_are_not_stored(on_nats, key):
    time_us = on_nats.daemon.publish(key)
    before = on_nats.client.stream_info()["state"]["last_seq"]
    for _ in range(3):
        assert on_nats.daemon.offer(key, time_us)[0].json() == {"status": "stale"}
    assert on_nats.client.stream_info()["state"]["last_seq"] == before
    assert on_nats.client.last_message(key).payload == payload(time_us)


# A stream that is there already


def test_v4s_own_stream(start, key):
    """Shared with v4: nothing is changed, nothing is complained about."""
    server = start.nats()
    with server.client() as client:
        client.create_stream()
        created = client.stream_info()["created"]
        client.store(key, payload(T * 10**6))
        daemon = start.daemon(bus="nats", nats_url=server.url)
        daemon.check_snapshot(key, T * 10**6)
        time_us = daemon.publish(key)
        assert client.last_message(key).payload == payload(time_us)
        assert client.stream_info()["created"] == created
        check_settings(client)
        assert not daemon.log_lines(r"(?i)warning.*stream")


@pytest.mark.parametrize("changes, mention", [
    ({"max_age": 600 * 10**9}, [r"600|10 ?min", r"3600|60 ?min|1 ?h"]),
    ({"storage": "memory"}, ["memory", "file"]),
    ({"max_msgs_per_subject": 5}, [r"\b5\b", r"\b1\b"]),
    ({"duplicate_window": 30 * 10**9}, [r"\b30", r"\b120|2 ?min"]),
    ({"subjects": ["flagsmith.environment.>", "other.>"]}, [r"subjects"]),
    ({"max_age": 0, "max_msgs_per_subject": -1, "max_msgs": 1000, "storage": "memory"}, ["memory", "file"]),
])
def test_a_stream_of_another_shape(start, key, changes, mention):
    """Warned about with both values, never changed, and of use as far as it goes."""
    server = start.nats()
    with server.client() as client:
        client.create_stream(**changes)
        before = config_of(client)
        daemon = start.daemon(bus="nats", nats_url=server.url)
        warning = "\n".join(daemon.wait_log(r"(?i)warning.*" + STREAM))
        for pattern in mention:
            assert re.search(pattern, warning), warning
        for name in changes:
            words = name.replace("_", " ").replace("msgs", "messages")
            assert name in warning or words in warning, (name, warning)
        with daemon.stream(key) as stream:
            for _ in range(3):
                time_us = daemon.publish(key)
                assert stream.event() == time_us
            raw = fresh_time_us()
            client.store(key, payload(raw))
            assert stream.event() == raw
        daemon.check_snapshot(key, raw)
        assert config_of(client) == before


def test_subjects_taken_by_another_stream(start, key):
    """JetStream refuses ours: not ready, and it says which stream is in the way or what NATS said."""
    server = start.nats()
    with server.client() as client:
        client.create_stream(name="somebody-elses", subjects=["flagsmith.>"])
        daemon = start.daemon(bus="nats", nats_url=server.url, wait="/livez")
        wait_until(lambda: not_ready(daemon), "it is ready")
        daemon.wait_log(r"(?i)overlap|subjects")
        client.api("STREAM.DELETE.somebody-elses")
        wait_until(lambda: daemon.get("/readyz").status == 200, "it never gets ready")
        daemon.publish(key)


# Messages of others

V4_PAYLOADS = [
    (b'{"updated_at": 1673546928.028060}', T * 10**6 + 28060),
    (b'{"updated_at": 1673546928.12806}', T * 10**6 + 128060),
    (b'{"updated_at":1673546929}', (T + 1) * 10**6),
    (b'{"updated_at": 1673546930.0}', (T + 2) * 10**6),
    (b'{"updated_at": 1673546931028.06}', (T + 3) * 10**6 + 28060),
    (b'{"updated_at": 1673546932028}', (T + 4) * 10**6 + 28000),
    (b'{"updated_at": "2023-01-12T18:08:53.028060+00:00"}', (T + 5) * 10**6 + 28060),
    (b'{"updated_at": "2023-01-12T18:08:54Z"}', (T + 6) * 10**6),
    (b'{"updated_at": "2023-01-12 18:08:55.5"}', (T + 7) * 10**6 + 500000),
    (b'{"updated_at": 1.673546936e9, "environment": "x"}', (T + 8) * 10**6),
]


@pytest.mark.parametrize("with_id", [False, True])
def test_v4s_messages(on_nats, key, with_id):
    with on_nats.daemon.stream(key) as stream:
        for i, (text, time_us) in enumerate(V4_PAYLOADS):
            headers = [("Nats-Msg-Id", f"{key}-{i}")] if with_id else []
            on_nats.client.store(key, text, headers)
            assert stream.event() == time_us
    on_nats.daemon.check_snapshot(key, time_us)


def test_older_message_of_another_publisher(on_nats, key):
    """v4 publishes without looking.  No stream goes back, and hears of it all the same."""
    with on_nats.daemon.stream(key) as stream:
        newer = on_nats.daemon.publish(key)
        assert stream.event() == newer
        on_nats.client.store(key, payload(newer - 10**6))
        wait_until(lambda: on_nats.client.last_message(key).payload == payload(newer + 1),
                   "it is not written above the newer one")
        assert stream.event() == newer + 1
        on_nats.daemon.check_snapshot(key, newer + 1)
        stream.quiet(0.3)
        last = on_nats.daemon.publish(key)
        assert stream.event() == last


MALFORMED = [b"", b"x", b"{}", b"null", b'{"updated_at": null}', b'{"updated_at": "x"}', b'{"updated_at": NaN}',
             b'{"updated_at": 0}', b'{"updated_at": -1673546928}', b'{"updated_at": 1e300}', b"\xff\xfe",
             b'{"updated_at": 1673546928', b"[1673546928]", b"[" * 5000, b"x" * 100_000]


def test_malformed_messages(on_nats, key):
    """Counted and skipped; what follows is served."""
    before = on_nats.daemon.metrics()
    with on_nats.daemon.stream(key) as stream:
        for text in MALFORMED:
            on_nats.client.store(key, text)
        good = fresh_time_us()
        on_nats.client.store(key, payload(good))
        assert stream.event() == good
    after = on_nats.daemon.metrics()
    counted = {name: after[name] - before.get(name, 0) for name in after
               if "malformed" in name or "invalid" in name or "skipped" in name or "rejected" in name}
    assert len(MALFORMED) in counted.values(), (counted, sorted(after))


@pytest.mark.parametrize("bad_key", ["a.b", "a.b.c", "ü", "a" * 101, "ser", "a$b"])
def test_subjects_that_are_no_key(on_nats, key, bad_key):
    on_nats.client.store(bad_key, payload(T * 10**6))
    with on_nats.daemon.stream(key) as stream:
        time_us = on_nats.daemon.publish(key)
        assert stream.event() == time_us


def test_malformed_last_message_at_the_start(start, key):
    """One that cannot be read is in the way of nothing: neither of reading nor of publishing."""
    server = start.nats()
    with server.client() as client:
        client.create_stream()
        client.store(key, b"broken")
        other = fresh_key()
        client.store(other, payload(T * 10**6))
        daemon = start.daemon(bus="nats", nats_url=server.url)
        assert daemon.snapshot(key) is None
        daemon.check_snapshot(other, T * 10**6)
        assert daemon.snapshot(key) is None
        time_us = daemon.publish(key)
        daemon.check_snapshot(key, time_us)


def test_clock_of_another_publisher_ahead(on_nats, key):
    far = 4102444800_000000
    with on_nats.daemon.stream(key) as stream:
        on_nats.client.store(key, payload(far))
        assert stream.event() == far
        on_nats.daemon.publish(key)
        assert stream.event() == far + 1


# The stream changes under the daemon


def heard(client, stream, key):
    """What others publish reaches the stream: tried each second, as the daemon may still be finding its way."""
    deadline = time.monotonic() + 25
    while True:
        time_us = fresh_time_us()
        client.publish(SUBJECT + key, payload(time_us))
        client.flush()
        stream.receive(1)
        while stream.blocks:
            if getattr(stream.blocks.pop(0), "id", None) == time_us:
                return time_us
        assert time.monotonic() < deadline, "the streams hear nothing of it"


def works_again(nodes, key, stream):
    """All that is expected after whatever has happened to NATS."""
    time_us = nodes.daemon.publish_soon(key)
    assert stream.events_until(time_us)[-1] == time_us
    nodes.daemon.check_snapshot(key, time_us)
    raw = heard(nodes.client, stream, key)
    wait_until(lambda: nodes.daemon.snapshot(key) == raw, "a new subscriber gets an old one")
    later = nodes.daemon.publish_soon(key)
    assert stream.events_until(later)[-1] == later
    assert nodes.client.last_message(key).payload == payload(later)
    assert nodes.daemon.get("/readyz").status == 200


def test_stream_deleted(on_nats, key):
    with on_nats.daemon.stream(key) as stream:
        first = on_nats.daemon.publish(key)
        assert stream.event() == first
        on_nats.client.delete_stream()
        works_again(on_nats, key, stream)
    check_settings(on_nats.client)


def test_publishing_right_after_the_stream_is_deleted(on_nats, key):
    """The stream is made anew within the time that a publisher waits, so that no update is refused."""
    with on_nats.daemon.stream(key) as stream:
        for _ in range(3):
            on_nats.client.delete_stream()
            stream.events_until(on_nats.daemon.publish(key))


def test_stream_deleted_while_nobody_publishes(on_nats, key):
    """The daemon finds out by itself, makes it anew and puts back what it knows."""
    first = on_nats.daemon.publish(key)
    on_nats.client.delete_stream()

    def is_back():
        try:
            message = on_nats.client.last_message(key)
        except Exception:
            return False
        return message is not None and message.payload == payload(first)
    wait_until(is_back, "the stream is not made anew", 40)
    check_settings(on_nats.client)


def test_stream_recreated(on_nats, key):
    """Its sequences begin at 1 again; a consumer that resumes by the old one skips all in silence."""
    daemon, _, client = on_nats
    with daemon.stream(key) as stream:
        for _ in range(10):
            first = daemon.publish(key)
        stream.events_until(first)
        client.delete_stream()
        client.create_stream()
        other = fresh_key()
        client.store(other, payload(fresh_time_us()))
        works_again(on_nats, key, stream)
        wait_until(lambda: daemon.snapshot(other) is not None, "what was published in between is lost", 30)


def test_stream_recreated_with_more_messages(on_nats, key):
    """Beyond the sequence that the old one had come to."""
    daemon, _, client = on_nats
    with daemon.stream(key) as stream:
        first = daemon.publish(key)
        stream.events_until(first)
        client.delete_stream()
        client.create_stream()
        others = [fresh_key() for _ in range(5)]
        for other in others:
            client.store(other, payload(fresh_time_us()))
        works_again(on_nats, key, stream)
        for other in others:
            wait_until(lambda: daemon.snapshot(other) is not None, "lost", 30)


def test_stream_purged(on_nats, key):
    daemon, _, client = on_nats
    with daemon.stream(key) as stream:
        first = daemon.publish(key)
        assert stream.event() == first
        client.purge_stream()
        daemon.check_snapshot(key, first)
        wait_until(lambda: client.last_message(key), "it is not written back")
        assert daemon.offer(key, first)[0].json() == {"status": "stale"}
        stream.quiet(0.2)
        second = daemon.publish(key)
        assert stream.event() == second
        works_again(on_nats, key, stream)


def test_consumer_deleted(on_nats, key):
    """An operator's clean-up, or the server's own after a silence."""
    daemon, _, client = on_nats
    with daemon.stream(key) as stream:
        first = daemon.publish(key)
        assert stream.event() == first
        for name in client.api(f"CONSUMER.NAMES.{STREAM}")["consumers"]:
            client.api(f"CONSUMER.DELETE.{STREAM}.{name}")
        works_again(on_nats, key, stream)


@pytest.mark.parametrize("another, told", [(False, "the consumer is gone"), (True, "Missed")])
def test_consumer_deleted_in_silence(on_nats, key, another, told):
    """While nobody publishes: by the stream, which has one less; if another has come meanwhile, by its heartbeats."""
    daemon, server, client = on_nats
    with daemon.stream(key) as stream, server.client() as watcher:
        watcher.subscribe(f"$JS.API.STREAM.INFO.{STREAM}")
        for _ in range(2):  # the consumers have been counted; the next time is seconds away
            watcher.next_message()
        for name in client.api(f"CONSUMER.NAMES.{STREAM}")["consumers"]:
            client.api(f"CONSUMER.DELETE.{STREAM}.{name}")
        if another:
            client.api(f"CONSUMER.CREATE.{STREAM}", {"stream_name": STREAM, "config": {
                "deliver_subject": "nobody", "ack_policy": "none", "inactive_threshold": 60 * 10**9}})
        daemon.wait_log("All last values are read again", timeout=40)
        daemon.wait_log(f"NATS: {told}")
        works_again(on_nats, key, stream)


def send_status(client, subject, line, *headers, reply=""):
    """As JetStream does: the status in the first line, no body."""
    block = f"NATS/1.0 {line}\r\n" + "".join(f"{header}\r\n" for header in headers) + "\r\n"
    client.send(f"HPUB {f'{subject} {reply}'.strip()} {len(block)} {len(block)}\r\n{block}\r\n".encode())
    client.flush()


@pytest.mark.parametrize("ahead, line", [(0, "100 Idle Heartbeat"), (1, "100 Idle Heartbeat"),
                                         (0, "409 Consumer Deleted")])
def test_what_the_consumer_says(on_nats, key, ahead, line):
    """Flow control is answered.  A heartbeat tells the last message's count: in doubt, if another was last to come."""
    daemon, server, client = on_nats
    name, = client.api(f"CONSUMER.NAMES.{STREAM}")["consumers"]
    daemon.publish(key)
    info = client.api(f"CONSUMER.INFO.{STREAM}.{name}")
    subject, count = info["config"]["deliver_subject"], info["delivered"]["consumer_seq"]
    with server.client() as watcher:
        watcher.subscribe("answers.*")
        send_status(client, subject, "100 FlowControl Request", reply="answers.first")
        assert watcher.next_message().subject == "answers.first"
        send_status(client, subject, line, f"Nats-Last-Consumer: {count + ahead}", "Nats-Consumer-Stalled: answers.second")
        if line.startswith("100"):
            assert watcher.next_message().subject == "answers.second"
        if ahead == 0 and line.startswith("100"):
            time.sleep(0.3)
            assert not daemon.log_lines("read again")
        else:
            daemon.wait_log("All last values are read again")
    with daemon.stream(key) as stream:
        works_again(on_nats, key, stream)


def test_consumers_do_not_pile_up(start, key):
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    for _ in range(2):
        server.kill()
        server.start()
        daemon.publish_soon(key)
    daemon.stop()
    daemon.start()
    with server.client() as client:
        wait_until(lambda: len(client.api(f"CONSUMER.NAMES.{STREAM}")["consumers"] or ()) <= 2,
                   "old consumers stay")


# NATS away


def not_ready(daemon):
    response = daemon.get("/readyz")
    return response if response.status == 503 else None


def check_away(daemon, key):
    """Not ready, publishing goes into the outbox, in time; streams are taken all the same."""
    def told():
        response = not_ready(daemon)
        return response and "nats" in response.detail.lower()
    wait_until(told, "it is still ready, or does not say why not", 30)
    time_us = daemon.queue(key)
    assert "outbox" in not_ready(daemon).detail
    assert daemon.get("/livez").status == 200
    with daemon.stream(fresh_key()) as stream:
        stream.quiet(0.1)
    return time_us


AWAY = r"^(warning|error): .*bus is away"


def test_nats_absent_at_the_start(start, key):
    server = start.nats(start=False)
    daemon = start.daemon(bus="nats", nats_url=server.url, wait="/livez")
    queued = check_away(daemon, key)
    with daemon.stream(key) as stream:
        assert stream.event() == queued
        time.sleep(5)
        lines = daemon.log_lines(AWAY)
        assert len(lines) == 1, lines
        assert str(server.port) in lines[0]
        server.start()
        wait_until(lambda: daemon.get("/readyz").status == 200, "NATS is there, and it is not ready", 30)
        time_us = daemon.publish(key)
        assert stream.event() == time_us
    with server.client() as client:
        check_settings(client)


def test_nats_killed_and_back(start, key):
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    with daemon.stream(key) as stream:
        first = daemon.publish(key)
        assert stream.event() == first
        before = len(daemon.log().splitlines())
        server.kill()
        queued = check_away(daemon, key)
        assert stream.event() == queued
        daemon.check_snapshot(key, queued)
        time.sleep(3)
        lines = daemon.log().splitlines()[before:]
        assert len([line for line in lines if line.startswith("warning:")]) == 1, lines
        assert len(lines) <= 3, "not once for each attempt"
        server.start()
        wait_until(lambda: daemon.get("/readyz").status == 200, "it never gets ready again", 30)
        back = daemon.wait_log(r"bus is back after [0-9.]+ s")
        assert len(back) == 1 and float(re.search(r"([0-9.]+) s", back[0])[1]) > 3, back
        with server.client() as client:
            wait_until(lambda: client.last_message(key).payload == payload(queued), "the queued update is lost")
            works_again(type("On", (), {"daemon": daemon, "client": client}), key, stream)


def test_nats_back_with_an_empty_store(start, key):
    """A lost disk: the daemon still knows, and gives it back."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    with daemon.stream(key) as stream:
        first = daemon.publish(key)
        assert stream.event() == first
        server.kill()
        subprocess.run(["rm", "-rf", str(server.directory / "jetstream")], check=True)
        server.start()
        wait_until(lambda: daemon.get("/readyz").status == 200, "it never gets ready again", 30)
        with server.client() as client:
            def restored():
                message = client.last_message(key)
                return message is not None and message.payload == payload(first)
            wait_until(restored, "the last value is not written back")
        daemon.check_snapshot(key, first)
        stream.quiet(0.2)


def test_nats_hangs(start, key):
    """It holds the connection and says nothing: publishing still ends in time, streams are served."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    first = daemon.publish(key)
    daemon.check_snapshot(key, first)
    with daemon.stream(key) as stream:
        assert stream.event() == first
        server.freeze()
        try:
            queued = daemon.queue(key)
            assert stream.event() == queued
            begun = time.monotonic()
            daemon.check_snapshot(key, queued)
            assert daemon.get("/livez").status == 200
            assert time.monotonic() - begun < 2
            wait_until(lambda: not_ready(daemon), "it is not noticed", 10)
            begun = time.monotonic()
            last = daemon.queue(key)
            assert time.monotonic() - begun < 0.9, "NATS is known to be away"
        finally:
            server.thaw()
        assert stream.event() == last
        with server.client() as client:
            wait_until(lambda: client.last_message(key).payload == payload(last), "the queued update is lost", 30)
        time_us = daemon.publish_soon(key)
        assert stream.events_until(time_us)[-1] == time_us
    daemon.check_snapshot(key, time_us)


def test_stop_while_nats_hangs(start, key):
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    with daemon.stream(key) as stream:
        server.freeze()
        try:
            daemon.signal(signal.SIGTERM)
            assert stream.end() == []
            daemon.wait_exit(timeout=15)
        finally:
            server.thaw()


# What is configured


def test_no_jetstream(start, key):
    server = start.nats(jetstream=False)
    daemon = start.daemon(bus="nats", nats_url=server.url, wait="/livez")
    response = wait_until(lambda: r if (r := not_ready(daemon)) and "jetstream" in r.detail.lower()
                          else None, "the reason is never given")
    line = daemon.wait_log(r"(?i)jetstream")[0]
    for text in (response.detail, line):
        assert "-js" in text or "jetstream {" in text or "jetstream: " in text, text
    check_away(daemon, key)
    server.stop()
    server.jetstream = True
    server.start()
    wait_until(lambda: daemon.get("/readyz").status == 200, "JetStream is on, and it is not ready", 30)
    daemon.publish(key)


USERS = 'authorization { user: "flag", password: "p4ss" }\n'
TOKEN = 'authorization { token: "s3cret" }\n'


@pytest.mark.parametrize("config, user_info, credentials", [
    (USERS, "flag:p4ss@", {"user": "flag", "pass": "p4ss"}),
    (TOKEN, "s3cret@", {"auth_token": "s3cret"})])
def test_credentials(start, key, config, user_info, credentials):
    server = start.nats(config=config, credentials=credentials)
    daemon = start.daemon(bus="nats", nats_url=f"nats://{user_info}127.0.0.1:{server.port}")
    with daemon.stream(key) as stream:
        time_us = daemon.publish(key)
        assert stream.event() == time_us
    assert "p4ss" not in daemon.log() and "s3cret" not in daemon.log()


@pytest.mark.parametrize("user_info", ["flag:wr0ng@", "wr0ng@", ""])
def test_wrong_credentials(start, key, user_info):
    server = start.nats(config=USERS, credentials={"user": "flag", "pass": "p4ss"})
    daemon = start.daemon(
        bus="nats", nats_url=f"nats://{user_info}127.0.0.1:{server.port}", wait="/livez")
    check_away(daemon, key)
    daemon.wait_log(r"(?i)authori[sz]|password|credential|authenti")
    time.sleep(2)
    assert len(daemon.log_lines(AWAY)) <= 2, daemon.log()
    assert "wr0ng" not in daemon.log() + daemon.get("/readyz").body.decode()


def test_several_servers(start, key):
    """The first does not answer, the second does; spaces after the commas are harmless."""
    dead = start.nats(start=False)
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=f"{dead.url}, {server.url}")
    with daemon.stream(key) as stream:
        time_us = daemon.publish(key)
        assert stream.event() == time_us


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a server's certificate for 127.0.0.1, and an authority that has nothing to do with it."""
    directory = tmp_path_factory.mktemp("tls")
    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2", cwd=directory)
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "server.key",
            "-out", "server.csr", "-subj", "/CN=localhost", cwd=directory)
    (directory / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "server.pem", cwd=directory)
    return directory


def tls_server(start, certificates):
    return start.nats(config=f'tls {{ cert_file: "{certificates}/server.pem", '
                             f'key_file: "{certificates}/server.key" }}\n')


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls(start, key, certificates, host):
    """The system's authorities are trusted; SSL_CERT_FILE stands for them."""
    server = tls_server(start, certificates)
    daemon = start.daemon(bus="nats", nats_url=f"tls://{host}:{server.port}",
                          env={"SSL_CERT_FILE": str(certificates / "ca.pem")})
    with daemon.stream(key) as stream:
        time_us = daemon.publish(key)
        assert stream.event() == time_us


def test_tls_of_an_unknown_authority(start, key, certificates):
    server = tls_server(start, certificates)
    daemon = start.daemon(bus="nats", nats_url=f"tls://127.0.0.1:{server.port}", wait="/livez",
                          env={"SSL_CERT_FILE": str(certificates / "other.pem")})
    check_away(daemon, key)
    daemon.wait_log(r"(?i)certificate|tls|ssl")
    time.sleep(2)
    assert daemon.get("/readyz").status == 503


def test_tls_for_another_host(start, key, certificates):
    server = tls_server(start, certificates)
    daemon = start.daemon(bus="nats", nats_url=f"tls://127.0.0.2:{server.port}", wait="/livez",
                          env={"SSL_CERT_FILE": str(certificates / "ca.pem")})
    check_away(daemon, key)


def test_publish_body_of_flagsmith(on_nats, key):
    """The very bytes that requests makes of api/sse/tasks.py."""
    on_nats.client.subscribe(SUBJECT + key)
    time_us = fresh_time_us()
    body = json.dumps({"updated_at": isoformat(time_us)}).encode()
    assert on_nats.daemon.post(key, body).status == 200
    assert on_nats.client.next_message().payload == payload(time_us)
