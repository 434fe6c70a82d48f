# SPDX-License-Identifier: BSD-3-Clause
"""What a request may look like, to the byte: lengths, targets, NUL bytes, what is refused when its header is there."""
import re
import time

import pytest

from attacks import wait_connections
from daemon import TOKEN, authorization, under_sanitizer
from wire import format_request

STREAM = "/sse/environments/{key}/stream"
CHANGE = "/sse/environments/{key}/queue-change"
BODY = b'{"updated_at": 1673546928}'
SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Smuggled: 1\r\n\r\n"
TOKEN_FIELD = f"Authorization: Token {TOKEN}\r\n".encode()

PIECE = b"0" * 10000
CHUNK = b"2710\r\n" + PIECE + b"\r\n"

# Seconds.  A request that is not whole has 10 s; a refused subscriber waits 5 s at most.
SOON = 4
SOON_ON_A_STREAM = 8


@pytest.fixture(scope="module")
def service(local_service):
    return local_service


def head(method, target, fields=b"", version="1.1"):
    return f"{method} {target} HTTP/{version}\r\nHost: x\r\n".encode("latin-1") + fields + b"\r\n"


def last_answer(connection, method, within):
    """The answer, which comes soon, and after which the connection ends cleanly."""
    begun = time.monotonic()
    response = connection.read_response(method, interim=True)
    seconds = time.monotonic() - begun
    assert seconds < within, f"after {seconds:.1f} s: {response}"
    assert connection.buffer == b"", f"a second answer: {connection.buffer}"
    assert connection.sock.recv(1000) == b""
    return response


def read_all(connection):
    """What comes, and whether the connection ended in time."""
    try:
        return connection.read_rest(), True
    except TimeoutError:
        return connection.buffer, False


def refused_at_header(service, method, target, fields, version="1.1"):
    """The answer to a header, of which no body follows."""
    within = SOON_ON_A_STREAM if target.endswith("stream") else SOON
    with service.connect(timeout=within) as connection:
        connection.send(head(method, target, fields, version))
        response = last_answer(connection, method, within)
    response.check_common()
    if method != "HEAD":
        assert response.detail
    assert response.words("Connection") == {"close"}, response
    return response


# Transfer-Encoding

ROUTES = [("GET", STREAM), ("POST", CHANGE), ("GET", "/livez"), ("GET", "/metrics"), ("HEAD", "/livez"), ("POST", "/x"),
          ("GET", "/x"), ("OPTIONS", STREAM), ("PUT", "/livez"), ("DELETE", CHANGE), ("X", "/x"), ("POST", STREAM)]
ENCODINGS = [b"chunked", b"CHUNKED", b"Chunked ", b"identity", b"gzip", b"gzip, chunked", b"chunked, chunked",
             b"chunked;q=1", b"xchunked", b"", b"\"chunked\"", b"chunked,"]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("method, path", ROUTES)
def test_transfer_encoding_on_any_route(service, key, method, path, version):
    fields = TOKEN_FIELD + b"Transfer-Encoding: chunked\r\n"
    assert refused_at_header(service, method, path.format(key=key), fields, version).status == 411


@pytest.mark.parametrize("value", ENCODINGS)
@pytest.mark.parametrize("path", [CHANGE, "/x"])
def test_any_transfer_encoding(service, key, path, value):
    fields = TOKEN_FIELD + b"transfer-encoding: " + value + b"\r\n"
    assert refused_at_header(service, "POST", path.format(key=key), fields).status == 411


@pytest.mark.parametrize("fields", [
    b"Content-Length: 26\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 26\r\n",
    b"Transfer-Encoding: identity\r\nContent-Length: 26\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 4096000\r\n"])
@pytest.mark.parametrize("method, path", [("POST", CHANGE), ("GET", "/livez"), ("GET", STREAM), ("POST", "/x")])
def test_transfer_encoding_and_length(service, key, method, path, fields):
    assert refused_at_header(service, method, path.format(key=key), TOKEN_FIELD + fields).status == 411
    assert service.snapshot(key) is None


@pytest.mark.parametrize("fields", [
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n", b"Transfer-Encoding: x\r\n\tchunked\r\n",
    b"X: y\r\n Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding\t: chunked\r\n", b"\x0bTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding\x0b: chunked\r\n", b"Transfer Encoding: chunked\r\n"])
def test_transfer_encoding_spelt_badly(service, key, fields):
    """A proxy may take it for one.  Nothing that follows is taken for a request."""
    with service.connect() as connection:
        connection.send(head("POST", CHANGE.format(key=key), TOKEN_FIELD + fields) + b"0\r\n\r\n" + SMUGGLED)
        connection.sock.settimeout(SOON)
        answer, ended = read_all(connection)
    assert re.match(rb"HTTP/1\.1 4[0-9][0-9] ", answer), answer
    assert answer.count(b"HTTP/1.1 ") == 1, f"smuggled: {answer}"
    assert ended, "the connection goes on"
    assert service.snapshot(key) is None


@pytest.mark.parametrize("data, piece", [
    (head("POST", "/x", b"Transfer-Encoding: chunked\r\n"), CHUNK),
    (head("GET", "/livez", b"Transfer-Encoding: chunked\r\n"), CHUNK),
    (head("POST", CHANGE.format(key="k"), b"Authorization: Token wrong\r\nContent-Length: 200000\r\n"), PIECE),
    (head("POST", CHANGE.format(key="k"), TOKEN_FIELD + b"Content-Length: 200000\r\n"), PIECE),
    (head("POST", "/livez", b"Content-Length: 200000\r\n"), PIECE),
    (head("GET", "/livez", b"Content-Length: 200000\r\n"), PIECE),
], ids=["chunked", "chunked GET", "wrong token", "too large", "405", "GET with a body"])
def test_answer_is_readable(service, data, piece):
    """By a client that sends all before it reads: a reset would take the answer away."""
    for _ in range(5):
        with service.connect() as connection:
            connection.send(data)
            time.sleep(0.02)
            for _ in range(20):
                connection.send(piece)
                time.sleep(0.002)
            time.sleep(0.1)
            assert 400 <= last_answer(connection, "POST", SOON).status < 500


# Bodies that are not wanted

@pytest.mark.parametrize("method, path, fields, statuses", [
    ("POST", "/livez", b"Content-Length: 1000\r\n", {405}),
    ("POST", "/metrics", b"Content-Length: 1\r\n", {405}),
    ("PUT", CHANGE, TOKEN_FIELD + b"Content-Length: 1000\r\n", {405}),
    ("POST", STREAM, b"Content-Length: 1000\r\n", {405}),
    ("POST", "/unknown", b"Content-Length: 1000\r\n", {404}),
    ("GET", "/livez", b"Content-Length: 1000\r\n", {400, 413}),
    ("GET", "/readyz", b"Content-Length: 1\r\n", {400, 413}),
    ("GET", "/metrics", b"Content-Length: 4096000\r\n", {400, 413}),
    ("GET", STREAM, b"Content-Length: 1000\r\n", {400, 413}),
    ("HEAD", "/livez", b"Content-Length: 1000\r\n", {400, 413}),
    ("POST", CHANGE, b"Content-Length: 100\r\n", {401}),
    ("POST", CHANGE, b"Authorization: Token wrong\r\nContent-Length: 100\r\n", {401}),
    ("POST", CHANGE, b"Authorization: Token wrong\r\nContent-Length: 100\r\nExpect: 100-continue\r\n", {401}),
    ("POST", CHANGE, b"Authorization: Token wrong\r\nContent-Length: 99999999\r\n", {401, 413}),
    ("POST", CHANGE, TOKEN_FIELD + b"Content-Length: 4097\r\n", {413}),
    ("POST", CHANGE, TOKEN_FIELD + b"Content-Length: 4097\r\nExpect: 100-continue\r\n", {413}),
    ("POST", CHANGE, TOKEN_FIELD + b"Content-Length: 60000\r\n", {413}),
])
def test_refused_at_the_header(service, key, method, path, fields, statuses):
    """Nobody waits for a body that has no use."""
    response = refused_at_header(service, method, path.format(key=key), fields)
    assert response.status in statuses, response


def test_largest_body(service, key):
    """What is small enough is read, Expect or not, and the connection goes on."""
    body = BODY + b" " * (4096 - len(BODY))
    with service.connect() as connection:
        for _ in range(2):
            response = connection.request("POST", CHANGE.format(key=key), (authorization(),), body)
            assert response.check_common().status == 200
        connection.send(head("POST", CHANGE.format(key=key),
                             TOKEN_FIELD + b"Content-Length: %d\r\nExpect: 100-continue\r\n" % len(body)))
        assert connection.read_response("POST", interim=True).status == 100
        connection.send(body)
        assert connection.read_response("POST").check_common().status == 200
        assert connection.request("GET", "/livez", (("Content-Length", "0"),)).status == 200


# Many parameters

@pytest.mark.parametrize("count", [366, 400, 2000, 5000])
@pytest.mark.parametrize("pair", ["a=1", "a"])
def test_many_parameters(service, key, count, pair):
    """Each takes memory of libmicrohttpd's; where that is not enough, it is said."""
    target = "/livez?" + "&".join([pair] * count)
    with service.connect(timeout=SOON) as connection:
        connection.send(head("GET", target))
        assert connection.read_response().check_common().status in (200, 431)


@pytest.mark.parametrize("count", [366, 400, 2000, 5000])
def test_many_parameters_on_a_stream(service, key, count):
    target = STREAM.format(key=key) + "?" + "&".join(["a=1"] * count)
    with service.connect(timeout=SOON_ON_A_STREAM) as connection:
        connection.send(head("GET", target))
        assert re.match(rb"HTTP/1\.1 (200|431) ", connection.sock.recv(1000))


def test_some_parameters(service, key):
    target = STREAM.format(key=key) + "?" + "&".join(["a=1"] * 100)
    time_us = service.publish(key)
    with service.stream(key, target=f"{target}&lastEventId={time_us}") as stream:
        assert stream.event() == time_us


# NUL bytes

@pytest.mark.parametrize("data", [
    b"GET /livez\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /livez\0x HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /livez?a=\0b HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\0livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET \0/livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://h\0/livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\0y\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\0b\r\nY: z\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX\0: y\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX\0Y: z\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\0X: z\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: \0000\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length\0: 0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \0chunked\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\0: chunked\r\n\r\n",
    b"GET /sse/environments/k/stream\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /sse/environments/k\0x/stream HTTP/1.1\r\nHost: x\r\n\r\n",
    head("POST", "/sse/environments/k/queue-change\0", TOKEN_FIELD + b"Content-Length: 26\r\n") + BODY,
    head("POST", "/sse/environments/k/queue-change", TOKEN_FIELD + b"Content-Length: 26\0\r\n") + BODY,
    head("POST", "/sse/environments/k/queue-change",
         TOKEN_FIELD.replace(b"\r", b"\0\r") + b"Content-Length: 26\r\n") + BODY,
])
def test_nul(service, data):
    """C takes it for the end, and others do not."""
    statuses = rb"400|411" if b"Transfer-Encoding" in data else rb"400"
    check_refused(service, data, statuses)


@pytest.mark.parametrize("data", [
    b"GET\0 /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"G\0ET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\0GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\0\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/\0001.1\r\nHost: x\r\n\r\n",
])
def test_nul_in_method_or_version(service, data):
    check_refused(service, data, rb"400|405|501|505")


def check_refused(service, data, statuses):
    """It is answered so, and what follows is not served."""
    with service.connect(timeout=SOON_ON_A_STREAM) as connection:
        connection.send(data + SMUGGLED)
        answer, ended = read_all(connection)
    assert re.match(rb"HTTP/1\.1 (" + statuses + rb") ", answer), answer
    # libmicrohttpd 0.9.75 writes the head of its own answer to a malformed length twice
    assert len(set(re.findall(rb"HTTP/1\.1 .*", answer))) == 1, f"smuggled: {answer}"
    assert ended, "the connection goes on"


# Targets

@pytest.mark.parametrize("method, target", [
    ("GET", "*?://h/metrics"), ("GET", "*"), ("HEAD", "*"), ("POST", "*"), ("GET", "*/metrics"), ("GET", "**"),
    ("GET", "h/metrics"), ("GET", "metrics"), ("GET", "?/metrics"), ("GET", "?://h/metrics"), ("GET", "://h/metrics"),
    ("GET", "h?://h/metrics"), ("GET", "x?http://h/metrics"), ("GET", "./metrics"), ("GET", "h:80"), ("GET", "http:"),
    ("GET", "http:/metrics"), ("GET", "http:///metrics"), ("GET", "http//h/metrics"), ("GET", "http:?//h/metrics"),
    ("GET", "\\metrics"), ("GET", "%2Fmetrics"), ("GET", "#://h/metrics"), ("OPTIONS", "**"),
    ("OPTIONS", "*?://h/metrics"), ("POST", "*?://h/sse/environments/k/queue-change"),
    ("POST", "x/sse/environments/k/queue-change"),
    ("GET", "*?://h/sse/environments/k/stream"),
])
def test_targets_that_are_none(service, method, target):
    """None of the forms of RFC 9112, section 3.2: a proxy's rules would not see which path is meant."""
    fields = (authorization(),) if method == "POST" else ()
    with service.connect(timeout=SOON_ON_A_STREAM) as connection:
        connection.send(format_request(service.address, method, target, fields, BODY if method == "POST" else None))
        response = connection.read_response(method)
    assert response.status == 400, response


@pytest.mark.parametrize("target", ["foo://h/metrics", "ftp://h/metrics", "x-http://h/metrics", "httpx://h/metrics",
                                    "file:///metrics", "/metrics#x", "http://h/metrics#x"])
def test_targets_of_others(service, target):
    """Another scheme's resource is not ours, and a fragment never comes in a request."""
    assert service.get(target).status in (400, 404, 421)


@pytest.mark.parametrize("target", [
    "/metrics", "http://h/metrics", "HTTP://h/metrics", "hTTp://h/metrics", "https://h/metrics", "HTTPS://h:443/metrics",
    "http://127.0.0.1:8088/metrics", "http://[::1]:80/metrics", "http://h/metrics?a=b", "/metrics?a=://b/c",
    "/metrics?*", "http://h//metrics/", "//metrics"])
def test_targets_of_both_forms(service, target):
    response = service.get(target)
    assert response.status == 200 and b"\nflagsse_streams " in response.body, response


@pytest.mark.parametrize("method, target, statuses", [
    ("OPTIONS", "*", {204, 400}), ("CONNECT", "h:80", {400, 405}), ("CONNECT", "h:80/metrics", {400, 405}),
    ("GET", "http://h", {400, 404}), ("GET", "http://h?x", {400, 404}), ("GET", "/*", {404})])
def test_targets_without_a_path(service, method, target, statuses):
    assert service.request(method, target).status in statuses


# Memory

@pytest.mark.parametrize("data", [b"G", b"GET /livez HTTP/1.1\r\n"], ids=["a byte", "half a request"])
def test_connections_without_memory(start, shim, data):
    """Each allocation for a connection fails once: it is ended at once, or has its deadline like others."""
    if under_sanitizer():
        pytest.skip("a sanitizer's allocator cannot be made to fail; the same test runs without one")
    daemon = start.daemon(env=shim.env, options=["http.request_timeout=1s"])
    connections = []
    for n in range(1, 16):
        shim.fail_at = n
        connections.append(daemon.connect())
        connections[-1].send(data)
        time.sleep(0.15)  # after a failure accepting pauses for 0.1 s
        shim.fail_at = 0
    assert shim.failures >= 3, "hardly anything failed"
    wait_connections(daemon, 0, 15, "held without a deadline")
    for connection in connections:
        connection.sock.settimeout(5)
        connection.read_rest()
        connection.close()
    assert daemon.get("/readyz").status == 200
