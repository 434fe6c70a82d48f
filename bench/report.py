# SPDX-License-Identifier: BSD-3-Clause
"""What was measured, as CSV, as a table, and as pictures."""
import csv
import os
import platform
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import chart

TITLES = {"floor": "bare send() loop", "flagsse": "flagsse", "flagsse-nats": "flagsse on NATS", "nchan": "nchan",
          "node": "Node"}


def version_of(package):
    result = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True,
                            check=False)
    return result.stdout or "?"


def node_version():
    """Of the one that is first in PATH, whoever packaged it."""
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def machine():
    """Where and when this was."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"date": time.strftime("%Y-%m-%d"), "cpu": model, "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "kernel": platform.release(), "nginx": version_of("nginx"),
            "nchan": version_of("libnginx-mod-nchan"), "node": node_version(),
            "nats-server": version_of("nats-server")}


class Results:
    """Numbers by measurement, server, streams and metric, one a round."""

    def __init__(self):
        self.values = defaultdict(dict)  # {(measurement, server, streams, metric): {round: value}}

    def add(self, measurement, server, streams, round_, numbers):
        for metric, value in numbers.items():
            if metric != "bins":
                self.values[measurement, server, streams, metric][round_] = value

    def has(self, *key):
        return key in self.values

    def median(self, *key):
        return median(self.values[key].values())

    def ratio(self, of, to):
        """Of the two in the same round, the median of all rounds."""
        ours, theirs = self.values[of], self.values[to]
        return median(ours[round_] / theirs[round_] for round_ in ours if round_ in theirs)

    def worst(self, *key):
        return max(self.values[key].values())

    def streams(self, measurement):
        return sorted({key[2] for key in self.values if key[0] == measurement})

    def write(self, directory, where):
        directory.mkdir(parents=True, exist_ok=True)
        with open(directory / "rounds.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["measurement", "server", "streams", "metric", "round", "value"])
            for key, rounds in self.values.items():
                for round_, value in rounds.items():
                    writer.writerow([*key, round_, f"{value:.4g}" if value < 1000 else round(value)])
        with open(directory / "machine.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(where.keys())
            writer.writerow(where.values())


def targets(results, streams):
    """(what, figure, what it has to be, whether it is), the rows of which the measurements are there."""
    rows = []

    def ratio(title, of, to, most, unit="x"):
        if results.has(*of) and results.has(*to):
            value = results.ratio(of, to)
            rows.append((title, f"{value:.2f} {unit}", f"at most {most:.2f} {unit}", value <= most))

    def at_most(title, key, most, text, scale=1.0):
        if results.has(*key):
            value = results.median(*key) / scale
            rows.append((title, text.format(value), "at most " + text.format(most), value <= most))

    fan_out = [("fan_out", server, streams) for server in ("flagsse", "floor", "nchan")]
    us, floor, nchan = fan_out
    for what, metric, most_floor, most_nchan in (("CPU of a delivery", "cpu_per_delivery_us", 1.10, 0.60),
                                                 ("time until the last stream has it", "last_ms", 1.15, 0.65)):
        ratio(f"{what}, {streams} streams, to the bare loop's", (*us, metric), (*floor, metric), most_floor)
        ratio(f"{what}, {streams} streams, to nchan's", (*us, metric), (*nchan, metric), most_nchan)
    at_most("user memory of a stream", (*us, "memory_per_stream_bytes"), 128, "{:.0f} bytes")
    ratio(f"an update to one stream, among {streams} environments, to one alone",
          ("single", "flagsse", streams, "last_ms"), ("single", "flagsse", 1, "last_ms"), 1.5)
    at_most(f"another environment's update while {streams} streams get theirs, to the time of that",
            ("beside", "flagsse", streams, "ratio"), 0.1, "{:.2f} x")
    ratio(f"CPU of a connect, {streams} at once, to the bare loop's",
          ("storm", "flagsse", streams, "cpu_per_connect_us"), ("storm", "floor", streams, "cpu_per_connect_us"), 2)
    for server in ("flagsse", "flagsse-nats"):
        key = ("storm", server, streams, "lost")
        if results.has(*key):
            lost = results.worst(*key)
            rows.append((f"streams that {TITLES[server]} did not serve, {streams} at once, of all rounds", f"{lost}",
                         "0", lost == 0))
    for server, title in (("flagsse", "idle"), ("flagsse-nats", "idle on NATS")):
        at_most(f"{title}: memory (PSS)", ("idle", server, 0, "memory_bytes"), 8, "{:.1f} MiB", 2**20)
        at_most(f"{title}: wake-ups a second", ("idle", server, 0, "wakeups_per_s"), 2, "{:.1f}")
    at_most(f"keep-alives of {streams} streams: most in 100 ms, of all",
            ("keep_alives", "flagsse", streams, "peak_share"), 0.1, "{:.2f}")
    key = ("queue_change", "flagsse-nats", 0, "rate")
    if results.has(*key):
        rate = results.median(*key)
        rows.append(("updates a second, acknowledged by JetStream", f"{rate:.0f}", "at least 20000", rate >= 20000))
    return rows


def print_table(title, header, rows):
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    print(f"\n{title}\n")
    for row in [header, ["-" * width for width in widths], *rows]:
        print("  " + "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


METRICS = (("fan_out", "cpu_per_delivery_us", "CPU of a delivery, us", "{:.2f}"),
           ("fan_out", "last_ms", "until the last stream has it, ms", "{:.1f}"),
           ("fan_out", "p50_ms", "p50, ms", "{:.1f}"), ("fan_out", "p99_ms", "p99, ms", "{:.1f}"),
           ("fan_out", "memory_per_stream_bytes", "user memory of a stream, bytes", "{:.0f}"),
           ("fan_out", "kernel_per_stream_bytes", "kernel memory of a stream, both ends, bytes", "{:.0f}"),
           ("storm", "cpu_per_connect_us", "CPU of a connect, us", "{:.1f}"),
           ("storm", "open_ms", "all are connected after, ms", "{:.0f}"),
           ("storm", "lost", "of them never connected", "{:.0f}"),
           ("single", "last_ms", "an update to one stream, as many environments, ms", "{:.2f}"),
           ("single", "cpu_per_update_us", "CPU of that, us", "{:.0f}"),
           ("single", "memory_per_stream_bytes", "user memory of a stream and its environment, bytes", "{:.0f}"),
           ("single", "cpu_per_connect_us", "CPU of a connect, some at a time, us", "{:.1f}"),
           ("beside", "broadcast_ms", "a broadcast beside which another is made, ms", "{:.1f}"),
           ("beside", "other_ms", "the other, ms", "{:.1f}"),
           ("keep_alives", "peak_share", "keep-alives: most in 100 ms, of all", "{:.2f}"),
           ("keep_alives", "cpu_per_keepalive_us", "CPU of a keep-alive, all else included, us", "{:.2f}"),
           ("keep_alives", "wakeups_per_s", "wake-ups a second meanwhile", "{:.1f}"),
           ("idle", "memory_bytes", "idle: memory, bytes", "{:.0f}"),
           ("idle", "anonymous_bytes", "idle: of it in no file, bytes", "{:.0f}"),
           ("idle", "wakeups_per_s", "idle: wake-ups a second", "{:.1f}"),
           ("queue_change", "rate", "queue-change, a second", "{:.0f}"),
           ("queue_change", "p50_ms", "queue-change p50, ms", "{:.1f}"),
           ("queue_change", "p99_ms", "queue-change p99, ms", "{:.1f}"),
           ("queue_change", "cpu_per_publish_us", "queue-change, flagsse's CPU, us", "{:.1f}"),
           ("queue_change", "nats_cpu_per_publish_us", "queue-change, nats-server's CPU, us", "{:.1f}"),
           ("js_publish", "rate", "bare js_PublishAsync(), a second", "{:.0f}"))


def print_all(results, servers):
    rows = []
    for measurement, metric, title, text in METRICS:
        for streams in results.streams(measurement):
            cells = [text.format(results.median(measurement, server, streams, metric))
                     if results.has(measurement, server, streams, metric) else "" for server in servers]
            if any(cells):
                rows.append([title, streams or "", *cells])
    print_table("Medians of all rounds", ["", "streams", *servers], rows)


def print_targets(rows):
    print_table("What it must show (ratios within a round, their medians)", ["", "is", "must be", ""],
                [(*row[:3], "" if row[3] else "MISSED") for row in rows])


CURVES = (("fan_out", "last_ms", "last", "Time until the last stream has an update (ms)", 1),
          ("fan_out", "cpu_per_delivery_us", "cpu", "CPU of the server for each delivery (µs)", 1),
          ("fan_out", "memory_per_stream_bytes", "memory", "User memory of each stream (KB)", 1000),
          ("storm", "cpu_per_connect_us", "connect", "CPU of the server for each connect, all at once (µs)", 1))


def draw(results, directory, where):
    note = f"{where['cores']} cores of {where['cpu']}, client included; {where['date']}"
    for measurement, metric, name, title, scale in CURVES:
        curves = {}
        for server, label in TITLES.items():
            points = [(streams, results.median(measurement, server, streams, metric) / scale)
                      for streams in results.streams(measurement) if results.has(measurement, server, streams, metric)]
            if points:
                curves[label] = points
        if curves:
            chart.write(directory / f"{name}.svg", title, "streams", note, curves)
