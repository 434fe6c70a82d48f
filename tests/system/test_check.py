# SPDX-License-Identifier: BSD-3-Clause
"""`flagsse --check-config` by hand, with the package installed: it reads what the unit would."""
import pytest

from machine import message_id
from wire import wait_until

TOKEN_FILE = "/etc/flagsse/token"
ENVIRONMENT_FILE = "/etc/flagsse/flagsse.env"


@pytest.fixture
def machine(service):
    """Configured, with a token as a credential; without systemd's variables, as from a shell."""
    service.set_token()
    yield service.machine
    service.set_token()
    service.machine.shell(f"rm -f {ENVIRONMENT_FILE}")


def flagsse(machine, *arguments):
    return machine.run("env", "-u", "INVOCATION_ID", "flagsse", *arguments, check=False)


@pytest.mark.parametrize("unit", [(), ("--unit", "flagsse.service")], ids=["default", "named"])
def test_token_of_the_unit(machine, unit):
    result = flagsse(machine, "--check-config", *unit)
    assert result.returncode == 0, result.stderr
    assert "Read as flagsse.service would" in result.stderr
    machine.shell(f"rm {TOKEN_FILE}")
    result = flagsse(machine, "--check-config", *unit)
    assert result.returncode == 78
    assert f"http.token: not set; write it into {TOKEN_FILE}" in result.stderr


def test_variables_of_the_unit(machine):
    machine.write(ENVIRONMENT_FILE, 'FLAGSSE_SPREAD="7 ms"\nNATS_URL=nats://of.the.file\n')
    printed = flagsse(machine, "--print-config").stdout
    assert "# environment FLAGSSE_SPREAD\nspread = 7 ms\n" in printed and "url = nats://of.the.file\n" in printed
    assert "# credential token\n" in printed
    machine.write(ENVIRONMENT_FILE, "FLAGSSE_SPREAD=soon\n")
    result = flagsse(machine, "--check-config")
    assert result.returncode == 78 and "environment FLAGSSE_SPREAD: streams.spread" in result.stderr


def test_unit_that_is_not_there(machine):
    result = flagsse(machine, "--check-config", "--unit", "flagsse-none.service")
    assert result.returncode == 1 and "Cannot read the unit flagsse-none.service" in result.stderr


def test_what_is_given_counts(machine):
    """A file of its own is read by itself."""
    result = flagsse(machine, "--check-config", "-c", "/etc/flagsse/flagsse.conf")
    assert result.returncode == 78 and "SSE_AUTHENTICATION_TOKEN" in result.stderr


def test_reasons_of_refused_reloads(machine, service):
    """Each has its reason in `journalctl -u`, however soon the check's process ends."""
    service.set_bus("local")
    service.wait_ready()
    n = 30
    for i in range(n):
        service.set_bus("local", f"[streams]\nspread = refused{i}\n")
        assert machine.systemctl("reload", "flagsse.service", check=False).returncode != 0
    service.set_bus("local")

    def missing():
        text = machine.run("journalctl", "-u", "flagsse.service", "-o", "cat").stdout
        return [i for i in range(n) if f'"refused{i}"' not in text]
    wait_until(lambda: not missing(), lambda: f"no reason for {missing()}")


def test_reasons_of_refused_starts(machine, service):
    machine.systemctl("stop", "flagsse.socket", "flagsse.service")
    service.set_bus("local", "[streams]\nspread = refused\n")
    machine.systemctl("start", "flagsse.service", check=False)

    def told():
        text = machine.run("journalctl", "-u", "flagsse.service", "-o", "cat").stdout
        return '"refused"' in text and machine.journal(MESSAGE_ID=message_id("CONFIG_REFUSED"))
    wait_until(told, "no reason")
    service.set_bus("local")
