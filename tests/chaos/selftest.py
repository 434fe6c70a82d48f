# SPDX-License-Identifier: BSD-3-Clause
"""Proves that the checker can fail: flagsse is broken on purpose, and the checker has to find out.

Each SABOTAGE is a change of a copy of the sources; the product's own know nothing of it.  It names the text that is
replaced, which must be there exactly once: where the sources have moved on, this fails, and wants to be brought up to
date.  The course of the run is one of rounds.COURSES.  The same course must find nothing in the program as it is.
"""
import contextlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
DIRECTORY = TOP / "build" / "chaos" / "self-test"
TREE = DIRECTORY / "tree"
BROKEN_PATIENCE = "12"  # seconds; a broken program never comes to an agreement
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
    Sabotage("late", "what is older than the latest goes out with the latest's time", "src/update/update.c",
             "\t\tupdate->time_us = time_us + 1;\n", "\t\tupdate->time_us = time_us;\n", "no news"),
    Sabotage("late-outbox", "what waited is dropped for a younger one that had been stored before",
             "src/update/update.c", "\t\treturn latest->told_us <= before_us;\n", "\t\treturn false;\n", "lost"),
    Sabotage("outbox", "there is no outbox: what NATS does not take is refused", "src/relay/publish.c",
             "\tif (!relay->outbox) {\n\t\trefuse(relay, pending, why);",
             "\tif (true) {\n\t\trefuse(relay, pending, \"NATS is away. Try again.\");", "answer refused"),
    Sabotage("outbox", "the outbox does not write down what it has accepted", "src/bus/store/outbox.c",
             "\tr = store_put(store, STORE_OUTBOX, &update);", "\tr = 0;", "lost"),
    Sabotage("purge", "it forgets to read again after a purge", "src/bus/nats/session.c",
             "(!bus->standard_shape || stream->n_messages >= nats_subjects_alive(bus))", "true", "lost"),
    Sabotage("silent", "it waits for ever for a server that falls silent", "src/bus/nats/phases.c",
             "\tif (bus->attempt && now_ms >= bus->attempt_until_ms)", "\tif (false)", "not the same"),
    Sabotage("refused", "it drops from the outbox what NATS refuses", "src/relay/backlog.c",
             "\t\tif (publication_is_refused(publication))\n\t\t\trow_rest(relay, row);\n",
             "\t\tif (publication_is_refused(publication))\n"
             "\t\t\trow_arrived(relay, row, publication->outcome);\n", "lost"),
    Sabotage("clocks", "it forgets updates by the node's own clock", "src/relay/relay.c",
             "\treturn bus_clock_us(&relay->bus_state.clock, clock_wall_us(), clock_steady_us());",
             "\t(void)relay;\n\treturn clock_wall_us();", "lost"),
)


def copy_sources():
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    for name in SOURCES:
        source = TOP / name
        assert source.exists(), f"{source} is not there: ./dev build"
        if source.is_dir():
            shutil.copytree(source, TREE / name, symlinks=True)
        else:
            shutil.copy2(source, TREE / name)
    call("./configure", "--quiet", "CFLAGS=-O1")


def call(*command):
    result = subprocess.run(command, cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            check=False)
    assert result.returncode == 0, f"{command} in {TREE}: {result.stdout}"


@contextlib.contextmanager
def sabotaged(sabotage):
    """The program with the change."""
    path = TREE / sabotage.file
    good = path.read_text()
    change(path, sabotage)
    try:
        call("make", "-s", f"-j{os.cpu_count()}", "src/flagsse")
        yield TREE / "src" / "flagsse"
    finally:
        path.write_text(good)


def change(path, sabotage):
    text = path.read_text()
    assert text.count(sabotage.good) == 1, (
        f"{sabotage.file} has this {text.count(sabotage.good)} times, not once; the sabotage that "
        f"\"{sabotage.what}\" has to be brought up to date in {__file__}:\n{sabotage.good}")
    path.write_text(text.replace(sabotage.good, sabotage.bad))


def run(course, program=None):
    """The exit status of a run of the course, and all it said."""
    command = ["/usr/bin/python3", str(Path(__file__).with_name("chaos.py")), "--course", course, "--seed", "1",
               "--directory", str(DIRECTORY / f"run-{course}")]
    env = dict(os.environ)
    if program:
        env["FLAGSSE"] = str(program)
        command += ["--patience", BROKEN_PATIENCE]
    result = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return result.returncode, result.stdout


def check(sabotage):
    begun = time.monotonic()
    with sabotaged(sabotage) as program:
        status, output = run(sabotage.course, program)
    assert status == 1 and f" x {sabotage.rule}" in output, (
        f"the checker has not found out that {sabotage.what} (exit status {status}):\n{output}")
    found = next(line for line in output.splitlines() if "violations: " in line)
    print(f"{sabotage.what}: found, {found} ({time.monotonic() - begun:.0f} s)", flush=True)


def main():
    for course in sorted({sabotage.course for sabotage in SABOTAGES}):
        status, output = run(course)
        assert status == 0, f"the course {course} fails with the program as it is:\n{output}"
        print(f"the course {course} with the program as it is: nothing found", flush=True)
    copy_sources()
    for sabotage in SABOTAGES:
        check(sabotage)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"self-test: {error}")
