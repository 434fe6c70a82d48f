# SPDX-License-Identifier: BSD-3-Clause
"""What `./dev check-packages` has built, in $FLAGSSE_PACKAGES."""
import os
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "service"))

pytest.register_assert_rewrite("wire", "sse")


def pytest_sessionstart(session):
    if not os.environ.get("FLAGSSE_PACKAGES") and not session.config.option.collectonly:
        pytest.exit("FLAGSSE_PACKAGES is not set; run these tests by ./dev check-packages", returncode=1)


@pytest.fixture(scope="session")
def packages():
    return Path(os.environ["FLAGSSE_PACKAGES"])
