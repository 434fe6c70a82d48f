# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: daemons and NATS servers that are stopped, and checked, whatever becomes of the test."""
import sys
from collections import namedtuple

import pytest

sys.dont_write_bytecode = True

pytest.register_assert_rewrite(
    "wire", "sse", "nats", "notify", "daemon", "handover", "namespaces", "network", "relay", "shim", "systemd", "attacks",
    "skew")

import daemon as daemon_module  # noqa: E402
from daemon import Daemon, fresh_key, program  # noqa: E402
from nats import NatsServer, find_nats_server  # noqa: E402
from network import Network  # noqa: E402
from notify import Notify  # noqa: E402
from shim import Shim, build  # noqa: E402


def pytest_sessionstart(session):
    """Says at once what is missing: no test passes or is skipped without it."""
    if session.config.option.collectonly:
        return
    try:
        program()
        find_nats_server()
    except AssertionError as error:
        if session.config.getoption("file_or_dir") and all(
                "test_parser" in name for name in session.config.getoption("file_or_dir")):
            return
        pytest.exit(str(error).split("\nassert")[0], returncode=1)


def pytest_terminal_summary(terminalreporter):
    """No test is left out in silence."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("not run")
    for report in skipped:
        terminalreporter.line(f"{report.nodeid}: {report.longrepr[2].removeprefix('Skipped: ')}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for daemon in daemon_module.running:
            report.sections.append((f"log of flagsse in {daemon.directory}", daemon.log_tail()))


class Starter:
    """Starts daemons and NATS servers in directories of their own."""

    def __init__(self, directory):
        self.directory = directory
        self.daemons = []
        self.servers = []

    def daemon(self, wait="/readyz", **options):
        daemon = Daemon(self.directory / f"flagsse-{len(self.daemons)}", **options)
        self.daemons.append(daemon)
        return daemon.start(wait)

    def nats(self, start=True, **options):
        server = NatsServer(self.directory / f"nats-{len(self.servers)}", **options)
        self.servers.append(server)
        return server.start() if start else server

    def bus_options(self, bus):
        """What a daemon needs to be on this kind of bus."""
        if bus == "local":
            return {"bus": "local"}
        return {"bus": "nats", "nats_url": self.nats().url}

    def stop(self):
        problems = []
        for daemon in self.daemons:
            try:
                daemon.stop()
            except AssertionError as error:
                problems.append(str(error))
                daemon.kill()
        for server in self.servers:
            server.stop()
        assert not problems, "\n".join(problems)


@pytest.fixture
def start(tmp_path):
    """Daemons and servers for one test."""
    starter = Starter(tmp_path)
    try:
        yield starter
    finally:
        starter.stop()


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory):
    """Daemons and servers for all tests of a file."""
    starter = Starter(tmp_path_factory.mktemp("shared"))
    try:
        yield starter
    finally:
        starter.stop()


@pytest.fixture(scope="module", params=["local", "nats"])
def service(request, start_shared):
    """A daemon that the tests of a file share, on each kind of bus.  Use keys of your own."""
    return start_shared.daemon(**start_shared.bus_options(request.param))


@pytest.fixture(scope="module")
def nodes(start_shared):
    """Two daemons on one NATS."""
    url = start_shared.nats().url
    return [start_shared.daemon(bus="nats", nats_url=url) for _ in range(2)]


@pytest.fixture(scope="module")
def local_service(start_shared):
    """The same on the local bus alone, where the bus makes no difference."""
    return start_shared.daemon(bus="local")


@pytest.fixture(params=["local", "nats"])
def bus(request):
    return request.param


@pytest.fixture
def key():
    return fresh_key()


@pytest.fixture
def notify(tmp_path):
    notify = Notify(tmp_path)
    yield notify
    notify.sock.close()


OnNats = namedtuple("OnNats", "daemon server client")


@pytest.fixture
def on_nats(start):
    """A daemon, its NATS server and a client of that, for tests that disturb them."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    with server.client() as client:
        yield OnNats(daemon, server, client)


@pytest.fixture
def network():
    network = Network()
    try:
        yield network
    finally:
        network.remove()


@pytest.fixture(scope="session")
def shim_library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def shim(tmp_path, shim_library):
    """For a daemon with env=shim.env."""
    return Shim(tmp_path, shim_library)
