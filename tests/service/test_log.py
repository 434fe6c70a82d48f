# SPDX-License-Identifier: BSD-3-Clause
"""A log that nobody reads: the service goes on, what is lost is counted and told, and the end is in time."""
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from daemon import TOKEN, authorization, clean_environment, free_port, fresh_key, isoformat, program
from namespaces import private
from systemd import Systemd
from wire import TIMEOUT, wait_until

ACTIVATE = [sys.executable, str(Path(__file__).with_name("activate.py"))]
LOST = re.compile(r"(\d+) messages were lost, as the log could not be written")


class FullPipe:
    """A pipe that takes nothing until it is read.  `head` is what lies in it from the beginning."""

    def __init__(self):
        self.out, self.into = os.pipe()
        os.set_blocking(self.into, False)
        self.head = 0
        for size in (4096, 1):
            try:
                while True:
                    self.head += os.write(self.into, b"x" * size)
            except BlockingIOError:
                pass
        os.set_blocking(self.into, True)  # as it was: who writes waits
        self.text = b""

    def become_stderr(self):
        """In the child, before it executes the program."""
        os.dup2(self.into, 2)

    def read(self):
        """From now on it is read, by a thread, to its end."""
        def read_all():
            while data := os.read(self.out, 65536):
                self.text += data
        self.reader = threading.Thread(target=read_all)
        self.reader.start()

    def lines(self):
        return self.text[self.head:].decode().splitlines()

    def close_writer(self):
        """The daemon has the only writing end from now on: the reader ends with it."""
        os.close(self.into)
        self.into = -1

    def close(self):
        if self.into >= 0:
            os.close(self.into)
        if hasattr(self, "reader"):
            self.reader.join(TIMEOUT)
        os.close(self.out)


@pytest.fixture
def full_pipe():
    pipe = FullPipe()
    yield pipe
    pipe.close()


def log_some(daemon, key, time_us, count):
    """Each stale update is a line at the debug level."""
    body = json.dumps({"updated_at": isoformat(time_us)}).encode()
    with daemon.connect() as connection:
        for _ in range(count):
            response = connection.request("POST", f"/sse/environments/{key}/queue-change", [authorization()], body)
            assert response.status == 200, response


def log_until_lost(daemon):
    """More than any queue holds."""
    key = fresh_key().ljust(100, "x")
    time_us = daemon.publish(key)
    deadline = time.monotonic() + 120
    while daemon.metrics()["flagsse_log_lost_total"] == 0:
        assert time.monotonic() < deadline, "nothing is ever lost: is the queue without a limit?"
        log_some(daemon, key, time_us, 500)


def check_service(daemon, notify):
    """Streams, publishers and the watchdog have what is theirs."""
    key = fresh_key()
    with daemon.stream(key) as stream:
        for _ in range(3):
            time_us = daemon.publish(key)
            assert stream.event() == time_us
    notify.lines.clear()
    for _ in range(2):
        notify.wait("WATCHDOG=1")


def test_nobody_reads_standard_error(start, notify, full_pipe):
    """From before the start on.  Main and shards log, and wait for nobody."""
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "2000000",
                               "FLAGSSE_LOG_LEVEL": "debug"},
                          wrapper=[*ACTIVATE, "--"], preexec=full_pipe.become_stderr)
    check_service(daemon, notify)
    log_until_lost(daemon)
    check_service(daemon, notify)

    # Once it is read, all that was kept comes, in its order, and how many were lost.
    full_pipe.close_writer()
    full_pipe.read()
    wait_until(lambda: LOST.search(full_pipe.text.decode()), "the loss is never told")
    key = fresh_key()
    with daemon.stream(key):
        daemon.publish(key)
    daemon.stop()
    full_pipe.reader.join(TIMEOUT)
    lines = full_pipe.lines()
    assert re.fullmatch("info: flagsse .* starts.", lines[0]), lines[0]
    assert lines[-1] == "info: flagsse has stopped."
    told = [int(match.group(1)) for match in map(LOST.search, lines) if match]
    assert len(told) == 1 and told[0] > 0
    asked = [int(number) for number in re.findall(r"environment t0*(\d+),", full_pipe.text.decode())]
    assert len(set(asked)) > 1 and asked == sorted(asked)


@pytest.mark.parametrize("hand", [signal.SIGTERM, signal.SIGINT])
def test_end_with_a_log_that_nobody_reads(start, full_pipe, key, hand):
    """Clean, with status 0, and no later than otherwise."""
    daemon = start.daemon(preexec=full_pipe.become_stderr)
    with daemon.stream(key) as stream:
        begun = time.monotonic()
        daemon.signal(hand)
        assert stream.end() == []
        daemon.wait_exit()
        assert time.monotonic() - begun < 10


def run_flagsse(*arguments, **options):
    return subprocess.Popen([program(), *map(str, arguments)], stdin=subprocess.DEVNULL,
                            env=clean_environment(SSE_AUTHENTICATION_TOKEN=TOKEN), **options)


def test_failed_start_with_a_log_that_nobody_reads(tmp_path, full_pipe):
    """It ends all the same, with its status."""
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        process = run_flagsse("--standalone", "-o", f"service.state_dir={tmp_path}", "-o",
                              "http.listen=%s:%d" % taken.getsockname(), stderr=full_pipe.into)
        assert process.wait(TIMEOUT) == 1
    (tmp_path / "bad.conf").write_text("[service]\nnothing = here\n")
    process = run_flagsse("-c", tmp_path / "bad.conf", stderr=full_pipe.into)
    assert process.wait(TIMEOUT) == 78


def test_failed_start_says_everything(tmp_path):
    """However much it is, more than a pipe holds."""
    (tmp_path / "bad.conf").write_text("[service]\n" + "".join(f"wrong{i} = x\n" for i in range(2000)))
    process = run_flagsse("-c", tmp_path / "bad.conf", stderr=subprocess.PIPE, text=True)
    text = process.communicate(timeout=TIMEOUT)[1]
    assert process.returncode == 78
    lines = text.splitlines()
    assert [i for i in range(2000) if f"wrong{i}" not in lines[i]] == []
    assert lines[-1] == "error: The configuration cannot be used; not started."


def test_check_waits_for_its_reader(tmp_path):
    """Somebody reads the complaints with a pager, at leisure."""
    (tmp_path / "bad.conf").write_text("[service]\n" + "".join(f"wrong{i} = x\n" for i in range(2000)))
    process = run_flagsse("--check-config", "-c", tmp_path / "bad.conf", stderr=subprocess.PIPE, text=True)
    time.sleep(2.5)
    assert process.poll() is None, "it has not waited"
    text = process.communicate(timeout=TIMEOUT)[1]
    assert process.returncode == 78
    assert f"wrong{1999}" in text.splitlines()[-1]


def test_descriptor_of_standard_error_stays_as_it_is(start, tmp_path):
    """Others share it, and may not expect it to be non-blocking."""
    path = tmp_path / "shared"
    with open(path, "wb") as file:
        before = fcntl.fcntl(file, fcntl.F_GETFL)
        daemon = start.daemon(preexec=lambda: os.dup2(file.fileno(), 2))
        assert fcntl.fcntl(file, fcntl.F_GETFL) == before
        daemon.stop()
        assert fcntl.fcntl(file, fcntl.F_GETFL) == before


def test_disk_full_of_logs(start):
    """What cannot be written is lost, and counted."""
    with open("/dev/full", "wb") as full:
        daemon = start.daemon(preexec=lambda: os.dup2(full.fileno(), 2))
        wait_until(lambda: daemon.metrics()["flagsse_log_lost_total"] > 1, "nothing is counted")
        daemon.stop()


# The journal


class Journal:
    """journald's socket, which is read only when the test says so."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(directory / "socket"))
        self.stderr = open(directory / "stderr", "wb")
        status = os.fstat(self.stderr.fileno())
        self.env = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        self.wrapper = [*private(), "sh", "-euc", "mount -t tmpfs none /run; mkdir -p /run/systemd/journal; "
                        'mount --bind "$1" /run/systemd/journal; shift; exec "$@"', "sh", str(directory)]

    def become_stderr(self):
        os.dup2(self.stderr.fileno(), 2)

    def entry(self):
        """The next one, as a dict of its fields."""
        self.sock.settimeout(TIMEOUT)
        fields = self.sock.recv(65536).decode().splitlines()
        return dict(field.split("=", 1) for field in fields)

    def close(self):
        self.sock.close()
        self.stderr.close()


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.close()


def test_journal_is_stopped(start, notify, journal):
    """The kernel keeps some entries for it; then everybody who sends one waits."""
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "2000000",
                               "FLAGSSE_LOG_LEVEL": "debug", **journal.env},
                          wrapper=[*journal.wrapper, *ACTIVATE, "--"], preexec=journal.become_stderr)
    check_service(daemon, notify)
    log_until_lost(daemon)
    check_service(daemon, notify)

    # It is back.
    entry = journal.entry()
    assert re.fullmatch("flagsse .* starts.", entry["MESSAGE"]) and entry["PRIORITY"] == "6"
    while not (match := LOST.search(entry["MESSAGE"])):
        assert entry["CODE_FUNC"] and entry["CODE_LINE"] and entry["CODE_FILE"].endswith(".c"), entry
        if "of environment" in entry["MESSAGE"]:
            assert entry["FLAGSSE_ENVIRONMENT"] in entry["MESSAGE"], entry
        entry = journal.entry()
    assert int(match.group(1)) > 0
    assert entry["PRIORITY"] == "4" and len(entry["MESSAGE_ID"]) == 32
    daemon.signal(signal.SIGTERM)
    while "has stopped" not in entry["MESSAGE"]:
        entry = journal.entry()
    daemon.wait_exit()


def test_end_while_the_journal_is_stopped(start, journal, key):
    daemon = start.daemon(env={"FLAGSSE_LOG_LEVEL": "debug", **journal.env}, wrapper=journal.wrapper,
                          preexec=journal.become_stderr)
    log_some(daemon, key, daemon.publish(key), 300)
    with daemon.stream(key) as stream:
        begun = time.monotonic()
        daemon.signal(signal.SIGTERM)
        stream.end()
        daemon.wait_exit()
        assert time.monotonic() - begun < 10


def test_hand_over_while_the_journal_is_stopped(start, notify, journal, tmp_path, key):
    """No stream is lost for it, also as the check of the next process's configuration has something to say: that
    everyone can read the token."""
    systemd = Systemd(tmp_path, [0])
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path, "FLAGSSE_LOG_LEVEL": "debug", **journal.env,
                               **systemd.env},
                          wrapper=journal.wrapper, preexec=journal.become_stderr,
                          config=f"[http]\ntoken = {TOKEN}\n")
    assert os.stat(daemon.directory / "flagsse.conf").st_mode & 0o004
    log_some(daemon, key, daemon.publish(key), 300)
    with daemon.stream(key):
        begun = time.monotonic()
        daemon.signal(signal.SIGTERM)
        notify.wait("FDSTORE=1")
        notify.wait("BARRIER=1")
        daemon.wait_exit()
        assert time.monotonic() - begun < 10
    systemd.close()


def test_check_while_the_journal_is_stopped(journal, tmp_path):
    """As the one before a hand-over, which may not take long."""
    (tmp_path / "bad.conf").write_text("[service]\n" + "".join(f"wrong{i} = x\n" for i in range(1000)))
    begun = time.monotonic()
    process = subprocess.Popen([*journal.wrapper, program(), "--check-config", "-c", tmp_path / "bad.conf"],
                               stderr=journal.stderr, env=clean_environment(**journal.env))
    assert process.wait(TIMEOUT) == 78
    assert time.monotonic() - begun < 10
