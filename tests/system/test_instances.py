# SPDX-License-Identifier: BSD-3-Clause
"""Several instances on one machine, by flagsse@.service: nothing of one is the other's."""
import json

import pytest

from daemon import fresh_key, fresh_time_us, isoformat
from machine import ADDRESS4
from sse import Stream
from wire import request, wait_until

PORTS = {"blue": 8101, "green": 8102}


class Instance:
    def __init__(self, machine, name):
        self.machine = machine
        self.name = name
        self.unit, self.socket = f"flagsse@{name}.service", f"flagsse@{name}.socket"
        self.address = (ADDRESS4, PORTS[name])
        self.token = f"token-of-{name}"

    def set_up(self):
        self.machine.write(f"/etc/flagsse/{self.name}/token", f"{self.token}\n", 0o600)
        self.machine.write(f"/etc/flagsse/{self.name}/flagsse.conf", "[bus]\ntype = local\n")
        self.machine.write(f"/etc/flagsse/{self.name}/conf.d/more.conf", "[streams]\nkeepalive = 1 h\n")
        self.machine.drop_in(self.socket, f"[Socket]\nListenStream={PORTS[self.name]}\n")
        self.machine.systemctl("enable", "--now", self.socket)

    def publish(self, key, token=None):
        time_us = fresh_time_us()
        response = request(self.address, "POST", f"/sse/environments/{key}/queue-change",
                           (("Authorization", f"Token {token or self.token}"),),
                           json.dumps({"updated_at": isoformat(time_us)}).encode())
        return response.status, time_us

    def stream(self, key):
        return Stream(self.address, key)

    def is_ready(self):
        return request(self.address, "GET", "/readyz").status == 200


@pytest.fixture
def instances(machine):
    pair = [Instance(machine, name) for name in PORTS]
    try:
        for instance in pair:
            instance.set_up()
        for instance in pair:
            wait_until(instance.is_ready, f"{instance.unit} is never ready")
        yield pair
    finally:
        for instance in pair:
            machine.systemctl("disable", "--now", instance.socket, check=False)
        machine.shell("rm -rf /etc/flagsse/blue /etc/flagsse/green /etc/systemd/system/flagsse@*")
        machine.systemctl("daemon-reload")


def test_side_by_side(instances, machine):
    """Own tokens, updates, state directories and unix sockets; and beside flagsse.service, which is not started."""
    blue, green = instances
    key = fresh_key()
    with blue.stream(key) as at_blue, green.stream(key) as at_green:
        status, time_us = blue.publish(key)
        assert status == 200 and at_blue.event() == time_us
        at_green.quiet(0.3)
        assert green.publish(key, token=blue.token)[0] == 401
        status, time_us = green.publish(key)
        assert status == 200 and at_green.event() == time_us
        at_blue.quiet(0.3)
    for name in PORTS:
        assert machine.exists(f"/var/lib/flagsse/{name}/flagsse.db") and machine.exists(f"/run/flagsse-{name}.sock")
    assert machine.active() == "inactive" and machine.active("flagsse.socket") == "inactive"
    result = machine.run("systemd-analyze", "--man=no", "verify", blue.unit, blue.socket)
    assert result.stdout + result.stderr == ""


def test_reload_and_restart_of_one(instances, machine):
    """The other does not notice; the check before a reload reads the files of its own instance; and a restart hands
    the streams over as that of flagsse.service does."""
    blue, green = instances
    key = fresh_key()
    with green.stream(key) as stream, blue.stream(key) as at_blue:
        pid = machine.property("MainPID", green.unit)
        machine.write("/etc/flagsse/blue/conf.d/more.conf", "[streams]\nkeepalive = never\n")
        assert machine.systemctl("reload", blue.unit, check=False).returncode != 0
        machine.systemctl("reload", green.unit)
        machine.write("/etc/flagsse/blue/conf.d/more.conf", "[streams]\nkeepalive = 2 s\n")
        machine.systemctl("reload", blue.unit)
        machine.systemctl("restart", blue.unit)
        wait_until(blue.is_ready, "it is not ready again")
        journal = machine.run("journalctl", "-u", blue.unit, "-o", "cat").stdout
        assert "Handed over 1 streams" in journal, journal
        status, time_us = blue.publish(key)
        assert status == 200 and at_blue.events_until(time_us) == [time_us]
        stream.quiet(0.3)
        assert machine.property("MainPID", green.unit) == pid
        status, time_us = green.publish(key)
        assert status == 200 and stream.event() == time_us


def test_upgrade_restarts_instances(instances, machine):
    before = [machine.property("MainPID", instance.unit) for instance in instances]
    machine.install("--reinstall")
    for instance, pid in zip(instances, before):
        wait_until(instance.is_ready, "it is not ready again")
        assert machine.property("MainPID", instance.unit) not in ("0", pid)


def test_an_instance_without_configuration_does_not_start(machine):
    """Its name may be mistyped."""
    machine.mark()
    assert machine.systemctl("start", "flagsse@typo.service", check=False).returncode != 0
    text = machine.run("journalctl", "-u", "flagsse@typo.service", "-o", "cat").stdout
    assert "/etc/flagsse/typo/flagsse.conf: cannot be read: No such file" in text
    machine.systemctl("stop", "flagsse@typo.service", "flagsse@typo.socket")


@pytest.mark.parametrize("name", ["blue-green", "a.b_c", r"eu\x2f1"])
def test_names(machine, name):
    """Dashes, dots, and what systemd-escape makes of others."""
    directory = f"/etc/flagsse/{name}"
    machine.write(f"{directory}/token", "token-of-this-one\n", 0o600)
    machine.write(f"{directory}/flagsse.conf", "[bus]\ntype = local\n")
    try:
        machine.systemctl("start", f"flagsse@{name}.socket")
        curl = ("curl", "-sS", "--fail", "--unix-socket", f"/run/flagsse-{name}.sock", "http://localhost/readyz")
        wait_until(lambda: machine.run(*curl, check=False).returncode == 0, "it is never ready")
        machine.run("test", "-e", f"/var/lib/flagsse/{name}/flagsse.db")
        machine.systemctl("reload", f"flagsse@{name}.service")
    finally:
        machine.systemctl("stop", f"flagsse@{name}.socket", check=False)
        machine.run("rm", "-rf", directory)


def test_settings_removed_below_a_running_instance(instances, machine):
    """It goes on with what it has read, and says so when it is to read again."""
    blue, green = instances
    key = fresh_key()
    with blue.stream(key) as stream:
        machine.shell("rm -rf /etc/flagsse/blue")
        assert machine.systemctl("reload", blue.unit, check=False).returncode != 0
        status, time_us = blue.publish(key)
        assert status == 200 and stream.event() == time_us
    assert green.is_ready()


def test_removal(instances, machine):
    """Of the package, while they run and are enabled: they are stopped, and nothing of them is left."""
    machine.remove("purge")
    for instance in instances:
        assert machine.active(instance.unit) == "inactive" and machine.active(instance.socket) == "inactive"
        assert not machine.exists(f"/etc/systemd/system/sockets.target.wants/{instance.socket}")
    assert not machine.exists("/etc/flagsse") and not machine.exists("/var/lib/flagsse")
    assert machine.systemctl("--failed", "--plain", "--no-legend").stdout == ""
