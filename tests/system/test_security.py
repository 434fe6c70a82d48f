# SPDX-License-Identifier: BSD-3-Clause
"""What systemd locks the service out of.  That it works all the same, the other tests show."""
import re
import shutil
from pathlib import Path

import pytest

from daemon import fresh_key
from machine import execute
from wire import wait_until

EXPOSURE_MAX = 12  # tenths
PROCESS_EXITED = "98e322203f7a4ed290d09fe03c09fe15"  # SD_MESSAGE_UNIT_PROCESS_EXIT


@pytest.mark.parametrize("unit", ["flagsse.service", "flagsse@one.service"])
def test_exposure(machine, unit, capsys):
    """The figure of `systemd-analyze security`, and each knob that is left."""
    machine.write("/etc/flagsse/one/flagsse.conf", "")
    result = machine.run("systemd-analyze", "security", "--no-pager", f"--threshold={EXPOSURE_MAX}", unit, check=False)
    with capsys.disabled():
        print("\n" + "\n".join(line.rstrip() for line in result.stdout.splitlines() if "✓" not in line))
    figure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert figure and result.returncode == 0 and float(figure[1]) * 10 <= EXPOSURE_MAX, result.stdout


def test_what_the_process_has(service):
    """As the kernel has it, of the running process: no capability, no new privileges, a filter, a root to read only."""
    machine = service.machine
    service.wait_ready()
    pid = machine.property("MainPID")
    status = dict(line.split(":\t") for line in machine.run("cat", f"/proc/{pid}/status").stdout.splitlines()
                  if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2" and status["Umask"] == "0077"
    mounts = {fields[4]: fields[5].split(",") for fields in (
        line.split() for line in machine.run("cat", f"/proc/{pid}/mountinfo").stdout.splitlines())}
    assert "ro" in mounts["/"] and "ro" in mounts["/usr"] and "rw" in mounts["/var/lib/flagsse"]
    # Of the other processes it does not even see that they are there.
    listed = machine.run("nsenter", "--target", pid, "--mount", "--", "setpriv", "--reuid=flagsse", "--regid=flagsse",
                         "--clear-groups", "sh", "-c", "echo /proc/[0-9]*").stdout
    assert f"/proc/{pid}" in listed.split() and "/proc/1" not in listed.split()


@pytest.fixture(name="probed", scope="module")
def fixture_probed(booted, tmp_path_factory):
    """Runs probe.c under flagsse.service; gives what it found, {what was tried: "works" or the error}."""
    program = tmp_path_factory.mktemp("probe") / "probe"
    execute("cc", "-O1", "-static", "-D_GNU_SOURCE", "-o", program, Path(__file__).with_name("probe.c"))
    shutil.copy(program, booted.root / "usr/local/bin/probe")

    def probe(service, *paths):
        service.machine.drop_in("flagsse.service",
                                f"[Service]\nExecStartPre=/usr/local/bin/probe {' '.join(paths)}\n")
        service.wait_ready()
        found = [message.split(": ")[1:] for message in service.machine.messages() if message.startswith("probe: ")]
        return dict(found)
    yield probe
    (booted.root / "usr/local/bin/probe").unlink()


def test_runs_no_other_program(service, probed):
    """What somebody has got it to write, it does not execute; what is installed it does: the check of its next
    program, and what ExecReload= needs."""
    machine = service.machine
    service.set_bus("local", "[streams]\nkeepalive = 1 h\n")
    places = ("/var/lib/flagsse/probe", "/tmp/probe", "/var/tmp/probe", "/dev/shm/probe")
    found = probed(service, *places, "/usr/local/lib/probe")
    assert {place: found[place] for place in places} == dict.fromkeys(places, "EACCES")
    assert found["copy"] == "EROFS"
    key = fresh_key()
    with service.stream(key) as stream:
        machine.systemctl("reload", "flagsse.service")
        machine.systemctl("restart", "flagsse.service")
        machine.wait_message("Took up 1 stream ")
        time_us = service.publish(key)
        assert stream.event() == time_us


def test_reads_no_other_memory(service, probed):
    found = probed(service, "/var/lib/flagsse/probe")
    assert (found["process_vm_readv"], found["process_vm_writev"]) == ("EPERM", "EPERM")


@pytest.fixture(name="cores")
def fixture_cores(machine):
    """An administrator wants cores of all services, in files of their working directories."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()  # the kernel's, so also that of the system inside
    assert pattern.startswith("core"), f"cores go elsewhere, by {pattern!r}: this test would prove nothing"
    machine.write("/etc/systemd/system.conf.d/test.conf", "[Manager]\nDefaultLimitCORE=infinity\n")
    machine.systemctl("daemon-reexec")
    yield
    machine.shell("rm /etc/systemd/system.conf.d/test.conf")
    machine.systemctl("daemon-reexec")


def test_dumps_no_core(service, cores):
    """It would hold the token, and what clients sent."""
    del cores
    machine = service.machine
    machine.drop_in("flagsse.service", "[Service]\nWorkingDirectory=/var/lib/flagsse\n")
    service.wait_ready()
    pid = machine.property("MainPID")
    limit = next(line for line in machine.run("cat", f"/proc/{pid}/limits").stdout.splitlines() if "core" in line)
    machine.run("kill", "-SEGV", pid)
    wait_until(lambda: machine.property("MainPID") not in ("0", pid), "it is not started again")
    service.wait_ready()
    assert machine.journal(MESSAGE_ID=PROCESS_EXITED, EXIT_STATUS="11")
    assert machine.shell("find /var/lib/flagsse -name 'core*'").stdout == ""
    assert limit.split()[-3:] == ["0", "0", "bytes"]


def test_state_is_for_its_user_only(service):
    machine = service.machine
    service.wait_ready()
    service.publish(fresh_key())
    listed = machine.run("find", "/var/lib/flagsse", "-printf", "%U:%m\n").stdout.split()
    user = machine.run("id", "-u", "flagsse").stdout.strip()
    assert len(listed) > 1
    assert {line.split(":")[0] for line in listed} == {user}
    assert all(line.split(":")[1] in ("700", "600") for line in listed), listed


def test_nats_by_name_and_tls(service):
    """What a sandbox easily forgets: names are resolved, authorities are found, and the server's name is checked."""
    machine = service.machine
    machine.shell("""
        mkdir -p /root/tls && cd /root/tls
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=nats.internal \
            -addext subjectAltName=DNS:nats.internal -keyout key.pem -out certificate.pem 2>/dev/null
        install -D -m 644 certificate.pem /etc/flagsse/authority.pem
        printf 'port: 4229\nserver_name: tls\njetstream { store_dir: "/root/tls/store" }\n' >nats.conf
        printf 'tls { cert_file: "/root/tls/certificate.pem", key_file: "/root/tls/key.pem" }\n' >>nats.conf
        echo '127.0.0.1 nats.internal' >>/etc/hosts
        systemd-run --quiet --unit=nats-tls nats-server -c /root/tls/nats.conf""")
    try:
        machine.write("/etc/flagsse/flagsse.env", "NATS_URL=tls://nats.internal:4229\n"
                      "SSL_CERT_FILE=/etc/flagsse/authority.pem\n")
        service.set_bus("nats")
        service.wait_ready()
        key = fresh_key()
        with service.stream(key) as stream:
            time_us = service.publish(key)
            assert stream.event() == time_us
    finally:
        machine.systemctl("stop", "nats-tls.service", "flagsse.service", check=False)
        machine.shell("rm -rf /root/tls /etc/flagsse/authority.pem; sed -i '/nats.internal/d' /etc/hosts")
