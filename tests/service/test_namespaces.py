# SPDX-License-Identifier: BSD-3-Clause
"""Tests that need a namespace, where none can be made."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

NEEDS = {"net": ("test_faults.py::test_half_open_peer", "needs CAP_NET_ADMIN"),
         "mount": ("test_outbox.py::test_read_only", "needs CAP_SYS_ADMIN")}


def run_forbidden(directory, test, **env):
    """pytest on one test, where unshare(1) fails."""
    forbidden = directory / "unshare"
    forbidden.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    forbidden.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith(("PYTEST_", "FLAGSSE_TESTS"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", Path(__file__).parent / test],
        env={**inherited, "PATH": f"{directory}:{os.environ['PATH']}", **env}, capture_output=True, text=True,
        timeout=60, check=False)


@pytest.mark.parametrize("kind", NEEDS)
def test_listed_as_not_run(tmp_path, kind):
    test, reason = NEEDS[kind]
    result = run_forbidden(tmp_path, test)
    assert result.returncode == 0, result.stdout
    listed = result.stdout.partition(" not run ")[2]
    assert test in listed and reason in listed, result.stdout


@pytest.mark.parametrize("kind", NEEDS)
def test_has_to_run(tmp_path, kind):
    """In CI."""
    test, reason = NEEDS[kind]
    result = run_forbidden(tmp_path, test, FLAGSSE_TESTS="all")
    assert result.returncode == 1 and f"Failed: {reason}" in result.stdout, result.stdout
