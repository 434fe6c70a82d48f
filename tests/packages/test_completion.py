# SPDX-License-Identifier: BSD-3-Clause
"""Completion in the two shells: what a user gets who presses the tabulator."""
import os
import pty
import re
import select
import signal
import time

import pytest

from tools import TOP, execute

BASH = TOP / "completion/bash/flagsse"
ZSH = TOP / "completion/zsh/_flagsse"
PROGRAM = TOP / "build/src"
# As --help has them: "  -c FILE   ...", "  -V, --version   ...".
OPTIONS = [option for words in re.findall(r"^  (-.*?)(?:  |$)", execute(PROGRAM / "flagsse", "--help").stdout, re.M)
           for option in re.findall(r"(?<!\S)--?[A-Za-z-]+", words)]


class Shell:
    """An interactive one at a terminal, which ends with the test."""

    def __init__(self, directory, command, setup):
        environment = {**os.environ, "PATH": f"{PROGRAM}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(directory)}
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe(command[0], command, environment)
        self.type(f"{setup}\necho is-''ready\n")
        self.read("is-ready")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def read(self, expected):
        """All until this comes, within a minute."""
        text, end = "", time.monotonic() + 60
        while expected not in text:
            readable, _, _ = select.select([self.terminal], [], [], max(0, end - time.monotonic()))
            assert readable, f"no {expected!r} in {text!r}"
            text += os.read(self.terminal, 65536).decode()
        return text

    def completed(self, line):
        """What a line becomes by one tabulator; it is printed and not run."""
        self.type(f"echo-line {line}\t")
        # The shell has done the tabulator's work before it reads on.
        self.type("\necho is-''done\n")
        (made,) = re.findall(r"^<(.*)>\r$", self.read("is-done"), re.M)
        return made

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


SHELLS = {
    # A command of this name completes as flagsse does, and prints what it was given.
    "bash": (["bash", "--norc", "--noprofile", "-i"],
             f". {BASH}; echo-line() {{ echo \"<$*>\"; }}; "
             f"_line() {{ _flagsse flagsse \"$2\" \"$3\"; }}; complete -F _line echo-line"),
    "zsh": (["zsh", "-f", "-i"],
            f"fpath=({ZSH.parent} $fpath); autoload -U compinit; compinit -u -D; "
            "echo-line() { echo \"<$*>\" }; _line() { words[1]=flagsse; _flagsse }; compdef _line echo-line"),
}


@pytest.fixture(name="shell", params=SHELLS)
def fixture_shell(request, tmp_path):
    shell = Shell(tmp_path, *SHELLS[request.param])
    yield shell
    shell.close()


def test_syntax():
    execute("bash", "-n", BASH)
    execute("zsh", "-n", ZSH)


def test_options(shell):
    for option in OPTIONS:
        if option.startswith("--") and not any(other != option and other.startswith(option) for other in OPTIONS):
            assert shell.completed(option[:-1]) == option


def test_settings(shell):
    assert shell.completed("-o streams.max_s") == "-o streams.max_streams="
    assert shell.completed("-o nats.u") == "-o nats.url="


def test_files(shell, tmp_path):
    (tmp_path / "some.conf").touch()
    assert shell.completed("-c so") == "-c some.conf"
    assert shell.completed("--check-file so") == "--check-file some.conf"


def test_bash_knows_all():
    """And nothing else, besides where a file, a process or a value is wanted."""
    def answers(word, previous):
        script = (f". {BASH}; _flagsse {PROGRAM / 'flagsse'} '{word}' '{previous}'; "
                  "printf '%s\\n' ${COMPREPLY[@]+\"${COMPREPLY[@]}\"}")
        return execute("bash", "-uc", script).stdout.split()

    assert answers("", "flagsse") == OPTIONS and len(OPTIONS) > 8
    settings = re.findall(r"^([a-z]+\.[a-z_]+)$", execute(PROGRAM / "flagsse", "--help").stdout, re.M)
    assert sorted(answers("", "-o")) == sorted(f"{name}=" for name in settings if " " not in name)
    assert answers("", "=") == answers("=", "http.listen") == []
