# SPDX-License-Identifier: BSD-3-Clause
"""Fifteen thousand streams on one daemon: each gets the update, none is lost, and they cost next to nothing."""
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from daemon import under_sanitizer

STREAMS = 2000 if under_sanitizer() else 15000
BYTES_A_STREAM = 128
BYTES_ONCE = 4 * 2**20


class Crowd:
    def __init__(self, daemon, key):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("crowd.py")), str(daemon.address[1]), key,
             str(STREAMS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["problem"] == "", answer
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def pss(pid):
    """Bytes of memory that are the process's own, and its share of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Pss in smaps_rollup")


def check_growth(daemon, before):
    """What the requests took is given back a moment after the last of them."""
    deadline = time.monotonic() + 5
    allowed = BYTES_A_STREAM * STREAMS + BYTES_ONCE
    while (grown := pss(daemon.pid) - before) > allowed and time.monotonic() < deadline:
        time.sleep(0.1)
    print(f"PSS grown by {grown} bytes, {grown / STREAMS:.0f} a stream")
    assert under_sanitizer() or grown <= allowed


def test_many_streams(start, key):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= STREAMS + 1200, f"the limit of open files is {hard}: ulimit -Hn {STREAMS + 1200}"
    daemon = start.daemon(options=["streams.max_age=0", "streams.keepalive=600s", "streams.drain_time=3s"])
    daemon.publish("warm-up")
    with daemon.stream("warm-up") as stream:
        stream.event()
    before = pss(daemon.pid)
    with Crowd(daemon, key) as crowd:
        begun = time.monotonic()
        assert crowd.tell("open")["open"] == STREAMS
        opened = time.monotonic()
        for round_ in range(3):
            answer = crowd.tell(f"expect {daemon.publish(key)}")
            assert (answer["open"], answer["got"]) == (STREAMS, STREAMS)
            if round_ == 0:
                print(f"{STREAMS} streams opened in {opened - begun:.1f} s, first update everywhere after "
                      f"{time.monotonic() - opened:.2f} s")
                check_growth(daemon, before)
        metrics = daemon.metrics()
        assert metrics["flagsse_streams"] == STREAMS
        assert metrics["flagsse_events_sent_total"] >= 3 * STREAMS
        daemon.signal(15)
        answer = crowd.tell("end")
        assert (answer["open"], answer["clean"]) == (0, STREAMS)
        daemon.wait_exit(timeout=60)
