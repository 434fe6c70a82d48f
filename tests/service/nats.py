# SPDX-License-Identifier: BSD-3-Clause
"""A nats-server of our own, and as much of a NATS client as looking at JetStream from outside needs.

The client is independent of the library that the daemon uses, so that a misunderstanding of that library shows.
"""
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from daemon import free_port
from wire import TIMEOUT, BufferedSocket, wait_until

STREAM = "environments-stream"
SUBJECT = "flagsmith.environment."

# What flagsmith/sse:v4.0.0-beta creates, and flagsse too.
STREAM_CONFIG = {
    "name": STREAM,
    "subjects": ["flagsmith.environment.>"],
    "retention": "limits",
    "discard": "old",
    "storage": "file",
    "num_replicas": 1,
    "max_msgs_per_subject": 1,
    "max_age": 3600 * 10**9,
    "duplicate_window": 120 * 10**9,
    "max_consumers": -1,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_msg_size": -1,
}


class NatsError(Exception):
    pass


@dataclass
class Message:
    subject: str
    reply: str
    payload: bytes
    headers: list = field(default_factory=list)
    status: str = ""  # "503": nobody listens


def parse_headers(raw):
    """The header block of HMSG, or of a stored message."""
    lines = raw.decode().split("\r\n")
    assert lines[0].startswith("NATS/1.0"), raw
    pairs = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]
    return pairs, lines[0][len("NATS/1.0"):].strip()


def pieces(sock):
    """What a server sends, until it ends: each line, and the payload that it announces (b"" for most)."""
    with sock.makefile("rb") as file:
        while line := file.readline():
            announces = line.startswith((b"MSG ", b"HMSG "))
            yield line, file.read(int(line.split()[-1]) + 2) if announces else b""


class NatsClient(BufferedSocket):
    """One plain connection.  Nothing happens in the background: PINGs are answered while reading."""

    def __init__(self, port, timeout=TIMEOUT, **credentials):
        self.timeout = timeout
        super().__init__(socket.create_connection(("127.0.0.1", port), timeout=timeout))
        self.messages = []
        self.sid = 0
        self.info = json.loads(self._line().removeprefix("INFO "))
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True,
                   "lang": "python-test", "version": "1", "name": "test", **credentials}
        self.send(f"CONNECT {json.dumps(options)}\r\n".encode())
        self.flush()

    def receive(self):
        try:
            super().receive()
        except EOFError:
            raise NatsError("the server closed the connection") from None

    def _line(self):
        return self.take_until(b"\r\n")[:-2].decode()

    def _read(self):
        """One protocol message; gives its name."""
        line = self._line()
        name, _, rest = line.partition(" ")
        if name == "PING":
            self.send(b"PONG\r\n")
        elif name == "MSG":
            subject, _, *reply, size = rest.split()
            payload = self.take(int(size) + 2)[:-2]
            self.messages.append(Message(subject, "".join(reply), payload))
        elif name == "HMSG":
            subject, _, *reply, head, size = rest.split()
            data = self.take(int(size) + 2)[:-2]
            headers, status = parse_headers(data[:int(head)])
            self.messages.append(
                Message(subject, "".join(reply), data[int(head):], headers, status))
        elif name == "-ERR":
            raise NatsError(rest)
        return name

    def flush(self):
        self.send(b"PING\r\n")
        while self._read() != "PONG":
            pass

    def subscribe(self, subject):
        self.sid += 1
        self.send(f"SUB {subject} {self.sid}\r\n".encode())
        self.flush()
        return self.sid

    def unsubscribe(self, sid):
        self.send(f"UNSUB {sid}\r\n".encode())

    def publish(self, subject, payload, headers=(), reply=""):
        to = f"{subject} {reply}".strip()
        if headers:
            block = "NATS/1.0\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers) + "\r\n"
            data = block.encode() + payload
            self.send(f"HPUB {to} {len(block)} {len(data)}\r\n".encode() + data + b"\r\n")
        else:
            self.send(f"PUB {to} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def next_message(self, timeout=None):
        self.sock.settimeout(timeout or self.timeout)
        try:
            while not self.messages:
                self._read()
        finally:
            self.sock.settimeout(self.timeout)
        return self.messages.pop(0)

    def request(self, subject, payload=b"", headers=()):
        inbox = f"_INBOX.{os.getpid()}.{time.monotonic_ns()}"
        sid = self.subscribe(inbox)
        kept, self.messages = self.messages, []
        self.publish(subject, payload, headers, inbox)
        while True:
            message = self.next_message()
            if message.subject == inbox:
                break
            kept.append(message)
        self.messages = kept + self.messages
        self.unsubscribe(sid)
        if message.status == "503":
            raise NatsError(f"nobody answers {subject}")
        return message

    # JetStream

    def api(self, name, body=None):
        """A request to $JS.API; a refusal raises NatsError."""
        payload = b"" if body is None else json.dumps(body).encode()
        answer = json.loads(self.request(f"$JS.API.{name}", payload).payload)
        if "error" in answer:
            raise NatsError(answer["error"].get("description"))
        return answer

    def create_stream(self, **changes):
        config = {**STREAM_CONFIG, **changes}
        return self.api(f"STREAM.CREATE.{config['name']}", config)

    def delete_stream(self):
        return self.api(f"STREAM.DELETE.{STREAM}")

    def purge_stream(self):
        return self.api(f"STREAM.PURGE.{STREAM}")

    def stream_info(self):
        return self.api(f"STREAM.INFO.{STREAM}")

    def store(self, key, payload, headers=()):
        """Publishes as v4 does, with an acknowledgement, which it gives."""
        answer = json.loads(self.request(SUBJECT + key, payload, headers).payload)
        if "error" in answer:
            raise NatsError(answer["error"].get("description"))
        return answer

    def fill(self, count):
        """So many environments, each with an update."""
        for i in range(count):
            self.publish(f"{SUBJECT}filler-{i}", b'{"updated_at": 1673546928.028060}')
        wait_until(lambda: self.stream_info()["state"]["messages"] >= count, "they are not stored", 60)

    def last_message(self, key):
        """What the stream holds for the environment; None: nothing."""
        # nats-server 2.9 panics if it is asked for a message of a stream that it is just making.
        if self.stream_info()["state"]["messages"] == 0:
            return None
        try:
            answer = self.api(f"STREAM.MSG.GET.{STREAM}", {"last_by_subj": SUBJECT + key})
        except NatsError as error:
            if "no message found" in str(error):
                return None
            raise
        message = answer["message"]
        headers = []
        if message.get("hdrs"):
            headers, _ = parse_headers(base64.b64decode(message["hdrs"]))
        payload = base64.b64decode(message.get("data", ""))
        return Message(message["subject"], "", payload, headers)


def find_nats_server():
    program = os.environ.get("NATS_SERVER") or shutil.which("nats-server") or shutil.which(
        "nats-server", path="/usr/sbin:/usr/local/sbin")
    assert program, "there is no nats-server: apt-get install nats-server, or set NATS_SERVER"
    return program


class NatsServer:
    """A server that can be stopped, killed and started again on the same port and store."""

    def __init__(self, directory, *, jetstream=True, config="", credentials=None, port=None, host="127.0.0.1",
                 wrapper=(), store=None):
        self.directory = directory
        self.jetstream = jetstream
        self.config = config
        self.credentials = credentials or {}
        self.port = port or free_port()
        self.host = host
        self.wrapper = list(wrapper)  # a command that executes what follows it
        self.store = store or directory / "jetstream"
        self.process = None

    @property
    def url(self):
        return f"nats://{self.host}:{self.port}"

    def _write_config(self):
        text = f'listen: "{self.host}:{self.port}"\n'
        if self.jetstream:
            text += f'jetstream {{ store_dir: "{self.store}" }}\n'
        path = self.directory / "nats.conf"
        path.write_text(text + self.config)
        return path

    def start(self, wait=True):
        assert self.process is None
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self._write_config()
        with open(self.directory / "nats.log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, find_nats_server(), "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)
        if wait:
            wait_until(self.is_up, f"nats-server does not start: {self.log()}")
        return self

    def is_up(self):
        assert self.process.poll() is None, f"nats-server ended: {self.log()}"
        if self.host != "127.0.0.1":
            return "Server is ready" in self.log()  # cannot be reached from here
        try:
            if "tls" in self.config:
                socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT).close()
                return True
            with self.client() as client:
                if self.jetstream:
                    client.api("INFO")
            return True
        except (OSError, NatsError):
            return False

    def client(self, timeout=TIMEOUT):
        return NatsClient(self.port, timeout, **self.credentials)

    def log(self):
        return (self.directory / "nats.log").read_text()

    def _end(self, number):
        if self.process is not None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(TIMEOUT)
            self.process = None

    def stop(self):
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)

    def freeze(self):
        """It holds its connections and says nothing any more."""
        self.process.send_signal(signal.SIGSTOP)
        wait_until(self._is_stopped, "nats-server does not stop")  # its threads do so one by one

    def _is_stopped(self):
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return all((task / "stat").read_text().rpartition(") ")[2][0] == "T" for task in tasks)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def forget(self):
        """Its disk is lost."""
        assert self.process is None
        shutil.rmtree(self.store)


class Cluster:
    """Three servers, which keep each stream three times."""

    def __init__(self, start):
        ports = [free_port() for _ in range(3)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers = [
            start.nats(start=False, config=(
                f'server_name: "n{i}"\ncluster {{ name: "test", listen: "127.0.0.1:{port}", routes: [{routes}] }}\n'))
            for i, port in enumerate(ports)]
        for server in self.servers:
            server.start(wait=False)
        self.wait()

    @property
    def url(self):
        return ",".join(server.url for server in self.servers)

    def wait(self):
        for server in self.servers:
            wait_until(server.is_up, f"the cluster has no quorum: {server.log()[-2000:]}", 60, 0.2)
        wait_until(self._keeps_three_times, "the cluster has not all of its servers", 60, 0.2)

    def _keeps_three_times(self):
        """A majority is up before all three are, and makes no stream that each of them has to keep."""
        try:
            with self.servers[0].client() as client:
                client.api("STREAM.CREATE.complete", {"name": "complete", "subjects": ["complete"], "num_replicas": 3,
                                                      "storage": "memory"})
                client.api("STREAM.DELETE.complete")
            return True
        except (OSError, NatsError):
            return False

    def leader(self):
        """The server that leads the stream, and the others."""
        with next(server for server in self.servers if server.process).client() as client:
            name = wait_until(lambda: client.stream_info()["cluster"].get("leader"), "no leader")
        return (next(server for server in self.servers if f'"{name}"' in server.config),
                [server for server in self.servers if f'"{name}"' not in server.config])
