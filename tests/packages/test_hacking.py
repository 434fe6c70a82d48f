# SPDX-License-Identifier: BSD-3-Clause
"""The commands that HACKING.md, and what else is for developers, tell them to type."""
import fcntl
import os
import re
import shutil

import pytest

from documents import example
from tools import TOP, execute

BUILD = TOP / "build"
PROGRAM = "tests/unit/test-timestamp"

# Those of "By hand" that take long: a part of what CI runs, and where it stands.
RUN_BY_CI = {
    "./bootstrap": ("./bootstrap", "tools/common.sh"),
    "mkdir -p build && cd build": ('mkdir -p "$directory"', "tools/common.sh"),
    "../configure": ("$OLDPWD/configure", "tools/common.sh"),
    "make -j2": ('--no-print-directory -j"$(nproc)" all', "tools/common.sh"),
    "make check": ('-j"$(nproc)" check VERBOSE=1', "tools/common.sh"),
    "make check-valgrind": ('-j"$(nproc)" check-valgrind', ".ci/run"),
    "make check-service": ('check-service PYTESTFLAGS="-n 6', "tools/common.sh"),
}


def commands(mark):
    """The lines of a block, without the comments."""
    lines = example("sh", mark, "HACKING.md").splitlines()
    return [re.sub(r" *(#.*)?$", "", line) for line in lines]


@pytest.fixture(name="by_hand")
def fixture_by_hand(tmp_path):
    """Runs a command in the build directory, with nobody else there, and gives what it prints."""
    (tmp_path / "gdb").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "gdb").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def run(command, **more):
        return execute("bash", "-c", command, cwd=BUILD, env={**environment, **more}).stdout

    with open(BUILD / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield run


def checks(said):
    """How many, of which all were right."""
    return int(re.search(r"^100%: Checks: (\d+), Failures: 0, Errors: 0$", said, re.M)[1])


def test_each_by_hand_is_tried():
    tried = [f"make check TESTS={PROGRAM}", f"CK_RUN_CASE=numbers {PROGRAM}", f"CK_FORK=no gdb {PROGRAM}",
             "make check-service PYTESTFLAGS='-k jetstream -x'"]
    assert sorted(commands("./bootstrap")) == sorted([*RUN_BY_CI, *tried])
    for command, (part, file) in RUN_BY_CI.items():
        assert part in (TOP / file).read_text(), f"{file} does not run {command}"


def test_one_program(by_hand):
    said = by_hand(f"make check TESTS={PROGRAM}")
    assert f"PASS: {PROGRAM}" in said and re.search(r"# TOTAL: +1$", said, re.M)
    assert checks((BUILD / f"{PROGRAM}.log").read_text()) > 0


def test_one_case(by_hand):
    by_hand(f"make {PROGRAM}")
    everything = checks(by_hand(f"CK_FORK=no gdb {PROGRAM}"))
    assert 0 < checks(by_hand(f"CK_RUN_CASE=numbers {PROGRAM}")) < everything


def test_some_of_the_service(by_hand):
    """They are found; CI runs them."""
    said = by_hand("make check-service PYTESTFLAGS='-k jetstream -x'", PYTEST_ADDOPTS="--collect-only -q")
    assert "test_jetstream.py" in said and "test_http.py" not in said


def test_update_of_what_is_up_to_date(by_hand):
    files = [TOP / "etc/flagsse/flagsse.conf", TOP / "man/flagsse.conf.5"]
    before = [(file.read_text(), file.stat().st_mtime_ns) for file in files]
    execute("bash", "-c", example("sh", "update-settings", "HACKING.md"), cwd=TOP)
    assert [(file.read_text(), file.stat().st_mtime_ns) for file in files] == before


def test_update_of_settings(tmp_path):
    for name in ("etc", "man"):
        shutil.copytree(TOP / name, tmp_path / name)
    sample, page = "etc/flagsse/flagsse.conf", "man/flagsse.conf.5"
    (tmp_path / sample).write_text("old\n")
    text = (TOP / page).read_text()
    (tmp_path / page).write_text(re.sub(r"^\.SS \[bus\]\n.*?^(?=\.SS)", "old\n", text, count=1, flags=re.M | re.S))
    assert (tmp_path / page).read_text() != text
    execute(TOP / "tools/update-settings", BUILD / "src/flagsse", tmp_path)
    for file in (sample, page):
        assert (tmp_path / file).read_text() == (TOP / file).read_text()


# ---- ./dev and .ci/run: CI runs what they do; here, that there is what is named ----


def told(pattern):
    """What the documents and .ci/run name, in blocks and text."""
    files = [TOP / "README.md", TOP / "HACKING.md", *(TOP / "doc").glob("*.md"), TOP / ".ci/run"]
    return {word for file in files for word in re.findall(pattern, file.read_text())}


def test_commands_of_dev():
    usage = execute(TOP / "dev").stdout
    listed = set(re.findall(r"^  ([a-z][a-z-]*)(?: |$)", usage, re.M))
    named = told(r"\./dev ([a-z][a-z-]*)")
    assert {"run", "test", "lint", "scale"} <= named <= listed, named - listed


def test_stages_of_ci():
    named = " ".join(re.sub(" *#.*", "", line)
                     for line in commands("./dev lint") if line.startswith(".ci/run ")).split()
    stages = re.findall(r"^stage_(\w+)\(\)$", (TOP / ".ci/run").read_text(), re.M)
    assert len(named) > 1 and set(named) - {".ci/run"} <= set(stages)


@pytest.mark.parametrize("document", ["HACKING.md", "doc/architecture.md"])
def test_floor_plan(document):
    """It has all rooms, and each includes only those to its right."""
    plan = re.search(r"^    (\w+(?:(?:, | -> )\w+)+)$", (TOP / document).read_text(), re.M)[1]
    places = {room: place for place, rooms in enumerate(plan.split(" -> ")) for room in rooms.split(", ")}
    graph = execute(TOP / "tests/check-layers", "--graph").stdout
    edges = {tuple(edge) for edge in re.findall(r"^(\w+)\S* -> (\w+)\S* \d+$", graph, re.M)}
    edges = {(user, used) for user, used in edges if user != used}
    assert {room for edge in edges for room in edge} == set(places)
    assert all(places[user] < places[used] for user, used in edges), edges
