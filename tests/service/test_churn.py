# SPDX-License-Identifier: BSD-3-Clause
"""Very many subscribers come and go: nothing is left of them, and who stays notices nothing.

How many: $FLAGSSE_CHURN, which CI sets to 300000.
"""
import collections
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from churn import WAYS
from daemon import under_sanitizer
from test_scale import pss
from wire import wait_until

PARTS = 10
SUBSCRIBERS = int(os.environ.get("FLAGSSE_CHURN") or (10000 if under_sanitizer() else 30000)) // PARTS * PARTS
# From the first tenth to the last.  How much malloc() has given back by then varies by some MiB; 16 bytes lost with each
# of CI's subscribers would be more than this.
GROWTH = 4 * 2**20


class Churn:
    def __init__(self, daemon, key):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("churn.py")), str(daemon.address[1]), key],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, count):
        """So many.  How many of them left in which way."""
        self.process.stdin.write(f"{count} {random.randrange(2**31)}\n")
        self.process.stdin.flush()
        return collections.Counter(json.loads(self.process.stdout.readline()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def settle(daemon, streams):
    """Waits until they are gone: no more streams than that, and no connection but the one that asks."""
    def gone():
        metrics = daemon.metrics()
        return (metrics["flagsse_streams"], metrics["flagsse_http_connections"]) == (streams, 1)
    wait_until(gone, "streams or connections are left")


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def usage(daemon):
    """Memory and descriptors, at their lowest: memory of requests is given back a moment after the last of them."""
    samples = []
    for _ in range(15):
        samples.append((pss(daemon.pid), descriptors(daemon)))
        time.sleep(0.1)
    return tuple(map(min, zip(*samples)))


def test_they_leave_nothing(start, key):
    daemon = start.daemon(options=["streams.max_age=0", "streams.keepalive=600s"])
    daemon.publish(key)
    left, tenths = collections.Counter(), []
    with daemon.stream(key) as witness, Churn(daemon, key) as churn:
        witness.event()
        begun = time.monotonic()
        for part in range(PARTS):
            left += churn.run(SUBSCRIBERS // PARTS)
            settle(daemon, streams=1)
            if part in (0, PARTS - 1):
                tenths.append(usage(daemon))
        print(f"{SUBSCRIBERS} subscribers in {time.monotonic() - begun:.0f} s: {dict(left)}")
        print("PSS and descriptors after the first tenth: {}, {}; after the last: {}, {}".format(*tenths[0], *tenths[1]))
        time_us = daemon.publish(key)
        assert witness.event() == time_us
        assert set(left) == {way[0] for way in WAYS}, left
        assert daemon.metrics()["flagsse_streams_opened_total"] > SUBSCRIBERS / 2
    (memory_before, descriptors_before), (memory, descriptors_after) = tenths
    assert descriptors_after == descriptors_before
    assert under_sanitizer() or memory - memory_before <= GROWTH
