# SPDX-License-Identifier: BSD-3-Clause
"""Publishing: what is taken, what is refused and how, and what comes after what."""
import json
import threading
import time

import pytest

from daemon import TOKEN, authorization, fresh_key, fresh_time_us, isoformat
from wire import format_request

T = 1673546928  # 2023-01-12T18:08:48Z

GOOD = [
    # ISO 8601: offset, Z, or none; 'T' or a space; 0 to 9 fractional digits
    ('"2023-01-12T18:08:48.028060+00:00"', T * 10**6 + 28060),
    ('"2023-01-12T18:08:48.028060Z"', T * 10**6 + 28060),
    ('"2023-01-12T18:08:48.028060"', T * 10**6 + 28060),
    ('"2023-01-12 18:08:48.028060+00:00"', T * 10**6 + 28060),
    ('"2023-01-12 18:08:48.028060"', T * 10**6 + 28060),
    ('"2023-01-12T18:08:48+00:00"', T * 10**6),
    ('"2023-01-12T18:08:48Z"', T * 10**6),
    ('"2023-01-12T18:08:48"', T * 10**6),
    ('"2023-01-12T20:08:48.5+02:00"', T * 10**6 + 500000),
    ('"2023-01-12T12:38:48.5-05:30"', T * 10**6 + 500000),
    ('"2023-01-13T08:08:48+14:00"', T * 10**6),
    ('"2023-01-12T06:08:48-12:00"', T * 10**6),
    ('"2023-01-12T18:08:48.1Z"', T * 10**6 + 100000),
    ('"2023-01-12T18:08:48.12Z"', T * 10**6 + 120000),
    ('"2023-01-12T18:08:48.123Z"', T * 10**6 + 123000),
    ('"2023-01-12T18:08:48.1234Z"', T * 10**6 + 123400),
    ('"2023-01-12T18:08:48.12345Z"', T * 10**6 + 123450),
    ('"2023-01-12T18:08:48.1234564Z"', T * 10**6 + 123456),
    ('"2023-01-12T18:08:48.1234566Z"', T * 10**6 + 123457),
    ('"2023-01-12T18:08:48.12345678Z"', T * 10**6 + 123457),
    ('"2023-01-12T18:08:48.123456789Z"', T * 10**6 + 123457),
    ('"2023-01-12T18:08:48.000000001Z"', T * 10**6),
    ('"2023-01-12T18:08:48.999999999Z"', (T + 1) * 10**6),
    ('"2024-02-29T00:00:00Z"', 1709164800 * 10**6),
    ('"2000-02-29T23:59:59.999999Z"', 951868799999999),
    ('"2023-12-31T23:59:59.9999999Z"', 1704067200 * 10**6),
    ('"2000-01-01T00:00:00Z"', 946684800 * 10**6),
    ('"2999-12-31T23:59:59.999999Z"', 32503679999999999),
    # seconds
    ("1673546928", T * 10**6),
    ("1673546928.0", T * 10**6),
    ("1673546928.028060", T * 10**6 + 28060),
    ("1673546928.02806", T * 10**6 + 28060),
    ("1673546928.999999", T * 10**6 + 999999),
    ("1673546928.9999999", (T + 1) * 10**6),
    ("1.673546928028060e9", T * 10**6 + 28060),
    ("16735469280E-1", T * 10**6),
    ("946684800", 946684800 * 10**6),
    ("4102444800.123456", 4102444800123456),
    ("19999999999.999999", 19999999999999999),
    ("20000000000", 20000000000 * 10**6),
    # milliseconds
    ("1673546928028", T * 10**6 + 28000),
    ("1673546928028.06", T * 10**6 + 28060),
    ("1673546928028.060", T * 10**6 + 28060),
    ("946684800000", 946684800 * 10**6),
    ("32503679999999", 32503679999999000),
]

BAD_VALUES = [
    '""', '" "', '"yesterday"', '"now"', '"null"', '"NaN"', "null", "true", "false", "[]", "{}",
    "[1673546928]", '{"a": 1}', '"1673546928"', '"1673546928.02806"',
    '"2023-13-01T00:00:00Z"', '"2023-00-01T00:00:00Z"', '"2023-02-29T00:00:00Z"',
    '"2023-04-31T00:00:00Z"', '"2100-02-29T00:00:00Z"', '"2023-01-00T00:00:00Z"',
    '"2023-01-12T24:00:01Z"', '"2023-01-12T25:00:00Z"', '"2023-01-12T18:60:00Z"',
    '"2023-01-12T18:08:61Z"', '"2023-01-12T18:08:48.Z"', '"2023-01-12T18:08:48.1234567890Z"',
    '"2023-01-12T18:08:48+"', '"2023-01-12T18:08:48+24:00x"', '"2023-01-12T18:08:48ZZ"',
    '"2023-01-12T18:08:48 Z x"', '" 2023-01-12T18:08:48Z"', '"2023-01-12T18:08:48Z "',
    '"2023-01-12T18:08:48Z\\u0000"', '"2023-01-12T18:08:48Z\\n"', '"2023/01/12 18:08:48"',
    '"12-01-2023T18:08:48Z"', '"2023-1-12T18:08:48Z"', '"-2023-01-12T18:08:48Z"',
    '"+002023-01-12T18:08:48Z"', '"99999-01-12T18:08:48Z"', '"Thu, 12 Jan 2023 18:08:48 GMT"',
    '"2023-01-12T18:08:4\\u0660Z"',
    # out of range
    '"1999-12-31T23:59:59.999999Z"', '"3000-01-01T00:00:00Z"', '"0001-01-01T00:00:00Z"',
    '"1970-01-01T00:00:00Z"', '"2000-01-01T00:00:00+00:01"', '"2999-12-31T23:59:59-00:01"',
    '"2999-12-31T23:59:59.9999999Z"',
    "0", "-0", "1", "-1", "-1673546928", "946684799", "946684799.9999994",
    "946684799999", "32503680000000", "1673546928028060", "1e18", "1e400", "-1e400",
    "99999999999999999999999999", "1e-400", "0.0",
    # no JSON at all
    "NaN", "Infinity", "-Infinity", "nan", "01673546928", "+1673546928", "1673546928.", ".5",
    "0x63c0", "1_673_546_928", "'2023-01-12T18:08:48Z'", "2023-01-12T18:08:48Z", "",
]

BAD_BODIES = [
    b"", b" ", b"null", b"true", b"1673546928", b'"2023-01-12T18:08:48Z"', b"[]", b"{}", b"{",
    b'{"updated_at"}', b'{"updated_at": ', b'{"updated_at": "2023-01-12T18:08:48Z"',
    b'{"updated_at": "2023-01-12T18:08:48Z"}}', b'{"updated_at": 1673546928} x',
    b'{"updated_at": 1673546928}{"updated_at": 1673546929}',
    b'[{"updated_at": 1673546928}]', b'{"updatedAt": 1673546928}', b'{"UPDATED_AT": 1673546928}',
    b'{"data": {"updated_at": 1673546928}}', b"updated_at=1673546928", b"{'updated_at': 1673546928}",
    b'{"updated_at": 1673546928,}', b'{"updated_at": 1673546928}\0', b'\0{"updated_at": 1673546928}',
    b"<xml/>", b"[" * 2000, b'{"a":' * 500, b"\xff\xfe{\0",
]


@pytest.mark.parametrize("text, time_us", GOOD)
def test_accepted_forms(service, key, text, time_us):
    response = service.post(key, f'{{"updated_at": {text}}}'.encode())
    assert response.status == 200, response
    assert response.json()["status"] == "published", response
    service.check_snapshot(key, time_us)


@pytest.mark.parametrize("text", BAD_VALUES)
def test_refused_values(service, text):
    key = "refused-values"
    response = service.post(key, f'{{"updated_at": {text}}}'.encode())
    assert response.status == 422, response
    assert response.detail


@pytest.mark.parametrize("body", BAD_BODIES)
def test_refused_bodies(service, body):
    response = service.post("refused-bodies", body)
    assert response.status == 422, response
    assert response.detail


def test_refused_updates_go_nowhere(service):
    """Of all the above, in whatever order they ran."""
    assert service.post("refused-values", b"{}").status == 422
    assert service.snapshot("refused-values") is None
    assert service.snapshot("refused-bodies") is None


def test_no_body_at_all(service, key):
    """Neither Content-Length nor chunks."""
    response = service.request("POST", f"/sse/environments/{key}/queue-change", (authorization(),))
    assert response.status == 422 and response.detail


def test_unusable_text_is_not_repeated_raw(service, key):
    """The detail stays JSON, whatever was sent."""
    response = service.post(key, b'{"updated_at": "\\"}\\n<script>"}')
    assert response.status == 422
    assert b"<script>" not in response.body or response.json()


@pytest.mark.parametrize("body", [
    b'{"updated_at": %d, "more": {"a": [1, 2, {"updated_at": 3}]}, "x": null}',
    b'{"more": 1, "updated_at": %d}',
    b' \r\n\t{ "updated_at" :\n%d }\n ',
    b'{"\\u0075pdated_at": %d}',
    '{"schlüssel": "ä", "updated_at": %d}'.encode(),
])
def test_other_spellings(service, key, body):
    response = service.post(key, body % T)
    assert response.status == 200, response
    service.check_snapshot(key, T * 10**6)


@pytest.mark.parametrize("content_type", [
    None, "", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8",
    "multipart/form-data; boundary=x", "application/octet-stream", "nonsense"])
def test_content_type_does_not_matter(service, key, content_type):
    headers = [authorization()]
    if content_type is not None:
        headers.append(("Content-Type", content_type))
    response = service.post(key, b'{"updated_at": %d}' % T, headers)
    assert response.status == 200, response


# Answers


def test_answer(service, key):
    """Exactly these members; the bus's number only grows."""
    numbers = []
    for _ in range(3):
        response, _ = service.offer(key)
        assert response.status == 200
        assert response.header("Content-Type").split(";")[0] == "application/json"
        assert list(response.json()) == ["status", "sequence"]
        numbers.append(response.json()["sequence"])
    other, _ = service.offer(fresh_key())
    numbers.append(other.json()["sequence"])
    assert numbers == sorted(set(numbers)) and numbers[0] > 0


def test_answer_bytes(service, key):
    response, time_us = service.offer(key)
    assert response.body == b'{"status":"published","sequence":%d}' % response.json()["sequence"]
    response, _ = service.offer(key, time_us)
    assert response.status == 200
    assert response.body == b'{"status":"stale"}'


# Who may publish

GOOD_AUTHORIZATIONS = [f"Token {TOKEN}", f"Bearer {TOKEN}", f"token {TOKEN}", f"bearer {TOKEN}"]

BAD_AUTHORIZATIONS = [
    None, "", "Token", "Token ", TOKEN, f"Token {TOKEN}x", f"Token {TOKEN[:-1]}", f"Token x{TOKEN}",
    f"Token {TOKEN.upper()}", f"Token {TOKEN} {TOKEN}", f"Token {TOKEN},{TOKEN}", f"Basic {TOKEN}",
    "Basic dG9rZW46dG9rZW4=", f"Token{TOKEN}", f"Tokens {TOKEN}", f"Token {'x' * 1000}",
    f"Token \"{TOKEN}\"", "Token *", "Token %00",
]


@pytest.mark.parametrize("value", GOOD_AUTHORIZATIONS)
def test_authorized(service, key, value):
    response = service.post(key, b'{"updated_at": %d}' % T, (("Authorization", value),))
    assert response.status == 200, response


@pytest.mark.parametrize("value", BAD_AUTHORIZATIONS)
def test_unauthorized(service, value):
    headers = () if value is None else (("Authorization", value),)
    response = service.post("unauthorized", b'{"updated_at": %d}' % T, headers)
    assert response.status == 401, response
    assert response.body == b'{"detail":"Invalid authorization header"}'
    assert response.header("WWW-Authenticate") == "Token"


def test_unauthorized_goes_nowhere(service):
    assert service.post("unauthorized", b'{"updated_at": %d}' % T, ()).status == 401
    assert service.snapshot("unauthorized") is None


def test_token_elsewhere_does_not_count(service, key):
    body = b'{"updated_at": %d, "token": "%s"}' % (T, TOKEN.encode())
    for headers in ((("X-Authorization", f"Token {TOKEN}"),), (("Cookie", f"token={TOKEN}"),)):
        path = f"/sse/environments/{key}/queue-change?token={TOKEN}&Authorization=Token%20{TOKEN}"
        assert service.request("POST", path, headers, body).status == 401


def test_two_authorizations(service, key):
    """Which one counts must not depend on who reads them, so a wrong one beside the right one helps nobody."""
    headers = (("Authorization", "Token wrong"), authorization())
    assert service.post(key, b'{"updated_at": %d}' % T, headers).status in (400, 401)


def test_unauthorized_before_the_body_is_judged(service, key):
    assert service.post(key, b"not json", ()).status == 401


def test_key_is_judged_first(service):
    assert service.post("not.a.key", b"not json", ()).status == 400


# Size


def padded(size):
    body = b'{"updated_at": %d}' % T
    return body + b" " * (size - len(body))


def test_body_of_4_kib(service, key):
    assert service.post(key, padded(4096)).status == 200


@pytest.mark.parametrize("size", [4097, 5000, 20000, 60000])
def test_body_too_large(service, key, size):
    response = service.post(key, padded(size))
    assert response.status == 413, response
    assert response.detail
    assert service.snapshot(key) is None


def test_announced_body_too_large(service, key):
    """The answer comes without the body; nobody reads gigabytes first."""
    with service.connect() as connection:
        connection.send(
            f"POST /sse/environments/{key}/queue-change HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Token {TOKEN}\r\nContent-Length: 10000000000\r\n\r\n".encode())
        response = connection.read_response("POST")
    assert response.check_common().status == 413
    assert response.words("Connection") == {"close"}


def test_chunked_body(service, key):
    """Flagsmith sends Content-Length; see test_framing.py for what else is refused."""
    head = format_request(service.address, "POST", f"/sse/environments/{key}/queue-change",
                          (authorization(), ("Transfer-Encoding", "chunked")))
    with service.connect() as connection:
        connection.send(head + b"1a\r\n" + b'{"updated_at": %d}' % T + b"\r\n0\r\n\r\n")
        response = connection.read_response("POST").check_common()
        assert response.status == 411
        assert response.words("Connection") == {"close"}
        assert connection.read_rest() == b""
    assert service.snapshot(key) is None


def test_expect_100_continue(service, key):
    """What curl and some proxies ask first."""
    body = b'{"updated_at": %d}' % T
    with service.connect() as connection:
        connection.send(
            f"POST /sse/environments/{key}/queue-change HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Token {TOKEN}\r\nContent-Length: {len(body)}\r\n"
            f"Expect: 100-continue\r\n\r\n".encode())
        response = connection.read_response("POST", interim=True)
        assert response.status == 100
        connection.send(body)
        assert connection.read_response("POST").status == 200


# Order


def statuses(service, key, *times):
    return [service.offer(key, time_us)[0].json()["status"] for time_us in times]


def test_only_the_latest_itself_is_stale(service, key):
    now = fresh_time_us()
    s = 1_000_000
    assert statuses(service, key, now - 10 * s, now - 10 * s, now - 20 * s, now - 10 * s, now - 10 * s + 2,
                    now - 5 * s, now - 5 * s, now - s) == [
        "published", "stale", "published", "published", "stale", "published", "stale", "published"]
    service.check_snapshot(key, now - s)


def test_environments_do_not_compare(service):
    now = fresh_time_us()
    assert statuses(service, fresh_key(), now) == ["published"]
    assert statuses(service, fresh_key(), now - 10**9) == ["published"]


def test_a_clock_far_ahead_silences_nobody(service, key):
    """What others publish later goes out above it."""
    far = 4102444800_000000  # 2100
    with service.stream(key) as stream:
        service.publish(key, far)
        assert stream.event() == far
        service.publish(key, fresh_time_us())
        assert stream.event() == far + 1
        service.check_snapshot(key, far + 1)
        service.publish(key, far + 9)
        assert stream.event() == far + 9
        service.publish(key, fresh_time_us() - 10**6)
        assert stream.event() == far + 10


def test_two_clocks_ahead_alternate(service, key):
    with service.stream(key) as stream:
        last = 32503679999_000000
        for time_us, told_us in ((4102444800_000000, 4102444800_000000), (last, last), (4102444800_000000, last + 1),
                                 (4102444800_000001, last + 2), (last, last + 3)):
            service.publish(key, time_us)
            assert stream.event() == told_us


def test_concurrent_publishers_converge(service, key):
    """Whoever wins, the last of all is what everybody ends with, and no stream's times go back."""
    now = fresh_time_us()
    times = [now - (120 - i) * 1000 for i in range(120)]
    shuffled = [times[i::4][::-1] if i % 2 else times[i::4] for i in range(4)]
    problems = []

    def work(own):
        try:
            for time_us in own:
                response, _ = service.offer(key, time_us)
                assert response.status == 200, response
        except (AssertionError, OSError, EOFError) as error:
            problems.append(error)

    with service.stream(key) as stream:
        threads = [threading.Thread(target=work, args=(own,)) for own in shuffled]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems
        last = service.publish(key)
        got = stream.events_until(last)
        assert got == sorted(set(got))
        stream.quiet(0.3)
    service.check_snapshot(key, last)


# Connections


def test_pipelined(service, key):
    """Fifty at once over one connection: answered in order, none lost."""
    times = [fresh_time_us() for _ in range(50)]
    requests = b"".join(
        format_request(service.address, "POST", f"/sse/environments/{key}/queue-change",
                       (authorization(),), json.dumps({"updated_at": isoformat(t)}).encode())
        for t in times)
    with service.connect() as connection:
        connection.send(requests)
        answers = [connection.read_response("POST").json() for _ in times]
        assert [a["status"] for a in answers] == ["published"] * 50
        numbers = [a["sequence"] for a in answers]
        assert numbers == sorted(set(numbers))
        assert connection.request("GET", "/livez").status == 200
    service.check_snapshot(key, times[-1])


def test_keep_alive(service, key):
    """As a requests.Session of the task processor uses it."""
    path = f"/sse/environments/{key}/queue-change"
    with service.connect() as connection:
        for _ in range(10):
            body = json.dumps({"updated_at": isoformat(fresh_time_us())}).encode()
            response = connection.request("POST", path, (authorization(),), body)
            assert response.check_common().status == 200
            assert "close" not in response.words("Connection")
        assert connection.request("POST", path, (authorization(),), b"{}").status == 422
        assert connection.request("POST", path, (authorization(),), padded(100)).status == 200
        # Its body is not read: that is the end.
        response = connection.request("POST", path, (), b"{}")
        assert (response.status, response.words("Connection")) == (401, {"close"})
        assert connection.read_rest() == b""


def test_publisher_that_does_not_wait(service, key):
    """It hangs up at once; the update counts all the same."""
    with service.stream(key) as stream:
        time_us = fresh_time_us()
        body = json.dumps({"updated_at": isoformat(time_us)}).encode()
        connection = service.connect()
        connection.send(format_request(
            service.address, "POST", f"/sse/environments/{key}/queue-change", (authorization(),),
            body))
        connection.close()
        assert stream.event() == time_us


def test_answers_within_two_seconds(service, key):
    """The caller's time-out."""
    begun = time.monotonic()
    service.publish(key)
    assert time.monotonic() - begun < 2
