# SPDX-License-Identifier: BSD-3-Clause
"""doc/fleets.md: packages of an own repository; and the Ansible role of contrib/, run against the system, as its
administrators would by ssh."""
import json
import os
import re
import shlex
import shutil

import pytest

from daemon import fresh_key
from documents import TOP, example, replace
from machine import PORT, execute
from service import TOKEN, Service
from wire import wait_until

ANSIBLE = TOP / "contrib" / "ansible"
SETTINGS = {"bus": {"type": "local"}, "streams": {"keepalive": "20 s"}}


class Fleet:
    """One host of it.  In place of ssh stands a command that enters the container: Ansible does not see a difference."""

    def __init__(self, machine, directory):
        self.machine = machine
        self.directory = directory
        self.variables = {"flagsse_token": TOKEN, "flagsse_package": "/root/flagsse.deb", "flagsse_settings": SETTINGS}
        ssh = directory / "ssh"
        # ssh [OPTION...] HOST COMMAND: the command is the last one.
        ssh.write_text("#!/bin/bash\nexec " + shlex.join(machine.command()) + ' sh -c "${!#}"\n')
        ssh.chmod(0o755)
        (directory / "inventory").write_text("flagsse ansible_python_interpreter=/usr/bin/python3 ansible_become=false\n")

    def play(self, check=True, options=(), book=None):
        """The number of changed tasks; or, without `check`, whatever came of it.  `book`: instead of the role alone."""
        (self.directory / "variables.json").write_text(json.dumps(self.variables))
        environment = {
            **os.environ, "LC_ALL": "C.UTF-8", "HOME": str(self.directory), "ANSIBLE_ROLES_PATH": str(ANSIBLE / "roles"),
            "ANSIBLE_SSH_EXECUTABLE": str(self.directory / "ssh"), "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
            "ANSIBLE_SSH_ARGS": "", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_BECOME": "false", "ANSIBLE_LOCALHOST_WARNING": "no"}
        (self.directory / "play.yml").write_text("- hosts: all\n  roles: [flagsse]\n")
        result = execute("ansible-playbook", "-i", self.directory / "inventory", "-e",
                         f"@{self.directory}/variables.json", *options, book or self.directory / "play.yml", check=False,
                         timeout=300, env=environment)
        assert TOKEN not in result.stdout and "s3cret" not in result.stdout
        if not check:
            return result
        assert result.returncode == 0, result.stdout + result.stderr
        recap = result.stdout.rpartition("PLAY RECAP")[2]
        return int(recap.partition("changed=")[2].split()[0])


@pytest.fixture
def fleet(machine, tmp_path):
    machine.remove("purge")
    machine.mark()
    yield Fleet(machine, tmp_path)
    machine.shell("rm -rf /etc/systemd/system/flagsse.socket.d")


def test_role(fleet):
    """From nothing to a service; a second time nothing changes; a new setting is a reload."""
    machine = fleet.machine
    service = Service(machine)
    assert fleet.play() > 0
    service.wait_ready()
    key = fresh_key()
    with service.stream(key) as stream:
        time_us = service.publish(key)
        assert stream.event() == time_us
        assert fleet.play() == 0

        pid = machine.property("MainPID")
        fleet.variables["flagsse_settings"] = {**SETTINGS, "streams": {"keepalive": "1 h"}}
        assert fleet.play() == 2  # the file, and the handler
        machine.wait_message("Changed: streams.keepalive")
        assert machine.property("MainPID") == pid

        # What cannot be used does not even get into its place.
        fleet.variables["flagsse_settings"] = {"streams": {"keepalive": "never"}}
        result = fleet.play(check=False)
        assert result.returncode != 0 and "streams.keepalive" in result.stdout
        assert "1 h" in machine.shell("cat /etc/flagsse/conf.d/50-ansible.conf").stdout
        time_us = service.publish(key)
        assert stream.event() == time_us
    mode = machine.run("stat", "-c", "%a %U:%G", "/etc/flagsse/token", "/etc/flagsse/conf.d/50-ansible.conf").stdout
    assert mode.splitlines() == ["600 root:root", "640 root:flagsse"]


def test_settings_that_need_a_restart(fleet):
    """They are in use when the role has ended, and no stream has; or, if the host is to be left alone, it says so, each
    time.  And with --diff and all that -vvv tells, no password shows."""
    machine = fleet.machine
    service = Service(machine)
    fleet.play()
    service.wait_ready()
    key = fresh_key()
    with service.stream(key) as stream:
        settings = {**SETTINGS, "nats": {"url": "nats://user:s3cret@nats-1.example.org:4222", "replicas": "3"}}
        fleet.variables.update({"flagsse_settings": settings, "flagsse_restart": False})
        pid = machine.property("MainPID")
        for _ in range(2):
            result = fleet.play(check=False, options=["--diff", "-vvv"])
            assert result.returncode == 0, result.stdout
            told = re.search(r'wait for a restart of flagsse: ([^"]*)\."', result.stdout)
            assert told and set(told[1].split(", ")) == {"nats.url", "nats.replicas"}, result.stdout
            assert machine.property("MainPID") == pid
        fleet.variables["flagsse_restart"] = True
        assert fleet.play(options=["--diff"]) == 1
        assert machine.property("MainPID") != pid
        time_us = service.publish(key)
        assert stream.event() == time_us
        assert fleet.play() == 0


def test_playbook_elsewhere(fleet):
    """The example playbook finds out where to ask whether the node is ready: an address, and a unix socket."""
    for listen in (["127.0.0.1:8099"], ["/run/elsewhere.sock"]):
        fleet.variables["flagsse_listen"] = listen
        assert fleet.play(book=ANSIBLE / "playbook.yml") > 0
        assert fleet.machine.active() == "active"


def test_other_addresses(fleet):
    machine = fleet.machine
    fleet.variables["flagsse_listen"] = [str(PORT), "127.0.0.1:8099"]
    fleet.play()
    Service(machine).wait_ready()
    machine.shell("curl -sS --fail http://127.0.0.1:8099/readyz")
    fleet.variables["flagsse_listen"] = []
    fleet.play()
    wait_until(lambda: machine.shell("curl -sS http://127.0.0.1:8099/readyz", check=False).returncode == 7,
               "the address is still there")
    Service(machine).wait_ready()


class Keyring:
    """A key of gpg's, and what it signs."""

    def __init__(self, directory):
        directory.mkdir(mode=0o700)
        self.environment = {**os.environ, "GNUPGHOME": str(directory), "LC_ALL": "C.UTF-8"}
        execute("gpg", "--batch", "--passphrase", "", "--quick-generate-key", "owner@example.org",
                env=self.environment)
        self.public = execute("gpg", "--armor", "--export", env=self.environment).stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        execute("gpgconf", "--kill", "all", env=self.environment)


def make_repository(directory, package, keyring):
    """By the commands of doc/fleets.md.  Where it is."""
    packages = directory / "build/packages"
    packages.mkdir(parents=True, exist_ok=True)
    shutil.copy(package, packages)
    execute("sh", "-euc", example("sh", "apt-ftparchive", "doc/fleets.md"), cwd=directory, env=keyring.environment)
    return directory / "repository"


def test_signed_repository(machine, tmp_path):
    """apt takes the package from it, if it is the node's key that has signed it; from a second publication, too."""
    machine.remove("purge")
    with Keyring(tmp_path / "ours") as ours, Keyring(tmp_path / "theirs") as theirs:
        make_repository(tmp_path, machine.package, ours)
        shutil.copytree(make_repository(tmp_path, machine.package, ours), machine.root / "srv/repository")
        keys = {theirs.public: False, ours.public: True}
    machine.write("/etc/apt/sources.list.d/flagsse.list", replace(
        example("text", "signed-by", "doc/fleets.md"), ("https://packages.example.org/", "file:/srv/")))
    try:
        for key, is_ours in keys.items():
            machine.write("/usr/share/keyrings/flagsse.asc", key)
            result = machine.run(
                "apt-get", "update", "-o", "APT::Update::Error-Mode=any", "-o", "Dir::Etc::SourceParts=-",
                "-o", "Dir::Etc::SourceList=sources.list.d/flagsse.list", check=False)
            assert (result.returncode == 0) == is_ours, result.stdout + result.stderr
        machine.run("apt-get", "install", "--yes", "--quiet", "flagsse", timeout=120)
        assert machine.run("flagsse", "--version").stdout.startswith("flagsse ")
    finally:
        machine.shell("rm -rf /etc/apt/sources.list.d/flagsse.list /usr/share/keyrings/flagsse.asc /srv/repository"
                      " /var/lib/apt/lists/*flagsse* /var/lib/apt/lists/*srv_repository*")
