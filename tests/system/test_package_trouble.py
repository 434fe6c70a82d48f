# SPDX-License-Identifier: BSD-3-Clause
"""The Debian package where something is not as usual: no systemd runs, units are masked, settings are wrong or changed
on both sides, updates wait in the outbox."""
import pytest

from daemon import fresh_key, fresh_time_us
from machine import UNITS
from test_package import files_of
from test_recovery import nats_lines
from test_restart import Subscribers, check_journal, make_keys
from wire import wait_until

SETTINGS = "/etc/flagsse/flagsse.conf"


def version_of(machine):
    return machine.run("dpkg-query", "-W", "-f", "${Version}", "flagsse").stdout


def test_without_systemd(machine):
    """As in an image that is being made: installed, upgraded, removed and purged, and nothing is left."""
    machine.remove("purge")
    before = files_of(machine)
    apt = "DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet -o Dpkg::Use-Pty=0"
    # A /run of its own says that no systemd runs.
    machine.shell(f"""exec unshare --mount sh -euc '
        export DEBIAN_FRONTEND=noninteractive
        mount -t tmpfs none /run
        {apt} install /root/flagsse.deb
        id flagsse
        {apt} install --reinstall /root/flagsse.deb
        {apt} remove flagsse
        test -e {SETTINGS}
        {apt} purge flagsse'""", timeout=180)
    assert files_of(machine) == before


def test_masked_units(machine):
    """They stay so, and do not hold up the package."""
    machine.remove("purge")
    machine.systemctl("mask", *UNITS)
    try:
        machine.install()
        machine.install("--reinstall")
        machine.remove("remove")
        machine.install()
        machine.remove("purge")
        assert [machine.systemctl("is-enabled", unit, check=False).stdout.strip() for unit in UNITS] == ["masked"] * 2
    finally:
        machine.systemctl("unmask", *UNITS)


def test_purge_of_what_runs(service):
    """With a stream open, which ends cleanly."""
    machine = service.machine
    service.wait_ready()
    with service.stream(fresh_key()) as stream:
        machine.remove("purge")
        assert stream.end() == []
    assert not machine.exists("/etc/flagsse") and not machine.exists("/var/lib/flagsse")
    assert not machine.exists("/run/flagsse.sock")
    assert machine.systemctl("--failed", "--plain", "--no-legend").stdout == ""


MORE = "/etc/flagsse/conf.d/more.conf"
MISTAKES = {
    "a mistake": ("[streams]\nkeepalive = never\n", 0o644, "more.conf:2: streams.keepalive"),
    "unreadable": ("", 0o600, "more.conf: cannot be read: Permission denied"),
}


@pytest.fixture(name="back")
def fixture_back(machine):
    """Afterwards the package has its former version."""
    yield
    machine.install("--allow-downgrades")


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.usefixtures("back")
def test_upgrade_with_a_wrong_configuration(service, mistake):
    """The new package is there, and the old process goes on with all streams; apt says what is wrong, and what to run
    once it is mended: that keeps all streams, too."""
    machine = service.machine
    text, mode, told = MISTAKES[mistake]
    keys = make_keys(10)
    service.wait_ready()
    pid = machine.property("MainPID")
    with Subscribers() as subscribers:
        assert subscribers.tell("open", streams=[["plain", key, 100] for key in keys])["open"] == 1000
        machine.write(MORE, text, mode)
        result = machine.install_next_version()
        print(result.stderr)
        assert "flagsse: flagsse.service is NOT restarted" in result.stderr and told in result.stderr
        assert version_of(machine).endswith("+next")
        assert machine.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "flagsse").stdout.strip() == "ii"
        assert "Syntax" not in result.stderr and machine.property("NeedDaemonReload") == "no"
        assert machine.property("MainPID") == pid and machine.active() == "active"
        journal = machine.run("journalctl", "-u", "flagsse.service", "-o", "cat", f"--after-cursor={machine.cursor}")
        assert "Not restarted after the upgrade, as " in journal.stdout
        latest = {key: service.publish(key) for key in keys}
        answer = subscribers.tell("expect", latest=latest)
        assert (answer["missing"], answer["open"]) == (0, 1000)

        what_to_run = result.stderr.splitlines()[-1].strip()
        assert machine.shell(what_to_run, check=False).returncode != 0
        assert machine.property("MainPID") == pid
        machine.run("rm", MORE)
        machine.mark()
        machine.shell(what_to_run)
        assert machine.property("MainPID") not in ("0", pid)
        latest = {key: service.publish(key) for key in keys}
        answer = subscribers.tell("expect", latest=latest)
        assert (answer["missing"], answer["open"]) == (0, 1000)
    check_journal(machine, 1)


@pytest.fixture(name="nats_lines")
def fixture_nats_lines(machine):
    """What is run to have NATS with JetStream; afterwards it is as before."""
    machine.shell("cp /etc/nats-server.conf /root/nats-server.conf; rm -rf /var/lib/nats")
    yield nats_lines()
    machine.systemctl("stop", "nats-server.service")
    machine.shell("mv /root/nats-server.conf /etc/nats-server.conf; rm -rf /var/lib/nats")


def test_downgrade_with_updates_in_the_outbox(service, nats_lines):
    """What NATS could not take waits through an upgrade and a downgrade."""
    machine = service.machine
    service.set_bus("nats")
    key, time_us = fresh_key(), fresh_time_us()
    machine.systemctl("restart", "flagsse.service")
    assert service.offer(key, time_us).status == 202
    with service.stream(key) as stream:
        assert stream.event() == time_us
        machine.install_next_version()
        machine.install("--allow-downgrades")
        wait_until(lambda: service.metrics()["flagsse_outbox_updates"] == 1, "the outbox has lost it")
        machine.shell(nats_lines)
        service.wait_ready()
        wait_until(lambda: service.metrics()["flagsse_outbox_updates"] == 0, "the outbox keeps it")
        time_us = service.publish(key)
        assert stream.events_until(time_us) == [time_us]


@pytest.mark.parametrize("choice", ["old", "new"])
def test_settings_changed_on_both_sides(service, choice):
    """dpkg asks; here its options answer.  What was not chosen lies beside it, and is not read."""
    machine = service.machine
    service.wait_ready()
    machine.shell(f"echo '# mine' >>{SETTINGS}")
    try:
        machine.install_next_version("-o", f"Dpkg::Options::=--force-conf{choice}", settings="# theirs\n")
        chosen, other = ("# mine", "dpkg-dist") if choice == "old" else ("# theirs", "dpkg-old")
        assert machine.shell(f"tail -n 1 {SETTINGS}").stdout == f"{chosen}\n"
        assert machine.exists(f"{SETTINGS}.{other}")
        service.wait_ready()
    finally:
        machine.remove("purge")
    assert not machine.exists("/etc/flagsse")
