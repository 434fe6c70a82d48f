# SPDX-License-Identifier: BSD-3-Clause
"""Very many subscribers, in a process of their own."""
import json
import subprocess
import sys
from pathlib import Path

from machine import ADDRESS4, PORT


class Subscribers:
    """subscribers.py, from here."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("subscribers.py")), ADDRESS4, str(PORT)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, command, **arguments):
        self.process.stdin.write(json.dumps([command, arguments]) + "\n")
        self.process.stdin.flush()

    def answer(self):
        answer = json.loads(self.process.stdout.readline())
        assert answer["problems"] == [], answer
        return answer

    def tell(self, command, **arguments):
        self.begin(command, **arguments)
        return self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
