# SPDX-License-Identifier: BSD-3-Clause
"""Proves that the checker can fail: flagsse is broken on purpose, and the checker has to find out.

Each SABOTAGE is a change of a copy of the sources; the product's own know nothing of it.  It names the text that is
replaced, which must be there exactly once: where the sources have moved on, this fails, and wants to be brought up to
date.  The course of the run is one of rounds.COURSES.  The same course must find nothing in the program as it is.
"""
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
DIRECTORY = TOP / "build" / "chaos" / "sabotage"
SOURCES = ("src", "etc", "man", "systemd", "build-aux", "configure", "configure.ac", "aclocal.m4", "Makefile.am",
           "Makefile.in", "tests", "tools", "dev", "bootstrap")


@dataclass
class Sabotage:
    course: str
    what: str
    file: str
    good: str
    bad: str
    rule: str  # that has to be found broken


SABOTAGES = (
    Sabotage("purge", "it forgets to read again after a purge", "src/bus/nats-session.c",
             "(!bus->standard_shape || info->State.Msgs >= nats_subjects_alive(bus))", "true", "lost"),
)


def build(sabotage):
    """The program with the change; its path."""
    tree = DIRECTORY / sabotage.course
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in SOURCES:
        source = TOP / name
        assert source.exists(), f"{source} is not there: ./dev build"
        if source.is_dir():
            shutil.copytree(source, tree / name, symlinks=True)
        else:
            shutil.copy2(source, tree / name)
    change(tree / sabotage.file, sabotage)
    for command in (["./configure", "--quiet", "CFLAGS=-O1"], ["make", "-s", f"-j{os.cpu_count()}", "src/flagsse"]):
        result = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                check=False)
        assert result.returncode == 0, f"{command} in {tree}: {result.stdout}"
    return tree / "src" / "flagsse"


def change(path, sabotage):
    text = path.read_text()
    assert text.count(sabotage.good) == 1, (
        f"{sabotage.file} has this {text.count(sabotage.good)} times, not once; the sabotage that "
        f"\"{sabotage.what}\" has to be brought up to date in {__file__}:\n{sabotage.good}")
    path.write_text(text.replace(sabotage.good, sabotage.bad))


def run(course, program):
    """The exit status of a run of the course, and all it said."""
    command = ["/usr/bin/python3", str(Path(__file__).with_name("chaos.py")), "--course", course, "--seed", "1",
               "--directory", str(DIRECTORY / f"run-{course}")]
    result = subprocess.run(command, env={**os.environ, **({"FLAGSSE": str(program)} if program else {})},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return result.returncode, result.stdout


def check(sabotage):
    begun = time.monotonic()
    status, output = run(sabotage.course, None)
    assert status == 0, f"the course {sabotage.course} fails with the program as it is:\n{output}"
    status, output = run(sabotage.course, build(sabotage))
    assert status == 1 and f" x {sabotage.rule}" in output, (
        f"the checker has not found out that {sabotage.what} (exit status {status}):\n{output}")
    found = next(line for line in output.splitlines() if "violations: " in line)
    print(f"found that {sabotage.what}: {found} ({time.monotonic() - begun:.0f} s)", flush=True)


def main():
    for sabotage in SABOTAGES:
        check(sabotage)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"self-test: {error}")
