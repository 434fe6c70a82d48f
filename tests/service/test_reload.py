# SPDX-License-Identifier: BSD-3-Clause
"""SIGHUP: other settings while all goes on, or, where the file is bad, the old ones."""
import os
import signal

import pytest

from daemon import TOKEN, authorization, free_port, run
from sse import Keepalive, Refused
from wire import wait_until

BASE = "[streams]\nmax_age = 0\nkeepalive = 1 h\n"


class Reloading:
    """A daemon whose file is written anew."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.n = 0

    def reload(self, text, expect="The configuration is read again"):
        """Gives the line of the log that tells the outcome."""
        before = len(self.daemon.log_lines(expect))
        (self.daemon.directory / "flagsse.conf").write_text(text)
        self.daemon.signal(signal.SIGHUP)
        return self.daemon.wait_log(expect, before + 1)[-1]


@pytest.fixture
def reloading(start):
    # Without the level of all other tests, as the environment wins over the file.
    return Reloading(start.daemon(config=BASE, env={"FLAGSSE_LOG_LEVEL": ""}))


def test_keepalive_of_streams_that_are_open(reloading, key):
    with reloading.daemon.stream(key) as stream:
        line = reloading.reload("[streams]\nmax_age = 0\nkeepalive = 1 s\n")
        assert line.endswith("Changed: streams.keepalive.")
        assert isinstance(stream.next(), Keepalive)
        assert isinstance(stream.next(), Keepalive)


def test_what_new_streams_are_given(reloading, key):
    with reloading.daemon.stream(key) as before:
        line = reloading.reload("[streams]\nmax_age = 1 s\nkeepalive = 1 h\nretry_min = 7 s\nretry_max = 7 s\n")
        for name in ("streams.max_age", "streams.retry_min", "streams.retry_max"):
            assert name in line
        with reloading.daemon.stream(key) as after:
            assert after.retry == 7000
            assert after.end() == []
        before.quiet(0.3)


def test_profiles(reloading, key):
    agent = (("User-Agent", "Special/1.0"),)
    line = reloading.reload(BASE + "[profile special]\nuser_agent = Special/\nclose_after_update = yes\n")
    assert line.endswith("Changed: profile.special.")
    stream = reloading.daemon.stream(key, headers=agent)
    time_us = reloading.daemon.publish(key)
    assert stream.end() == [time_us]
    assert reloading.reload(BASE).endswith("Changed: profile.special.")
    with reloading.daemon.stream(key, headers=agent) as stream:
        assert stream.event() == time_us
        time_us = reloading.daemon.publish(key)
        assert stream.event() == time_us
        stream.quiet(0.3)


def test_token_from_a_file(start, key, tmp_path):
    """A secret is changed without a restart: the file's content, not its name."""
    file = tmp_path / "token"
    file.write_text("first-token\n")
    file.chmod(0o600)
    daemon = start.daemon(token=None, options=[f"http.token_file={file}"])
    first, second = (authorization("first-token"),), (authorization("second-token"),)
    body = b'{"updated_at": "2026-01-01T00:00:00Z"}'
    path = f"/sse/environments/{key}/queue-change"
    with daemon.connect() as before, daemon.connect() as also_before:
        assert before.request("POST", path, first, body).status == 200
        assert also_before.request("POST", path, first, body).status == 200
        file.write_text("second-token\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log(r"Changed: http\.token\.")
        assert before.request("POST", path, first, body).status == 401
        assert also_before.request("POST", path, second, body).status == 200
    assert "second-token" not in daemon.log()


def test_max_streams(reloading, key):
    reloading.reload(BASE + "max_streams = 1\n")
    with reloading.daemon.stream(key):
        with pytest.raises(Refused) as refused:
            reloading.daemon.stream(key)
        assert refused.value.response.status == 503
        assert len(reloading.daemon.wait_log("Subscribers are refused")) == 1
        reloading.reload(BASE + "max_streams = 2\n")
        with reloading.daemon.stream(key):
            assert reloading.daemon.metrics()["flagsse_streams_max"] == 2


@pytest.mark.parametrize("state", ["idle", "request"])
def test_timeouts_of_connections_that_are_there(start, state):
    daemon = start.daemon(config="[http]\nidle_timeout = 1 h\nrequest_timeout = 300 s\n")
    with daemon.connect() as connection:
        if state == "idle":
            assert connection.request("GET", "/livez").status == 200
        else:
            connection.send(b"GET /livez HTTP/1.1\r\n")
            wait_until(lambda: daemon.metrics()["flagsse_http_connections"] == 2, "it is not accepted")
        (daemon.directory / "flagsse.conf").write_text("[http]\nidle_timeout = 1 s\nrequest_timeout = 1 s\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("Changed: http.request_timeout, http.idle_timeout")
        assert connection.read_rest() == b""


def test_log_level(reloading, key):
    reloading.reload(BASE + "[service]\nlog_level = debug\n")
    reloading.daemon.publish(key)
    reloading.daemon.wait_log(f"debug: Update of environment {key}, by 127.0.0.1:")
    with reloading.daemon.stream(key):
        reloading.daemon.wait_log(f"debug: Stream of environment {key}, by 127.0.0.1:")


def test_what_needs_a_restart_is_said(reloading, key):
    with reloading.daemon.stream(key) as stream:
        line = reloading.reload(BASE + "shards = 7\n[nats]\nreplicas = 3\n[service]\nlog_level = debug\n")
        assert line.endswith("Changed: service.log_level.")
        assert reloading.daemon.wait_log("need a restart")[-1].endswith(": streams.shards, nats.replicas.")
        stream.quiet(0.2)


def test_nothing_has_changed(reloading):
    assert reloading.reload(BASE).endswith("Changed: nothing.")
    assert not reloading.daemon.log_lines("need a restart")
    assert reloading.daemon.get("/readyz").json() == {"status": "ready"}
    assert reloading.daemon.metrics()["flagsse_settings_pending"] == 0


PENDING = BASE + "shards = 7\n[nats]\nreplicas = 3\n"
NAMES = "streams.shards, nats.replicas."


def test_what_needs_a_restart_is_told_until_then(start, notify):
    """Each reload compares with what runs, not with what was read last; and what pends is told wherever one looks."""
    daemon = start.daemon(config=BASE, env={"NOTIFY_SOCKET": notify.path, "FLAGSSE_LOG_LEVEL": ""})
    reloading = Reloading(daemon)
    for n, spread in enumerate((1, 2, 2), 1):
        line = reloading.reload(PENDING.replace("[nats]", f"spread = {spread} ms\n[nats]"))
        assert line.endswith("Changed: streams.spread." if n < 3 else "Changed: nothing.")
        lines = daemon.wait_log("need a restart", n)
        assert len(lines) == n and lines[-1].endswith(f": {NAMES}"), lines
    assert notify.wait("STATUS=0 streams, 0 environments with an update, 0 queued; bus connected. "
                       f"Changed settings that need a restart: {NAMES}")
    warning = daemon.get("/readyz").json()["warning"]
    assert daemon.get("/readyz").status == 200 and warning.endswith(f": {NAMES}"), warning
    assert daemon.metrics()["flagsse_settings_pending"] == 2

    # A file that cannot be used changes nothing about it.
    reloading.reload(PENDING + "[nonsense]\n", "cannot be used")
    assert daemon.metrics()["flagsse_settings_pending"] == 2
    assert daemon.get("/readyz").json()["warning"] == warning


def test_what_needs_a_restart_is_taken_back(start, notify):
    """Then file and process agree, and that is told once."""
    daemon = start.daemon(config=BASE, env={"NOTIFY_SOCKET": notify.path, "FLAGSSE_LOG_LEVEL": ""})
    reloading = Reloading(daemon)
    reloading.reload(PENDING)
    notify.wait("Changed settings that need a restart: ")
    for _ in range(2):
        assert reloading.reload(BASE).endswith("Changed: nothing.")
    assert notify.wait("STATUS=").endswith("bus connected.")
    assert len(daemon.wait_log("No setting waits for a restart any more")) == 1
    assert len(daemon.log_lines("need a restart")) == 1
    assert daemon.get("/readyz").json() == {"status": "ready"}
    assert daemon.metrics()["flagsse_settings_pending"] == 0


def test_after_a_restart_nothing_pends(reloading):
    reloading.reload(PENDING)
    reloading.daemon.stop()
    reloading.daemon.config = PENDING
    reloading.daemon.start()
    assert reloading.daemon.get("/readyz").json() == {"status": "ready"}
    assert reloading.reload(PENDING).endswith("Changed: nothing.")
    assert len(reloading.daemon.log_lines("need a restart")) == 1


def test_what_pends_is_told_while_the_bus_is_away(start, notify):
    daemon = start.daemon(bus="nats", nats_url=f"nats://127.0.0.1:{free_port()}", wait="/livez", config=BASE,
                          env={"NOTIFY_SOCKET": notify.path})
    daemon.wait_log("The bus is away")
    Reloading(daemon).reload(BASE + "shards = 7\n")
    line = notify.wait("Changed settings that need a restart: streams.shards.")
    assert line.startswith("STATUS=0 streams, 0 environments with an update, 0 queued; cannot connect")


def test_bad_file_changes_nothing(reloading, key):
    """Though one of its settings is good; and a good file is taken afterwards."""
    with reloading.daemon.stream(key) as stream:
        reloading.reload("[streams]\nkeepalive = 1 s\nmax_age = never\n[nowhere]\n", "cannot be used")
        log = reloading.daemon.log()
        assert "flagsse.conf:3: streams.max_age: " in log and "flagsse.conf:4: nowhere: " in log
        stream.quiet(1.5)
        assert not stream.blocks and b":\n\n" not in stream.raw
        time_us = reloading.daemon.publish(key)
        assert stream.event() == time_us
        reloading.reload("[streams]\nkeepalive = 1 s\nmax_age = 0\n")
        assert isinstance(stream.next(), Keepalive)


def test_file_is_gone(reloading, key):
    file = reloading.daemon.directory / "flagsse.conf"
    with reloading.daemon.stream(key) as stream:
        file.unlink()
        reloading.daemon.signal(signal.SIGHUP)
        reloading.daemon.wait_log("cannot be used")
        time_us = reloading.daemon.publish(key)
        assert stream.event() == time_us


def test_many_at_once(reloading, key):
    """Under updates: none is lost."""
    with reloading.daemon.stream(key) as stream:
        for i in range(50):
            (reloading.daemon.directory / "flagsse.conf").write_text(BASE + f"spread = {i % 2} ms\n")
            reloading.daemon.signal(signal.SIGHUP)
            time_us = reloading.daemon.publish(key)
            assert stream.events_until(time_us)[-1] == time_us
    reloading.daemon.wait_log("Changed: streams.spread", 2)


def test_systemd_is_told(start, notify):
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path}, config=BASE)
    notify.wait("READY=1")
    for text in (BASE, "[nonsense\n"):
        (daemon.directory / "flagsse.conf").write_text(text)
        daemon.signal(signal.SIGHUP)
        notify.wait("RELOADING=1")
        assert int(notify.wait("MONOTONIC_USEC=").partition("=")[2]) > 0
        notify.wait("READY=1")


def test_not_ready_by_a_reload(start, notify):
    """While the start is still waiting for NATS."""
    daemon = start.daemon(bus="nats", nats_url=f"nats://127.0.0.1:{free_port()}", wait="/livez", config=BASE,
                          env={"NOTIFY_SOCKET": notify.path})
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("The configuration is read again")
    assert not any("READY=1" in line or "RELOADING" in line for line in notify.lines)
    assert "STATUS=0 streams" in notify.wait("STATUS=")
    assert notify.wait("READY=1", 15)


def test_wrong_tokens_are_logged_with_the_client(start, key):
    daemon = start.daemon()
    for _ in range(5):
        assert daemon.post(key, b"{}", (authorization("wrong"),)).status == 401
    lines = daemon.wait_log("Refused an update", 3)
    assert [line.partition("none (")[2].partition(" ")[0] for line in lines] == ["1", "2", "4"]
    assert key in lines[0] and "from 127.0.0.1:" in lines[0]
    assert "wrong\"" not in daemon.log() and TOKEN not in daemon.log()


# Before a reload: what would it read?


def check(daemon):
    return run("--check-config", "--process", daemon.pid)


def test_check_with_the_options_of_a_process(reloading):
    """Its file, its token by the environment, its options: this caller has none of them."""
    assert check(reloading.daemon).returncode == 0
    (reloading.daemon.directory / "flagsse.conf").write_text("[streams]\nmax_age = never\n")
    result = check(reloading.daemon)
    assert result.returncode == 78 and "flagsse.conf:2: streams.max_age" in result.stderr


def test_check_with_the_credentials_of_a_process(start, tmp_path):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "token").write_text("a-token\n")
    daemon = start.daemon(token=None, env={"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
    assert check(daemon).returncode == 0
    (tmp_path / "credentials" / "token").unlink()
    assert check(daemon).returncode == 78


@pytest.mark.parametrize("where", ["option", "variable"])
def test_check_with_any_byte_in_what_a_process_was_given(start, tmp_path, where):
    """A byte that is no text, in a path, say, hides nothing that comes after it."""
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "token").write_text("a-token\n")
    byte = "\udcff"  # 0xFF
    daemon = start.daemon(
        token=None,
        options=[f"service.state_dir={tmp_path}/state{byte if where == 'option' else ''}", "streams.spread=7 ms"],
        env={"NOTE": byte if where == "variable" else "", "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
    assert check(daemon).returncode == 0
    assert "\nspread = 7 ms\n" in run("--print-config", "--process", daemon.pid, errors="replace").stdout
    (tmp_path / "credentials" / "token").unlink()
    assert check(daemon).returncode == 78


def print_running(daemon):
    result = run("--print-config", "--process", daemon.pid)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_print_what_runs(reloading):
    """Not what the files have by now."""
    daemon = reloading.daemon
    first = print_running(daemon)
    assert "\nspread = 0 ms\n" in first
    file = daemon.directory / "flagsse.conf"
    file.write_text(BASE + "spread = 7 ms\nshards = 7\n")
    assert print_running(daemon) == first
    file.write_text("[nonsense]\n")
    assert print_running(daemon) == first

    reloading.reload(BASE + "spread = 7 ms\nshards = 7\n")
    wait_until(lambda: print_running(daemon) != first, "the reload does not show")
    second = print_running(daemon)
    assert f"# {file}:4\nspread = 7 ms\n" in second, "taken by the reload"
    assert "# default\nshards = 0\n" in second, "waits for a restart"
    reloading.reload("[nonsense]\n", "cannot be used")
    assert print_running(daemon) == second


def test_what_runs_is_read_whole(reloading):
    """Whatever reloads there are meanwhile."""
    daemon = reloading.daemon
    texts = set()
    for i in range(20):
        (daemon.directory / "flagsse.conf").write_text(BASE + f"spread = {i % 2} ms\n")
        daemon.signal(signal.SIGHUP)
        texts.add(print_running(daemon).replace("# default\nspread = 0", f"# {daemon.directory}/flagsse.conf:4\nspread = 0")
                  .replace("spread = 1 ms", "spread = 0 ms"))
    assert len(texts) == 1


def test_what_runs_has_no_secrets(reloading):
    assert TOKEN not in print_running(reloading.daemon)
    for path in os.listdir(f"/proc/{reloading.daemon.pid}/fd"):
        try:
            link = os.readlink(f"/proc/{reloading.daemon.pid}/fd/{path}")
        except FileNotFoundError:
            continue
        if "memfd" in link:
            with open(f"/proc/{reloading.daemon.pid}/fd/{path}", "rb") as file:
                text = file.read()
            assert b"token = ***" in text and TOKEN.encode() not in text
            with pytest.raises(PermissionError), open(f"/proc/{reloading.daemon.pid}/fd/{path}", "r+b") as file:
                file.write(b"forged")
            break
    else:
        raise AssertionError("there is none")


def test_print_of_a_process_that_shows_nothing(tmp_path):
    result = run("--print-config", "--process", 2**22 + 1)
    assert result.returncode == 1 and "No such process" in result.stderr
    result = run("--print-config", "--process", os.getpid())
    assert result.returncode == 1 and "no flagsse" in result.stderr and not result.stdout


def test_print_what_a_process_reads(start, tmp_path):
    """An administrator has neither its options nor its credentials."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text("a-token\n")
    daemons = [start.daemon(token=None, config="[streams]\nspread = 7 ms\n",
                            env={"CREDENTIALS_DIRECTORY": str(tmp_path / name)}) for name in ("one", "two")]
    for daemon in daemons:
        result = run("--print-config", "--process", daemon.pid)
        assert result.returncode == 0, result.stderr
        assert f"# {daemon.directory}/flagsse.conf:2\nspread = 7 ms\n" in result.stdout
        assert "# credential token\ntoken =\n" in result.stdout  # not its path, which holds the process's number


def test_check_with_a_process_that_is_not_there():
    result = run("--check-config", "--process", 2**22 + 1)
    assert result.returncode == 1 and "No such file" in result.stderr
    result = run("--check-config", "--process", os.getpid())
    assert result.returncode == 1 and "no flagsse" in result.stderr


@pytest.mark.parametrize("options", [("--process", "x", "--check-config"), ("--process", "1"),
                                     ("--process", "1", "--print-sample-config"),
                                     ("--process", "1", "--check-config", "--standalone"),
                                     ("--process", "1", "--print-config", "-o", "streams.spread=1")])
def test_options_that_do_not_go_together(options):
    assert run(*options).returncode == 64
