#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""./dev bench: measures flagsse beside what else could be used, and beside the limit of the machine.

Round by round, the servers take turns, so that whatever else the machine does meets all of them.
"""
import argparse
import os
import resource
import sys
import traceback
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import measure  # noqa: E402
import process  # noqa: E402
import report  # noqa: E402
from servers import ALL, BUILD, HERE, Flagsse, Floor  # noqa: E402

NAMES = ("fan_out", "storm", "single", "beside", "idle", "keep_alives", "queue_change")
# Of wrk.  The more there are, the more gathers on the way to the bus; of 20,000 open files flagsse keeps some 900 for
# requests.
CONNECTIONS = 768
FEW_ROUNDS = 3  # of what takes long, and hardly varies


def parse():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true",
                        help="few streams, one round: to see that it works; the figures say nothing")
    parser.add_argument("--rounds", type=int, help="how often all is measured (7)")
    parser.add_argument("--streams", help="numbers of streams, with commas between (1000,5000,18000)")
    parser.add_argument("--only", help=f"some of the measurements, with commas between: {', '.join(NAMES)}")
    parser.add_argument("--servers", help="some of the servers: " + ", ".join(kind.name for kind in ALL))
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 7)
    text = options.streams or ("50,200" if options.quick else "1000,5000,18000")
    options.streams = [int(word) for word in text.split(",")]
    # Figures that are shown come from a whole run only.
    options.whole = not (options.quick or options.only or options.servers)
    options.only = options.only.split(",") if options.only else list(NAMES)
    options.servers = options.servers.split(",") if options.servers else [kind.name for kind in ALL]
    for name in options.only:
        if name not in NAMES:
            parser.error(f"there is no measurement {name}")
    return options


class Bench:
    def __init__(self, options):
        self.options = options
        self.results = report.Results()
        self.events = 3 if options.quick else 15
        self.seconds = 2 if options.quick else 10
        self.most = options.streams[-1]
        self.failures = 0

    def run(self, round_, measurement, server, streams, function, *arguments):
        """One measurement of one server in one round.  What fails is told, and the others go on."""
        if server not in self.options.servers:
            return
        load = process.load()
        print(f"round {round_ + 1}, {measurement}, {server}, {streams or 'no'} streams, load {load:.1f}", flush=True)
        try:
            numbers = function(*arguments)
        except (AssertionError, OSError):
            traceback.print_exc()
            self.failures += 1
            return
        self.results.add(measurement, server, streams, round_, {**numbers, "load": load})

    def fan_out(self, round_):
        for streams in self.options.streams:
            for kind in turned(ALL, round_):
                self.run(round_, "fan_out", kind.name, streams, measure.fan_out, kind, streams, self.events)

    def storm(self, round_):
        for streams in self.options.streams:
            for kind in turned(ALL, round_):
                self.run(round_, "storm", kind.name, streams, measure.storm, kind, streams)

    def single(self, round_):
        for streams in (1, self.most):
            for kind in turned([kind for kind in ALL if kind is not Floor], round_):
                self.run(round_, "single", kind.name, streams, measure.single, kind, streams, self.events * 3)

    def beside(self, round_):
        for kind in turned([kind for kind in ALL if kind is not Floor], round_):
            self.run(round_, "beside", kind.name, self.most, measure.beside, kind, self.most, self.events)

    def idle(self, round_):
        if round_ < FEW_ROUNDS:
            for kind in turned(ALL, round_):
                self.run(round_, "idle", kind.name, 0, measure.idle, kind, 2 * self.seconds)

    def keep_alives(self, round_):
        if round_ < FEW_ROUNDS:
            interval = 2 if self.options.quick else 15
            self.run(round_, "keep_alives", "flagsse", self.most, measure.keep_alives, Flagsse, self.most, interval,
                     2 * interval + 5)

    def queue_change(self, round_):
        self.run(round_, "queue_change", "flagsse-nats", 0, measure.queue_change, CONNECTIONS, 1000, self.seconds)
        self.run(round_, "js_publish", "floor", 0, measure.js_publish, 1000, 20000 if self.options.quick else 200000)


def turned(kinds, round_):
    """In another order each time."""
    round_ %= len(kinds)
    return [*kinds[round_:], *kinds[:round_]]


def check_limit(most):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < most + 1500:
        sys.exit(f"bench: the limit of open files is {hard}; for {most} streams: ulimit -Hn {most + 1500}")


def main():
    options = parse()
    check_limit(max(options.streams))
    bench = Bench(options)
    if process.load() > os.cpu_count() / 2:
        print(f"The machine is busy (load {process.load():.1f}): times will say little, and ratios less than they could.")
    for round_ in range(options.rounds):
        for name in options.only:
            getattr(bench, name)(round_)
    where = report.machine()
    directory = HERE / "results" if options.whole else BUILD / "bench" / "results"
    bench.results.write(directory, where)
    report.draw(bench.results, directory, where)
    report.print_all(bench.results, options.servers)
    if not options.quick:
        report.print_targets(report.targets(bench.results, bench.most))
    print(f"\nwritten to {directory}")
    if bench.failures:
        sys.exit(f"bench: {bench.failures} measurements failed; see above")


main()
