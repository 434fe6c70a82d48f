# SPDX-License-Identifier: BSD-3-Clause
"""Restart, upgrade, stop, crash: with very many streams, read strictly from the first byte to the last.

Streams are counted.  How long things take is printed, and decides nothing.
"""
import contextlib
import re
import threading
import time

import pytest

from audience import Subscribers
from daemon import fresh_key
from service import ADDRESS, WAYS
from sse import Malformed, format_event
from wire import connect, request, wait_until

STREAMS = 15000
ENVIRONMENTS = 300
BUSY = 3  # of them: every second update is one of these
RESTARTS = 10
INTERVAL = 0.02  # between updates

# These clients are one process, which has not always the time to send a request within ten seconds.
PATIENT = "[http]\nrequest_timeout = 60s\n"

# Of each environment's 50 streams, the rest are plain.
KINDS = {"old": 3, "dart": 1, "faraday": 1, "slow": 1}
STALLED = 30  # more, of each busy environment

# What a state has besides its streams' rests; see src/hub/handover-layout.h.
HEADER_SIZE, UPDATE_SIZE, ENVIRONMENT_SIZE, STREAM_SIZE = 64, 120, 112, 32

HANDED_OVER = "18830199b26a43c68d5a37b014270e40"
TAKEN_UP = "caa13c9408a040e08b17b3a5efbd02ec"
STATE_UNREADABLE = "ab0c9e4317eb4506aad965300097232b"


class Publisher:
    """Publishes without a pause, as Flagsmith does, and notes every answer but 200."""

    def __init__(self, service, keys):
        self.service = service
        self.keys = keys
        self.latest = {}
        self.published = 0
        self.refused = []
        self.longest = 0.0
        self.stopping = False
        self.thread = threading.Thread(target=self._work)

    def _next_key(self, i):
        return self.keys[i // 2 % BUSY] if i % 2 else self.keys[i // 2 % len(self.keys)]

    def _work(self):
        i = 0
        while not self.stopping:
            begun = time.monotonic()
            key = self._next_key(i)
            try:
                self.latest[key] = self.service.publish(key)
                self.published += 1
            except (AssertionError, OSError, EOFError) as error:
                self.refused.append(repr(error))
            taken = time.monotonic() - begun
            self.longest = max(self.longest, taken)
            time.sleep(max(0, INTERVAL - taken))
            i += 1

    def __enter__(self):
        self.thread.start()
        return self

    def stop(self):
        self.stopping = True
        self.thread.join()

    def __exit__(self, *_):
        self.stop()


def make_keys(n=ENVIRONMENTS):
    return [fresh_key() for _ in range(n)]


def mixed_streams(keys):
    """15,000 of all kinds."""
    each = STREAMS // len(keys)
    streams = []
    for i, key in enumerate(keys):
        kinds = dict(KINDS)
        if i < BUSY:
            kinds["stalled"] = STALLED
        kinds["plain"] = each - sum(kinds.values())
        streams += [[kind, key, count] for kind, count in kinds.items()]
    return streams


def handovers(machine):
    """The figures of each hand-over in the journal: streams, environments, bytes."""
    entries = machine.journal(MESSAGE_ID=HANDED_OVER)
    return [tuple(map(int, re.search(r"(\d+) streams? of (\d+) environments? \((\d+) bytes\)", entry["MESSAGE"])
                      .groups())) for entry in entries]


def check_journal(machine, n):
    """One line each for hand-over and take-up, of the same streams, and nothing that was wrong."""
    handed_over = handovers(machine)
    taken_up = machine.journal(MESSAGE_ID=TAKEN_UP)
    assert len(handed_over) == len(taken_up) == n, machine.messages()
    for (streams, environments, size), entry in zip(handed_over, taken_up):
        assert re.search(rf"\b{streams} streams? of {environments} environments? \({size} bytes\)", entry["MESSAGE"])
    assert not machine.journal(MESSAGE_ID=STATE_UNREADABLE)
    assert not machine.journal(PRIORITY="3", SYSLOG_IDENTIFIER="flagsse"), machine.messages()
    return handed_over


def rest_bytes(handed_over, n_updates):
    """Of half-written frames."""
    streams, environments, size = handed_over
    return (size - HEADER_SIZE - n_updates * UPDATE_SIZE - environments * ENVIRONMENT_SIZE
            - streams * STREAM_SIZE)


def test_ten_restarts(service):
    """No stream is lost, none sees an older update after a newer one, all have the latest; nobody is refused."""
    machine = service.machine
    keys = make_keys()
    service.set_bus("local", PATIENT)
    service.wait_ready()
    with contextlib.ExitStack() as stack:
        subscribers = stack.enter_context(Subscribers())
        assert subscribers.tell("open", streams=mixed_streams(keys))["open"] == STREAMS
        publisher = stack.enter_context(Publisher(service, keys))
        wait_until(lambda: len(publisher.latest) == len(keys), "not each environment has an update", 60)
        pid = machine.property("MainPID")
        for _ in range(RESTARTS):
            published = publisher.published
            machine.systemctl("restart", "flagsse.service")
            wait_until(lambda: publisher.published > published + 50, "updates are not taken any more")
            subscribers.tell("report")
            assert machine.property("MainPID") != pid
            pid = machine.property("MainPID")
        subscribers.tell("wake")
        publisher.stop()
        answer = subscribers.tell("expect", latest=publisher.latest)
        assert answer["missing"] == 0, answer
        assert publisher.refused == []
        handed_over = check_journal(machine, RESTARTS)
        halves = [rest_bytes(figures, len(keys)) for figures in handed_over]
        print(f"{handed_over[-1][0]} streams, {answer['events']} events, {publisher.published} updates; longest "
              f"wait of an update {answer['longest_ms']:.0f} ms, of its publisher {publisher.longest * 1000:.0f} "
              f"ms; bytes of half-written frames at each restart: {halves}")
        # The stalled ones have been full since long before the last restart.
        assert halves[-1] > 0
        assert answer["clean"] > 0, "the long polls must have ended, each after an update"


def test_stop_ends_all_cleanly(service):
    """/readyz is 503 at once; a client that sends what nobody asked for gets no reset."""
    machine = service.machine
    keys = make_keys(10)
    service.set_bus("local", f"{PATIENT}[streams]\ndrain_delay = 1s\ndrain_time = 3s\n")
    service.wait_ready()
    with Subscribers() as subscribers:
        assert subscribers.tell("open", streams=[["plain", key, STREAMS // 10] for key in keys])["open"] == STREAMS
        with service.stream(fresh_key(), extra=b"POST /nobody HTTP/1.1\r\n\r\n") as talkative:
            subscribers.begin("end")
            stop = threading.Thread(target=machine.systemctl, args=("stop", "flagsse.socket"))
            stop.start()
            machine.wait_message("stopping")
            ready = request(ADDRESS, "GET", "/readyz")
            assert ready.status == 503 and "stopping" in ready.detail
            machine.wait_status("Stopping: ")
            assert talkative.end() == []
        answer = subscribers.answer()
        stop.join()
        assert (answer["open"], answer["clean"], answer["failed"]) == (0, STREAMS, 0)
    assert "flagsse has stopped." in machine.messages()
    assert machine.property("Result") == "success"


def test_kill(service):
    """The clients come back, spread by the `retry` they were given, and each has the latest update."""
    machine = service.machine
    keys = make_keys(10)
    service.set_bus("local", PATIENT)
    service.wait_ready()
    latest = {key: service.publish(key) for key in keys}
    with Subscribers() as subscribers:
        streams = [["browser", key, STREAMS // 10] for key in keys]
        assert subscribers.tell("open", streams=streams)["open"] == STREAMS
        assert subscribers.tell("expect", latest=latest)["missing"] == 0
        machine.run("kill", "-KILL", machine.property("MainPID"))
        # It is taken by the next process.
        latest.update({key: service.publish(key) for key in keys[:5]})
        answer = subscribers.tell("await_failures")
        assert (answer["back"], answer["open"]) == (STREAMS, STREAMS)
        answer = subscribers.tell("expect", latest=latest)
        assert answer["missing"] == 0
        print(f"{STREAMS} streams are back, the last one {answer['longest_away']:.1f} s after its `retry`")


def test_upgrade(service):
    """To a package of a higher version, by apt, and back: no stream is lost, and the sockets are left alone."""
    machine = service.machine
    keys = make_keys(10)
    service.wait_ready()
    socket = machine.property("InvocationID", "flagsse.socket")
    with Subscribers() as subscribers, Publisher(service, keys) as publisher:
        assert subscribers.tell("open", streams=[["plain", key, 100] for key in keys])["open"] == 1000
        for is_next, step in ((True, machine.install_next_version),
                              (False, lambda: machine.install("--allow-downgrades"))):
            pid = machine.property("MainPID")
            step()
            assert machine.property("MainPID") != pid and machine.property("NeedDaemonReload") == "no"
            installed = machine.run("dpkg-query", "-W", "-f", "${Version}", "flagsse").stdout
            assert installed.endswith("+next") == is_next
            published = publisher.published
            wait_until(lambda n=published: publisher.published > n + 20, "updates are not taken any more")
        publisher.stop()
        answer = subscribers.tell("expect", latest=publisher.latest)
        assert (answer["missing"], answer["open"], publisher.refused) == (0, 1000, [])
    assert machine.property("InvocationID", "flagsse.socket") == socket
    check_journal(machine, 2)


def test_changed_settings_are_honoured(service):
    """Fewer streams, other threads; and another bus, which gets what it does not know."""
    machine = service.machine
    key, other = fresh_key(), fresh_key()
    service.wait_ready()
    time_us = service.publish(other)
    streams = [service.stream(key) for _ in range(20)]
    service.start_nats()
    service.set_bus("nats", "[streams]\nmax_streams = 15\nshards = 5\n")
    machine.systemctl("restart", "flagsse.service")
    service.wait_ready()
    wait_until(lambda: sum(not stream.receive(0.01) and stream.ended for stream in streams) == 5,
               "five of twenty streams must end")
    kept = [stream for stream in streams if not stream.ended]
    new_us = service.publish(key)
    for stream in kept:
        assert stream.event() == new_us
    for stream in streams:
        stream.close()
    service.wait_streams(0)
    with service.stream(other) as stream:
        assert stream.event() == time_us
    # The new bus has it, too: it comes back from there without any process that knew it.
    machine.systemctl("stop", "flagsse.service")
    with service.stream(other) as stream:
        wait_until(lambda: stream.receive(0.1) or stream.blocks, "the update is not on the new bus")
        assert stream.event() == time_us


def test_every_way_in(service):
    """Streams over IPv4, IPv6 and the unix socket go on, as curl sees them."""
    machine = service.machine
    key = fresh_key()
    service.wait_ready()
    with contextlib.ExitStack() as stack:
        watches = [stack.enter_context(service.watch(key, way)) for way in WAYS]
        for watch in watches:
            watch.wait_for(b"retry: ")
        machine.systemctl("restart", "flagsse.service")
        event = format_event(service.publish(key))
        for watch in watches:
            watch.wait_for(event)
        machine.systemctl("stop", "flagsse.socket")
        assert [watch.end() for watch in watches] == [0] * len(WAYS)
    assert check_journal(machine, 1)[0][:2] == (len(WAYS), 1)


def test_bad_configuration_is_noticed_before(service):
    """Then the streams are ended cleanly, while that is still possible."""
    machine = service.machine
    service.wait_ready()
    with service.stream(fresh_key()) as stream:
        service.set_bus("local", "[streams]\nkeepalive = never\n")
        assert machine.systemctl("restart", "flagsse.service", check=False).returncode != 0
        assert stream.end() == []
    assert "/etc/flagsse/conf.d/test.conf:4" in machine.wait_message("streams.keepalive")
    machine.wait_message("would refuse its configuration")
    assert not machine.journal(MESSAGE_ID=HANDED_OVER)
    service.set_bus("local")
    machine.wait_active("active", timeout=15)


@pytest.mark.parametrize("what", ["bus", "store"])
def test_without_what_a_hand_over_needs(service, what):
    """Streams end cleanly, and the service starts again."""
    machine = service.machine
    if what == "store":
        machine.drop_in("flagsse.service", "[Service]\nFileDescriptorStoreMax=0\n")
    service.wait_ready()
    with service.stream(fresh_key()) as stream:
        if what == "bus":
            machine.systemctl("stop", "dbus.socket", "dbus.service")
        try:
            machine.systemctl("restart", "flagsse.service")
            assert stream.end() == []
        finally:
            machine.systemctl("start", "dbus.socket")
    assert "not handed over" in " ".join(machine.messages())
    service.wait_ready()


def test_signal_that_is_no_restart(service):
    """Whoever sends it by hand wants an end."""
    machine = service.machine
    service.wait_ready()
    with service.stream(fresh_key()) as stream:
        machine.systemctl("kill", "--kill-who=main", "--signal=TERM", "flagsse.service")
        assert stream.end() == []
    assert not machine.journal(MESSAGE_ID=HANDED_OVER)


def test_half_a_request(service):
    """Requests under way are answered before, or their clients are told of the end; new ones wait."""
    machine = service.machine
    service.wait_ready()
    with connect(ADDRESS) as half, service.stream(fresh_key()) as stream:
        half.sendall(b"GET /livez HT")
        time.sleep(0.2)
        restart = threading.Thread(target=machine.systemctl, args=("restart", "flagsse.service"))
        restart.start()
        machine.wait_message("stopping")
        with connect(ADDRESS) as waiting:
            waiting.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            half.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
            assert half.recv(100).startswith(b"HTTP/1.1 200 ")
            assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")
        restart.join()
        stream.quiet(0.2)
    check_journal(machine, 1)


# Puts another file in the place of the state, and goes on as flagsse.
SPOIL = r"""#!/bin/sh
fd=3
IFS=:
for name in $LISTEN_FDNAMES; do
	[ "$name" != flagsse-state ] || eval "exec $fd</etc/hostname"
	fd=$((fd + 1))
done
exec /usr/bin/flagsse
"""


def test_spoiled_state(service):
    """Its streams end cleanly, the journal says why, and the service runs; it is taken out of the store once."""
    machine = service.machine
    key = fresh_key()
    service.wait_ready()
    with service.stream(key) as stream, service.stream(key, version="1.0") as old:
        machine.write("/usr/local/bin/spoil", SPOIL, 0o755)
        machine.drop_in("flagsse.service", "[Service]\nExecStart=\nExecStart=/usr/local/bin/spoil\n")
        machine.systemctl("restart", "flagsse.service")
        assert stream.end() == [] and old.end() == []
    assert len(handovers(machine)) == 1
    unreadable = machine.journal(MESSAGE_ID=STATE_UNREADABLE)
    assert len(unreadable) == 1 and "2 streams are ended cleanly" in unreadable[0]["MESSAGE"], unreadable
    assert machine.property("NFileDescriptorStore") == "0"
    service.publish(key)


def test_crash_after_a_restart(service):
    """What was handed over is not handed over again."""
    machine = service.machine
    key = fresh_key()
    service.wait_ready()
    with service.stream(key) as stream:
        machine.systemctl("restart", "flagsse.service")
        stream.quiet(0.1)
        assert machine.property("NFileDescriptorStore") == "0"
        machine.run("kill", "-KILL", machine.property("MainPID"))
        with pytest.raises((ConnectionResetError, Malformed)):
            while stream.receive():
                pass
    service.wait_ready()
    assert len(machine.journal(MESSAGE_ID=TAKEN_UP)) == 1
