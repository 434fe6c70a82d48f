# SPDX-License-Identifier: BSD-3-Clause
"""What systemd locks the service out of.  That it works all the same, the other tests show."""
import re

import pytest

from daemon import fresh_key

EXPOSURE_MAX = 12  # tenths


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
    assert "ro" in mounts["/"] and "rw" in mounts["/var/lib/flagsse"]
    # Of the other processes it does not even see that they are there.
    listed = machine.run("nsenter", "--target", pid, "--mount", "--", "setpriv", "--reuid=flagsse", "--regid=flagsse",
                         "--clear-groups", "sh", "-c", "echo /proc/[0-9]*").stdout
    assert f"/proc/{pid}" in listed.split() and "/proc/1" not in listed.split()


def test_state_is_for_its_user_only(service):
    machine = service.machine
    service.wait_ready()
    service.publish(fresh_key())
    listed = machine.run("find", "/var/lib/flagsse", "-printf", "%U:%m\n").stdout.split()
    user = machine.run("id", "-u", "flagsse").stdout.strip()
    assert len(listed) > 1
    assert {line.split(":")[0] for line in listed} == {user}
    assert all(line.split(":")[1] in ("700", "600") for line in listed), listed
