# SPDX-License-Identifier: BSD-3-Clause
"""The client of the bench (client.c), told what to do."""
import json
import subprocess

from servers import BUILD, TOKEN

AT_ONCE = 1000  # streams on their way at a time, where it is not a storm that is measured


class Client:
    def __init__(self, port, key):
        self.process = subprocess.Popen(
            [BUILD / "bench" / "client", str(port), key, TOKEN], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)

    def ask(self, command):
        """Sends a command; answer() waits for what becomes of it."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, "the client has failed; see above"
        return json.loads(line)

    def open(self, streams, at_once=AT_ONCE):
        answer = self.try_to_open(streams, at_once)
        assert answer["lost"] == 0, answer
        return answer

    def try_to_open(self, streams, at_once):
        """Some may be lost."""
        self.ask(f"open {streams} {at_once}")
        answer = self.answer()
        assert answer["open"] + answer["lost"] == streams, answer
        return answer

    def updated(self):
        answer = self.answer()
        assert 200 <= answer["status"] < 300 and answer["got"] == answer["expected"], answer
        return answer

    def update(self, stream=0):
        self.ask(f"update {stream}")
        return self.updated()

    def watch(self, seconds):
        self.ask(f"watch {seconds}")
        return self.answer()
