# SPDX-License-Identifier: BSD-3-Clause
"""A systemd that takes its time to say why it stops us: it is waited for, while all goes on."""
import signal
import time

import pytest

from systemd import Systemd


@pytest.fixture
def asked(start, notify, tmp_path):
    """asked(script, job): a daemon that asks such a systemd, and that systemd."""
    started = []

    def make(*script, job="restart"):
        systemd = Systemd(tmp_path, script, job)
        started.append(systemd)
        return start.daemon(env={"NOTIFY_SOCKET": notify.path, **systemd.env}), systemd
    yield make
    for systemd in started:
        systemd.close()


def check_that_all_goes_on(daemon, stream, key, for_s=0.0):
    """Streams have their updates, publishers their answers, and who comes late is served."""
    deadline = time.monotonic() + for_s
    while True:
        time_us = daemon.publish(key)
        assert stream.event() == time_us
        with daemon.stream(key) as late:
            assert late.event() == time_us
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)


@pytest.mark.parametrize("script", [(0,), (0.3,), (1,), ("error", 0), ("close", 0), (None, 0), ("close", "error", 0)],
                         ids=str)
def test_restart_that_is_told_late(asked, notify, key, script):
    daemon, systemd = asked(*script)
    with daemon.stream(key) as stream:
        daemon.signal(signal.SIGTERM)
        notify.wait("STOPPING=1")
        if script != (0,):
            check_that_all_goes_on(daemon, stream, key, 0.4)
        notify.wait("FDSTORE=1")
        notify.wait("BARRIER=1")
        daemon.wait_exit()
    assert daemon.log_lines("Handed over [1-9]")
    assert systemd.n_asked >= 1


@pytest.mark.parametrize("script", [(0,), (0.7,), ("close", 0)], ids=str)
@pytest.mark.parametrize("job", ["stop", ""])
def test_stop_that_is_told_late(asked, key, job, script):
    """Whatever it is, but for a restart: the streams end cleanly."""
    daemon, _ = asked(*script, job=job)
    with daemon.stream(key) as stream:
        daemon.signal(signal.SIGTERM)
        assert stream.end() == []
    daemon.wait_exit()
    assert not daemon.log_lines("anded over")


@pytest.mark.parametrize("script", [(None,), ("error",), ("close",)], ids=str)
def test_systemd_that_never_says(asked, notify, key, script):
    """It is asked for some seconds, the service goes on meanwhile, and then the streams end cleanly."""
    daemon, systemd = asked(*script)
    with daemon.stream(key) as stream:
        begun = time.monotonic()
        daemon.signal(signal.SIGTERM)
        notify.wait("EXTEND_TIMEOUT_USEC=")
        check_that_all_goes_on(daemon, stream, key, 2)
        stream.end()
        assert 3 < time.monotonic() - begun < 15
    daemon.wait_exit()
    assert systemd.n_asked > 2
    assert len(daemon.log_lines("not handed over: systemd ")) == 1
    assert len(daemon.log_lines("systemd does not say yet")) == 1


def test_second_signal_waits_no_longer(asked, key):
    daemon, _ = asked(None)
    with daemon.stream(key) as stream:
        daemon.signal(signal.SIGTERM)
        daemon.wait_log("stopping")
        daemon.signal(signal.SIGTERM)
        assert stream.end() == []
    daemon.wait_exit()
    assert not daemon.log_lines("not handed over"), "it has waited for the answer"
