# SPDX-License-Identifier: BSD-3-Clause
"""The daemon as a process: sockets, systemd's protocols, signals, its end, and what outlives it."""
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from daemon import TOKEN, clean_environment, fresh_key, free_port, run
from sse import Stream
from wire import connect, request, wait_until

ACTIVATE = [sys.executable, str(Path(__file__).with_name("activate.py"))]


# Addresses


def check_address(daemon, address, key):
    with Stream(address, key) as stream:
        time_us = daemon.publish(key)
        assert stream.event() == time_us


def test_every_address_of_ipv4_and_ipv6(start):
    port = free_port()
    daemon = start.daemon(listen=f":{port}", address=("127.0.0.1", port))
    for host in ("127.0.0.1", "127.0.0.2", "::1"):
        check_address(daemon, (host, port), fresh_key())


def test_ipv6(start, key):
    port = free_port()
    daemon = start.daemon(listen=f"[::1]:{port}", address=("::1", port))
    check_address(daemon, ("::1", port), key)
    with pytest.raises(OSError):
        connect(("127.0.0.1", port))


def test_one_address(start, key):
    daemon = start.daemon()
    check_address(daemon, daemon.address, key)
    with pytest.raises(OSError):
        connect(("127.0.0.2", daemon.address[1]))


def test_unix_socket(start, key, tmp_path):
    path = str(tmp_path / "s")
    daemon = start.daemon(listen=f"unix:{path}", address=path)
    check_address(daemon, path, key)
    daemon.kill()
    daemon.start()  # what the killed one left behind is in nobody's way
    check_address(daemon, path, fresh_key())
    daemon.stop()
    with pytest.raises(OSError):
        connect(path)


def test_several_addresses(start, tmp_path):
    ports = [free_port() for _ in range(2)]
    path = str(tmp_path / "s")
    daemon = start.daemon(listen=f"127.0.0.1:{ports[0]}, [::1]:{ports[1]},unix:{path}",
                          address=("127.0.0.1", ports[0]))
    for address in (("127.0.0.1", ports[0]), ("::1", ports[1]), path):
        check_address(daemon, address, fresh_key())


def test_host_name(start, key):
    port = free_port()
    daemon = start.daemon(listen=f"localhost:{port}", address=("localhost", port))
    check_address(daemon, ("127.0.0.1", port), key)


def test_address_in_use(start):
    daemon = start.daemon()
    result = run("--standalone", "-o", f"service.state_dir={daemon.directory}/other", "-o",
                 f"http.listen={daemon.listen}", env={"SSE_AUTHENTICATION_TOKEN": TOKEN})
    assert result.returncode == 1
    assert daemon.listen in result.stderr and "in use" in result.stderr
    assert daemon.get("/livez").status == 200


def test_address_of_another_machine(tmp_path):
    result = run("--standalone", "-o", f"service.state_dir={tmp_path}", "-o", "http.listen=192.0.2.1:8088",
                 env={"SSE_AUTHENTICATION_TOKEN": TOKEN})
    assert result.returncode == 1 and "192.0.2.1:8088" in result.stderr


def test_unix_socket_in_use(start, tmp_path):
    """One that somebody serves is not taken away from him."""
    path = str(tmp_path / "s")
    daemon = start.daemon(listen=f"unix:{path}", address=path)
    result = run("--standalone", "-o", f"service.state_dir={tmp_path}/other", "-o",
                 f"http.listen=unix:{path}", env={"SSE_AUTHENTICATION_TOKEN": TOKEN})
    assert result.returncode == 1 and path in result.stderr
    assert daemon.get("/livez").status == 200


def test_restarts_at_once(start, key):
    """Connections of the former one in TIME_WAIT are in nobody's way."""
    daemon = start.daemon()
    for _ in range(3):
        with daemon.stream(key) as stream:
            daemon.signal(signal.SIGTERM)
            stream.end()
        daemon.wait_exit()
        daemon.start()


# systemd


def test_sockets_from_systemd(start, tmp_path, key):
    """They win over LISTEN_ADDR, and are not closed to others by it."""
    path = str(tmp_path / "s")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        local.listen()
        fds = [tcp.fileno(), local.fileno()]
        daemon = start.daemon(
            listen="127.0.0.1:1", address=tcp.getsockname(), pass_fds=fds,
            wrapper=[*ACTIVATE, *map(str, fds), "--"])
        check_address(daemon, tcp.getsockname(), key)
        check_address(daemon, path, fresh_key())
        daemon.stop()
        assert os.path.exists(path), "the socket file is systemd's"
        assert daemon.wait_log("notice: environment LISTEN_ADDR: http.listen is not used")


def activated(start, tcp, **options):
    return start.daemon(address=tcp.getsockname(), pass_fds=[tcp.fileno()],
                        wrapper=[*ACTIVATE, str(tcp.fileno()), "--"], **options)


def test_addresses_that_are_not_used(start):
    """Beside systemd's sockets: said at the start, after a change, and where the settings are printed."""
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        daemon = activated(start, tcp, listen="", config="[http]\nlisten = 127.0.0.1:1\n")
        file = daemon.directory / "flagsse.conf"
        assert len(daemon.wait_log(f"{file}:2: http.listen is not used, as systemd passes the sockets")) == 1
        printed = run("--print-config", "--process", daemon.pid).stdout
        assert f"# {file}:2; not used, as systemd passes the sockets\nlisten = 127.0.0.1:1\n" in printed
        file.write_text("\n[http]\nlisten = 127.0.0.1:2\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("Changed: nothing")
        assert daemon.wait_log(f"{file}:3: http.listen is not used")
        assert not daemon.log_lines("need a restart")
        assert daemon.metrics()["flagsse_settings_pending"] == 0


def test_default_address_is_not_spoken_of(start):
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        daemon = activated(start, tcp, listen="")
        printed = run("--print-config", "--process", daemon.pid).stdout
        daemon.stop()
        assert "# default; not used, as systemd passes the sockets\nlisten = :8088\n" in printed
        assert not daemon.log_lines("http.listen")


def test_readiness(start, bus, notify):
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path}, **start.bus_options(bus), wait=None)
    notify.wait("READY=1")
    assert daemon.get("/readyz").status == 200
    daemon.signal(signal.SIGTERM)
    notify.wait("STOPPING=1")
    daemon.wait_exit()


def test_status(start, notify, key):
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path}, wait=None)
    assert "0 streams" in notify.wait("STATUS=")
    with daemon.stream(key), daemon.stream(key):
        notify.wait("STATUS=2 streams")


def test_ready_without_nats(start, notify):
    """Streams can be served, so nothing that waits for this unit is held up for ever."""
    start.daemon(bus="nats", nats_url=f"nats://127.0.0.1:{free_port()}", wait="/livez",
                 env={"NOTIFY_SOCKET": notify.path})
    notify.wait("READY=1", 15)


def test_watchdog(start, notify, key):
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "1000000"},
                          wrapper=[*ACTIVATE, "--"], wait=None)
    for _ in range(3):
        notify.wait("WATCHDOG=1")
    with daemon.stream(key) as stream:
        for _ in range(2):
            notify.wait("WATCHDOG=1")
        time_us = daemon.publish(key)
        assert stream.event() == time_us


def test_no_watchdog_unless_asked(start, notify):
    start.daemon(env={"NOTIFY_SOCKET": notify.path}, wait=None)
    notify.wait("READY=1")
    notify.silent("WATCHDOG", 1.5)


def test_watchdog_is_silent_when_hung(start, notify):
    """A process that does not get on says nothing, so that systemd can restart it."""
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "500000"},
                          wrapper=[*ACTIVATE, "--"], wait=None)
    notify.wait("WATCHDOG=1")
    daemon.signal(signal.SIGSTOP)
    time.sleep(0.2)
    notify.lines.clear()
    notify.read()
    notify.silent("WATCHDOG", 1)
    daemon.signal(signal.SIGCONT)
    notify.wait("WATCHDOG=1")


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_streams_cleanly(start, bus, key, number):
    daemon = start.daemon(**start.bus_options(bus))
    streams = [daemon.stream(key) for _ in range(50)] + [daemon.stream(key, version="1.0")]
    time_us = daemon.publish(key)
    assert streams[0].event() == time_us
    daemon.signal(number)
    assert streams[0].end() == []
    for stream in streams[1:]:
        assert stream.end() == [time_us]
    daemon.wait_exit()


@pytest.mark.parametrize("kind", ["idle", "silent"])
def test_end_with_idle_connections(start, kind):
    """A proxy keeps some open all the time; they do not hold up the end."""
    daemon = start.daemon()
    connections = [daemon.connect() for _ in range(5)]
    for connection in connections:
        if kind == "idle":
            connection.request("GET", "/livez")
    time.sleep(0.2)  # until all of them have been accepted
    begun = time.monotonic()
    daemon.stop()
    assert time.monotonic() - begun < 5
    for connection in connections:
        connection.close()


def test_end_with_half_a_request(start):
    """It is waited for, but not for ever."""
    daemon = start.daemon(options=["http.request_timeout=1s"])
    with daemon.connect() as connection:
        connection.send(b"GET /livez HTT")
        daemon.stop()


def test_end_with_a_reader_that_stalls(start, key):
    """It cannot hold up the end for long."""
    daemon = start.daemon()
    stalled = daemon.stream(key, receive_buffer=2048)
    for _ in range(300):
        daemon.publish(key)
    begun = time.monotonic()
    daemon.stop()
    assert time.monotonic() - begun < 13
    stalled.close()


def test_no_new_connections_at_the_end(start, key):
    """Once the streams are ended, nobody is accepted any more, while the last clients take their time."""
    daemon = start.daemon()
    with daemon.stream(key) as stream, daemon.stream(key):
        daemon.signal(signal.SIGTERM)
        stream.end()

        def refused():
            try:
                connect(daemon.address).close()
            except OSError:
                return True
            return False
        wait_until(refused, "it still accepts", 4)
    daemon.wait_exit()


def test_drain_delay(start, notify, key):
    """Load balancers have time to see /readyz; meanwhile everything works; who comes late ends cleanly, too."""
    daemon = start.daemon(options=["streams.drain_delay=2s"], env={"NOTIFY_SOCKET": notify.path})
    with daemon.stream(key) as stream:
        daemon.signal(signal.SIGINT)
        notify.wait("STOPPING=1")
        assert "stopping" in daemon.get("/readyz").detail
        assert daemon.get("/livez").status == 200
        with daemon.stream(key) as late:
            time_us = daemon.publish(key)
            assert stream.event() == late.event() == time_us
            assert "2 streams" in notify.wait("STATUS=Stopping")
            assert int(notify.wait("EXTEND_TIMEOUT_USEC=").partition("=")[2]) > 1_000_000
            assert stream.end() == late.end() == []
    daemon.wait_exit()


@pytest.mark.parametrize("option", ["streams.drain_delay=1h", "streams.drain_time=1h"])
def test_second_signal_ends_all_at_once(start, key, option):
    """Still cleanly.  The first one alone would let some streams stay for long."""
    daemon = start.daemon(options=[option])
    streams = [daemon.stream(key) for _ in range(20)]
    daemon.signal(signal.SIGTERM)
    daemon.wait_log("stopping")
    daemon.signal(signal.SIGTERM)
    for stream in streams:
        assert stream.end() == []
    daemon.wait_exit()


def test_few_streams_take_no_time(start, key):
    """Whatever the drain time is: a thousand in a second are ended at least."""
    daemon = start.daemon(options=["streams.drain_time=1h"])
    streams = [daemon.stream(key) for _ in range(50)]
    daemon.signal(signal.SIGTERM)
    for stream in streams:
        assert stream.end() == []
    daemon.wait_exit()


def test_without_a_system_bus_the_streams_are_drained(start, notify, key):
    """systemd is to be asked, and cannot be."""
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path,
                               "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"})
    with daemon.stream(key) as stream:
        daemon.signal(signal.SIGTERM)
        assert stream.end() == []
    daemon.wait_exit()
    assert daemon.log_lines("not handed over: ")


def test_sigpipe_does_no_harm(start, key):
    daemon = start.daemon()
    with daemon.stream(key) as stream:
        daemon.signal(signal.SIGPIPE)
        time.sleep(0.3)
        time_us = daemon.publish(key)
        assert stream.event() == time_us


def test_stops_while_starting(start):
    for delay in (0, 0.002, 0.01, 0.03):
        daemon = start.daemon(wait=None)
        time.sleep(delay)
        daemon.signal(signal.SIGTERM)
        status = daemon.process.wait(20)
        assert status in (0, -signal.SIGTERM), daemon.log()
        daemon.kill()


# What outlives it


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_restart_keeps_the_latest(start, bus, ending):
    daemon = start.daemon(**start.bus_options(bus))
    times = {fresh_key(): None for _ in range(20)}
    for key in times:
        times[key] = daemon.publish(key)
    last = list(times)[-1]
    response, times[last] = daemon.offer(last)
    number = response.json()["sequence"]
    getattr(daemon, ending)()
    daemon.start()
    for key, time_us in times.items():
        daemon.check_snapshot(key, time_us)
        assert daemon.offer(key, time_us)[0].json() == {"status": "stale"}
    response, _ = daemon.offer(last)
    assert response.json()["sequence"] > number


def test_kill_right_after_the_answer(start):
    """200 means that it is on the disk."""
    daemon = start.daemon()
    for _ in range(5):
        key = fresh_key()
        time_us = daemon.publish(key)
        daemon.kill()
        daemon.start()
        daemon.check_snapshot(key, time_us)


def test_damaged_store(start, key):
    """It is put aside, loudly, and the service starts."""
    daemon = start.daemon()
    daemon.publish(key)
    daemon.stop()
    state = daemon.directory / "state"
    for path in state.glob("*.db*"):
        path.write_bytes(b"this is no database at all" * 1000)
    daemon.start()
    assert daemon.snapshot(key) is None
    daemon.publish(key)
    daemon.wait_log(r"^(warning|error): .*" + str(state))
    assert [p for p in state.iterdir() if "corrupt" in p.name], list(state.iterdir())


def test_no_descriptors_leak(start, key):
    """Connections, streams, refusals: afterwards there are as many as before."""
    daemon = start.daemon(options=["http.request_timeout=1s"])
    count = lambda: len(os.listdir(f"/proc/{daemon.pid}/fd"))  # noqa: E731
    daemon.publish(key)
    daemon.snapshot(key)
    wait_until(lambda: daemon.metrics()["flagsse_streams"] == 0, "streams stay")
    before = count()
    for _ in range(50):
        with daemon.stream(key):
            daemon.publish(key)
        daemon.get("/nothing-there")
        with daemon.connect() as connection:
            connection.send(b"GET /x")
    wait_until(lambda: count() <= before, f"{before} descriptors have become {count()}")


def test_idle_daemon_sleeps(start, key):
    """With streams open and nothing to do it uses no processor time to speak of."""
    daemon = start.daemon()
    streams = [daemon.stream(key) for _ in range(20)]
    time.sleep(0.5)

    def ticks():
        fields = Path(f"/proc/{daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def switches():
        total = 0
        for status in Path(f"/proc/{daemon.pid}/task").glob("*/status"):
            for line in status.read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
        return total
    ticks_before, switches_before = ticks(), switches()
    time.sleep(3)
    assert ticks() - ticks_before <= 3
    assert switches() - switches_before < 60
    for stream in streams:
        stream.close()


def test_environment_is_clean(start):
    """The helper gives what it should: nothing of the tester's own."""
    assert not {"NATS_URL", "LISTEN_ADDR"} & set(clean_environment())
    daemon = start.daemon()
    assert request(daemon.address, "GET", "/livez").status == 200
