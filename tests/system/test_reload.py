# SPDX-License-Identifier: BSD-3-Clause
"""`systemctl reload`, and what the journal says: fields, ids, explanations."""
import re

from daemon import fresh_key, fresh_time_us
from machine import MESSAGES, message_id
from service import ADDRESS
from sse import Keepalive
from wire import request, wait_until

PATIENT = "[streams]\nkeepalive = 1 h\n"


def entry_of(machine, name):
    """The one entry of the journal with that id."""
    entries = wait_until(lambda: machine.journal(MESSAGE_ID=message_id(name)), f"no message {name}")
    assert len(entries) == 1, entries
    return entries[0]


def test_good_reload(service):
    """With the token as a credential, which only the main process can see."""
    machine = service.machine
    service.set_bus("local", PATIENT)
    with service.stream(fresh_key()) as stream:
        pid = machine.property("MainPID")
        service.set_bus("local", "[streams]\nkeepalive = 1 s\n")
        machine.systemctl("reload", "flagsse.service")
        assert isinstance(stream.next(), Keepalive)
    entry = entry_of(machine, "RELOADED")
    assert entry["MESSAGE"].endswith("Changed: streams.keepalive.") and entry["PRIORITY"] == "5"
    assert machine.active() == "active" and machine.property("MainPID") == pid
    # systemd was told: it has seen the unit reloading, and then not any more.
    assert machine.property("SubState") == "running"


def test_bad_reload(service):
    machine = service.machine
    service.set_bus("local", PATIENT)
    key = fresh_key()
    with service.stream(key) as stream:
        service.set_bus("local", "[streams]\nkeepalive = 1 s\nmax_age = never\n")
        assert machine.systemctl("reload", "flagsse.service", check=False).returncode != 0
        entry = next(entry for entry in machine.journal() if "streams.max_age" in entry["MESSAGE"])
        assert entry["MESSAGE"].startswith("/etc/flagsse/conf.d/test.conf:5: ") and entry["PRIORITY"] == "3"
        stream.quiet(1.5)
        assert b":\n\n" not in stream.raw
        assert machine.active() == "active"

        # Whoever sends the signal without the check learns it from the journal.
        machine.systemctl("kill", "--kill-who=main", "--signal=HUP", "flagsse.service")
        assert entry_of(machine, "RELOAD_REFUSED")["PRIORITY"] == "3"
        time_us = service.publish(key)
        assert stream.event() == time_us

        service.set_bus("local", "[streams]\nkeepalive = 1 s\n")
        machine.systemctl("reload", "flagsse.service")
        assert isinstance(stream.next(), Keepalive)


def test_catalog(service):
    """`journalctl -x` explains what has an id."""
    machine = service.machine
    service.wait_ready()
    machine.systemctl("reload", "flagsse.service")
    entry_of(machine, "RELOADED")
    text = machine.run("journalctl", "-x", "-u", "flagsse.service", "-n", "20").stdout
    assert "Subject: flagsse has read its configuration again" in text
    assert "man:flagsse.conf(5)" in text
    known = machine.run("journalctl", "--list-catalog").stdout
    for identifier in re.findall(r'"([0-9a-f]{32})"', MESSAGES.read_text()):
        assert identifier in known


def test_client_and_environment_are_fields(service):
    machine = service.machine
    key = fresh_key()
    response = request(ADDRESS, "POST", f"/sse/environments/{key}/queue-change", (("Authorization", "Token no"),),
                       b'{"updated_at": 1673546928.0}')
    assert response.status == 401
    entry = entry_of(machine, "UNAUTHORIZED")
    assert entry["FLAGSSE_ENVIRONMENT"] == key
    assert re.fullmatch(r"198\.51\.100\.\d+:\d+", entry["FLAGSSE_CLIENT"])
    assert key in entry["MESSAGE"] and entry["FLAGSSE_CLIENT"] in entry["MESSAGE"]


def test_refused_start_has_an_id(service):
    machine = service.machine
    service.configure("[nonsense]\n")
    assert machine.systemctl("start", "flagsse.service", check=False).returncode != 0
    wait_until(lambda: machine.journal(MESSAGE_ID=message_id("CONFIG_REFUSED")), "no message with the id")
    machine.wait_status("configuration cannot be used")


def test_new_token(service):
    """As flagsse(8) has it, on any version of systemd: into the file, and a restart, which no stream notices."""
    machine = service.machine
    service.set_bus("local", PATIENT)
    key = fresh_key()
    with service.stream(key) as stream:
        assert service.publish(key) == stream.event()
        service.set_token("another-token-of-the-same-service")
        try:
            machine.systemctl("restart", "flagsse.service")
            service.wait_ready()
            assert service.offer(key, fresh_time_us()).status == 401
            time_us = fresh_time_us()
            assert service.offer(key, time_us, "another-token-of-the-same-service").status == 200
            assert stream.event() == time_us
        finally:
            service.set_token()


def test_what_waits_for_a_restart(service):
    """Told by `systemctl status`, and over with the restart; what runs is printed by root and by nobody else."""
    machine = service.machine
    service.set_bus("local", PATIENT)
    service.wait_ready()
    service.set_bus("local", PATIENT + "shards = 3\n")
    for _ in range(2):
        machine.systemctl("reload", "flagsse.service")
        machine.wait_status("need a restart: streams.shards.")
    process = ("--process", machine.property("MainPID"))
    printed = machine.run("flagsse", "--print-config", *process).stdout
    assert "\nshards = 0\n" in printed and "not used, as systemd passes the sockets\nlisten = :8088\n" in printed
    assert "\nshards = 0\n" in machine.run("setpriv", "--reuid=flagsse", "--clear-groups", "--regid=flagsse", "flagsse",
                                           "--print-config", *process).stdout
    other = machine.run("setpriv", "--reuid=nobody", "--clear-groups", "flagsse", "--print-config", *process, check=False)
    assert other.returncode == 1 and "Permission denied" in other.stderr and not other.stdout

    machine.systemctl("restart", "flagsse.service")
    service.wait_ready()
    machine.wait_status("bus connected.")
    assert "need a restart" not in machine.systemctl("status", "flagsse.service").stdout.split("\n\n")[0]
    printed = machine.run("flagsse", "--print-config", "--process", machine.property("MainPID")).stdout
    assert "\nshards = 3\n" in printed


def test_planned_restart_is_no_alarm(service):
    """Nothing at warning and above, of two processes: NATS's connection ends with the first."""
    machine = service.machine
    service.start_nats()
    service.set_bus("nats")
    key = fresh_key()
    with service.stream(key) as stream:
        service.wait_ready()
        assert service.publish(key) == stream.event()
        machine.systemctl("restart", "flagsse.service")
        service.wait_ready()
        assert service.publish(key) == stream.event()
    machine.wait_message("Took up 1 stream of 1 environment ")
    alarms = [entry["MESSAGE"] for entry in machine.journal() if int(entry["PRIORITY"]) <= 4]
    assert not alarms
