# SPDX-License-Identifier: BSD-3-Clause
"""One machine for all tests, torn down whatever becomes of them; each test gets it as freshly installed."""
import os
import signal
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "service"))

pytest.register_assert_rewrite("wire", "sse", "documents", "proxied", "machine", "service", "proxies", "browser")

from browser import Browser  # noqa: E402
from machine import Machine  # noqa: E402
from proxies import Proxies  # noqa: E402
from service import Service  # noqa: E402

_machines = []


def pytest_configure(config):
    """A SIGTERM tears down as a Ctrl-C does."""
    del config
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_sessionstart(session):
    for name in ("FLAGSSE_SYSTEM", "FLAGSSE_PACKAGE"):
        if not os.environ.get(name) and not session.config.option.collectonly:
            pytest.exit(f"{name} is not set; run these tests by ./dev system", returncode=1)


def text_of(log):
    try:
        return log()
    except Exception as error:  # pylint: disable=broad-except
        return f"cannot be read: {error}"  # what it is wanted for is worse


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed and "machine" in item.fixturenames:
        for machine in _machines:
            for name, log in {"journal of flagsse": machine.last_messages, **machine.logs}.items():
                report.sections.append((name, text_of(log)))


@pytest.fixture(scope="session")
def booted():
    machine = Machine(os.environ["FLAGSSE_SYSTEM"], os.environ["FLAGSSE_PACKAGE"])
    try:
        machine.start()
        _machines.append(machine)
        yield machine
    finally:
        _machines.clear()
        machine.stop()


@pytest.fixture
def machine(booted):
    """flagsse is installed, and nothing of it is enabled, started or set."""
    booted.reset()
    return booted


@pytest.fixture
def service(machine):
    """A token and the embedded store are set, the sockets are enabled and started."""
    service = Service(machine)
    service.set_token()
    service.set_bus("local")
    machine.systemctl("enable", "--now", "flagsse.socket")
    return service


def beside(machine, name, helper):
    """Starts it, gives it, stops it; what it logs is shown of tests that fail."""
    machine.logs[name] = helper.log
    try:
        helper.start()
        yield helper
    except BaseException:
        text = text_of(helper.log)
        machine.logs[name] = lambda: text
        raise
    else:
        del machine.logs[name]
    finally:
        helper.stop()


@pytest.fixture(scope="module")
def proxies(booted):
    yield from beside(booted, "logs of the proxies", Proxies(booted))


@pytest.fixture(scope="module")
def browser(booted):
    yield from beside(booted, "log of the browser", Browser(booted.directory))
