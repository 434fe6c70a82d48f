# SPDX-License-Identifier: BSD-3-Clause
"""What an administrator is told when nothing is amiss, or less than it seems: each message is true, and none is an
alarm that is none."""
import re
import signal
import time

import pytest

from daemon import free_port
from systemd import Systemd

ALARM = r"^(warning|error): "
ONE_OF_MANY = re.compile(r"\b1 (streams|environments|updates|replicas|subjects|messages|threads)\b")


@pytest.fixture
def restarted(start, notify, tmp_path):
    """A daemon on NATS whose next SIGTERM is for a restart, as far as systemd says."""
    systemd = Systemd(tmp_path, [0])
    yield start.daemon(env={"NOTIFY_SOCKET": notify.path, "FLAGSSE_LOG_LEVEL": "debug", **systemd.env},
                       **start.bus_options("nats"))
    systemd.close()


def check_grammar(daemon, *more):
    for text in (*daemon.log().splitlines(), *more):
        assert not ONE_OF_MANY.search(text), text


def test_planned_restart(restarted, notify, key):
    """All of it is as planned: from the start with NATS there to the hand-over."""
    with restarted.stream(key):
        restarted.publish(key)
        status = notify.wait("STATUS=1 stream")
        restarted.signal(signal.SIGTERM)
        handing_over = notify.wait("STATUS=Restarting")
        notify.wait("FDSTORE=1")
        notify.wait("BARRIER=1")
        restarted.wait_exit()
    assert restarted.wait_log("notice: Handed over 1 stream of 1 environment ")
    assert not restarted.log_lines(ALARM), restarted.log()
    check_grammar(restarted, status, handing_over)
    # It is by design that the socket of a stream leaves libmicrohttpd.
    assert restarted.log_lines("debug: Stream of environment")
    assert not restarted.log_lines("libmicrohttpd: .*error"), restarted.log()


def test_last_answers_are_no_errors(start):
    """Nor that the socket of a last answer does, and of HEAD."""
    daemon = start.daemon(env={"FLAGSSE_LOG_LEVEL": "debug"})
    assert daemon.request("POST", "/livez", (), b"x").status == 405
    assert daemon.request("HEAD", "/sse/environments/x/stream").status == 200
    with daemon.stream("x"):
        pass
    daemon.stop()
    assert not daemon.log_lines("libmicrohttpd: .*error"), daemon.log()


def away(start, **options):
    """A daemon that does not find its NATS."""
    return start.daemon(wait="/livez", bus="nats", nats_url=f"nats://127.0.0.1:{free_port()}", **options)


def test_first_look_at_readiness(start, shim):
    """While the start is under way: the outbox is not missing but being opened, and keeps what comes."""
    shim.disk_stalls = 1
    daemon = away(start, env=shim.env)
    line, = daemon.wait_log("The bus is away")
    first = daemon.get("/readyz")
    opened = daemon.metrics()["flagsse_outbox_up"]
    shim.disk_stalls = 0
    assert opened == 0
    assert first.status == 503
    assert "no outbox" not in first.detail and "kept in the outbox" in first.detail, first.detail
    assert "kept in the outbox" in line


def test_updates_are_kept_where_that_is_said(start, key):
    daemon = away(start)
    line, = daemon.wait_log("The bus is away")
    daemon.queue(key)
    assert "updates are kept in the outbox until it is back" in line
    assert "holds 1 update." in daemon.get("/readyz").detail
    check_grammar(daemon, daemon.get("/readyz").detail)


def test_updates_are_refused_where_that_is_said(start, tmp_path, key):
    """The outbox cannot be opened, and that is known."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url, options=[f"service.state_dir={tmp_path}/a/b"])
    daemon.wait_log("There is no outbox")
    server.stop()
    line, = daemon.wait_log("The bus is away")
    assert "updates are refused until it is back" in line
    assert daemon.offer(key)[0].status == 503
    assert "There is no outbox either" in daemon.get("/readyz").detail


def test_outage_and_return(start, key):
    """Each is told once, with what becomes of updates; and nothing else is."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    server.stop()
    daemon.wait_log("The bus is away")
    daemon.queue(key)
    server.start()
    daemon.wait_log("The bus is back")
    daemon.wait_log("The outbox is empty")
    daemon.stop()
    alarm, = daemon.log_lines(ALARM)
    assert "updates are kept in the outbox" in alarm
    check_grammar(daemon)


@pytest.mark.parametrize("bus", ["local", "nats"])
def test_stop(start, bus, key):
    daemon = start.daemon(**start.bus_options(bus))
    with daemon.stream(key) as stream:
        daemon.publish(key)
        daemon.signal(signal.SIGTERM)
        stream.end()
    daemon.wait_exit()
    assert not daemon.log_lines(ALARM)
    check_grammar(daemon)


def test_status_is_current(start, notify, key):
    """It is told as soon as it has changed, once a second at most."""
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path})
    notify.wait("READY=1")
    begun = time.monotonic()
    for _ in range(3):
        with daemon.stream(key):
            notify.wait("STATUS=1 stream,")
        notify.wait("STATUS=0 streams,")
    daemon.publish(key)
    notify.wait("STATUS=0 streams, 1 environment with an update,")
    assert time.monotonic() - begun < 20, "told every 5 s, it takes 35 s"


def test_status_is_not_told_too_often(start, notify, key):
    """However fast it changes, systemd has other things to do."""
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path})
    notify.wait("READY=1")
    begun = time.monotonic()
    while time.monotonic() - begun < 3:
        with daemon.stream(key):
            pass
    told = sum(datagram.startswith(b"STATUS=") for datagram in notify.read())
    assert 1 <= told <= 2 + (time.monotonic() - begun)
