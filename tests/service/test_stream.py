# SPDX-License-Identifier: BSD-3-Clause
"""The stream: its bytes, what a new subscriber is given, how it lives and how it ends."""
import contextlib
import json
import socket
import time

import pytest

from daemon import authorization, fresh_key, fresh_time_us, isoformat
from sse import (HEAD, KEEPALIVE, Event, Greeting, Keepalive, Refused, Stream, format_chunk,
                 format_event, format_subscription)
from wire import Connection, connect, parse_head

HOUR_US = 3600 * 10**6


# The head (each Stream compares it too, for whatever it is used)


def test_head_and_greeting_are_one_write_with_the_snapshot(service, key):
    """Clients see no half of a beginning; iOS parses each received piece alone."""
    time_us = service.publish(key)
    service.check_snapshot(key, time_us)
    with Stream(service.address, key, wait=False) as stream:
        pieces = []
        while b"updated_at" not in b"".join(pieces):
            pieces.append(stream.sock.recv(65536))
        data = b"".join(pieces)
        assert data.startswith(HEAD["1.1"])
        body = data[len(HEAD["1.1"]):]
        assert body.endswith(format_chunk(format_event(time_us)))
        assert len([p for p in pieces if b"retry: " in p and b"updated_at" in p]) == 1, pieces


def test_http_1_0_is_closed_not_chunked(service, key):
    first = service.publish(key)
    with service.stream(key, version="1.0") as stream:
        assert stream.event() == first
        second = service.publish(key)
        assert stream.event() == second
        assert stream.raw.endswith(format_event(first) + format_event(second))


def test_head_method(service, key):
    """The headers only, the same ones, and no stream behind them."""
    service.publish(key)
    with service.connect() as connection:
        response = connection.request("HEAD", f"/sse/environments/{key}/stream")
        response.check_common()
        assert response.status == 200
        expected = parse_head(HEAD["1.1"])
        for name, value in expected.headers:
            if name not in ("Transfer-Encoding", "Connection"):
                assert response.values(name) == [value], response
        assert response.header("Content-Length") is None
        assert connection.read_rest() == b""


def test_no_cookie_no_encoding(service, key):
    """Even where the client would like to have one."""
    headers = (("Accept-Encoding", "gzip, br"), ("Cookie", "a=b"), ("Accept", "text/event-stream"))
    with service.stream(key, headers=headers) as stream:
        time_us = service.publish(key)
        assert stream.event() == time_us


# Events


def test_update_is_one_chunk_in_one_write(service, key):
    with service.stream(key) as stream:
        for _ in range(5):
            time_us = service.publish(key)
            assert stream.sock.recv(65536) == format_chunk(format_event(time_us))


@pytest.mark.parametrize("time_us", [
    946684800_000000, 1673546928_028060, 1673546928_000000, 1673546928_000001, 1673546928_999999,
    1673546928_100000])
def test_always_six_digits(service, key, time_us):
    with service.stream(key) as stream:
        service.publish(key, time_us)
        assert stream.event() == time_us  # the parser insists on six digits
        assert stream.raw.endswith(format_chunk(format_event(time_us)))


def test_only_its_own_environment(service):
    keys = [fresh_key() for _ in range(4)]
    near = [keys[0] + "x", keys[0][:-1], keys[0].upper()]
    streams = [service.stream(k) for k in keys + near]
    times = [service.publish(k) for k in keys]
    for stream, time_us in zip(streams, times):
        assert stream.event() == time_us
    time.sleep(0.3)
    for stream in streams:
        stream.quiet(0)
        stream.close()


def test_many_streams_of_one_environment(service, key):
    streams = [service.stream(key) for _ in range(100)]
    for _ in range(3):
        time_us = service.publish(key)
        for stream in streams:
            assert stream.event() == time_us
    for stream in streams:
        stream.close()


def test_stale_update_is_not_sent(service, key):
    with service.stream(key) as stream:
        newer = service.publish(key)
        assert stream.event() == newer
        response, _ = service.offer(key, newer)
        assert response.json() == {"status": "stale"}
        last = service.publish(key)
        assert stream.event() == last


# What a new subscriber is given


def test_nothing_before_the_first_update(service, key):
    with service.stream(key) as stream:
        assert isinstance(Greeting(stream.retry), Greeting)
        stream.quiet(0.3)


def test_snapshot_is_the_latest(service, key):
    """Whatever updated_at says: what counts is when the bus stored it."""
    service.publish(key, 1673546928_028060)
    last = service.publish(key, 1673546929_000001)
    service.check_snapshot(key, last)


def resumptions(time_us):
    """(Last-Event-ID, whether the latest update is sent)"""
    yield str(time_us), False
    for other in (time_us - 1, time_us + 1, time_us + HOUR_US, time_us * 1000, 1, 0):
        yield str(other), True
    for text in ("", "-1", f"-{time_us}", f"+{time_us}", f"{time_us}.0", f"{time_us}x", f"x{time_us}",
                 f"0x{time_us:x}", "abc", "9" * 18, "9" * 19, "9" * 40, "9" * 3000, "NaN", "%00",
                 f"{time_us}, {time_us}", "1673546928.028060", "\xff\xfe"):
        yield text, True


RESUMPTIONS = range(len(list(resumptions(1))))


@pytest.fixture(scope="module")
def published(service):
    key = fresh_key()
    time_us = service.publish(key)
    service.check_snapshot(key, time_us)
    return key, time_us


KNOWN = ("User-Agent", "Known/1")


@pytest.fixture(scope="module", params=["local", "nats"])
def resumable(request, start_shared):
    """(daemon, key, time) of an update that is older than the life of the streams of KNOWN: ids count."""
    daemon = start_shared.daemon(**start_shared.bus_options(request.param), config=(
        "[streams]\nretry_min = 1ms\nretry_max = 1ms\n[profile known]\nuser_agent = Known/\nmax_age = 1s\n"))
    key = fresh_key()
    time_us = daemon.publish(key)
    time.sleep(1.5)
    return daemon, key, time_us


@pytest.mark.parametrize("index", RESUMPTIONS)
def test_last_event_id_header(resumable, index):
    service, key, time_us = resumable
    text, sent = list(resumptions(time_us))[index]
    with service.stream(key, headers=(KNOWN, ("Last-Event-ID", text))) as stream:
        if sent:
            assert stream.event() == time_us
        else:
            stream.quiet(0.3)


@pytest.mark.parametrize("index", RESUMPTIONS)
def test_last_event_id_query(resumable, index):
    """What reconnecting-eventsource adds to the URL."""
    service, key, time_us = resumable
    text, sent = list(resumptions(time_us))[index]
    if any(c in text for c in " \xff"):
        text = text.replace(" ", "%20").replace("\xff", "%ff").replace("\xfe", "%fe")
    with service.stream(key, query=f"?lastEventId={text}", headers=(KNOWN,)) as stream:
        if sent:
            assert stream.event() == time_us
        else:
            stream.quiet(0.3)


def test_id_counts_once_the_update_is_older_than_a_stream(resumable):
    """Before that an SDK may have dropped it.  Another kind of client has a life of its own: here the 900 s."""
    service, key, time_us = resumable
    with service.stream(key, headers=(("Last-Event-ID", str(time_us)),)) as stream:
        assert stream.event() == time_us
    young = fresh_key()
    time_us = service.publish(young)
    service.check_snapshot(young, time_us)
    with service.stream(young, query=f"?lastEventId={time_us}", headers=(KNOWN,)) as stream:
        assert stream.event() == time_us


@pytest.mark.parametrize("query", ["?", "?lastEventId", "?lastEventId=", "?x=y", "?x=y&z", "?&&==",
                                   "?%6castEventId", "?a=%zz%", "?xlastEventId={id}"])
def test_other_queries_do_no_harm(service, published, query):
    key, time_us = published
    with service.stream(key, query=query.format(id=time_us)) as stream:
        assert stream.event() == time_us


def test_query_among_others(resumable):
    service, key, time_us = resumable
    with service.stream(key, query=f"?a=b&lastEventId={time_us}&c=d", headers=(KNOWN,)) as stream:
        stream.quiet(0.3)


def test_resumed_stream_goes_on(service, published):
    """No client is ever stuck because of an id: what comes next is sent, also after an id that is ahead."""
    key = fresh_key()
    first = service.publish(key)
    service.check_snapshot(key, first)
    with service.stream(key, headers=(("Last-Event-ID", str(first)),)) as exact, \
            service.stream(key, headers=(("Last-Event-ID", str(first + HOUR_US)),)) as ahead:
        assert exact.event() == first
        assert ahead.event() == first
        second = service.publish(key)
        assert exact.event() == second
        assert ahead.event() == second


def test_missed_update_is_made_up_for(service, key):
    with service.stream(key) as stream:
        first = service.publish(key)
        assert stream.event() == first
    second = service.publish(key)
    service.check_snapshot(key, second)
    with service.stream(key, headers=(("Last-Event-ID", str(first)),)) as stream:
        assert stream.event() == second


# retry


def test_retry_is_spread(service, key):
    values = []
    for _ in range(60):
        with service.stream(key) as stream:
            values.append(stream.retry)
    assert all(1000 <= value <= 5000 for value in values), values
    assert len(set(values)) > 30, values
    assert min(values) < 2200 and max(values) > 3800, values


def test_retry_range_is_configured(start, key):
    daemon = start.daemon(options=["streams.retry_min=7s", "streams.retry_max=7s"])
    with daemon.stream(key) as stream:
        assert stream.retry == 7000


# Keep-alive


@pytest.fixture(scope="module")
def keepalive_service(start_shared):
    return start_shared.daemon(options=["streams.keepalive=1s"])


@pytest.mark.parametrize("version, expected", [("1.1", format_chunk(KEEPALIVE)), ("1.0", KEEPALIVE)])
def test_keepalive(keepalive_service, key, version, expected):
    with keepalive_service.stream(key, version=version) as stream:
        for _ in range(2):
            begun = time.monotonic()
            assert isinstance(stream.next(), Keepalive)
            assert time.monotonic() - begun > 0.5
        assert stream.raw.endswith(expected * 2)


QUICK_S = 0.7  # less than streams.keepalive


def test_keepalive_counts_from_the_last_byte(keepalive_service, key):
    """A stream that is written to anyway needs none: none comes where the last byte is surely younger than a second."""
    n_quick = 0
    last = time.monotonic()  # the last byte was written after this
    with keepalive_service.stream(key) as stream:
        for _ in range(100):
            time.sleep(0.4)
            begun = time.monotonic()
            time_us = keepalive_service.publish(key)
            blocks = [stream.next()]
            while isinstance(blocks[-1], Keepalive):
                blocks.append(stream.next())
            assert blocks[-1] == Event(time_us), blocks
            if time.monotonic() - last < QUICK_S:
                assert len(blocks) == 1, blocks
                n_quick += 1
            if n_quick == 6:
                return
            last = begun
    raise AssertionError(f"only {n_quick} of 100 updates came quickly")


# Ends


def test_max_age_ends_cleanly(start, bus, key):
    daemon = start.daemon(options=["streams.max_age=2s"], **start.bus_options(bus))
    begun = time.monotonic()
    streams = [daemon.stream(key) for _ in range(20)]
    old = daemon.stream(key, version="1.0")
    time_us = daemon.publish(key)
    for stream in streams + [old]:
        assert stream.event() == time_us
    ends = []
    for stream in streams + [old]:
        assert stream.end() == []
        ends.append(time.monotonic() - begun)
    assert min(ends) > 1.5
    for stream in streams:
        assert stream.raw.endswith(b"0\r\n\r\n")


def test_max_age_is_each_streams_own(start, key):
    """80 to 100 % of it, so that not all come back in the same instant."""
    daemon = start.daemon(options=["streams.max_age=5s"])
    begun = time.monotonic()
    streams = [daemon.stream(key) for _ in range(30)]
    ended = {}
    while len(ended) < len(streams):
        for stream in streams:
            if stream not in ended and not stream.receive(0.001) and stream.ended:
                ended[stream] = time.monotonic() - begun
        assert time.monotonic() - begun < 20
    assert min(ended.values()) > 3.9
    assert max(ended.values()) - min(ended.values()) > 0.3
    for stream in streams:
        stream.end()


def test_no_max_age(start, key):
    daemon = start.daemon(options=["streams.max_age=0"])
    with daemon.stream(key) as stream:
        stream.quiet(2)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_unasked_bytes_make_no_reset(start, key, version):
    """close() with unread input sends a reset, and Android never comes back after one."""
    daemon = start.daemon(options=["streams.max_age=1s"])
    with daemon.stream(key, version=version, extra=b"GET /livez HTTP/1.1\r\n\r\n") as stream:
        stream.sock.sendall(b"x" * 100_000)
        time_us = daemon.publish(key)
        deadline = time.monotonic() + 20
        while stream.receive(0.02):
            stream.sock.sendall(b"more\r\n\r\n")
            assert time.monotonic() < deadline
        while not stream.ended:
            stream.receive(0.02)
            if not stream.ended:
                stream.sock.sendall(b"still more")
            assert time.monotonic() < deadline
        assert stream.end() == [time_us]


def test_end_waits_for_a_slow_reader(start, key):
    """What was sent before the end arrives, however late it is read."""
    daemon = start.daemon(options=["streams.max_age=1s"])
    with daemon.stream(key) as stream:
        time_us = daemon.publish(key)
        stream.sock.sendall(b"y" * 1000)
        time.sleep(2.5)
        assert stream.end() == [time_us]


def test_client_that_half_closes(service, key):
    """Its FIN looks like that of one who has gone: the stream goes on or ends, and nobody else notices."""
    with service.stream(key) as stream, service.stream(key) as other:
        stream.sock.shutdown(socket.SHUT_WR)
        time_us = service.publish(key)
        assert other.event() == time_us
        stream.sock.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            assert stream.sock.recv(65536) in (b"", b"0\r\n\r\n", format_chunk(format_event(time_us)))


def test_gone_clients_are_forgotten(service, key):
    for _ in range(3):
        streams = [service.stream(key) for _ in range(30)]
        for stream in streams:
            stream.close()
        service.publish(key)
    with service.stream(key) as stream:
        time_us = service.publish(key)
        assert time_us in stream.events_until(time_us)


def test_reset_by_the_client(service, key):
    for _ in range(10):
        stream = service.stream(key)
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.close()
        service.publish(key)
    assert service.get("/livez").status == 200


# Conflation


def publish_pipelined(daemon, key, count):
    """Many updates over one connection, without waiting in between.  Their times."""
    times = [fresh_time_us() for _ in range(count)]
    with daemon.connect() as connection:
        for start in range(0, count, 50):
            batch = times[start:start + 50]
            for time_us in batch:
                body = json.dumps({"updated_at": isoformat(time_us)}).encode()
                connection.send(
                    f"POST /sse/environments/{key}/queue-change HTTP/1.1\r\nHost: x\r\n"
                    f"Authorization: {authorization()[1]}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            for time_us in batch:
                response = connection.read_response("POST")
                assert response.json()["status"] == "published", response
    return times


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_reader_that_stalls_gets_the_latest(service, key, version):
    """A newer update replaces the older ones that were not yet sent; nothing is cut in half."""
    with service.stream(key, version=version, receive_buffer=2048) as slow, \
            service.stream(key) as quick:
        times = publish_pipelined(service, key, 2000)
        assert quick.events_until(times[-1])[-1] == times[-1]
        got = slow.events_until(times[-1])
        assert len(got) < len(times), "nothing was replaced: was the window too large?"
        assert got == sorted(set(got)) and set(got) <= set(times)
        slow.quiet(0.3)
        last = service.publish(key)
        assert slow.event() == last


def test_a_stalled_reader_delays_nobody(service, key):
    with service.stream(key, receive_buffer=2048) as stalled, service.stream(key) as quick:
        publish_pipelined(service, key, 1000)
        quick.receive(1)
        begun = time.monotonic()
        last = service.publish(key)
        quick.events_until(last)
        assert time.monotonic() - begun < 5
        assert stalled.events_until(last)[-1] == last


def test_ids_only_grow(service, key):
    """Through many readers that come and go while updates are published."""
    with service.stream(key) as steady:
        times = []
        for _ in range(30):
            times.append(service.publish(key))
            with service.stream(key) as guest:
                assert guest.event() in times
        # On a busy machine one may be replaced by the next before its turn.
        seen = steady.events_until(times[-1])
        assert seen == sorted(set(seen)) and set(seen) <= set(times)


# Together with other requests


def test_stream_after_another_request_on_the_connection(service, key):
    """Keep-alive first, then a stream; and both sent at once."""
    time_us = service.publish(key)
    subscription = format_subscription(service.address, key)
    with Connection(service.address) as connection:
        connection.request("GET", "/livez")
        connection.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + subscription)
        assert connection.read_response().status == 200
        while b"updated_at" not in connection.buffer:
            connection.receive()
        assert connection.buffer.startswith(HEAD["1.1"])
        assert connection.buffer.endswith(format_chunk(format_event(time_us)))


def test_request_in_single_bytes(local_service, key):
    with connect(local_service.address) as sock:
        for byte in format_subscription(local_service.address, key):
            sock.send(bytes([byte]))
        data = b""
        while b"retry" not in data:
            data += sock.recv(65536)
        assert data.startswith(HEAD["1.1"])


def test_body_on_a_get_is_no_stream_trouble(local_service, key):
    """Some client libraries send Content-Length: 0 with a GET."""
    with local_service.stream(key, headers=(("Content-Length", "0"),)) as stream:
        time_us = local_service.publish(key)
        assert stream.event() == time_us


def test_refused_stream_is_an_ordinary_answer(service):
    with pytest.raises(Refused) as refused:
        service.stream("not.a.key")
    assert refused.value.response.check_common().status == 400
