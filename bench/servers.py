# SPDX-License-Identifier: BSD-3-Clause
"""The servers that are measured.  Each is started on a free port in a directory of its own, and stopped."""
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "service"))

import process  # noqa: E402
from daemon import TOKEN, Daemon, free_port, program  # noqa: E402
from nats import NatsServer  # noqa: E402
from wire import connect, wait_until  # noqa: E402

BUILD = Path(program()).parents[1]
NCHAN_MODULES = "/usr/lib/nginx/modules"
# No stream ends by itself while it is measured.  All else is as it comes.
OPTIONS = ["streams.max_age=0"]


class Flagsse:
    """With its embedded store."""
    name = "flagsse"

    def __init__(self, directory, options=()):
        self.daemon = Daemon(directory / "flagsse", options=[*OPTIONS, *options])

    def __enter__(self):
        self.daemon.start()
        return self

    def __exit__(self, *_):
        self.daemon.kill()

    @property
    def port(self):
        return self.daemon.address[1]

    @property
    def pids(self):
        return [self.daemon.pid]


class FlagsseOnNats(Flagsse):
    """On a nats-server of its own, whose CPU does not count as flagsse's."""
    name = "flagsse-nats"

    def __init__(self, directory, options=()):
        super().__init__(directory, options)
        self.nats = NatsServer(directory / "nats")
        self.daemon.bus = "nats"
        self.daemon.nats_url = self.nats.url

    def __enter__(self):
        self.nats.start()
        return super().__enter__()

    def __exit__(self, *_):
        super().__exit__()
        self.nats.kill()

    @property
    def nats_pids(self):
        return [self.nats.process.pid]


class Program:
    """A program that listens on the port that it is given."""
    name = ""

    def __init__(self, directory):
        self.directory = directory / self.name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process = None

    def arguments(self):
        raise NotImplementedError

    def __enter__(self):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(self.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, f"{self.name} does not start: see {self.directory}/log")
        return self

    def _answers(self):
        assert self.process.poll() is None, f"{self.name} ended: see {self.directory}/log"
        try:
            connect(("127.0.0.1", self.port)).close()
            return True
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)

    @property
    def pids(self):
        return process.children(self.process.pid)


class Floor(Program):
    """The bare loop of send()."""
    name = "floor"

    def arguments(self):
        return [BUILD / "bench" / "floor", str(self.port)]


class Nchan(Program):
    """nginx with nchan, one worker."""
    name = "nchan"

    def arguments(self):
        text = (HERE / "nchan.conf").read_text()
        for name, value in (("PORT", self.port), ("DIRECTORY", self.directory), ("MODULES", NCHAN_MODULES)):
            text = text.replace(f"@{name}@", str(value))
        path = self.directory / "nginx.conf"
        path.write_text(text)
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert nginx, "there is no nginx: apt-get install nginx libnginx-mod-nchan"
        return [nginx, "-c", str(path), "-e", str(self.directory / "error.log")]


class Node(Program):
    """A Set of responses."""
    name = "node"

    def arguments(self):
        return ["node", str(HERE / "server.js"), str(self.port)]


ALL = [Floor, Flagsse, FlagsseOnNats, Nchan, Node]
