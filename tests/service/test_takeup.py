# SPDX-License-Identifier: BSD-3-Clause
"""The start with what a former process has handed over: when it is taken, and what becomes of it if the start fails.

systemd's part is played by handover.py, activate.py and notify.py; tests/system has the real one.
"""
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from daemon import fresh_time_us, free_port, run, under_sanitizer
from handover import HandedOver, make_state
from namespaces import private
from sse import format_chunk, format_event
from test_outbox import wait_ready

ACTIVATE = [sys.executable, str(Path(__file__).with_name("activate.py"))]
STREAMS = 3
STRIDE = 4  # of allocations
BAD = "[streams]\nkeepalive = never\n"


def start_after(start, notify, handed, **options):
    """The next process, as systemd starts it; does not wait."""
    return start.daemon(
        wait=None, env={"NOTIFY_SOCKET": notify.path, **options.pop("env", {})},
        wrapper=[*ACTIVATE, *handed.arguments, "--"], pass_fds=handed.fds, **options)


def was_forgotten(notify):
    """Whether systemd was told so by now."""
    notify.lines += [line for datagram in notify.read() for line in datagram.decode().splitlines()]
    return any("FDSTOREREMOVE" in line for line in notify.lines)


def wait_forgotten(notify):
    """Until all of it has been."""
    for name in "state", "streams":
        notify.wait(f"FDNAME=flagsse-{name}")
    notify.wait("BARRIER=1")


class Trouble:
    """What a start fails for; each mends itself."""

    def __init__(self, what, daemon):
        self.daemon = daemon
        self.code = {"options": 64, "configuration": 78}.get(what, 1)
        self.database = daemon.directory / "state" / "flagsse.db"
        self.mend = getattr(self, f"make_{what}")()

    def make_options(self):
        wrapper = self.daemon.wrapper
        self.daemon.wrapper = [*wrapper, "/bin/sh", "-c", 'exec "$0" --nonsense']
        return lambda: setattr(self.daemon, "wrapper", wrapper)

    def make_configuration(self):
        self.daemon.config = BAD
        return lambda: setattr(self.daemon, "config", "")

    def make_address(self):
        other = socket.create_server(self.daemon.address)
        return other.close

    def make_store(self):
        self.database.mkdir(parents=True)
        return self.database.rmdir


def prepared(start, notify, handed, what):
    """A daemon that has not started yet, and its trouble."""
    daemon = start_after(start, notify, handed, config=BAD)
    daemon.wait_exit(78)
    daemon.config = ""
    return daemon, Trouble(what, daemon)


@pytest.mark.parametrize("what", ["options", "configuration", "address", "store"])
def test_streams_outlive_a_start_that_fails(start, notify, key, what):
    """They stay systemd's, which gives them to the next one."""
    with HandedOver(make_state(key, STREAMS), STREAMS) as handed:
        daemon, trouble = prepared(start, notify, handed, what)
        for attempt in range(2):
            daemon.start(None)
            daemon.wait_exit(trouble.code)
            assert len(daemon.log_lines(f"{STREAMS} streams stay with systemd until the next attempt")) == attempt + 2
        assert not was_forgotten(notify)
        handed.check_silent()
        trouble.mend()
        daemon.start(None)
        wait_forgotten(notify)
        daemon.wait_log(f"Took up {STREAMS} streams of 1 environment ")
        wait_ready(daemon)
        event = format_chunk(format_event(daemon.publish(key)))
        handed.check_receive(event)
        daemon.signal(signal.SIGTERM)
        handed.check_ended()
        daemon.wait_exit()


@pytest.mark.parametrize("what", ["options", "configuration", "address", "store"])
def test_after_a_minute_they_are_ended(start, notify, key, what):
    """Before anything else is tried."""
    with HandedOver(make_state(key, STREAMS, age_s=30), STREAMS) as young:
        daemon, trouble = prepared(start, notify, young, what)
        assert not was_forgotten(notify)
    with HandedOver(make_state(key, STREAMS, age_s=61), STREAMS) as old:
        daemon.wrapper[len(ACTIVATE):len(ACTIVATE) + len(old.arguments)] = old.arguments
        daemon.pass_fds = old.fds
        daemon.start(None)
        wait_forgotten(notify)
        old.check_ended()
        daemon.wait_exit(trouble.code)
        daemon.wait_log(f"no process could start for a minute. Its {STREAMS} streams are ended cleanly")
    assert len(daemon.log_lines("stay with systemd")) == 1, "of the young ones"
    trouble.mend()


def test_signal_while_they_are_ended(start, notify, key):
    """It waits."""
    with HandedOver(make_state(key, STREAMS, age_s=61), STREAMS) as old:
        daemon = start_after(start, notify, old)
        notify.wait("FDNAME=flagsse-state")
        daemon.signal(signal.SIGTERM)
        notify.wait("BARRIER=1")
        old.check_ended()
        daemon.wait_exit(-signal.SIGTERM)


def test_unreadable_state_is_no_reason_to_wait(start, notify, key):
    """If the start fails, its streams are ended at once: the next process could do no more."""
    with HandedOver(b"something else", STREAMS) as handed:
        daemon = start_after(start, notify, handed, config=BAD)
        wait_forgotten(notify)
        handed.check_ended()
        daemon.wait_exit(78)
        daemon.wait_log(f"their state cannot be read. Its {STREAMS} streams are ended cleanly")


def test_last_update_that_streams_have_missed(start, notify, key):
    """What the registry has is sent to those that have another; and only once."""
    latest, missed = fresh_time_us(), fresh_time_us()
    with HandedOver(make_state(key, STREAMS, latest_us=latest, update_us=missed), STREAMS) as handed:
        daemon = start_after(start, notify, handed)
        wait_forgotten(notify)
        event = format_chunk(format_event(missed))
        handed.check_receive(event)
        wait_ready(daemon)
        event = format_chunk(format_event(daemon.publish(key)))
        handed.check_receive(event)


def test_update_that_streams_have_is_not_sent_again(start, notify, key):
    latest = fresh_time_us()
    with HandedOver(make_state(key, STREAMS, latest_us=latest, update_us=latest), STREAMS) as handed:
        daemon = start_after(start, notify, handed)
        wait_forgotten(notify)
        wait_ready(daemon)
        assert daemon.snapshot(key) == latest
        event = format_chunk(format_event(daemon.publish(key)))
        handed.check_receive(event)


def test_foreign_descriptors(start, notify, key):
    """What somebody else has put there stops no start, and is named in the log."""
    with HandedOver(make_state(key, STREAMS), STREAMS) as handed, open("/dev/null", "rb") as null, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams, \
            socket.create_server(("127.0.0.1", 0)) as listener:
        fds = {"a-file": null.fileno(), "datagrams": datagrams.fileno(), "ours": listener.fileno()}
        daemon = start.daemon(
            wait=None, env={"NOTIFY_SOCKET": notify.path}, address=listener.getsockname(),
            wrapper=[*ACTIVATE, *handed.arguments, *(f"{fd}={name}" for name, fd in fds.items()), "--"],
            pass_fds=[*handed.fds, *fds.values()])
        wait_forgotten(notify)
        wait_ready(daemon)
        for name in "a-file", "datagrams":
            assert len(daemon.wait_log(f'"{name}", is not flagsse\'s')) == 1
        event = format_chunk(format_event(daemon.publish(key)))
        handed.check_receive(event)


# What fails in the midst of it


def with_shim(shim):
    variables = dict(shim.env)
    variables["ACTIVATE_PRELOAD"] = variables.pop("LD_PRELOAD")  # not into activate.py
    return variables


@pytest.mark.parametrize("number", [1, 2])
def test_thread_that_cannot_be_started_early(start, notify, shim, key, number):
    """The log's and the store's: the streams wait for the next attempt."""
    with HandedOver(make_state(key, STREAMS), STREAMS) as handed:
        shim.no_thread_at = number
        daemon = start_after(start, notify, handed, env=with_shim(shim), options=["streams.shards=2"])
        daemon.wait_log(f"{STREAMS} streams stay with systemd")
        daemon.wait_exit(1)
        assert not was_forgotten(notify)
        handed.check_silent()


@pytest.mark.parametrize("number", [3, 4])
def test_thread_that_cannot_be_started(start, notify, shim, key, number):
    """The shards': by then the streams are taken, and are nobody else's; they end cleanly."""
    with HandedOver(make_state(key, STREAMS), STREAMS) as handed:
        shim.no_thread_at = number
        daemon = start_after(start, notify, handed, env=with_shim(shim), options=["streams.shards=2"])
        wait_forgotten(notify)
        handed.check_ended()
        daemon.wait_exit(1)
        daemon.wait_log(f"The {STREAMS} streams are ended cleanly")
        assert not daemon.log_lines("stay with systemd")


def outcome_of(daemon, notify, handed):
    """What becomes of the streams: of all of them the same."""
    n_ready = len(daemon.log_lines("The bus is connected"))
    while daemon.process.poll() is None and len(daemon.log_lines("The bus is connected")) == n_ready:
        was_forgotten(notify)  # which answers the barrier
        notify.lines.clear()
        handed.read()
    if daemon.process.poll() is None:
        daemon.signal(signal.SIGTERM)
        handed.check_ended()
        daemon.wait_exit()
        return "went on, or ended before"
    daemon.kill()
    handed.read()
    if any(client.ended for client in handed.clients):
        handed.check_ended()
        return "ended"
    handed.check_silent()
    return "waited"


@pytest.mark.skipif(under_sanitizer(), reason="its allocator is left alone")
def test_no_failure_of_memory_cuts_a_stream(start, notify, shim, key):
    """One allocation of the start after the other fails: each time all streams wait, go on, or end cleanly."""
    outcomes = Counter()
    with HandedOver(make_state(key, STREAMS), STREAMS) as handed:
        daemon = start_after(start, notify, handed, env=with_shim(shim), config=BAD)
        daemon.wait_exit(78)
    daemon.config = ""
    number, step, in_a_row = 1, STRIDE, 0
    failures = -1
    while shim.failures > failures:
        with HandedOver(make_state(key, STREAMS), STREAMS) as handed:
            daemon.wrapper, daemon.pass_fds = [*ACTIVATE, *handed.arguments, "--"], handed.fds
            shim.fail_at, failures = number, shim.failures
            daemon.start(None)
            outcome = outcome_of(daemon, notify, handed)
        outcomes[outcome] += 1
        # Where they wait anyway, not each allocation is worth a try.
        in_a_row = in_a_row + 1 if outcome == "waited" else 0
        if in_a_row == 0 and step > 1:
            number, step = max(0, number - step), 1
        elif in_a_row > STRIDE:
            step = STRIDE
        number += step
    print(f"{number} allocations: {outcomes}")
    assert outcomes["waited"] > 10 and outcomes["ended"] > 1 and outcomes["went on, or ended before"] > 1, outcomes


# The check before a hand-over


class Check:
    """`flagsse --check-config`, as the running process starts it before it hands over."""

    def __init__(self, directory, own="systemd", **variables):
        self.env = {"FLAGSSE_BUS": "local", "FLAGSSE_STATE_DIR": str(directory), "SSE_AUTHENTICATION_TOKEN": "x",
                    "FLAGSSE_CHECK_NEXT": own, **variables}

    def run(self):
        return run("--check-config", env=self.env)

    def passes(self):
        result = self.run()
        assert result.returncode == 0, result.stderr
        return result.stderr

    def fails(self, text):
        result = self.run()
        assert result.returncode == 1 and text in result.stderr, result


def test_check_of_addresses(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        here, everywhere = f"127.0.0.1:{port}", f":{port}"
        Check(tmp_path, "", LISTEN_ADDR=here).fails(f"Cannot listen on {here}")
        Check(tmp_path, f"127.0.0.1:{free_port()}", LISTEN_ADDR=here).fails(f"Cannot listen on {here}")
        Check(tmp_path, f"127.0.0.2:{port}", LISTEN_ADDR=here).fails(f"Cannot listen on {here}")
        Check(tmp_path, "", LISTEN_ADDR=f"127.0.0.1:{free_port()}, {everywhere}").fails(f"on {everywhere}")
        # Ours: the same, or everywhere; or the sockets are systemd's.
        for own in here, f"unix:/nowhere,{here}", f"[::]:{port}", f"0.0.0.0:{port}", "systemd":
            Check(tmp_path, own, LISTEN_ADDR=here).passes()
        Check(tmp_path, here, LISTEN_ADDR=everywhere).passes()
        # And whoever only checks the configuration is not told what is taken.
        assert run("--check-config", env={**Check(tmp_path, LISTEN_ADDR=here).env, "FLAGSSE_CHECK_NEXT": ""}
                   ).returncode == 1
        plain = Check(tmp_path, LISTEN_ADDR=here).env
        del plain["FLAGSSE_CHECK_NEXT"]
        assert run("--check-config", env=plain).returncode == 0
    Check(tmp_path, "", LISTEN_ADDR=here).passes()


def test_check_of_unix_sockets(tmp_path):
    path = tmp_path / "s"
    listen = f"unix:{path}"
    Check(tmp_path, "", LISTEN_ADDR=listen).passes()
    assert not path.exists(), "nothing is made"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        Check(tmp_path, "", LISTEN_ADDR=listen).fails(f"Cannot listen on {listen}")
        Check(tmp_path, listen, LISTEN_ADDR=listen).passes()
    Check(tmp_path, "", LISTEN_ADDR=listen).passes()
    assert path.exists(), "what a crash has left behind is left where it is"
    path.unlink()
    path.write_text("a file")
    Check(tmp_path, "", LISTEN_ADDR=listen).fails(f"Cannot listen on {listen}")
    Check(tmp_path, "", LISTEN_ADDR="unix:/nonexistent/s").fails("Cannot listen on unix:/nonexistent/s")


def test_check_of_the_store(start, tmp_path):
    """By its bytes: not locked, not changed."""
    Check(tmp_path / "new").passes()
    assert not (tmp_path / "new").exists()
    Check("/nonexistent/there").fails("/nonexistent/there")
    daemon = start.daemon()
    state = daemon.directory / "state"
    Check(state).fails("another process has it open")
    Check(state, FLAGSSE_BUS="nats", NATS_URL="nats://127.0.0.1:1").passes()
    daemon.stop()
    assert Check(state).passes() == ""
    database = state / "flagsse.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = database.read_bytes()
    assert "written by a newer version" in Check(state).passes()
    assert database.read_bytes() == before and [path.name for path in state.iterdir()] == ["flagsse.db"]
    database.write_bytes(b"no database at all" * 100)
    assert "corrupt" in Check(state).passes()
    database.write_bytes(b"")
    assert Check(state).passes() == ""


@pytest.mark.parametrize("how", ["ro", "full"])
def test_check_of_the_disk(tmp_path, how):
    """Read-only, or without space for a new store."""
    state = tmp_path / "state"
    state.mkdir()
    script = 'mount -t tmpfs -o size=64k none "$1"; shift; exec "$@"'
    if how == "ro":
        script = script.replace("-o ", "-o ro,")
    check = Check(state)
    command = [*private(), "sh", "-euc", script, "sh", str(state)]
    result = subprocess.run(
        [*command, sys.executable, "-c", "import sys; from daemon import run; r = run('--check-config', env=eval("
         "sys.argv[1])); print(r.stderr); sys.exit(r.returncode)", repr(check.env)], capture_output=True, text=True,
        check=False, timeout=60, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)})
    assert result.returncode == 1, result
    assert ("Read-only file system" if how == "ro" else "no space is left") in result.stdout

