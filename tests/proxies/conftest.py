# SPDX-License-Identifier: BSD-3-Clause
"""flagsse, and each proxy in front of it."""
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "service"))

pytest.register_assert_rewrite("wire", "sse", "daemon", "documents", "proxied", "fronts")

from daemon import Daemon, program  # noqa: E402
from fronts import FRONTS, Front, make_certificate  # noqa: E402

# Events must not come with the next keep-alive, and a client that is gone be noticed by one.
CONFIG = "[streams]\nkeepalive = 2s\nretry_max = 1s\n[profile short]\nuser_agent = Short/\nmax_age = 1s\n"


def pytest_sessionstart(session):
    if session.config.option.collectonly:
        return
    try:
        program()
    except AssertionError as error:
        pytest.exit(str(error).split("\nassert")[0], returncode=1)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("flagsse"), config=CONFIG).start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module", params=FRONTS)
def front(request, daemon, certificate, tmp_path_factory):
    front = Front(FRONTS[request.param], daemon, certificate, tmp_path_factory.mktemp(request.param))
    try:
        yield front.start()
    finally:
        front.stop()
