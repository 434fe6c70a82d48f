# SPDX-License-Identifier: BSD-3-Clause
"""The Ansible role of contrib/, run against the system, as its administrators would by ssh."""
import json
import os
import shlex
from pathlib import Path

import pytest

from daemon import fresh_key
from machine import PORT, execute
from service import TOKEN, Service
from wire import wait_until

ANSIBLE = Path(__file__).resolve().parents[2] / "contrib" / "ansible"
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
        (directory / "inventory").write_text("flagsse ansible_python_interpreter=/usr/bin/python3\n")

    def play(self, check=True):
        """The number of changed tasks."""
        (self.directory / "variables.json").write_text(json.dumps(self.variables))
        environment = {
            **os.environ, "LC_ALL": "C.UTF-8", "HOME": str(self.directory), "ANSIBLE_ROLES_PATH": str(ANSIBLE / "roles"),
            "ANSIBLE_SSH_EXECUTABLE": str(self.directory / "ssh"), "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
            "ANSIBLE_SSH_ARGS": "", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_BECOME": "false", "ANSIBLE_LOCALHOST_WARNING": "no"}
        (self.directory / "play.yml").write_text("- hosts: all\n  roles: [flagsse]\n")
        result = execute("ansible-playbook", "-i", self.directory / "inventory", "-e",
                         f"@{self.directory}/variables.json", self.directory / "play.yml", check=False, timeout=300,
                         env=environment)
        assert TOKEN not in result.stdout
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
