# SPDX-License-Identifier: BSD-3-Clause
"""The Debian package: installed, upgraded, removed and purged by apt."""
from pathlib import Path

import pytest

from daemon import fresh_key, fresh_time_us, isoformat
from documents import example, replace
from machine import ADDRESS4, PORT, UNITS, execute
from service import Service
from sse import format_event
from test_recovery import nats_lines

TOP = Path(__file__).resolve().parents[2]


def files_of(machine):
    """All files of the system but those that apt, dpkg, the journal and the user database write for themselves.  Of
    what is systemd's, those that debhelper's scripts put there."""
    text = machine.shell(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /var/lib/dpkg -o -path /var/log -o -path /root"
        " -o -path /var/cache -o -path /var/lib/apt -o -path /tmp -o -path /var/tmp"
        " -o -path '/etc/*-' -o -path /etc/.pwd.lock -o -path /var/lib/systemd \\) -prune -o -print;"
        "find /var/lib/systemd -path '*/deb-systemd-*' -name '*flagsse*'").stdout
    return set(text.splitlines())


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


def test_readme_to_the_letter(empty_machine):
    """Installed by apt and switched on as README.md says, with NATS as doc/install.md has it; then one publishes and one
    receives."""
    machine = empty_machine
    machine.run("sh", "-c", "mkdir -p /root/build/packages && cp /root/flagsse.deb /root/build/packages/flagsse_1.deb")
    build, install = example("sh", "apt install", "README.md").splitlines()
    assert build == "./dev packages debian"  # ./dev system has done so
    install = replace(install, ("sudo apt install", "apt-get install -y"))
    machine.shell(f"cd /root && DEBIAN_FRONTEND=noninteractive {install}", timeout=120)
    machine.shell("cp /etc/nats-server.conf /root/nats-server.conf; rm -rf /var/lib/nats")
    machine.shell(nats_lines())
    machine.shell(example("sh", "/etc/flagsse/token", "README.md").replace("sudo ", ""))
    try:
        token = machine.shell("cat /etc/flagsse/token").stdout.strip()
        assert len(token) == 32
        service = Service(machine)
        service.wait_ready()
        key = fresh_key()
        with service.watch(key) as watch:
            watch.wait_for(b"retry: ")
            time_us = fresh_time_us()
            execute("curl", "-sS", "--fail", "--noproxy", "*", "-X", "POST", "-H", f"Authorization: Token {token}",
                    "-d", f'{{"updated_at": "{isoformat(time_us)}"}}',
                    f"http://{ADDRESS4}:{PORT}/sse/environments/{key}/queue-change")
            watch.wait_for(format_event(time_us))
    finally:
        machine.systemctl("stop", "nats-server.service")
        machine.shell("cp /root/nats-server.conf /etc/nats-server.conf; rm -rf /var/lib/nats")


def test_autopkgtest(machine):
    """The test that the source package brings for Debian's autopkgtest."""
    machine.write("/root/publish-and-receive", (TOP / "debian/tests/publish-and-receive").read_text(), 0o755)
    output = machine.run("/root/publish-and-receive", timeout=180).stdout
    assert output.endswith("published, received, ended\n")
    assert not machine.exists("/etc/flagsse/token")


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
