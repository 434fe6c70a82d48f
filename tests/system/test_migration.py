# SPDX-License-Identifier: BSD-3-Clause
"""What doc/migration.md has an administrator do, with a second flagsse in the place of the old service."""
import pytest

from daemon import fresh_key
from documents import example, replace
from machine import ADDRESS4
from service import Client
from test_instances import make_user, remove_users
from wire import wait_until

MIRROR_PORT, OLD_PORT = 8000, 8103
OLD = "flagsse@old.socket"


class Mirror(Client):
    """nginx as the document has it, which the publishers meet."""
    address = (ADDRESS4, MIRROR_PORT)


class OldService(Client):
    address = (ADDRESS4, OLD_PORT)


@pytest.fixture
def mirror(service):
    machine = service.machine
    make_user(machine, "old")
    machine.write("/etc/flagsse/old/flagsse.conf", "[bus]\ntype = local\n")
    machine.shell("cp /etc/flagsse/token /etc/flagsse/old/token")
    machine.drop_in(OLD, f"[Socket]\nListenStream={OLD_PORT}\n")
    machine.write("/etc/nginx/conf.d/mirror.conf", replace(
        example("nginx", "mirror", "doc/migration.md"),
        ("old-sse.example.org:8000", f"127.0.0.1:{OLD_PORT}"), ("flagsse.example.org", "127.0.0.1")))
    try:
        machine.systemctl("start", OLD, "nginx.service")
        yield Mirror()
    finally:
        machine.systemctl("stop", OLD, "nginx.service", check=False)
        machine.shell("rm -rf /etc/nginx/conf.d/mirror.conf /etc/flagsse/old /etc/systemd/system/flagsse@old.*")
        machine.systemctl("daemon-reload")
        remove_users(machine)


def test_mirror(service, mirror):
    """Each update reaches the streams of both, and the publisher gets the old one's answer."""
    old = OldService()
    wait_until(lambda: old.request("GET", "/readyz").status == 200, "the old service is never ready")
    service.wait_ready()
    key = fresh_key()
    with service.stream(key) as stream, old.stream(key) as old_stream:
        for _ in range(5):
            time_us = mirror.publish(key)
            assert (stream.event(), old_stream.event()) == (time_us, time_us)
        # Without the new one the old one goes on.
        service.machine.systemctl("stop", "flagsse.socket")
        time_us = mirror.publish(key)
        assert old_stream.event() == time_us
