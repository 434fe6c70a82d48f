# SPDX-License-Identifier: BSD-3-Clause
"""HTTP over a plain socket: what is sent is exactly what the test says, what comes back is read strictly.

No HTTP library, because they repair, redirect, retry and normalise paths.
"""
import json
import select
import socket
import time

TIMEOUT = 20  # seconds; only matters where something has failed


def connect(address, timeout=TIMEOUT, receive_buffer=None):
    """A connected socket; `address` is (host, port), or the path of a unix socket."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(address)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def host_field(address):
    if isinstance(address, str):
        return "localhost"
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Response:
    def __init__(self, version, status, headers, raw_head):
        self.version = version
        self.status = status
        self.headers = headers  # list of (name, value), as they came
        self.raw_head = raw_head
        self.body = b""

    def values(self, name):
        return [value for n, value in self.headers if n.lower() == name.lower()]

    def header(self, name):
        """The field's value, None where there is none; more than one is an error here."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times: {self.raw_head!r}"
        return values[0] if values else None

    def words(self, name):
        return {word.strip().lower() for word in (self.header(name) or "").split(",") if word.strip()}

    def json(self):
        return json.loads(self.body)

    @property
    def detail(self):
        """The error text; checks that the body is what each error must have."""
        assert self.header("Content-Type").split(";")[0] == "application/json", self
        body = self.json()
        assert list(body) == ["detail"], self
        assert isinstance(body["detail"], str) and len(body["detail"]) > 5, self
        return body["detail"]

    def check_common(self):
        """What holds for every answer: CORS, never a cookie, never a redirect, errors in JSON."""
        assert self.header("Access-Control-Allow-Origin") == "*", self
        assert not self.values("Set-Cookie"), self
        assert not self.values("Location"), self
        assert not 300 <= self.status < 400, f"a redirect turns a POST into a GET: {self}"
        if self.status >= 400 and self.body:
            assert self.detail
        return self

    def __repr__(self):
        return f"<{self.raw_head.decode('latin-1')}{self.body[:500]!r}>"


def parse_head(raw):
    """Status line and fields, up to and with the empty line."""
    assert raw.endswith(b"\r\n\r\n"), raw
    lines = raw[:-4].split(b"\r\n")
    for line in lines:
        assert b"\r" not in line and b"\n" not in line, raw
    version, status, _ = lines[0].decode("latin-1").split(" ", 2)
    assert version in ("HTTP/1.1", "HTTP/1.0"), raw
    assert len(status) == 3, raw
    headers = []
    for line in lines[1:]:
        name, colon, value = line.decode("latin-1").partition(":")
        assert colon and name and name == name.strip(), raw
        headers.append((name, value.strip()))
    return Response(version, int(status), headers, raw)


class BufferedSocket:
    """A connected socket, read by lengths and marks.  `buffer` is what has come and was not asked for yet."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def receive(self):
        """Takes in one piece; EOFError at the end."""
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(f"the connection ended after {self.buffer!r}")
        self.buffer += data

    def take(self, size):
        while len(self.buffer) < size:
            self.receive()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def take_until(self, mark):
        """Up to and with the mark."""
        while mark not in self.buffer:
            self.receive()
        return self.take(self.buffer.index(mark) + len(mark))


class Connection(BufferedSocket):
    """One connection for any number of requests, pipelined or not."""

    def __init__(self, address, timeout=TIMEOUT, *, sock=None, **options):
        super().__init__(sock or connect(address, timeout, **options))
        self.address = address

    def _take_chunked(self):
        body = b""
        while True:
            size = int(self.take_until(b"\r\n")[:-2], 16)
            if not size:
                assert self.take(2) == b"\r\n"
                return body
            body += self.take(size)
            assert self.take(2) == b"\r\n"

    def read_response(self, method="GET", interim=False):
        """The next answer.  100 Continue is passed over unless `interim`."""
        while True:
            response = parse_head(self.take_until(b"\r\n\r\n"))
            if response.status != 100 or interim:
                break
        if method == "HEAD" or response.status in (100, 204):
            return response
        if response.header("Transfer-Encoding") is not None:
            assert response.header("Content-Length") is None, response
            assert response.header("Transfer-Encoding") == "chunked", response
            response.body = self._take_chunked()
        else:
            length = response.header("Content-Length")
            assert length is not None, f"an answer of unknown length: {response}"
            response.body = self.take(int(length))
        return response

    def request(self, method, target, headers=(), body=None, **options):
        self.send(format_request(self.address, method, target, headers, body, **options))
        return self.read_response(method)

    def read_rest(self):
        """All that comes until the end of the connection, a reset included."""
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionResetError):
            rest, self.buffer = self.buffer, b""
            return rest

    def is_open(self, wait=0.0):
        """Whether neither bytes nor the end come within `wait` seconds."""
        return not select.select([self.sock], [], [], wait)[0]


def format_request(address, method, target, headers=(), body=None, version="1.1", host=True):
    """`headers`: pairs, in this order, repeated ones too."""
    text = f"{method} {target} HTTP/{version}\r\n"
    if host:
        text += f"Host: {host_field(address)}\r\n"
    for name, value in headers:
        text += f"{name}: {value}\r\n"
    if body is not None:
        text += f"Content-Length: {len(body)}\r\n"
    return text.encode("latin-1") + b"\r\n" + (body or b"")


def request(address, method, target, headers=(), body=None, check=True, sock=None, **options):
    """One request on a connection of its own."""
    with Connection(address, sock=sock) as connection:
        response = connection.request(method, target, headers, body, **options)
    return response.check_common() if check else response


def wait_until(condition, what, timeout=TIMEOUT, interval=0.05):
    """Polls until condition() gives something true, and gives that.  `what`: a text, or a function that makes it."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout} s in vain: {what() if callable(what) else what}"
        time.sleep(interval)


def parse_metrics(text):
    """The samples by their names, labels included."""
    samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            samples[name] = float(value)
    return samples
