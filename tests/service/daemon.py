# SPDX-License-Identifier: BSD-3-Clause
"""The daemon under test: started in a clean environment, and held to a clean end."""
import collections
import datetime
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from sse import Stream
from wire import TIMEOUT, Connection, parse_metrics, request, wait_until

TOKEN = "test-token-0123456789"
SANITIZER_REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
                     "WARNING: ThreadSanitizer")

running = []  # for the report of a failed test


def program():
    """The program: $FLAGSSE, or where `./dev build` puts it."""
    default = Path(__file__).resolve().parents[2] / "build" / "src" / "flagsse"
    path = Path(os.environ.get("FLAGSSE") or default).resolve()
    assert path.is_file() and os.access(path, os.X_OK), (
        f"{path} is not there: build it first (./dev build), or set FLAGSSE to its path")
    return str(path)


def under_sanitizer():
    return os.environ.get("FLAGSSE_SANITIZER", "") not in ("", "0")


_claims = collections.deque(maxlen=300)  # more ports than one test has


def claim_port(port):
    """For us, among all tests that run on this network; a port is in nobody's use until a server listens there."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0flagsse-test-port-{port}")  # an abstract name, as unix(7) has it, is the network's
    except OSError:
        claim.close()
        raise
    _claims.append(claim)


def free_port():
    """A port that nobody uses, from below the range that outgoing connections get theirs from."""
    while True:
        port = random.randrange(10000, 32000)
        try:
            claim_port(port)
            for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                with socket.socket(family) as sock:
                    if family == socket.AF_INET6:
                        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    sock.bind((host, port))
            return port
        except OSError:
            continue


def clean_environment(**variables):
    """Nothing of the tester's own settings; what the sanitizers need stays."""
    kept = {name: value for name, value in os.environ.items()
            if name in ("PATH", "HOME") or name.endswith("SAN_OPTIONS")}
    return {"LC_ALL": "C.UTF-8", **kept, **variables}


def check_sanitizers(text):
    for report in SANITIZER_REPORTS:
        assert report not in text, text


def run(*arguments, env=None, cwd=None, timeout=TIMEOUT, errors=None):
    """Runs the program to its end, with nothing in the environment but `env`."""
    result = subprocess.run(
        [program(), *map(str, arguments)], env=clean_environment(**(env or {})), cwd=cwd,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors=errors, timeout=timeout,
        check=False)
    check_sanitizers(result.stderr)
    return result


_last_us = 0


def fresh_time_us():
    """Now, in microseconds; never the same twice."""
    global _last_us
    _last_us = max(_last_us + 1, time.time_ns() // 1000)
    return _last_us


# Where nobody knows what was accepted first, an update is written some microseconds above its time, or once more.
JUST_ABOVE_US = 1000


def is_or_is_just_above(us, time_us):
    return us and time_us <= us <= time_us + JUST_ABOVE_US


_keys = itertools.count(random.randrange(10**6) * 1000)


def fresh_key():
    """A key that no other test uses, of the length that Flagsmith makes them."""
    return f"t{next(_keys):021}"


def isoformat(time_us):
    """As Flagsmith writes it: datetime.isoformat()."""
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (epoch + datetime.timedelta(microseconds=time_us)).isoformat()


def authorization(token=TOKEN):
    return ("Authorization", f"Token {token}")


class Daemon:
    def __init__(self, directory, *, bus="local", nats_url=None, options=(), env=None, config="",
                 listen=None, token=TOKEN, address=None, preexec=None, wrapper=(), pass_fds=()):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.address = address or ("127.0.0.1", port)
        self.listen = f"127.0.0.1:{port}" if listen is None else listen
        self.bus = bus
        self.nats_url = nats_url
        self.options = list(options)
        self.env = dict(env or {})
        self.config = config
        self.token = token
        self.preexec = preexec
        self.wrapper = list(wrapper)
        self.pass_fds = pass_fds
        self.process = None

    # life

    def start(self, wait="/readyz"):
        """Starts it, and waits until the path answers 200 (None: does not wait)."""
        assert self.process is None
        (self.directory / "state").mkdir(exist_ok=True)
        (self.directory / "flagsse.conf").write_text(self.config)
        arguments = ["-c", str(self.directory / "flagsse.conf")]
        for option in self.options:
            arguments += ["-o", option]
        with open(self.directory / "flagsse.log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, program(), *arguments], env=self._environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=self.preexec,
                pass_fds=self.pass_fds)
        running.append(self)
        if wait:
            wait_until(lambda: self._answers(wait), f"{wait} is never 200: {self.log()}")
        return self

    def _environment(self):
        variables = {"FLAGSSE_BUS": self.bus, "FLAGSSE_STATE_DIR": str(self.directory / "state"),
                     "FLAGSSE_LOG_LEVEL": "info"}
        if self.listen:
            variables["LISTEN_ADDR"] = self.listen
        if self.token:
            variables["SSE_AUTHENTICATION_TOKEN"] = self.token
        if self.nats_url:
            variables["NATS_URL"] = self.nats_url
        return clean_environment(**{**variables, **self.env})

    def _answers(self, path):
        assert self.process.poll() is None, (
            f"flagsse ended with {self.process.returncode}: {self.log()}")
        try:
            return self.get(path).status == 200
        except (OSError, EOFError):
            return False

    def log(self):
        return (self.directory / "flagsse.log").read_text(errors="replace")

    def log_lines(self, pattern):
        return [line for line in self.log().splitlines() if re.search(pattern, line)]

    def wait_log(self, pattern, count=1, timeout=TIMEOUT):
        """Waits until that many lines match; gives them."""
        def found():
            lines = self.log_lines(pattern)
            return lines if len(lines) >= count else None
        return wait_until(found, f"no line with {pattern!r} in {self.log_tail()}", timeout)

    def log_tail(self):
        return self.log()[-3000:]

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, code=0, timeout=TIMEOUT):
        """Waits for the end and checks it, the sanitizers' silence too."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"flagsse does not end: {self.log_tail()}") from None
        self.process = None
        running.remove(self)
        check_sanitizers(self.log())
        assert status == code, f"exit status {status}, not {code}: {self.log_tail()}"

    def stop(self):
        if self.process is not None:
            self.signal(signal.SIGTERM)
            self.wait_exit()

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(TIMEOUT)
            self.process = None
            running.remove(self)
            check_sanitizers(self.log())

    @property
    def pid(self):
        return self.process.pid

    # use

    def get(self, path, headers=(), **options):
        return request(self.address, "GET", path, headers, **options)

    def request(self, method, path, headers=(), body=None, **options):
        return request(self.address, method, path, headers, body, **options)

    def connect(self, **options):
        return Connection(self.address, **options)

    def stream(self, key, **options):
        return Stream(self.address, key, **options)

    def post(self, key, body, headers=None, **options):
        """Publishes these bytes as they are."""
        if headers is None:
            headers = (authorization(self.token), ("Content-Type", "application/json"))
        return request(self.address, "POST", f"/sse/environments/{key}/queue-change", headers,
                       body, **options)

    def offer(self, key, time_us=None):
        """Publishes an update as Flagsmith does.  (response, its time)"""
        time_us = fresh_time_us() if time_us is None else time_us
        body = json.dumps({"updated_at": isoformat(time_us)}).encode()
        return self.post(key, body), time_us

    def publish(self, key, time_us=None):
        """Publishes an update that must be taken.  Its time, which is the id of its event."""
        response, time_us = self.offer(key, time_us)
        assert response.status == 200, response
        answer = response.json()
        assert answer["status"] == "published", response
        assert isinstance(answer["sequence"], int) and answer["sequence"] > 0, response
        return time_us

    def publish_soon(self, key, timeout=TIMEOUT):
        """Publishes until the bus takes one, for times in which that may be away.  Its time."""
        return self.publish_some(key, timeout)[-1]

    def publish_some(self, key, timeout=TIMEOUT):
        """The same; the times of all that were accepted, those that were queued too."""
        times = []

        def taken():
            response, time_us = self.offer(key)
            assert response.status in (200, 202), response
            times.append(time_us)
            return response.status == 200
        wait_until(taken, f"the bus never took it: {self.log_tail()}", timeout, 0.2)
        return times

    def queue(self, key, time_us=None):
        """Publishes an update that must go into the outbox.  Its time."""
        begun = time.monotonic()
        response, time_us = self.offer(key, time_us)
        assert time.monotonic() - begun < 2, "Flagsmith does not wait that long"
        assert response.status == 202, response
        assert response.json() == {"status": "queued"}
        return time_us

    def accept(self, key, time_us=None):
        """Publishes an update that must be kept, by whom does not matter.  Its time."""
        begun = time.monotonic()
        response, time_us = self.offer(key, time_us)
        assert time.monotonic() - begun < 2, "Flagsmith does not wait that long"
        assert response.status in (200, 202), response
        return time_us

    def snapshot(self, key):
        """What a new subscriber is given, or None."""
        with self.stream(key) as stream:
            if not stream.blocks:
                stream.receive(0.3)
            return stream.blocks[0].id if stream.blocks else None

    def check_snapshot(self, key, time_us):
        """Asserts that a new subscriber is given this one.

        On NATS at last: the publisher may have JetStream's answer before the message has come to all nodes.
        """
        if self.bus == "local":
            assert self.snapshot(key) == time_us
        else:
            wait_until(lambda: self.snapshot(key) == time_us, f"the snapshot never is {time_us}")

    def metrics(self):
        """The samples by their names, labels included."""
        return parse_metrics(self.get("/metrics").body.decode())
