# SPDX-License-Identifier: BSD-3-Clause
"""The sockets of systemd, and what is said over them."""
import resource
import threading
import time

import pytest

from daemon import fresh_key
from service import ADDRESS, WAYS
from sse import format_event
from wire import connect, wait_until


def test_units_are_correct(machine):
    result = machine.run("systemd-analyze", "--man=no", "verify", "flagsse.socket", "flagsse.service")
    assert result.stdout + result.stderr == ""


def test_first_connection_starts_it(service):
    machine = service.machine
    assert machine.active("flagsse.socket") == "active"
    time.sleep(1)
    assert machine.active() == "inactive"
    with service.stream(fresh_key()):
        machine.wait_active("active")
    assert machine.property("User") == "flagsse"
    assert machine.property("FileDescriptorStoreMax") == "4096"
    pid = machine.property("MainPID")
    # A container may not have more than its host allows.
    allowed = min(1048576, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    limits = machine.run("cat", f"/proc/{pid}/limits").stdout
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
    assert soft == hard and int(hard) in (1048576, allowed)
    assert machine.property("LimitNOFILE") == "1048576"
    # The backlog, as the kernel has it.
    assert machine.shell("ss -Hltn 'sport = :8088' | awk '{ print $3 }'").stdout.split() == ["4096"]


def test_first_request_may_be_an_update(service):
    """Flagsmith may try it only once, so that what comes first must not be lost."""
    for _ in range(5):
        service.machine.systemctl("stop", "flagsse.service")
        service.publish(fresh_key())


def test_first_client_is_served(service):
    """Though it comes before the store has been read; what it says it has, it is offered again, or is sent the newer."""
    key = fresh_key()
    time_us = service.publish(key)
    for _ in range(3):
        service.machine.systemctl("stop", "flagsse.service")
        known = time_us
        with service.stream(key, headers=(("Last-Event-ID", str(known)),)) as stream:
            time_us = service.publish(key)
            assert stream.events_until(time_us) in ([time_us], [known, time_us])


@pytest.mark.parametrize("way", WAYS)
def test_curl(service, way):
    """Watches and publishes; and the stream of curl ends cleanly (18 would be a body that was cut off)."""
    key = fresh_key()
    with service.watch(key, way) as watch:
        watch.wait_for(b"retry: ")
        time_us = service.publish_by_curl(key, way)
        watch.wait_for(format_event(time_us))
        service.machine.systemctl("stop", "flagsse.socket")
        assert watch.end() == 0, watch.process.stderr.read()
    assert not service.machine.exists("/run/flagsse.sock")


def test_anyone_may_use_the_unix_socket(service):
    """A reverse proxy runs as a user of its own."""
    result = service.machine.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "curl", "-sS",
                                 "--fail", "--unix-socket", "/run/flagsse.sock", "http://localhost/livez")
    assert result.returncode == 0


def test_status_line(service):
    key = fresh_key()
    with service.stream(key), service.stream(key):
        service.publish(key)
        service.machine.wait_status("2 streams, 1 environment ", 15)
        text = service.machine.systemctl("status", "flagsse.service").stdout
    status = next(line for line in text.splitlines() if line.strip().startswith("Status:"))
    assert "2 streams, 1 environment " in status and "bus connected" in status


def test_journal_fields(service):
    """At the debug level each update is an entry with its environment as a field."""
    service.set_bus("local", "[service]\nlog_level = debug\n")
    key, other = fresh_key(), fresh_key()
    service.wait_ready()
    service.publish(key)
    service.publish(other)
    entries = wait_until(lambda: service.machine.journal(FLAGSSE_ENVIRONMENT=key), "no entry with the field")
    for entry in entries:
        assert entry["PRIORITY"] == "7"
        assert key in entry["MESSAGE"]
    started = next(entry for entry in service.machine.journal() if "starts" in entry["MESSAGE"])
    assert started["PRIORITY"] == "6"
    assert started["_SYSTEMD_UNIT"] == "flagsse.service"
    assert started["SYSLOG_IDENTIFIER"] == "flagsse"
    assert started["CODE_FUNC"] and started["CODE_FILE"].endswith(".c")


class Reconnecting:
    """Clients that come back at once, whatever happens, and count what becomes of them.

    They stay until their stream ends, or go as soon as they are served.
    """

    def __init__(self, service, n, stay=True):
        self.service = service
        self.stay = stay
        self.stopping = False
        self.refused = 0
        self.served = 0
        self.threads = [threading.Thread(target=self._work) for _ in range(n)]

    def _work(self):
        while not self.stopping:
            try:
                with connect(ADDRESS, timeout=2) as sock:
                    sock.sendall(b"GET /sse/environments/reconnecting/stream HTTP/1.1\r\nHost: x\r\n\r\n")
                    while sock.recv(65536):
                        self.served += 1
                        if not self.stay:
                            break
            except ConnectionRefusedError:
                self.refused += 1
            except OSError:
                pass
            time.sleep(0.02)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join()


def test_stopped_sockets_stay_stopped(service):
    """Though clients reconnect without a pause."""
    machine = service.machine
    with Reconnecting(service, 8) as clients:
        wait_until(lambda: clients.served > 8, "the clients are not served")
        machine.systemctl("stop", "flagsse.socket")
        refused = clients.refused
        for _ in range(10):
            assert machine.active() == "inactive"
            assert machine.active("flagsse.socket") == "inactive"
            time.sleep(0.3)
        assert clients.refused > refused + 20
    assert machine.messages()[-1].startswith("Stopped flagsse.service")
    assert "flagsse has stopped." in machine.messages()


def test_restart_refuses_nobody(service):
    """The sockets stay: who comes meanwhile waits for the new process."""
    machine = service.machine
    with Reconnecting(service, 8, stay=False) as clients:
        wait_until(lambda: clients.served > 8, "the clients are not served")
        for _ in range(3):
            machine.systemctl("restart", "flagsse.service")
        served = clients.served
        wait_until(lambda: clients.served > served, "the clients are not served again")
    assert clients.refused == 0


def test_stopped_service_comes_back_with_the_next_client(service):
    """To stop it for good, the sockets have to be stopped, as systemctl itself says."""
    machine = service.machine
    with service.stream(fresh_key()):
        warning = machine.systemctl("stop", "flagsse.service").stderr
    assert "flagsse.socket" in warning
    with service.stream(fresh_key()):
        assert machine.active() == "active"
