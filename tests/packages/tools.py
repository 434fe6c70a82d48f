# SPDX-License-Identifier: BSD-3-Clause
"""Commands, what is inside of a program, and whether it works."""
import re
import subprocess
from pathlib import Path

from daemon import Daemon, fresh_key

TOP = Path(__file__).resolve().parents[2]


def execute(*command, check=True, **options):
    result = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=options.pop("timeout", 600), check=False, **options)
    assert not check or result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result


def only(paths):
    """The one path of what should be one."""
    paths = list(paths)
    assert len(paths) == 1, paths
    return paths[0]


def hardening(program):
    """Which of the usual protections a program has, as its own tables say."""
    header = execute("readelf", "--wide", "--file-header", "--program-headers", "--dynamic", program).stdout
    symbols = execute("readelf", "--wide", "--dyn-syms", program).stdout
    found = set()
    if re.search(r"Type: +DYN", header) and "INTERP" in header:
        found.add("PIE")
    if "GNU_RELRO" in header:
        found.add("RELRO")
    if re.search(r"\(FLAGS\).*BIND_NOW", header) or re.search(r"\(FLAGS_1\).*NOW", header):
        found.add("BIND_NOW")
    if re.search(r"GNU_STACK.* RW +0x", header):
        found.add("no executable stack")
    if "__stack_chk_fail@" in symbols:
        found.add("stack protector")
    if re.search(r"__\w+_chk@", symbols.replace("__stack_chk", "")):
        found.add("fortify")
    return found


def publish_and_receive(program, directory, monkeypatch):
    """Runs this flagsse and sends it an update, which a stream must get."""
    monkeypatch.setenv("FLAGSSE", str(program))
    monkeypatch.setenv("FLAGSSE_SANITIZER", "")
    daemon = Daemon(directory / "daemon").start()
    try:
        key = fresh_key()
        with daemon.stream(key) as stream:
            time_us = daemon.publish(key)
            assert stream.event() == time_us
    finally:
        daemon.stop()
