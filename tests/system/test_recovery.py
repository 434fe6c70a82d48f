# SPDX-License-Identifier: BSD-3-Clause
"""What goes wrong is mended without an administrator's `reset-failed`, and is said meanwhile."""
import ctypes
import os
import time
from contextlib import contextmanager
from pathlib import Path

from daemon import fresh_key
from documents import example
from machine import message_id
from wire import wait_until

PTRACE_ATTACH, PTRACE_DETACH, WALL = 16, 17, 0x40000000


def count_starts(machine):
    return sum(message.startswith("Starting flagsse.service") for message in machine.messages())


def test_watchdog(service):
    """A process that hangs is replaced."""
    machine = service.machine
    machine.drop_in("flagsse.service", "[Service]\nWatchdogSec=2s\n")
    key = fresh_key()
    with service.stream(key):
        time_us = service.publish(key)
        time.sleep(3)  # it is fed
        pid = machine.property("MainPID")
        assert "Watchdog timeout" not in " ".join(machine.messages())
        machine.systemctl("kill", "--kill-who=main", "--signal=STOP", "flagsse.service")
        machine.wait_message("Watchdog timeout", 10)
    wait_until(lambda: machine.property("MainPID") not in ("0", pid), "it is not started again", 10)
    machine.wait_active("active")
    with service.stream(key) as stream:
        assert stream.event() == time_us


def threads_of(pid, name):
    """Those of a process, seen from outside."""
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()
            if (task / "comm").read_text().strip() == name]


@contextmanager
def stopped_thread(tid):
    """Only this one: a debugger's hold of it, as no signal stops a single thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, tid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    try:
        os.waitpid(tid, WALL)
        yield
    finally:
        # A process that has died meanwhile is gone for its parent only after its debugger has looked.
        if libc.ptrace(PTRACE_DETACH, tid, None, None) != 0:
            os.waitpid(tid, WALL)


def test_watchdog_against_one_shard_that_hangs(service):
    """The other threads go on: the main thread notices, and leaves the watchdog hungry."""
    machine = service.machine
    machine.drop_in("flagsse.service", "[Service]\nWatchdogSec=2s\n")
    key = fresh_key()
    service.wait_ready()
    time_us = service.publish(key)
    pid = machine.property("MainPID")
    outside = machine.pid_outside(pid)
    with stopped_thread(threads_of(outside, "shard-0")[0]):
        wait_until(lambda: machine.journal(MESSAGE_ID=message_id("HANGS")), "nobody says that a thread hangs", 10)
        assert service.is_ready(), "the main thread serves requests"
        machine.wait_message("Watchdog timeout", 10)
        wait_until(lambda: Path(f"/proc/{outside}/stat").read_text().split()[2] == "Z", "it does not end", 10)
    wait_until(lambda: machine.property("MainPID") not in ("0", pid), "it is not started again", 10)
    service.wait_ready()
    with service.stream(key) as stream:
        assert stream.event() == time_us


def test_crashes_are_no_reason_to_give_up(service):
    """More than any start limit or trigger limit of systemd's defaults would let pass."""
    machine = service.machine
    service.wait_ready()
    for _ in range(12):
        pid = machine.property("MainPID")
        machine.run("kill", "-KILL", pid)
        service.wait_ready()
        assert machine.property("MainPID") != pid
    assert machine.active("flagsse.socket") == "active"


def test_missing_token(service):
    """It says how to set one, does not loop hot, and goes on by itself once there is one."""
    machine = service.machine
    machine.shell("rm /etc/flagsse/token")
    with service.watch(fresh_key()) as watch:  # starts it, and waits
        message = machine.wait_message("http.token", 10)
        for way in ("SSE_AUTHENTICATION_TOKEN", "http.token", "http.token_file", "LoadCredential=token:"):
            assert way in message, message
        assert [entry["PRIORITY"] for entry in machine.journal() if entry["MESSAGE"] == message] == ["3"]
        time.sleep(12)
        assert 2 <= count_starts(machine) <= 3, machine.messages()
        assert machine.active("flagsse.socket") == "active"
        service.set_token()
        watch.wait_for(b"retry: ", 15)
    assert machine.active() == "active"


def test_missing_token_and_restart(service):
    """What an administrator does after having written the token."""
    machine = service.machine
    machine.shell("rm /etc/flagsse/token")
    assert machine.systemctl("start", "flagsse.service", check=False).returncode != 0
    service.set_token()
    machine.systemctl("restart", "flagsse.service")
    assert machine.active() == "active"


def test_token_by_environment_file(service):
    """With the variables of flagsmith/sse only, and a secret that is not valid in a file of settings."""
    machine = service.machine
    machine.shell("rm /etc/flagsse/token")
    machine.write("/etc/flagsse/flagsse.env", "SSE_AUTHENTICATION_TOKEN=test-token-0123456789\n", 0o600)
    machine.systemctl("start", "flagsse.service")
    service.wait_ready()
    service.publish(fresh_key())


def test_bad_setting(service):
    """The journal has the file, the line and what is allowed; it goes on once it is mended."""
    machine = service.machine
    service.configure("[bus]\ntype = local\n[streams]\nkeepalive = never\n")
    assert machine.systemctl("start", "flagsse.service", check=False).returncode != 0
    assert "/etc/flagsse/conf.d/test.conf:4" in machine.wait_message("streams.keepalive")
    service.set_bus("local")
    machine.wait_active("active", timeout=15)


def nats_lines():
    """Those of doc/install.md that switch JetStream on, without sudo and without the installation."""
    block = example("sh", "jetstream {", "doc/install.md")
    return "\n".join(line for line in block.splitlines() if "apt install" not in line).replace("sudo ", "")


def test_nats_is_missing_and_comes(service):
    """Debian's nats-server: first it is not there, then it is without JetStream, then it is as doc/install.md has it."""
    machine = service.machine
    service.set_bus("nats")
    begun = time.monotonic()
    machine.systemctl("start", "flagsse.service")
    assert time.monotonic() - begun < 9
    assert machine.active() == "active"
    status = machine.status_text()
    assert "NATS" in status and "127.0.0.1:4222" in status, status
    assert not service.is_ready()

    machine.systemctl("start", "nats-server.service")
    machine.wait_status("JetStream", 30)
    assert machine.active() == "active"

    machine.shell(nats_lines())
    machine.wait_status("bus connected", 30)
    key = fresh_key()
    with service.stream(key) as stream:
        time_us = service.publish(key)
        assert stream.event() == time_us

        # A stop and start of NATS keeps what it has, and breaks no stream.
        machine.systemctl("restart", "nats-server.service")
        wait_until(service.is_ready, "NATS is back, and flagsse is not ready", 60, 0.2)
        with service.stream(key) as other:
            assert other.event() == time_us
        stream.quiet(0.5)
    assert machine.property("NRestarts") == "0"


def test_reboot(service):
    """Enabled sockets come back, nothing runs before the first client, and the store has kept the updates."""
    machine = service.machine
    key = fresh_key()
    service.wait_ready()
    time_us = service.publish(key)
    with service.watch(key) as watch:
        watch.wait_for(b"retry: ")
        machine.reboot()
        assert watch.end() == 0, "the stream must end cleanly"
    assert machine.active("flagsse.socket") == "active"
    assert machine.active() == "inactive"
    with service.stream(key) as stream:
        assert stream.event() == time_us


def test_nats_is_missing_at_boot(service):
    """The service itself enabled: the machine comes up all the same."""
    machine = service.machine
    service.set_bus("nats")
    machine.systemctl("disable", "nats-server.service")
    machine.systemctl("enable", "flagsse.service")
    machine.reboot()
    machine.wait_active("active", timeout=10)
    assert "NATS" in machine.status_text()
    with service.stream(fresh_key()) as stream:
        stream.quiet(0.3)
    machine.systemctl("disable", "flagsse.service", "flagsse.socket")
