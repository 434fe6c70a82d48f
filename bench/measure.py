# SPDX-License-Identifier: BSD-3-Clause
"""What is measured.  Each function starts servers of its own, and gives numbers by name."""
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import process
from client import Client
from servers import BUILD, HERE, TOKEN, FlagsseOnNats

SETTLE_S = 0.5  # after a storm or a broadcast: what it has left to do, it does
KEY = "bench"


class Directory(tempfile.TemporaryDirectory):
    """On the disk of the build, not in a /tmp that may be memory."""

    def __init__(self):
        super().__init__(prefix="bench-", dir=BUILD)

    def __enter__(self):
        return Path(super().__enter__())


def warm_up(server):
    """One stream and one update, so that nothing is done for the first time when it counts."""
    with Client(server.port, "warm-up") as client:
        client.open(1)
        client.update()
    time.sleep(SETTLE_S)


def broadcasts(server, client, streams, events):
    """Updates to all streams: CPU of each, and when the streams had it."""
    cpu, answers = [], []
    for _ in range(events):
        before = process.cpu_us(server.pids)
        answers.append(client.update())
        time.sleep(0.05)
        cpu.append((process.cpu_us(server.pids) - before) / streams)
    return {"cpu_per_delivery_us": median(cpu),
            "last_ms": median(answer["last_us"] for answer in answers) / 1000,
            "p50_ms": median(answer["p50_us"] for answer in answers) / 1000,
            "p99_ms": median(answer["p99_us"] for answer in answers) / 1000}


def fan_out(kind, streams, events):
    """So many streams of one environment."""
    with Directory() as directory, kind(directory) as server, Client(server.port, KEY) as client:
        warm_up(server)
        memory, kernel = process.pss(server.pids), process.kernel_memory()
        client.open(streams)
        client.update()
        time.sleep(2 * SETTLE_S)
        return {"memory_per_stream_bytes": (process.pss(server.pids) - memory) / streams,
                "kernel_per_stream_bytes": (process.kernel_memory() - kernel) / streams,
                **broadcasts(server, client, streams, events)}


def storm(kind, streams):
    """All connect at once."""
    with Directory() as directory, kind(directory) as server, Client(server.port, KEY) as client:
        warm_up(server)
        before = process.cpu_us(server.pids)
        opened = client.try_to_open(streams, at_once=streams)
        time.sleep(SETTLE_S)
        return {"lost": opened["lost"], "cpu_per_connect_us": (process.cpu_us(server.pids) - before) / streams,
                "open_ms": opened["us"] / 1000}


def single(kind, streams, events):
    """Updates of one environment with one stream, among so many of that kind."""
    with Directory() as directory, kind(directory) as server, Client(server.port, f"{KEY}-#") as client:
        warm_up(server)
        memory, connect_cpu = process.pss(server.pids), process.cpu_us(server.pids)
        client.open(streams)
        time.sleep(2 * SETTLE_S)
        connect_cpu = process.cpu_us(server.pids) - connect_cpu
        client.update()
        memory = process.pss(server.pids) - memory
        cpu, answers = [], []
        for i in range(events):
            before = process.cpu_us(server.pids)
            answers.append(client.update(i * 7 % streams))
            cpu.append(process.cpu_us(server.pids) - before)
        numbers = {"cpu_per_update_us": median(cpu),
                   "last_ms": median(answer["last_us"] for answer in answers) / 1000}
        if streams > 1:  # of one these would say nothing
            numbers |= {"memory_per_stream_bytes": memory / streams, "cpu_per_connect_us": connect_cpu / streams}
        return numbers


def beside(kind, streams, events):
    """An update of an environment with one stream, while that of one with very many is sent."""
    alone, during = [], []
    with (Directory() as directory, kind(directory) as server, Client(server.port, KEY) as client,
          Client(server.port, "other") as other):
        client.open(streams)
        other.open(1)
        pause = client.update()["last_us"] / 4e6
        for _ in range(events):
            client.ask("update")
            time.sleep(pause + 0.01)  # the client waits for 10 ms itself before it publishes
            single_one = other.update()
            many = client.updated()
            if single_one["begun_us"] < many["begun_us"] + many["last_us"]:
                alone.append(many["last_us"] / 1000)
                during.append(single_one["last_us"] / 1000)
    if not during:  # with few streams the broadcast is over too soon
        return {}
    return {"broadcast_ms": median(alone), "other_ms": median(during),
            "ratio": median(one / many for one, many in zip(during, alone))}


def idle(kind, seconds):
    """No streams at all."""
    with Directory() as directory, kind(directory) as server:
        warm_up(server)
        time.sleep(2)
        before = process.switches(server.pids)
        time.sleep(seconds)
        return {"memory_bytes": process.pss(server.pids), "anonymous_bytes": process.anonymous(server.pids),
                "wakeups_per_s": (process.switches(server.pids) - before) / seconds}


def keep_alives(kind, streams, interval, seconds):
    """After an update to all streams: when their keep-alives come, in bins of 100 ms."""
    options = [f"streams.keepalive={interval}s"]
    with Directory() as directory, kind(directory, options) as server, Client(server.port, KEY) as client:
        client.open(streams)
        client.update()
        switches, cpu = process.switches(server.pids), process.cpu_us(server.pids)
        bins = client.watch(seconds)["bins"]
        assert sum(bins) >= streams, bins
        return {"bins": bins, "sent": sum(bins), "peak_share": max(bins) / streams,
                "wakeups_per_s": (process.switches(server.pids) - switches) / seconds,
                "cpu_per_keepalive_us": (process.cpu_us(server.pids) - cpu) / max(sum(bins), 1)}


def run_wrk(server, connections, environments, seconds):
    """wrk's own figures.  Its latencies count from its own clock, so they have its waiting in them."""
    wrk = shutil.which("wrk")
    assert wrk, "there is no wrk: apt-get install wrk"
    result = subprocess.run(
        [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "queue-change.lua"),
         f"http://127.0.0.1:{server.port}/", "--", TOKEN, str(environments)],
        capture_output=True, text=True, check=True)
    line = result.stdout.splitlines()[-1]
    assert line.startswith("{"), result.stdout
    return json.loads(line)


def queue_change(connections, environments, seconds):
    """What is acknowledged by JetStream, with file storage, per second of wrk."""
    name = 'flagsse_publishes_total{status="published"}'
    with Directory() as directory, FlagsseOnNats(directory) as server:
        run_wrk(server, connections, environments, 1)
        before, cpu = server.daemon.metrics()[name], process.cpu_us(server.pids)
        nats_cpu = process.cpu_us(server.nats_pids)
        answers = run_wrk(server, connections, environments, seconds)
        published = server.daemon.metrics()[name] - before
        assert answers["errors"] == 0 and published >= answers["requests"], (answers, published)
        return {"rate": answers["requests"] / answers["seconds"],
                "p50_ms": answers["p50_us"] / 1000, "p99_ms": answers["p99_us"] / 1000,
                "cpu_per_publish_us": (process.cpu_us(server.pids) - cpu) / published,
                "nats_cpu_per_publish_us": (process.cpu_us(server.nats_pids) - nats_cpu) / published}


def js_publish(environments, messages):
    """The same box's bare js_PublishAsync(), into the stream as flagsse makes it."""
    with Directory() as directory, FlagsseOnNats(directory) as server:
        result = subprocess.run(
            [BUILD / "bench" / "js-floor", server.nats.url, str(messages), str(environments)],
            capture_output=True, text=True, check=True)
        return {"rate": json.loads(result.stdout)["rate"]}

