# SPDX-License-Identifier: BSD-3-Clause
"""What an administrator reads where something about the machine or the unit is wrong: what, to what, what to do."""
import os
import resource
import socket
import subprocess

import pytest

from daemon import TOKEN, clean_environment, free_port, program, run
from wire import TIMEOUT

TOKEN_ENV = {"SSE_AUTHENTICATION_TOKEN": TOKEN}


def refused(*options, env=None, code=1, **how):
    """What is said by a start that fails."""
    result = subprocess.run([program(), "--standalone", *options], env=clean_environment(**TOKEN_ENV, **(env or {})),
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False,
                            **how)
    assert result.returncode == code, result.stderr
    return result.stderr


@pytest.fixture
def state(tmp_path):
    directory = tmp_path / "state"
    directory.mkdir()
    return ("-o", f"service.state_dir={directory}")


# Addresses


def test_port_in_use(state):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", free_port()))
        sock.listen()
        port = sock.getsockname()[1]
        text = refused(*state, "-o", f"http.listen=127.0.0.1:{port}")
    assert f"Cannot listen on 127.0.0.1:{port}: another program listens there (`ss -ltnp` shows it)" in text


def test_address_of_somebody_else(state):
    assert "192.0.2.1:8088: this machine has no such address" in refused(*state, "-o", "http.listen=192.0.2.1:8088")


@pytest.mark.parametrize("form", [":{0},:{0}", "127.0.0.1:{0},:{0}", "unix:{1}/s,unix:{1}/s"])
def test_same_listener_twice(state, tmp_path, form):
    listen = form.format(free_port(), tmp_path)
    assert "http.listen has it, or all addresses of its port, twice" in refused(*state, "-o", f"http.listen={listen}")


def test_file_in_place_of_a_socket(state, tmp_path):
    (tmp_path / "s").write_text("precious")
    text = refused(*state, "-o", f"http.listen=unix:{tmp_path}/s")
    assert f"unix:{tmp_path}/s: a file is there that is no socket; move it away" in text
    assert (tmp_path / "s").read_text() == "precious"


def test_no_directory_for_a_socket(state, tmp_path):
    assert "its directory does not exist" in refused(*state, "-o", f"http.listen=unix:{tmp_path}/none/s")


# Limits


def test_few_descriptors(start):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    daemon = start.daemon(preexec=few)
    assert daemon.wait_log("warning: 200 files may be open: .* raise LimitNOFILE=")


def test_no_more_threads(state):
    """root has no such limit."""
    def few():
        os.chown(state[1].split("=")[1], 54321, 54321)
        os.setgid(54321)
        os.setuid(54321)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    text = refused(*state, preexec_fn=few)
    assert "Cannot start the thread flagsse-log: " in text and "raise LimitNPROC= or TasksMax=" in text


# What systemd passes


@pytest.mark.parametrize("value", ["abc", "0"])
def test_watchdog_that_is_none(start, notify, value):
    daemon = start.daemon(env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": value})
    assert daemon.wait_log(f"warning: The variables WATCHDOG_USEC={value} and .* not understood.*WatchdogSec=")


@pytest.mark.parametrize("value", ["abc", "-1"])
def test_bad_listen_fds(state, value):
    text = subprocess.run(["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", program(), "--standalone", *state],
                          env=clean_environment(**TOKEN_ENV, LISTEN_FDS=value), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert text.returncode == 1 and f"LISTEN_FDS={value}" in text.stderr, text.stderr
    assert "set them nowhere else" in text.stderr


def test_accept(state):
    """Accept=yes: a process for each connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        def become_three():
            os.dup2(theirs.fileno(), 3)
            os.set_inheritable(3, True)
        result = subprocess.run(
            ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", program(), "--standalone", *state],
            env=clean_environment(**TOKEN_ENV, LISTEN_FDS="1"), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=TIMEOUT, check=False, preexec_fn=become_three, close_fds=False)
    assert result.returncode == 1 and "Set Accept=no" in result.stderr, result.stderr


# The rest


@pytest.mark.parametrize("mode, words", [(0o555, "may not write to this directory. Run chown"),
                                         (None, "the directory does not exist. Make it")])
def test_state_directory(tmp_path, mode, words):
    tmp_path.parent.chmod(0o755)
    directory = tmp_path / "state"
    if mode:
        directory.mkdir(mode=mode)
        for parent in list(directory.parents)[:-2]:
            parent.chmod(parent.stat().st_mode | 0o055)

    def be_nobody():
        os.setgid(54321)
        os.setuid(54321)
    where = directory if mode else directory / "none" / "deeper"
    text = refused("-o", f"service.state_dir={where}", "-o", f"http.listen=127.0.0.1:{free_port()}",
                   preexec_fn=be_nobody if mode else None)
    assert f"{where}/flagsse.db: " in text and words in text, text


@pytest.mark.parametrize("command", [["sleep", "60"], ["sh", "-c", "sleep 60; true"]])
def test_process_of_another_program(command):
    with subprocess.Popen(command) as process:
        try:
            result = run("--check-config", "--process", process.pid, env=TOKEN_ENV)
        finally:
            process.kill()
    assert result.returncode == 1
    assert f"Process {process.pid} is no flagsse, but another program. `systemctl show" in result.stderr


def test_unknown_variable():
    result = run("--check-config", env={**TOKEN_ENV, "FLAGSSE_LOGLEVEL": "debug", "FLAGSSE_LOG_LEVEL": "info"})
    assert result.returncode == 0
    assert result.stderr.splitlines() == ["warning: environment FLAGSSE_LOGLEVEL: no setting has this variable, and it "
                                          "has no effect; flagsse.conf(5) names all"]


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quoted_value(tmp_path, quote):
    (tmp_path / "f.conf").write_text(f"[http]\ntoken = {quote}s3cret{quote}\n[profile x]\nuser_agent = a\"b\n")
    result = run("--check-config", "-c", tmp_path / "f.conf")
    assert result.returncode == 0 and "s3cret" not in result.stderr
    assert f"{tmp_path}/f.conf:2: http.token: the quotes are part of the value" in result.stderr
    assert "user_agent" not in result.stderr


SERVERS = [f"tls://flagsse:{'p' * 150}{i}@nats{i}.example:4222" for i in range(3)]


def test_list_in_several_lines(tmp_path):
    """As three servers do not fit into one; a later file begins anew."""
    (tmp_path / "conf.d").mkdir()
    main, later = tmp_path / "f.conf", tmp_path / "conf.d" / "a.conf"
    text = "".join(f"url = {server}\n" for server in SERVERS)
    main.write_text(f"[nats]\n{text}[http]\nlisten = :1\nlisten = :2,unix:/x\n[streams]\nspread = 1\nspread = 2\n")
    main.chmod(0o600)
    printed = run("--print-config", "-c", main, env=TOKEN_ENV).stdout
    assert "url = " + ",".join(f"tls://***@nats{i}.example:4222" for i in range(3)) in printed
    assert "listen = :1,:2,unix:/x\n" in printed and "spread = 2 ms\n" in printed
    later.write_text("[nats]\nurl = nats://other\n")
    assert "url = nats://other\n" in run("--print-config", "-c", main, env=TOKEN_ENV).stdout


def test_long_list_is_printed_in_several_lines(tmp_path):
    main = tmp_path / "f.conf"
    main.write_text("[http]\n" + "".join(f"listen = unix:/{'d' * 60}/{i}\n" for i in range(5)))
    printed = run("--print-config", "-c", main, env=TOKEN_ENV).stdout
    main.write_text(printed)
    assert run("--print-config", "-c", main, env=TOKEN_ENV).stdout.count(f"listen = unix:/{'d' * 60}/") == 5


def test_one_of_a_list_is_too_long(tmp_path):
    main = tmp_path / "f.conf"
    main.write_text(f"[nats]\nurl = {','.join(SERVERS)}\n")
    main.chmod(0o600)
    result = run("--check-config", "-c", main, env=TOKEN_ENV)
    assert result.returncode == 78 and "ppp" not in result.stderr
    assert f"{main}:2: nats.url: the line is too long; allowed: 199 characters (several lines of this key add up;" in result.stderr


@pytest.mark.parametrize("short, long", [("-h", "--help"), ("-V", "--version")])
def test_short_options(short, long):
    result = run(short)
    assert result.returncode == 0 and result.stdout == run(long).stdout
