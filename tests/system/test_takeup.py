# SPDX-License-Identifier: BSD-3-Clause
"""Restarts into trouble: no stream is lost, whatever the next process lacks, and whenever that shows.

Streams are counted: each goes on, or has ended with its last chunk where nothing else is left.
"""
from contextlib import contextmanager

import pytest

from audience import Subscribers
from daemon import fresh_key
from machine import message_id
from wire import wait_until

STREAMS = 1000
KEYS = 10

STATE = "/var/lib/flagsse"
DATABASE = f"{STATE}/flagsse.db"

# Runs before each start, and after the check that the former process has made.
SPOIL = "/usr/local/bin/spoil"

# Somebody else's, who takes what is free.
TAKEN_SOCKET = """[Socket]
ListenStream=8088
Accept=yes
"""
TAKEN_SERVICE = """[Service]
ExecStart=/bin/true
"""

# What goes wrong after the check, by the shell's commands that do it and undo it.
TROUBLE = {
    "token": ("", "true"),  # see spoil()
    "configuration": ("printf '[streams]\\nkeepalive = never\\n' >/etc/flagsse/conf.d/spoilt.conf",
                      "rm -f /etc/flagsse/conf.d/spoilt.conf"),
    "address": ("systemctl start taken.socket", "systemctl stop taken.socket"),
    "state directory": (f"mount -o remount,ro {STATE}", f"mount -o remount,rw {STATE}"),
}


def lines_of(service, text):
    return [message for message in service.machine.messages() if text in message]


@contextmanager
def crowd(service):
    """A thousand open streams, and their keys, each of which has an update."""
    service.wait_ready()
    keys = [fresh_key() for _ in range(KEYS)]
    with Subscribers() as subscribers:
        answer = subscribers.tell("open", streams=[["plain", key, STREAMS // KEYS] for key in keys])
        assert answer["open"] == STREAMS
        latest = {key: service.publish(key) for key in keys}
        assert subscribers.tell("expect", latest=latest)["missing"] == 0
        yield subscribers, keys


def check_kept(service, subscribers, keys):
    """All of them go on, and get what is published from now on."""
    service.machine.wait_active("active")
    service.wait_ready()
    latest = {key: service.publish(key) for key in keys}
    answer = subscribers.tell("expect", latest=latest)
    assert (answer["missing"], answer["open"], answer["clean"], answer["failed"]) == (0, STREAMS, 0, 0), answer


def check_ended(subscribers):
    """Since begin("end"): each has had its last chunk, none a reset."""
    answer = subscribers.answer()
    assert (answer["open"], answer["clean"], answer["failed"]) == (0, STREAMS, 0), answer


def restart(service):
    """What systemctl says of it; it waits for the first attempt only."""
    return service.machine.systemctl("restart", "flagsse.service", check=False).returncode


@pytest.fixture
def small_disk(service):
    """A file system of its own for the state directory."""
    machine = service.machine
    machine.shell(f"systemctl stop flagsse.service; mkdir -p {STATE}; "
                  f"mount -t tmpfs -o size=1m,mode=700,uid=$(id -u flagsse),gid=$(id -g flagsse) tmpfs {STATE}")
    yield
    machine.systemctl("stop", "flagsse.socket", "flagsse.service", check=False)
    machine.shell(f"umount {STATE}")


def without_socket(service):
    """As on systems where flagsse opens its addresses itself."""
    machine = service.machine
    machine.systemctl("stop", "flagsse.socket", "flagsse.service")
    machine.shell("sed '/^Requires=flagsse/d; /^After=flagsse/d' /lib/systemd/system/flagsse.service "
                  ">/etc/systemd/system/flagsse.service")
    machine.write("/etc/systemd/system/taken.socket", TAKEN_SOCKET)
    machine.write("/etc/systemd/system/taken@.service", TAKEN_SERVICE)
    service.set_bus("local", "[http]\nlisten = :8088\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "flagsse.service")


def spoil_before_start(service, commands):
    machine = service.machine
    machine.write(SPOIL, f"#!/bin/sh\n{commands}\n", 0o755)
    machine.drop_in("flagsse.service", f"[Service]\nExecStartPre=+{SPOIL}\n")


@contextmanager
def trouble(service, what):
    """The next start fails, which nobody can know before.  Gives what mends it."""
    machine = service.machine
    spoil, undo = TROUBLE[what]
    if what == "token":
        machine.shell("rm /etc/flagsse/token")  # systemd reads it anew for the next process
    spoil_before_start(service, spoil)

    def mend():
        machine.write(SPOIL, "#!/bin/sh\n", 0o755)
        machine.shell(undo)
        service.set_token()

    try:
        yield mend
    finally:
        mend()


def prepare(service, request, what):
    if what == "address":
        without_socket(service)
    elif what == "state directory":
        request.getfixturevalue("small_disk")


@pytest.mark.parametrize("what", list(TROUBLE))
def test_streams_wait_for_the_next_attempt(service, request, what):
    """As long as it takes to mend it, within a minute; and the journal says so."""
    machine = service.machine
    prepare(service, request, what)
    with crowd(service) as (subscribers, keys), trouble(service, what) as mend:
        assert restart(service) != 0
        waiting = machine.wait_message(f"{STREAMS} streams stay with systemd until the next attempt")
        mend()
        check_kept(service, subscribers, keys)
    assert machine.journal(MESSAGE_ID=message_id("STREAMS_WAIT"))[0]["MESSAGE"] == waiting
    assert len(machine.journal(MESSAGE_ID=message_id("TAKEN_UP"))) == 1
    assert machine.property("NFileDescriptorStore") == "0"


@pytest.mark.parametrize("what", ["token", "address"])
def test_after_a_minute_the_streams_end(service, request, what):
    """Cleanly, by an attempt that does nothing else before; then it goes on trying."""
    machine = service.machine
    prepare(service, request, what)
    with crowd(service) as (subscribers, _), trouble(service, what) as mend:
        subscribers.begin("end")
        assert restart(service) != 0
        check_ended(subscribers)
        machine.wait_message(f"Its {STREAMS} streams are ended cleanly")
        assert machine.property("NFileDescriptorStore") == "0"
        mend()
        machine.wait_active("active")
    assert lines_of(service, "stay with systemd")
    assert not machine.journal(MESSAGE_ID=message_id("TAKEN_UP"))


@pytest.mark.parametrize("what", ["configuration", "token", "address", "store"])
def test_noticed_before(service, request, what):
    """What the check can see: the streams end while there is who can end them."""
    machine = service.machine
    prepare(service, request, what)
    if what == "address":
        machine.shell("sed -i s/8088/8089/ /etc/systemd/system/taken.socket; systemctl daemon-reload")
        machine.systemctl("start", "taken.socket")
    try:
        with crowd(service) as (subscribers, _):
            if what == "configuration":
                service.set_bus("local", "[streams]\nkeepalive = never\n")
            elif what == "token":
                machine.write("/etc/flagsse/secret", "another-token-0123456789\n", 0o600)
                service.set_bus("local", "[http]\ntoken_file = /etc/flagsse/secret\n")
            elif what == "address":
                service.set_bus("local", "[http]\nlisten = :8088, :8089\n")
            else:
                machine.shell(f"chown root {DATABASE}; chmod 400 {DATABASE}")
            subscribers.begin("end")
            restart(service)
            check_ended(subscribers)
        assert not machine.journal(MESSAGE_ID=message_id("HANDED_OVER"))
        assert lines_of(service, "The streams are not handed over: the next process")
    finally:
        machine.shell("rm -f /etc/flagsse/secret")
        machine.systemctl("stop", "taken.socket", check=False)


def test_state_directory_that_systemd_mends(service):
    """It gives it back to the service before each start, with all that is in it."""
    machine = service.machine
    with crowd(service) as (subscribers, keys):
        machine.shell(f"chown -R root {STATE}; chmod 500 {STATE}")
        assert restart(service) == 0
        check_kept(service, subscribers, keys)


def test_store_of_a_newer_version(service):
    """It is set aside, and what the streams' process knew is written into the new one."""
    machine = service.machine
    with crowd(service) as (subscribers, keys):
        other = fresh_key()
        time_us = service.publish(other)
        spoil_before_start(service, r"printf '\0\0\0\143' | "
                                    f"dd of={DATABASE} bs=1 seek=60 conv=notrunc status=none")
        assert restart(service) == 0
        machine.write(SPOIL, "#!/bin/sh\n", 0o755)
        machine.wait_message("written by a newer version")
        with service.stream(other) as stream:
            assert stream.event() == time_us
        check_kept(service, subscribers, keys)
        machine.run("kill", "-KILL", machine.property("MainPID"))
    service.wait_ready()
    with service.stream(other) as stream:
        assert stream.event() == time_us


@pytest.mark.usefixtures("small_disk")
def test_full_disk(service):
    """Nothing has to be written for a start; updates go on once there is space."""
    machine = service.machine
    with crowd(service) as (subscribers, keys):
        machine.shell(f"dd if=/dev/zero of={STATE}/fill bs=4k status=none || true")
        assert restart(service) == 0
        assert subscribers.tell("report")["open"] == STREAMS
        machine.shell(f"rm {STATE}/fill")
        check_kept(service, subscribers, keys)
    assert len(machine.journal(MESSAGE_ID=message_id("TAKEN_UP"))) == 1


# Puts a file of its own into the store, by the name of "other".
STORE_OTHER = """import array, os, socket
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.connect(os.environ["NOTIFY_SOCKET"])
fds = array.array("i", [os.open("/etc/hostname", os.O_RDONLY)])
sock.sendmsg([b"FDSTORE=1\\nFDNAME=other\\nFDPOLL=0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
"""


def test_foreign_descriptor(service):
    """One in the store that is not flagsse's, and is no socket either."""
    machine = service.machine
    machine.write("/usr/local/bin/store-other.py", STORE_OTHER)
    machine.drop_in("flagsse.service", "[Service]\nNotifyAccess=exec\n"
                                       "ExecStartPost=/usr/bin/python3 /usr/local/bin/store-other.py\n")
    with crowd(service) as (subscribers, keys):
        wait_until(lambda: machine.property("NFileDescriptorStore") == "1", "systemd does not keep it")
        assert restart(service) == 0
        check_kept(service, subscribers, keys)
    assert len(lines_of(service, '"other", is not flagsse\'s')) == 1
