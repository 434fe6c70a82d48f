# SPDX-License-Identifier: BSD-3-Clause
"""Paths, methods, CORS, keys, malformed requests, limits: all that comes before an update or a stream."""
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from daemon import TOKEN, authorization, fresh_key, run
from nats import SUBJECT
from sse import Refused
from wire import format_request, host_field, wait_until

T = 1673546928
BODY = b'{"updated_at": %d}' % T

STREAM = "/sse/environments/{key}/stream"
PUBLISH = "/sse/environments/{key}/queue-change"


@pytest.fixture(scope="module")
def service(local_service):
    """The bus makes no difference to most of what is here."""
    return local_service


# Paths

VARIANTS = ["{path}", "/{path}", "//{path}", "{path}/", "/{path}/", "{path}?", "{path}?a=b",
            "{path}/?a=b", "/{path}?a=b/c//d", "{path}?a=%2F%00%zz", "{path}?://", "http://{host}{path}",
            "http://{host}/{path}/?x=y"]


def variant(form, path, service, key):
    return form.format(path=path.format(key=key), host=host_field(service.address))


@pytest.mark.parametrize("form", VARIANTS)
def test_stream_paths(service, key, form):
    with service.stream(key, target=variant(form, STREAM, service, key)) as stream:
        time_us = service.publish(key)
        assert stream.event() == time_us


@pytest.mark.parametrize("form", VARIANTS)
def test_publish_paths(service, key, form):
    target = variant(form, PUBLISH, service, key)
    response = service.request("POST", target, (authorization(),), BODY)
    assert response.status == 200, response
    service.check_snapshot(key, T * 10**6)


@pytest.mark.parametrize("target", [
    "/", "//", "/sse", "/sse/", "/sse/environments", "/sse/environments/", "/sse/environments/abc",
    "/sse/environments/abc/", "/sse/environments/abc/streams", "/sse/environments/abc/Stream",
    "/sse/environments/abc/stream/x", "/sse/environments/abc/stream/stream", "/SSE/environments/abc/stream",
    "/sse/environment/abc/stream", "/environments/abc/stream", "/x/sse/environments/abc/stream",
    "/sse/environments/abc/../abc/stream", "/sse/./environments/abc/stream", "/stream", "/admin", "/favicon.ico",
    "/sse/environments/abc/stream;x=y", "/sse/environments/abc%2Fstream", "/sse%2Fenvironments/abc/stream",
    "/sse/environments/a/b/stream", "/livezz", "/metrics/x", "/%", "/%00", "/x" * 500,
    "/sse/environments/abc/queue_change",
    "/sse/stream/environments/abc"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE"])
def test_unknown_paths(service, method, target):
    response = service.request(method, target, (authorization(),), BODY if method == "POST" else None)
    assert response.status == 404, response
    if method != "HEAD":
        assert response.detail


def test_no_key_at_all(service):
    assert service.get("/sse/environments//stream").status in (400, 404)


# Methods


@pytest.mark.parametrize("path, method, allowed", [
    *((STREAM, method, {"get", "head", "options"})
      for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get", "X")),
    *((PUBLISH, method, {"post", "options"})
      for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH")),
    *((path, method, {"get", "head", "options"})
      for path in ("/livez", "/readyz", "/health", "/sse/health", "/metrics")
      for method in ("POST", "PUT", "DELETE"))])
def test_other_methods(service, key, path, method, allowed):
    body = BODY if method in ("POST", "PUT", "PATCH") else None
    response = service.request(method, path.format(key=key), (authorization(),), body)
    assert response.status == 405, response
    assert response.words("Allow") == allowed
    if method != "HEAD":
        assert response.detail


def test_method_override_does_nothing(service, key):
    headers = (authorization(), ("X-HTTP-Method-Override", "GET"))
    assert service.request("POST", PUBLISH.format(key=key), headers, BODY).status == 200


# CORS.  (Each answer of each test is looked at for Access-Control-Allow-Origin.)


@pytest.mark.parametrize("path", [STREAM, PUBLISH])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("headers", [
    "authorization,content-type", "x-requested-with", "last-event-id, cache-control",
    "X-Anything-At-All", "accept, X-Requested-With,x-custom-1", None])
def test_preflight(service, key, path, method, headers):
    fields = [("Origin", "https://app.example.com"), ("Access-Control-Request-Method", method)]
    if headers is not None:
        fields.append(("Access-Control-Request-Headers", headers))
    with service.connect() as connection:
        response = connection.request("OPTIONS", path.format(key=key), fields).check_common()
        assert response.status == 204, response
        assert {"get", "post"} <= response.words("Access-Control-Allow-Methods"), response
        if headers is not None:
            asked = {word.strip().lower() for word in headers.split(",")}
            assert asked <= response.words("Access-Control-Allow-Headers"), response
        assert not response.values("Access-Control-Allow-Credentials")
        # a preflight has no body, and the connection goes on
        assert connection.request("GET", "/livez").status == 200


def test_options_without_cors(service, key):
    assert service.request("OPTIONS", STREAM.format(key=key)).status == 204


def test_preflight_needs_no_token(service, key):
    fields = (("Origin", "null"), ("Access-Control-Request-Method", "POST"))
    assert service.request("OPTIONS", PUBLISH.format(key=key), fields).status == 204


@pytest.mark.parametrize("origin", ["https://a.example", "null", "http://localhost:3000", "file://"])
def test_any_origin(service, key, origin):
    with service.stream(key, headers=(("Origin", origin),)):
        pass  # the head is compared byte for byte
    assert service.get("/livez", (("Origin", origin),)).header("Access-Control-Allow-Origin") == "*"


def test_retry_after_is_exposed(service):
    assert "retry-after" in service.get("/unknown").words("Access-Control-Expose-Headers")


def test_header_injection_by_preflight(service, key):
    """What is echoed must not make new header fields."""
    fields = (("Access-Control-Request-Method", "GET"),
              ("Access-Control-Request-Headers", "x\x0bSet-Cookie: a=b"))
    response = service.request("OPTIONS", STREAM.format(key=key), fields, check=False)
    assert not response.values("Set-Cookie")


# Keys

GOOD_KEYS = ["a", "Z", "0", "-", "_", "load_test", "AbC-_9", "a" * 22, "a" * 100, "ser", "serx",
             "SER", "-ser", "stream", "queue-change", "environments"]

BAD_KEYS = [
    "a" * 101, "a" * 1000, "a.b", ".", "..", "...", "a.", ".a", "*", "a*", ">", "a>", "a,b", "a;b", "a:b", "a@b",
    "a+b", "a=b", "a&b", "a!b", "a~b", "a'b", "(a)", "$JS", "a|b", "a{b}", "a^b", "a`b", "a\"b", "<a>", "[a]",
    "a\\b", "%20", "a%20b", "%2E", "%2e%2e", "a%2Eb", "%2A", "%3E", "a%3eb", "%00", "a%00", "%00a", "a%0Ab",
    "a%0D%0Ab", "a%09b", "a%7Fb", "a%80b", "%C3%BC", "%ff", "a%2Fb", "%2F", "a%5Cb", "%", "a%", "a%4", "%4", "a%zz",
    "%%", "a%2541", "%u0041", "a%C0%AEb", "a%E2%80%A8b", "%25", "a" * 100 + "%41", "\xfc", "a\x7fb", "a\x01b",
]


@pytest.mark.parametrize("text", GOOD_KEYS)
def test_good_keys(service, text):
    stamp = int(time.time())
    response = service.post(text, b'{"updated_at": %d}' % stamp)
    assert response.status == 200, response
    assert service.snapshot(text) is not None


@pytest.mark.parametrize("text, plain", [
    ("%61bc", "abc"), ("a%62c", "abc"), ("%61%62%63", "abc"), ("%4C%6fad%5Ftest", "Load_test"),
    ("a%2Db", "a-b"), ("%30", "0"), ("%61" * 100, "a" * 100)])
def test_percent_encoded_keys(service, text, plain):
    """The same environment, however it is spelt."""
    with service.stream(text) as encoded, service.stream(plain) as stream:
        encoded.receive(0.2)
        stream.receive(0.2)
        encoded.blocks.clear()
        stream.blocks.clear()
        time_us = service.publish(text)
        assert encoded.event() == stream.event() == time_us


def at_once(function, items):
    """Subscribers that are refused wait for seconds: all do so together."""
    with ThreadPoolExecutor(100) as pool:
        return list(pool.map(function, items))


def subscribe_in_vain(service, key):
    with pytest.raises(Refused) as refused:
        service.stream(key)
    return refused.value.response


def test_bad_keys(service):
    answers = at_once(lambda text: subscribe_in_vain(service, text), BAD_KEYS)
    for text, answer in zip(BAD_KEYS, answers):
        assert_refused_key(answer, text)
        assert_refused_key(service.post(text, BODY, check=False), text)


def assert_refused_key(response, text):
    assert response.status == 400, response
    if all(" " < c < "\x7f" for c in text):  # others may be refused before any handler runs
        response.check_common()
        assert response.detail


@pytest.mark.parametrize("text", ["ser.abcdefghijklmnopqrstuv", "ser.", "ser.a", "ser%2Eabc", "%73er.abc", "ser.a.b"])
def test_server_side_key(service, text):
    """Given to a client by mistake: it says so."""
    for response in (service.get(STREAM.format(key=text)), service.post(text, BODY)):
        assert response.status == 400
        assert "server-side" in response.detail.lower(), response
        assert len(text) < 5 or text not in response.detail


def test_raw_space_in_a_key(service):
    with service.connect() as connection:
        connection.send(b"GET /sse/environments/a b/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " not in connection.sock.recv(65536)[:20]


def test_bad_keys_never_reach_the_bus(start):
    """A key becomes a NATS subject, and a wildcard or a space in one would publish to others."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    with server.client() as client:
        client.subscribe(">")
        at_once(lambda text: daemon.request("GET", STREAM.format(key=text), check=False), BAD_KEYS)
        for text in BAD_KEYS:
            daemon.request("POST", PUBLISH.format(key=text), (authorization(),), BODY, check=False)
        daemon.publish("good-key")
        subjects = set()
        while SUBJECT + "good-key" not in subjects:
            subjects.add(client.next_message().subject)
        assert {s for s in subjects if s.startswith("flagsmith")} == {SUBJECT + "good-key"}


# Malformed requests


def raw(service, data):
    """The answers' status lines to these bytes, until the connection ends."""
    with service.connect() as connection:
        connection.send(data)
        connection.sock.settimeout(15)
        return connection.read_rest()


SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Smuggled: 1\r\n\r\n"


@pytest.mark.parametrize("fields", [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"transfer-encoding: CHUNKED\r\ncontent-length: 0\r\n",
    b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
    b"Transfer-Encoding: x\r\nContent-Length: 5\r\n",
    b"Content-Length: 0\r\nContent-Length: 5\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: 5x\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: 99999999999999999999999999\r\n",
])
@pytest.mark.parametrize("authorized", [True, False])
def test_ambiguous_length(service, key, fields, authorized):
    """Refused, and nothing that follows is taken for a request."""
    token = f"Authorization: Token {TOKEN}\r\n".encode() if authorized else b""
    data = (f"POST /sse/environments/{key}/queue-change HTTP/1.1\r\nHost: x\r\n".encode() + token + fields
            + b"\r\n0\r\n\r\n" + SMUGGLED)
    answer = raw(service, data)
    assert re.match(rb"HTTP/1\.1 (400|411|413|501) ", answer), answer
    # libmicrohttpd 0.9.75 writes the head of its own answer to a malformed length twice
    assert len(set(re.findall(rb"HTTP/1\.1 .*", answer))) == 1, f"smuggled: {answer!r}"
    assert service.snapshot(key) is None


def test_length_and_chunks_on_a_stream(service, key):
    data = (f"GET /sse/environments/{key}/stream HTTP/1.1\r\nHost: x\r\n"
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").encode()
    answer = raw(service, data + SMUGGLED)
    assert re.match(rb"HTTP/1\.1 4(00|11) ", answer), answer  # 400 is libmicrohttpd 1.0's own
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("method, path", [("GET", STREAM), ("POST", PUBLISH), ("GET", "/livez"), ("GET", "/x")])
def test_no_host(service, key, method, path):
    data = format_request(service.address, method, path.format(key=key), (authorization(),),
                          BODY if method == "POST" else None, host=False)
    with service.connect() as connection:
        connection.send(data)
        response = connection.read_response(method)
    assert response.status == 400, response
    assert service.snapshot(key) is None


def test_no_host_in_http_1_0(service):
    data = format_request(service.address, "GET", "/livez", version="1.0", host=False)
    with service.connect() as connection:
        connection.send(data)
        assert connection.read_response().check_common().status == 200


@pytest.mark.parametrize("data", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /livez\r\n\r\n",
    b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n",
    b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost : x\r\nno colon here\r\n\r\n",
    b"\0\0\0\0\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
])
def test_nonsense(service, data):
    """Whatever becomes of it, the next one is served."""
    with service.connect() as connection:
        connection.send(data)
        connection.sock.settimeout(0.5)
        try:
            assert b" 500 " not in connection.sock.recv(65536)[:20]
        except (TimeoutError, ConnectionResetError):
            pass
    assert service.get("/livez").status == 200


def test_empty_line_before_a_request(service):
    """RFC 9112, section 2.2: at least one is ignored.  (libmicrohttpd 1.0 ignores just one where it makes no redirects.)"""
    with service.connect() as connection:
        connection.send(b"\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.read_response().status == 200


# Health and metrics


@pytest.mark.parametrize("path", [
    "/livez", "/readyz", "/health", "/health/", "/health/liveness/", "/health/liveness",
    "/health/readiness/", "/health/readiness", "/sse/health", "/sse/health/", "//livez", "/livez?verbose", "/readyz/"])
def test_health_paths(service, path):
    for method in ("GET", "HEAD"):
        response = service.request(method, path)
        assert response.status == 200, response
        assert response.header("Content-Type").split(";")[0] == "application/json"
        assert response.header("Cache-Control") == "no-store"
    assert service.get(path).json()


SAMPLE = re.compile(
    r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*"'
    r'(,[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*")*\})? (-?[0-9.]+(e[+-]?[0-9]+)?|NaN|[+-]Inf)')


@pytest.mark.parametrize("path", ["/metrics", "/metricsz", "/metrics/"])
def test_metrics(service, path):
    """Each line by the text exposition format; each sample after its TYPE."""
    response = service.get(path)
    assert response.status == 200
    assert response.header("Content-Type").startswith("text/plain; version=0.0.4")
    text = response.body.decode()
    assert text.endswith("\n")
    types = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ("counter", "gauge", "histogram", "summary", "untyped")
            assert name not in types
            types[name] = kind
        elif line.startswith("# HELP "):
            assert len(line.split(" ", 3)) == 4
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            base = re.sub(r"_(bucket|sum|count)$", "", match[1])
            assert match[1] in types or base in types, line
            if types.get(match[1]) == "counter":
                assert match[1].endswith("_total"), line
    assert len(types) >= 5


def test_metrics_name_the_version(service):
    """As --version does."""
    (name,) = (name for name in service.metrics() if name.startswith("flagsse_build_info"))
    version = run("--version").stdout.splitlines()[0].split()[1]
    assert (name, service.metrics()[name]) == (f'flagsse_build_info{{version="{version}"}}', 1)


def test_metrics_move(start, key):
    daemon = start.daemon()
    before = daemon.metrics()
    with daemon.stream(key) as stream:
        time_us = daemon.publish(key)
        assert stream.event() == time_us
        after = daemon.metrics()
    grown = [name for name in after if after[name] > before.get(name, 0)]
    assert any("streams" in name for name in grown), after
    assert any("event" in name or "update" in name for name in grown), after


def test_metrics_tell_why_streams_end(start, key):
    daemon = start.daemon(options=["streams.max_age=1s"])

    def ended():
        return {name: n for name, n in daemon.metrics().items() if name.startswith("flagsse_streams_ended_total") and n}
    with daemon.stream(key):
        wait_until(ended, "no end is counted")
        assert ended() == {'flagsse_streams_ended_total{reason="max_age"}': 1}


# Limits


@pytest.fixture(scope="module")
def impatient(start_shared):
    return start_shared.daemon(options=["http.request_timeout=1s", "http.idle_timeout=2s"])


def trickle(connection, data):
    """A byte every 0.2 s until the other side ends it; after how many seconds that was."""
    begun = time.monotonic()
    while time.monotonic() - begun < 20:
        for byte in data:
            try:
                connection.sock.send(bytes([byte]))
            except OSError:
                return time.monotonic() - begun
            if not connection.is_open(0.2):
                return time.monotonic() - begun
    raise AssertionError("the connection was never closed")


def test_slow_header(impatient):
    """Bytes now and then do not keep a request alive."""
    with impatient.connect() as connection:
        connection.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert 0.5 < trickle(connection, b"a" * 1000) < 15


def test_slow_body(impatient, key):
    with impatient.connect() as connection:
        connection.send(
            f"POST /sse/environments/{key}/queue-change HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Token {TOKEN}\r\nContent-Length: 1000\r\n\r\n".encode())
        assert 0.5 < trickle(connection, b"{" * 1000) < 15


def test_silent_connection(impatient):
    with impatient.connect() as connection:
        begun = time.monotonic()
        connection.read_rest()
        assert 0.5 < time.monotonic() - begun < 15


def test_idle_connection(impatient):
    """Between two requests it may wait for a while, and no longer."""
    with impatient.connect() as connection:
        connection.request("GET", "/livez")
        begun = time.monotonic()
        assert connection.read_rest() == b""
        assert 1.2 < time.monotonic() - begun < 17


def test_second_request_has_its_time_too(impatient):
    with impatient.connect() as connection:
        connection.request("GET", "/livez")
        connection.send(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        assert 0.5 < trickle(connection, b"a" * 1000) < 15


def test_streams_have_no_request_timeout(impatient, key):
    with impatient.stream(key) as stream:
        stream.quiet(3.5)
        time_us = impatient.publish(key)
        assert stream.event() == time_us


def test_header_size(service):
    """Proxies and browsers send large cookies; beyond the limit there is an answer, not silence."""
    assert service.get("/livez", (("Cookie", "a" * 12000),)).status == 200
    many = tuple((f"X-{i}", "v" * 100) for i in range(100))
    assert service.get("/livez", many).status == 200
    for headers in ((("Cookie", "a" * 40000),), (("Cookie", "a" * 1000000),),
                    tuple((f"X-{i}", "v") for i in range(20000))):
        with service.connect() as connection:
            try:
                connection.send(format_request(service.address, "GET", "/livez", headers))
            except OSError:
                pass
            answer = connection.read_rest()
        assert re.match(rb"HTTP/1\.1 (431|413|414|400) ", answer) or answer == b"", answer[:200]
    assert service.get("/livez").status == 200


def test_long_path(service):
    response = service.get("/" + "x" * 12000)
    assert response.status in (404, 414)
    with service.connect() as connection:
        connection.send(format_request(service.address, "GET", "/" + "x" * 30000))
        answer = connection.read_rest()
    assert re.match(rb"HTTP/1\.1 (414|431) ", answer), answer[:200]


def test_connections_beyond_number(service):
    """Those who connect and say nothing do not keep others out."""
    silent = [service.connect() for _ in range(300)]
    try:
        assert service.get("/livez").status == 200
        key = fresh_key()
        with service.stream(key) as stream:
            time_us = service.publish(key)
            assert stream.event() == time_us
    finally:
        for connection in silent:
            connection.close()


# Redirects: no answer of any test may be one, see Response.check_common(); here, what others like to redirect


@pytest.mark.parametrize("target", ["//evil.example/%2e%2e", "/sse/environments/abc/queue-change/",
                                    "//sse/environments/abc/queue-change//", "/sse", "/livez/", "/health"])
def test_never_a_redirect(service, target):
    for method in ("GET", "POST"):
        body = BODY if method == "POST" else None
        response = service.request(method, target, (authorization(),), body)
        assert not 300 <= response.status < 400
