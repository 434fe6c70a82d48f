# SPDX-License-Identifier: BSD-3-Clause
"""Full: who comes too late is told so, and nobody who is there is thrown out."""
import resource
import signal
import socket
import time

import pytest

from daemon import fresh_key
from sse import Refused
from wire import wait_until


def refused(daemon, key):
    """The answer to one stream too many."""
    with pytest.raises(Refused) as error:
        daemon.stream(key)
    return error.value.response.check_common()


def test_max_streams(start, key):
    daemon = start.daemon(options=["streams.max_streams=5"])
    streams = [daemon.stream(key) for _ in range(5)]
    for _ in range(3):
        response = refused(daemon, key)
        assert response.status == 503
        assert 1 <= int(response.header("Retry-After")) <= 60
        assert response.detail
    time_us = daemon.publish(key)  # all else goes on
    for stream in streams:
        assert stream.event() == time_us
    assert daemon.request("HEAD", f"/sse/environments/{key}/stream").status in (200, 503)
    streams.pop().close()

    def accepted():
        try:
            return daemon.stream(key)
        except Refused:
            return None
    streams.append(wait_until(accepted, "the place that got free is not used"))
    assert refused(daemon, key).status == 503
    for stream in streams:
        stream.close()
    wait_until(lambda: daemon.metrics()["flagsse_streams"] == 0, "streams are counted that are gone")


def test_full_is_counted(start, key):
    daemon = start.daemon(options=["streams.max_streams=1"])
    with daemon.stream(key):
        assert refused(daemon, key).status == 503
        metrics = daemon.metrics()
        assert metrics["flagsse_streams"] == metrics["flagsse_streams_max"] == 1
        assert metrics["flagsse_streams_refused_total"] == 1


def test_refused_connection_is_closed(start, key):
    """Those who are refused must not take the places of those who publish."""
    daemon = start.daemon(options=["streams.max_streams=1"])
    with daemon.stream(key), daemon.connect() as connection:
        response = connection.request("GET", f"/sse/environments/{key}/stream")
        assert (response.status, response.header("Connection")) == (503, "close")
        assert connection.read_rest() == b""


def limit_files(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def fill(daemon, key):
    """Streams until one is refused."""
    streams = []
    while len(streams) < 2000:
        try:
            streams.append(daemon.stream(key))
        except Refused as error:
            assert error.response.status == 503
            return streams
    raise AssertionError("no limit")


@pytest.mark.parametrize("soft, hard", [(300, 300), (64, 600)])
def test_descriptor_limit(start, key, soft, hard):
    """max_streams is what the limit allows, the soft one raised to the hard one; the reserve keeps the rest going."""
    daemon = start.daemon(preexec=limit_files(soft, hard))
    daemon.wait_log(rf"\b{hard}\b")
    streams = fill(daemon, key)
    assert hard / 2 <= len(streams) < hard
    assert daemon.metrics()["flagsse_streams_max"] == len(streams)
    for _ in range(5):
        assert daemon.get("/readyz").status == 200
        assert refused(daemon, key).status == 503
    time_us = daemon.publish(key)
    for stream in streams:
        assert stream.event() == time_us
    daemon.signal(signal.SIGTERM)
    for stream in streams:
        assert stream.end() == []
    daemon.wait_exit()
    assert not daemon.log_lines(r"Too many open files")


def test_too_many_configured(start, key):
    """More than the descriptors allow: said at the start, and the smaller number counts."""
    daemon = start.daemon(preexec=limit_files(300, 300), options=["streams.max_streams=10000"])
    daemon.wait_log(r"^warning: .*max_streams")
    streams = fill(daemon, key)
    assert len(streams) < 300
    for stream in streams:
        stream.close()


def test_flood_of_silent_connections(start, key):
    """More connections than descriptors: streams go on, and when the flood is gone, all else does."""
    daemon = start.daemon(preexec=limit_files(300, 300), options=["http.request_timeout=1s"])
    with daemon.stream(key) as stream:
        flood = []
        for _ in range(400):
            flood.append(daemon.connect())
        time.sleep(0.5)
        for connection in flood:
            connection.close()
        time_us = daemon.publish(key)
        assert stream.event() == time_us
    assert daemon.get("/readyz").status == 200


def test_flood_is_cleared_by_time_out(start, key):
    """Silent ones that stay are ended, so others get in."""
    daemon = start.daemon(preexec=limit_files(300, 300), options=["http.request_timeout=1s"])
    flood = [daemon.connect() for _ in range(400)]
    time_us = daemon.publish(key)
    daemon.check_snapshot(key, time_us)
    for connection in flood:
        connection.close()


def test_idle_connections_make_room(start, key):
    """All places are taken by clients that keep a connection for later: the oldest of them go."""
    daemon = start.daemon(preexec=limit_files(300, 300))
    idle = [daemon.connect() for _ in range(200)]
    for connection in idle:
        connection.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    begun = time.monotonic()
    time_us = daemon.publish(key)
    assert time.monotonic() - begun < 8, "idle_timeout, 60 s, or request_timeout, 10 s, had to free a place"
    daemon.check_snapshot(key, time_us)
    for connection in idle:
        connection.close()


@pytest.mark.parametrize("data", [b"GET /li", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_clients_that_hang_up_leave_nothing(start, data):
    """The end arrives in one segment with the last bytes, which an edge-triggered reader can miss."""
    daemon = start.daemon()
    for _ in range(20):
        with daemon.connect() as connection:
            time.sleep(0.02)  # until it has been accepted
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            connection.send(data)
    wait_until(lambda: daemon.metrics()["flagsse_http_connections"] == 1, "connections are kept whose clients "
               "are gone", timeout=5)


def test_slow_clients_hold_up_nobody(start, key):
    """Some dozens that never read, while others get each update at once."""
    daemon = start.daemon()
    stalled = [daemon.stream(key, receive_buffer=2048) for _ in range(40)]
    with daemon.stream(key) as quick:
        for _ in range(200):
            time_us = daemon.publish(key)
            assert quick.event(10) == time_us
    other = fresh_key()
    with daemon.stream(other) as stream:
        time_us = daemon.publish(other)
        assert stream.event(5) == time_us
    last = daemon.publish(key)
    for stream in stalled:
        got = stream.events_until(last)
        assert got == sorted(set(got))
        stream.close()


def test_reader_that_stalls_is_given_up(start, key):
    """After user_timeout; its place is free again."""
    daemon = start.daemon(options=["streams.user_timeout=2s", "streams.keepalive=1s"])
    stalled = daemon.stream(key, receive_buffer=2048)
    for _ in range(400):
        daemon.publish(key)
    wait_until(lambda: daemon.metrics()["flagsse_streams"] == 0, "it is never given up", 30, 0.5)
    stalled.close()
