# SPDX-License-Identifier: BSD-3-Clause
"""The Debian package: installed, upgraded, removed and purged by apt."""
import pytest

from daemon import fresh_key
from machine import UNITS
from service import Service


def files_of(machine):
    """What could have come from flagsse, by name; apt's, dpkg's and the journal's own notes of it apart."""
    text = machine.shell(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /var/lib/dpkg -o -path /var/log -o -path /root"
        " -o -path /var/cache \\) -prune -o -name '*flagsse*' -print").stdout
    return sorted(text.split())


@pytest.fixture
def empty_machine(machine):
    """flagsse is not installed."""
    machine.remove("purge")
    machine.mark()
    return machine


def test_installation(empty_machine):
    """Without a token and without questions; nothing is enabled, started, or wrong."""
    machine = empty_machine
    output = machine.install()
    assert "rror" not in output.stdout + output.stderr and "arning" not in output.stdout
    for unit in UNITS:
        assert machine.active(unit) == "inactive"
        assert machine.systemctl("is-enabled", unit, check=False).stdout.strip() == "disabled"
    assert machine.systemctl("--failed", "--plain", "--no-legend").stdout == ""
    assert machine.run("id", "-un", "flagsse").stdout.strip() == "flagsse"
    assert machine.run("flagsse", "--version").stdout.startswith("flagsse ")
    assert "/etc/flagsse/flagsse.conf" in machine.run("dpkg-query", "-W", "-f", "${Conffiles}", "flagsse").stdout
    assert machine.exists("/etc/flagsse/conf.d")
    assert machine.exists("/usr/share/man/man8/flagsse.8.gz")


def test_reinstallation_keeps_what_an_administrator_changed(service):
    machine = service.machine
    machine.shell("echo '# mine' >>/etc/flagsse/flagsse.conf")
    try:
        machine.install("--reinstall")
        assert machine.shell("tail -n 1 /etc/flagsse/flagsse.conf").stdout == "# mine\n"
        assert machine.exists("/etc/flagsse/token")
    finally:
        machine.shell("sed -i '/^# mine$/d' /etc/flagsse/flagsse.conf")


def test_upgrade_of_a_running_service(service):
    """A new process, on the same sockets; updates are kept."""
    machine = service.machine
    key = fresh_key()
    service.wait_ready()
    time_us = service.publish(key)
    pid = machine.property("MainPID")
    socket = machine.property("InvocationID", "flagsse.socket")
    machine.install("--reinstall")
    assert machine.active() == "active"
    assert machine.property("MainPID") != pid
    assert machine.property("InvocationID", "flagsse.socket") == socket
    with service.stream(key) as stream:
        assert stream.event() == time_us


def test_upgrade_of_a_stopped_service(service):
    """It is not started by that."""
    machine = service.machine
    machine.systemctl("stop", "flagsse.socket")
    machine.install("--reinstall")
    assert [machine.active(unit) for unit in UNITS] == ["inactive", "inactive"]


def test_removal_and_purge(empty_machine):
    """While it runs and is enabled.  Removal keeps settings and updates, purge leaves nothing but the user."""
    machine = empty_machine
    before = files_of(machine)
    machine.install()
    service = Service(machine)
    service.set_token()
    service.set_bus("local")
    machine.write("/etc/flagsse/flagsse.env", "FLAGSSE_LOG_LEVEL=debug\n")
    machine.systemctl("enable", "--now", *UNITS)
    service.wait_ready()
    service.publish(fresh_key())

    machine.remove("remove")
    assert [machine.active(unit) for unit in UNITS] == ["inactive", "inactive"]
    assert not machine.exists("/usr/bin/flagsse") and not machine.exists("/run/flagsse.sock")
    assert machine.exists("/etc/flagsse/token") and machine.exists("/var/lib/flagsse")

    machine.remove("purge")
    assert files_of(machine) == before
    assert not machine.exists("/etc/flagsse") and not machine.exists("/var/lib/flagsse")
    assert machine.systemctl("--failed", "--plain", "--no-legend").stdout == ""
    assert not machine.run("systemctl", "list-unit-files", "flagsse*", "--no-legend", check=False).stdout
