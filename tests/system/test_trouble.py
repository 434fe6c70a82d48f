# SPDX-License-Identifier: BSD-3-Clause
"""Restarts and upgrades while what flagsse waits for hangs: NATS, its library, the disk, the journal, a shard.

Streams are counted: none may be lost but those of a shard that hangs.
"""
import collections
import json
import threading
import time

import pytest

import shim
from daemon import authorization, fresh_time_us, isoformat
from machine import OUTSIDE4, UNITS
from service import ADDRESS, path_of
from silent import SilentServer, info
from test_recovery import nats_lines
from test_restart import HANDED_OVER, TAKEN_UP, Subscribers, handovers, make_keys
from wire import Connection, wait_until

STREAMS = 500
ENVIRONMENTS = 2
SHARDS = 4
INTERVAL = 0.05  # between updates

# From the end that systemd asks for to the next process's READY=1.  It is less than 5 s on a machine that has nothing
# else to do.  A process that waited for its threads without a limit would be killed after 90 s.
LIMIT_S = 8

PRELOADED = "/srv/shim"  # a directory inside


class Shim(shim.Shim):
    """Preloaded into the service inside."""

    def __init__(self, machine):
        directory = machine.root / PRELOADED.lstrip("/")
        directory.mkdir(exist_ok=True)
        super().__init__(directory, shim.build(directory))
        (directory / "shim").chmod(0o666)
        machine.drop_in("flagsse.service", f"""[Service]
            Environment=LD_PRELOAD={PRELOADED}/shim.so FLAGSSE_SHIM={PRELOADED}/shim
            ReadWritePaths={PRELOADED}/shim
            ExecPaths={PRELOADED}
            """)


class Offers:
    """Publishes without a pause, and counts how it is answered."""

    def __init__(self, service, keys):
        self.service = service
        self.keys = keys
        self.answers = collections.Counter()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._work)

    def _work(self):
        i = 0
        while not self.stopping.wait(INTERVAL):
            try:
                answer = self.service.offer(self.keys[i % len(self.keys)], fresh_time_us()).status
            except (OSError, EOFError, AssertionError) as error:
                answer = repr(error)
            self.answers[answer] += 1
            i += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()


# What goes wrong


class Trouble:
    """It is there when begin() has returned, which is called before each restart, and until end()."""
    answers = {200}  # what a publisher is told meanwhile
    answers_after = 200
    is_logged = True  # whether the journal has all of it

    def __init__(self, service):
        self.service = service
        self.machine = service.machine

    def __enter__(self):
        self.set_up()
        return self

    def __exit__(self, *_):
        self.end()

    def set_up(self):
        """Before flagsse is started."""

    def begin(self):
        raise NotImplementedError

    def end(self):
        """Once more does no harm."""


class SilentNats(Trouble):
    """It is in the handshake with one that says nothing more, and would be for ten seconds."""
    scheme, greeting = "nats", info()
    answers = {202}
    answers_after = 202

    def set_up(self):
        self.server = SilentServer(self.greeting, host=OUTSIDE4)
        self.seen = 0
        self.service.set_bus("nats", f"[nats]\nurl = {self.scheme}://{OUTSIDE4}:{self.server.port}\n"
                             "connect_timeout = 10s\n")

    def begin(self):
        wait_until(lambda: self.server.count > self.seen, "it does not connect to NATS", 30)
        self.seen = self.server.count

    def __exit__(self, *_):
        self.server.close()


class SilentNatsTls(SilentNats):
    scheme, greeting = "tls", info(tls_required=True)


class HungLibrary(Trouble):
    """A call of nats.c does not return."""
    answers = {200, 202}

    def set_up(self):
        self.machine.shell("cp /etc/nats-server.conf /root/nats-server.conf; rm -rf /var/lib/nats")
        self.machine.shell(nats_lines())
        self.service.set_bus("nats")
        self.shim = Shim(self.machine)

    def begin(self):
        self.service.wait_ready()
        self.shim.nats_hang = 1
        wait_until(lambda: self.shim.nats_hang == 2, "the bus never looks at its stream", 30)

    def end(self):
        self.shim.nats_hang = 0

    def __exit__(self, *_):
        self.end()
        self.machine.systemctl("stop", "nats-server.service")
        self.machine.shell("mv /root/nats-server.conf /etc/nats-server.conf; rm -rf /var/lib/nats")


class HungDisk(Trouble):
    """No file is ever synced: the store takes nothing, neither from the old process nor from the next one."""
    answers = {503}

    def set_up(self):
        self.shim = Shim(self.machine)

    def begin(self):
        self.shim.disk_stalls = 1
        assert self.service.offer(make_keys(1)[0], fresh_time_us()).status == 503

    def end(self):
        self.shim.disk_stalls = 0


class HungDiskOfOutbox(HungDisk):
    """The same, where NATS has never been there."""
    answers_after = 202

    def set_up(self):
        super().set_up()
        self.service.set_bus("nats")


class StoppedJournal(Trouble):
    """journald reads nothing, and what it would read is full."""
    is_logged = False

    def set_up(self):
        self.machine.drop_in("flagsse.service", "[Service]\nEnvironment=FLAGSSE_LOG_LEVEL=debug\n")
        self.key = make_keys(1)[0]
        self.service.wait_ready()
        self.time_us = self.service.publish(self.key)

    def begin(self):
        self.machine.systemctl("kill", "--kill-who=main", "--signal=STOP", "systemd-journald.service")
        wait_until(self._log_more, "nothing is ever lost: is the queue without a limit?", 60)

    def _log_more(self):
        """Each stale update is a line at the debug level."""
        body = json.dumps({"updated_at": isoformat(self.time_us)}).encode()
        with Connection(ADDRESS) as connection:
            for _ in range(500):
                answer = connection.request("POST", path_of(self.key, "queue-change"), [authorization()], body)
                assert answer.status == 200, answer
        return self.service.metrics()["flagsse_log_lost_total"] > 0

    def end(self):
        self.machine.systemctl("kill", "--kill-who=main", "--signal=CONT", "systemd-journald.service")


TROUBLES = [SilentNats, SilentNatsTls, HungLibrary, HungDisk, HungDiskOfOutbox, StoppedJournal]


# Restarts


def outage_s(machine):
    """Of the last restart, as systemd has seen it."""
    left, back = (int(machine.property(f"Active{what}TimestampMonotonic")) for what in ("Exit", "Enter"))
    assert left < back
    return (back - left) / 1e6


def streams_of(keys, kind):
    return [[kind, key, STREAMS // len(keys)] for key in keys]


def accept(service, key, status):
    """The time of an update, once there is such an answer."""
    time_us = fresh_time_us()
    return time_us if service.offer(key, time_us).status == status else None


def accept_all(service, keys, status):
    return {key: wait_until(lambda key=key: accept(service, key, status), f"an update never gets {status}", 30)
            for key in keys}


@pytest.fixture
def to_next_version(machine):
    """An upgrade; afterwards it is undone."""
    yield machine.install_next_version
    machine.systemctl("stop", *UNITS)
    machine.install("--allow-downgrades")


@pytest.mark.parametrize("kind", TROUBLES)
def test_no_stream_is_lost(service, to_next_version, kind):
    """By a restart and an upgrade, and each publisher is answered."""
    machine = service.machine
    keys = make_keys(ENVIRONMENTS)
    ways = {"restart": lambda: machine.systemctl("restart", "flagsse.service"), "upgrade": to_next_version}
    with kind(service) as trouble, Subscribers() as subscribers:
        assert subscribers.tell("open", streams=streams_of(keys, "plain"))["open"] == STREAMS
        machine.wait_active("active")  # streams are served before
        for way, replace in ways.items():
            trouble.begin()
            pid = machine.property("MainPID")
            with Offers(service, keys) as offers:
                replace()
            assert machine.property("MainPID") != pid
            seconds = outage_s(machine)
            answer = subscribers.tell("report")
            print(f"{kind.__name__}, {way}: {answer['open']} of {STREAMS} streams, {seconds:.2f} s; "
                  f"answers to publishers: {dict(offers.answers)}")
            assert (answer["open"], answer["clean"], answer["failed"]) == (STREAMS, 0, 0)
            assert offers.answers and set(offers.answers) <= trouble.answers
            assert seconds < LIMIT_S
        trouble.end()
        answer = subscribers.tell("expect", latest=accept_all(service, keys, trouble.answers_after))
        assert (answer["missing"], answer["open"]) == (0, STREAMS)
    if kind.is_logged:
        assert [figures[0] for figures in handovers(machine)] == [STREAMS] * len(ways)
        assert len(machine.journal(MESSAGE_ID=TAKEN_UP)) == len(ways)


@pytest.mark.parametrize("by", ["watchdog", "restart"])
def test_shard_hangs(service, by):
    """Its own streams are lost, and come back; those of the others do not notice."""
    machine = service.machine
    keys = make_keys(ENVIRONMENTS)
    service.set_bus("local", f"[streams]\nshards = {SHARDS}\nkeepalive = 1s\n")
    preloaded = Shim(machine)
    with Subscribers() as subscribers:
        assert subscribers.tell("open", streams=streams_of(keys, "browser"))["open"] == STREAMS
        pid = machine.property("MainPID")
        preloaded.shard_hang = 1
        wait_until(lambda: preloaded.shard_hang == 2, "the shard does not wait")
        begun = time.monotonic()
        if by == "restart":
            machine.systemctl("restart", "flagsse.service")
        wait_until(lambda: machine.property("MainPID") not in ("0", pid), "it is not replaced", 60)
        machine.wait_active("active")
        took = time.monotonic() - begun
        kept = handovers(machine)[0][0]
        wait_until(lambda: subscribers.tell("report")["back"] >= STREAMS - kept, "not all come back", 60)
        answer = subscribers.tell("expect", latest=accept_all(service, keys, 200))
        print(f"{by}: {kept} of {STREAMS} streams kept, {answer['failed']} lost, {outage_s(machine):.2f} s, "
              f"{took:.1f} s after the shard began to hang")
        assert (answer["missing"], answer["open"], answer["failed"]) == (0, STREAMS, STREAMS - kept)
        assert kept > STREAMS / 2
        assert outage_s(machine) < LIMIT_S
    text = "\n".join(machine.messages())
    assert len(machine.journal(MESSAGE_ID=HANDED_OVER)) == len(machine.journal(MESSAGE_ID=TAKEN_UP)) == 1
    assert ("before the watchdog kills this process" in text) == (by == "watchdog")
    assert "Watchdog timeout" not in text
    assert machine.property("NRestarts") == ("1" if by == "watchdog" else "0")
