# SPDX-License-Identifier: BSD-3-Clause
"""Several instances on one machine, by flagsse@.service: nothing of one is the other's."""
import json

import pytest

from daemon import fresh_key, fresh_time_us, isoformat
from documents import example
from machine import ADDRESS4
from sse import Stream
from wire import request, wait_until

PORTS = {"blue": 8101, "green": 8102}
STATE = "/var/lib/flagsse-instances"


def make_user(machine, name):
    """By the commands of doc/fleets.md."""
    commands = example("sh", "/etc/sysusers.d", "doc/fleets.md")
    machine.shell(commands.replace("sudo ", "").replace("NAME", name))


def remove_users(machine):
    machine.shell("""rm -f /etc/sysusers.d/flagsse-*.conf
        for user in $(getent passwd | grep ^flagsse- | cut -d : -f 1); do userdel "$user"; done""")


class Instance:
    def __init__(self, machine, name):
        self.machine = machine
        self.name = name
        self.unit, self.socket = f"flagsse@{name}.service", f"flagsse@{name}.socket"
        self.address = (ADDRESS4, PORTS[name])
        self.token = f"token-of-{name}"

    def set_up(self):
        make_user(self.machine, self.name)
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
        machine.shell(f"rm -rf /etc/flagsse/blue /etc/flagsse/green /etc/systemd/system/flagsse@* {STATE}")
        remove_users(machine)
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
        assert machine.exists(f"{STATE}/{name}/flagsse.db") and machine.exists(f"/run/flagsse-{name}.sock")
    assert machine.active() == "inactive" and machine.active("flagsse.socket") == "inactive"
    result = machine.run("systemd-analyze", "--man=no", "verify", blue.unit, blue.socket)
    assert result.stdout + result.stderr == ""


def test_one_cannot_look_into_the_other(instances, machine):
    """Nor into flagsse.service: neither into its memory nor into its files.  As its user, in its place."""
    blue, green = instances
    pids = {unit: machine.property("MainPID", unit) for unit in (blue.unit, green.unit)}
    users = [machine.run("stat", "-c", "%U", f"/proc/{pid}").stdout.strip() for pid in pids.values()]
    assert users == ["flagsse-blue", "flagsse-green"]
    pid = pids[green.unit]
    for place in ([], ["nsenter", "--target", pids[blue.unit], "--mount", "--"]):
        as_blue = [*place, "setpriv", "--reuid=flagsse-blue", "--regid=flagsse-blue", "--clear-groups"]
        machine.run(*as_blue, "head", "-c", "1", f"{STATE}/blue/flagsse.db")
        for path in (f"{STATE}/green/flagsse.db", f"/proc/{pid}/mem", f"/proc/{pid}/environ", f"/proc/{pid}/root/tmp",
                     f"/run/credentials/{green.unit}/token"):
            result = machine.run(*as_blue, "head", "-c", "1", path, check=False)
            assert result.returncode != 0 and result.stdout == "", path
            if not place:
                assert "Permission denied" in result.stderr, result.stderr
    machine.run("setpriv", "--reuid=flagsse-green", "--regid=flagsse-green", "--clear-groups", "head", "-c", "1",
                f"/proc/{pid}/environ")


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
        assert "Handed over 1 stream " in journal, journal
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


def test_upgrade_where_one_could_not_start_again(instances, machine):
    """That one goes on as it is, with its stream, and apt says so; the other is restarted."""
    blue, green = instances
    before = {instance: machine.property("MainPID", instance.unit) for instance in instances}
    key = fresh_key()
    with blue.stream(key) as at_blue, green.stream(key) as at_green:
        machine.write("/etc/flagsse/blue/conf.d/more.conf", "[streams]\nkeepalive = never\n")
        result = machine.install("--reinstall")
        assert f"{blue.unit} is NOT restarted" in result.stderr and "more.conf:2: streams.keepalive" in result.stderr
        assert green.unit not in result.stderr
        wait_until(green.is_ready, "it is not ready again")
        assert machine.property("MainPID", blue.unit) == before[blue]
        assert machine.property("MainPID", green.unit) not in ("0", before[green])
        machine.write("/etc/flagsse/blue/conf.d/more.conf", "")
        machine.systemctl("restart", blue.unit)
        for instance, stream in ((blue, at_blue), (green, at_green)):
            wait_until(instance.is_ready, "it is not ready again")
            status, time_us = instance.publish(key)
            assert status == 200 and stream.events_until(time_us) == [time_us]


def test_an_instance_without_user_or_configuration_does_not_start(machine):
    """Its name may be mistyped."""
    try:
        for expected in ("Failed to determine user credentials",
                         "/etc/flagsse/typo/flagsse.conf: cannot be read: No such file"):
            machine.mark()
            assert machine.systemctl("start", "flagsse@typo.service", check=False).returncode != 0
            text = machine.run("journalctl", "-u", "flagsse@typo.service", "-o", "cat").stdout
            assert expected in text
            machine.systemctl("stop", "flagsse@typo.service", "flagsse@typo.socket")
            make_user(machine, "typo")
    finally:
        remove_users(machine)


SYSTEMD_WITHOUT_BACKSLASHES = 255  # since then it hands a unit on to a process that takes them for escapes


def systemd_version(machine):
    return int(machine.systemctl("--version").stdout.split()[1])


def check_is_refused(machine, name):
    """As doc/fleets.md says: at once, and with a reason in the journal."""
    unit = f"flagsse@{name}.service"
    assert machine.systemctl("start", unit, check=False).returncode != 0
    assert "Failed to deserialize" in machine.run("journalctl", "-b", "-o", "cat").stdout
    machine.systemctl("stop", unit)


@pytest.mark.parametrize("name", ["blue-green", "a.b_c", r"eu\x2f1"])
def test_names(machine, name):
    """Dashes, dots, and what systemd-escape makes of others.  What is no name of a user is told another one."""
    directory = f"/etc/flagsse/{name}"
    if name == "blue-green":
        make_user(machine, name)
    else:
        make_user(machine, "other")
        machine.drop_in(f"flagsse@{name}.service", "[Service]\nUser=flagsse-other\n")
    machine.write(f"{directory}/token", "token-of-this-one\n", 0o600)
    machine.write(f"{directory}/flagsse.conf", "[bus]\ntype = local\n")
    try:
        if "\\" in name and systemd_version(machine) >= SYSTEMD_WITHOUT_BACKSLASHES:
            check_is_refused(machine, name)
            return
        machine.systemctl("start", f"flagsse@{name}.socket")
        curl = ("curl", "-sS", "--fail", "--unix-socket", f"/run/flagsse-{name}.sock", "http://localhost/readyz")
        wait_until(lambda: machine.run(*curl, check=False).returncode == 0, "it is never ready")
        machine.run("test", "-e", f"{STATE}/{name}/flagsse.db")
        machine.systemctl("reload", f"flagsse@{name}.service")
    finally:
        machine.systemctl("stop", f"flagsse@{name}.socket", check=False)
        machine.run("rm", "-rf", directory, STATE, f"/etc/systemd/system/flagsse@{name}.service.d")
        machine.systemctl("daemon-reload")
        remove_users(machine)


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
    assert not machine.exists("/etc/flagsse") and not machine.exists("/var/lib/flagsse") and not machine.exists(STATE)
    assert machine.systemctl("--failed", "--plain", "--no-legend").stdout == ""
