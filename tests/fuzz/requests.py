# SPDX-License-Identifier: BSD-3-Clause
"""Makes malformed requests out of good ones."""
import random

TOKEN = b"test-token-0123456789"
HOST = b"Host: example.org"
AUTHORIZATION = b"Authorization: Token " + TOKEN
BODY = b'{"updated_at": "2023-01-12T18:06:42.028060+00:00"}'
STREAM = b"/sse/environments/fuzz/stream"
CHANGE = b"/sse/environments/fuzz/queue-change"

TARGETS = (
    b"*", b"/", b"//", b"", b"http://", b"http://h", b"http://h:99999" + STREAM, b"/sse/environments//stream",
    b"/sse/environments/%00/stream", b"/sse/environments/%2e%2e/stream", b"/sse/environments/%/queue-change",
    b"/sse/environments/%4/stream", b"/sse/environments/>/queue-change", b"/sse/environments/" + b"k" * 101 + b"/stream",
    b"/sse/environments/ser.x/stream", b"/../livez", b"/livez\x00", b"/livez\xff\xfe", b"/livez?" + b"a=b&" * 3000,
    b"/" * 5000, b"/" + b"x" * 70000, b"/livez#x", b"livez", STREAM + b"?lastEventId=" + b"9" * 400,
)
VERSIONS = (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.9", b"HTTP/1", b"HTTP/1.1x", b"http/1.1", b"HTTP/-1.1",
            b"HTTP/99999999999999999999.1", b"", b"\x00", b"HTTP/1.1 HTTP/1.1")
METHODS = (b"POST", b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"CONNECT", b"TRACE", b"PRI", b"get", b"G ET", b"",
           b"\x00", b"M" * 3000, b"G\tET")
LENGTHS = (b"0", b"-1", b"+5", b"5, 5", b"0x10", b"99999999999999999999999", b"18446744073709551615", b"4097", b"", b" ",
           b"5 5", b"1e3", b"\x00", b"2147483648")
ENCODINGS = (b"chunked", b"CHUNKED", b"identity", b"gzip, chunked", b"chunked, chunked", b"xchunked", b"chunked\x00",
             b"", b"chunked ;q=1", b"\tchunked")
FIELDS = (
    b"Host: other", b"Host:", b"Host : x", b": empty", b"no colon", b" folded: x", b"\tfolded", b"A: b\r\n c", b"X: \x00",
    b"X\x00: y", b"X: " + b"y" * 20000, b"\xff\xfe: x", b"Expect: 100-continue", b"Expect: the unexpected",
    b"Connection: close", b"Connection: keep-alive, upgrade", b"Upgrade: h2c", b"Last-Event-ID: -1",
    b"Last-Event-ID: " + b"9" * 300, b"Last-Event-ID: \xc3\x28", b"Authorization: Token", b"Authorization: ",
    b"Authorization: Token " + b"x" * 9000, b"Content-Type: " + b"a/" * 2000, b"Range: bytes=0-", b"Cookie: a=b; c",
    b"Accept: text/html", b"User-Agent: Dart/3", b"User-Agent: Faraday v2", b"Origin: null", b"Trailer: X",
    b"Content-Encoding: gzip", b"If-None-Match: *",
)
CHUNK_SIZES = (b"-1", b"ffffffffffffffff", b"fffffffffffffffff", b"0x5", b" 5", b"5 ", b"5;x=\"y", b"", b"g", b"00000005",
               b"7fffffff", b"5\x00")
BODIES = (b"", b"{", b"[]", b"null", BODY + b" ", BODY * 100, b"[" * 4000, b"\x00" * 60, b"{\"updated_at\": 1e999}",
          b"{\"updated_at\": \"" + b"9" * 3000 + b"\"}", b"\xff" * 100, b"{'updated_at': 1}")
NOT_HTTP = (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\r\n" * 50, b"\n", b"\x00", b"SSH-2.0-x\r\n", b"EHLO x\r\n", b"\x05\x01\x00", b" ", b"GET", b"GET / HTTP/1.1")


class Request:
    """A request in its parts, so that each can be spoilt by itself."""

    def __init__(self, method, target, fields=(), body=None):
        self.method = method
        self.target = target
        self.version = b"HTTP/1.1"
        self.fields = [HOST, *fields]
        self.body = body
        self.is_chunked = False
        self.length = None  # the Content-Length field; None: the right one
        self.end = b"\r\n"

    def chunks(self, rng):
        """The body in chunks, mostly of the right form."""
        data, out = self.body or b"", b""
        while data:
            size = rng.randint(1, len(data))
            text = rng.choice(CHUNK_SIZES) if rng.random() < 0.15 else b"%x" % size
            out += text + self.end + data[:size] + (b"" if rng.random() < 0.05 else self.end)
            data = data[size:]
        last = rng.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\n\n", b"0", b"", b"0\r\n" + b"x" * 9000))
        return out + last

    def render(self, rng):
        fields = list(self.fields)
        body = self.body or b""
        if self.is_chunked:
            fields.append(b"Transfer-Encoding: chunked")
            body = self.chunks(rng)
        elif self.body is not None and self.length != b"none":
            fields.append(b"Content-Length: " + (self.length if self.length is not None else b"%d" % len(body)))
        line = b" ".join((self.method, self.target, self.version)).rstrip(b" ")
        return self.end.join((line, *fields, b"", b"")) + body


def good(rng):
    return rng.choice((
        lambda: Request(b"GET", STREAM, (b"Accept: text/event-stream",)),
        lambda: Request(b"POST", CHANGE, (AUTHORIZATION, b"Content-Type: application/json"), BODY),
        lambda: Request(b"POST", CHANGE, (AUTHORIZATION,), BODY),
        lambda: Request(b"OPTIONS", STREAM, (b"Origin: https://x", b"Access-Control-Request-Method: GET")),
        lambda: Request(b"HEAD", STREAM),
        lambda: Request(b"GET", b"/livez"),
        lambda: Request(b"GET", b"/metrics"),
    ))()


def spoil_target(request, rng):
    request.target = rng.choice(TARGETS)


def spoil_version(request, rng):
    request.version = rng.choice(VERSIONS)


def spoil_method(request, rng):
    request.method = rng.choice(METHODS)


def spoil_length(request, rng):
    request.body = request.body if request.body is not None else BODY
    request.length = rng.choice((*LENGTHS, b"none", b"%d" % max(0, len(request.body) + rng.randint(-9, 9))))


def spoil_encoding(request, rng):
    request.fields.append(b"Transfer-Encoding: " + rng.choice(ENCODINGS))


def spoil_chunks(request, _):
    request.body = request.body if request.body is not None else BODY
    request.is_chunked = True


def spoil_fields(request, rng):
    for _ in range(rng.randint(1, 3)):
        request.fields.insert(rng.randint(0, len(request.fields)), rng.choice(FIELDS))


def spoil_many_fields(request, rng):
    request.fields += [b"X-%d: y" % i for i in range(rng.choice((50, 500, 3000)))]


def spoil_host(request, rng):
    request.fields = [field for field in request.fields if field is not HOST]
    request.fields += [HOST] * rng.choice((0, 2))


def spoil_ends(request, rng):
    request.end = rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n"))


def spoil_body(request, rng):
    request.body = rng.choice(BODIES)


SPOILERS = (spoil_target, spoil_version, spoil_method, spoil_length, spoil_encoding, spoil_chunks, spoil_chunks,
            spoil_fields, spoil_fields, spoil_many_fields, spoil_host, spoil_ends, spoil_body)


def spoil_bytes(data, rng):
    """Without any idea of HTTP."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[at:at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            data[at:at] = rng.choice((b"\x00", b"\r\n", b"\n", b" ", b":", b"%", b"\xff", bytes(rng.randrange(64))))
        elif kind == 2:
            del data[at:at + rng.randint(1, 8)]
        elif kind == 3:
            length = rng.randint(1, 64)
            data[at:at] = data[max(0, at - length):at]
        else:
            del data[at:]
    return bytes(data)


def malformed(rng):
    """The bytes of one request."""
    dice = rng.random()
    if dice < 0.05:
        return rng.choice(NOT_HTTP)
    request = good(rng)
    if dice < 0.8:
        for spoil in rng.sample(SPOILERS, rng.choice((1, 1, 1, 2, 3))):
            spoil(request, rng)
    data = request.render(rng)
    return spoil_bytes(data, rng) if dice > 0.7 else data


def conversation(seed):
    """What one connection sends: (pieces, whether it closes its side after them, how many requests those are)."""
    rng = random.Random(seed)
    count = rng.choice((1, 1, 1, 2, 3, 5))
    data = b"".join(malformed(rng) for _ in range(count))
    pieces = [data]
    if rng.random() < 0.15 and len(data) > 2:
        cuts = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randint(1, 6))))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]
    return pieces, rng.random() < 0.7, count
