# SPDX-License-Identifier: BSD-3-Clause
"""The blocks of README.md and doc/*.md for which a daemon is enough."""
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon import clean_environment, program, run
from documents import example
from wire import TIMEOUT, wait_until


# ---- README.md: one watches, the other publishes ----


def console(mark):
    """(command, what it shows)."""
    lines = example("console", mark, "README.md").removeprefix("$ ").splitlines(keepends=True)
    n = 1
    while lines[n - 1].endswith("\\\n"):
        n += 1
    return "".join(lines[:n]), "".join(lines[n:])


def like(text):
    """A pattern for this text with other numbers."""
    return re.sub(r"\d+", r"\\d+", re.escape(text))


def test_watch_and_publish(start, tmp_path):
    daemon = start.daemon(token="demo-token")
    url, event = "http://%s:%d/" % daemon.address, example("", "event: ", "README.md")
    (watch, greeting), (publish, answer) = console("curl -N"), console("curl -X POST")
    watched = tmp_path / "watched"

    def here(command):
        assert command.count("http://127.0.0.1:8088/") == 1
        return ["bash", "-c", "exec " + command.replace("http://127.0.0.1:8088/", url)]

    def shows(text):
        wait_until(lambda: re.fullmatch(like(text), watched.read_text()), lambda: f"it shows {watched.read_text()!r}")

    with open(watched, "wb") as file:
        watching = subprocess.Popen(here(watch), stdout=file, stderr=subprocess.DEVNULL, env=clean_environment())
    try:
        shows(greeting)
        result = subprocess.run(here(publish), capture_output=True, text=True, timeout=TIMEOUT, env=clean_environment(),
                                check=True)
        assert re.fullmatch(like(answer.rstrip("\n")), result.stdout)
        shows(greeting + event)
    finally:
        watching.kill()
        watching.wait(TIMEOUT)


# ---- doc/install.md and doc/operations.md: settings, and how to check them ----


@pytest.fixture(name="site")
def fixture_site(tmp_path):
    """flagsse.conf, with doc/install.md's site.conf in its place and a token."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "token").write_text("secret\n")
    text = example("ini", "token_file = ", "doc/install.md").replace("/etc/flagsse/token", str(tmp_path / "token"))
    for file, content in ((tmp_path / "flagsse.conf", ""), (tmp_path / "conf.d/site.conf", text)):
        file.write_text(content)
        file.chmod(0o600)
    (tmp_path / "token").chmod(0o600)
    return tmp_path / "flagsse.conf"


def test_commands_that_check(site):
    """Each as it stands, but that no command stays, and none reads /etc."""
    commands = re.findall(r"^(?:sudo -u flagsse )?flagsse\b([^#\n]*)",
                          example("sh", "--check-config", "doc/install.md"), re.M)
    options = [shlex.split(command) for command in commands]
    assert [] in options and ["--standalone"] in options
    for given in options:
        whole = [] if "--check-file" in given else ["-c", site]
        check = [] if any(option.startswith(("--check", "--print")) for option in given) else ["--check-config"]
        result = run(*whole, *given, *check, cwd=site.parent / "conf.d")
        assert (result.returncode, result.stderr) == (0, ""), (given, result.stderr)
        if "--print-config" in given:
            assert "nats-2.example.org" in result.stdout and "password" not in result.stdout


@pytest.mark.parametrize("mark,document", [("max_streams = ", "doc/operations.md"), ("type = local", "README.md")])
def test_file_of_settings(tmp_path, mark, document):
    file = tmp_path / "site.conf"
    file.write_text(example("ini", mark, document))
    result = run("--check-file", file)
    assert (result.returncode, result.stderr) == (0, "")


def stand_in(directory, name, script):
    """A command that answers in the place of the system's."""
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def type_in(command, directory):
    """Runs it with the stand-ins in the directory and the flagsse under test, and gives what it prints."""
    path = f"{directory}:{Path(program()).parent}:{os.environ['PATH']}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=TIMEOUT,
                          env=clean_environment(PATH=path), check=True).stdout


def stand_in_for_systemctl(directory, pid):
    """It knows the process of the service."""
    stand_in(directory, "systemctl", f"[ \"$*\" = 'show --value -p MainPID flagsse' ] && echo {pid}")


def test_what_runs_is_printed(local_service, tmp_path):
    stand_in_for_systemctl(tmp_path, local_service.pid)
    printed = type_in(example("sh", "--print-config", "doc/operations.md"), tmp_path)
    assert f"listen = {local_service.listen}" in printed


def test_replaced_program_is_told(local_service, tmp_path):
    """What the document shows, of a program that is not there any more; and of one that is."""
    block = example("sh", "readlink", "doc/fleets.md")
    old = tmp_path / "flagsse"
    shutil.copy("/bin/sleep", old)
    stand_in(tmp_path, "sudo", 'exec "$@"')
    with subprocess.Popen([old, "60"]) as process:
        stand_in_for_systemctl(tmp_path, process.pid)
        old.unlink()
        replaced = type_in(block, tmp_path)
        process.kill()
    assert re.search('# "(.*)"$', block, re.M)[1].replace("/usr/bin/flagsse", str(old)) + "\n" == replaced
    stand_in_for_systemctl(tmp_path, local_service.pid)
    assert type_in(block, tmp_path) == f"{program()}\n"
