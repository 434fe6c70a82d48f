# SPDX-License-Identifier: BSD-3-Clause
"""tests/check-layers, which `make check` runs, finds what breaks the floor plan of src/."""
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]

# A line, where it is added, and what is said of it.
FAULTS = [
    ('#include "server/server.h"', "relay/publish.c", "relay knows nothing of server"),
    ('#include "bus/bus.h"', "hub/hub.c", "hub knows nothing of bus"),
    ('#include "http/http.h"', "bus/store/local.c", "bus/store knows nothing of http"),
    ('#include "config/config.h"', "http/http.c", "http knows nothing of config"),
    ('#include "update/key.h"', "base/text.c", "base knows nothing of update"),
    ('#include "restart/restart.h"', "relay/relay.c", "relay knows nothing of restart"),
    ('#include "hub/shard-internal.h"', "server/server.c", "is for src/hub/ only"),
    ('#include "../base/log.h"', "hub/hub.c", "is not given from src/"),
    ('#include "log.h"', "hub/hub.c", "is not given from src/"),
    ('#  include   "attic/thing.h"', "hub/hub.c", "no such room in the floor plan"),
    ("#include <microhttpd.h>", "relay/publish.c", "microhttpd.h is not for this file"),
    ("#include <sqlite3.h>", "bus/store/local.c", "sqlite3.h is not for this file"),
    ("#include <nats/nats.h>", "bus/store/store.c", "nats/nats.h is not for this file"),
    ("#include <json-c/json.h>", "hub/hub.c", "json-c/json.h is not for this file"),
    ("int thing;", "attic/thing.c", 'no such room in the floor plan: "src/attic"'),
    ('#include "base/log.h"', "thing.c", 'no such room in the floor plan: "src/"'),
]


@pytest.fixture
def tree(tmp_path):
    shutil.copytree(SOURCE / "src", tmp_path / "src")
    return tmp_path


def check(tree):
    return subprocess.run([SOURCE / "tests/check-layers", tree], capture_output=True, text=True)


def test_all_well(tree):
    result = check(tree)
    assert result.returncode == 0, result.stdout
    assert "all well" in result.stdout


@pytest.mark.parametrize("line,place,told", FAULTS)
def test_fault(tree, line, place, told):
    path = tree / "src" / place
    path.parent.mkdir(exist_ok=True)
    with open(path, "a") as file:
        file.write(line + "\n")
    result = check(tree)
    assert result.returncode == 1, result.stdout
    assert told in result.stdout
    assert "check-layers: 1 fault" in result.stdout


def test_room_has_moved(tree):
    (tree / "src/relay").rename(tree / "relay")
    result = check(tree)
    assert result.returncode == 2
    assert "src/relay" in result.stdout
