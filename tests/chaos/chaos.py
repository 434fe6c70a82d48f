# SPDX-License-Identifier: BSD-3-Clause
"""Two nodes, readers, publishers, and trouble; then the judgement.  Started by `./dev chaos`, which see.

checker.py says what is demanded, rounds.py what happens.
"""
import argparse
import collections
import random
import shutil
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(Path(__file__).parent), str(TOP / "tests" / "service")]

import checker  # noqa: E402
import rounds  # noqa: E402
from daemon import program  # noqa: E402
from history import PUBLISHED, QUEUED, History  # noqa: E402
from nats import find_nats_server  # noqa: E402
from world import World, enter_mount_namespace  # noqa: E402

SHOWN = 5  # violations of a rule


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__.splitlines()[0])
    parser.add_argument("minutes", type=float, nargs="?", default=2, help="how long, about (default: 2)")
    parser.add_argument("--seed", type=int, help="the same trouble again (default: a new one each time)")
    parser.add_argument("--servers", type=int, choices=(1, 3), action="append",
                        help="nats-servers (default: one, and for the last third of the time a cluster of three)")
    parser.add_argument("--course", choices=sorted(rounds.COURSES), help="a fixed short course instead")
    parser.add_argument("--patience", type=float, default=rounds.PATIENCE,
                        help="how many seconds all may take to agree (default: %(default)s)")
    parser.add_argument("--judge", metavar="HISTORY", help="judges the history of an earlier run")
    parser.add_argument("--directory", type=Path, default=TOP / "build" / "chaos", help=argparse.SUPPRESS)
    return parser.parse_args()


def report(history):
    faults = collections.Counter(fault.what.split(" for ")[0].split(" after ")[0] for fault in history.faults)
    outcomes = collections.Counter(publication.outcome for publication in history.publications)
    accepted = outcomes[PUBLISHED] + outcomes[QUEUED]
    receipts = sum(len(subscription.receipts) for subscription in history.subscriptions)
    ends = collections.Counter(subscription.how.split(":")[0] or "open" for subscription in history.subscriptions)
    times = checker.delivery_times(history)
    print("faults: " + ", ".join(f"{count} x {what}" for what, count in sorted(faults.items())))
    print(f"updates: {accepted} accepted; " + ", ".join(f"{n} {o}" for o, n in sorted(outcomes.items())))
    print(f"streams: {len(history.subscriptions)}, {receipts} receipts; their ends: "
          + ", ".join(f"{n} {how}" for how, n in sorted(ends.items())))
    if times:
        print(f"from publishing to each open stream: median {times[len(times) // 2] * 1000:.1f} ms, 99 % within "
              f"{times[len(times) * 99 // 100]:.2f} s, longest {times[-1]:.2f} s")
    answered = [p.answered - p.sent for p in history.publications if p.answered]
    print(f"longest time to an answer: {max(answered, default=0):.2f} s; "
          f"{sum(t > 2 for t in answered)} took more than 2 s")


def judge(history, keep):
    """Reports.  Whether all was well; if not, `keep` is called and gives where the history is."""
    violations, n_compared, n_excused = checker.check(history)
    report(history)
    print(f"quiet: {len(history.quiets)} times; environments compared {n_compared} times, {n_excused} times with the "
          "newest update excused")
    if not violations:
        print("no violation")
        return True
    rules = collections.Counter(violation.rule for violation in violations)
    print(f"\n{len(violations)} violations: " + ", ".join(f"{n} x {rule}" for rule, n in sorted(rules.items())))
    for rule in rules:
        for violation in [v for v in violations if v.rule == rule][:SHOWN]:
            print(f"  {violation}")
    print(f"the history: {keep()}")
    return False


def run_once(directory, seed, n_servers, course, patience):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    history = History()
    world = World(directory, history, n_servers)
    try:
        world.start()
        run = rounds.Run(world, seed, lambda text: print(f"{history.now():7.2f} {text}", flush=True), patience)
        run.start()
        try:
            course(run)
        finally:
            run.stop()
    finally:
        world.close()

    def keep():
        history.save(directory / "history", {"seed": seed, "servers": n_servers})
        return f"{directory}/history, with the logs of all processes beside it"
    if not judge(history, keep):
        return False
    shutil.rmtree(directory)
    return True


def main():
    arguments = parse_arguments()
    if arguments.judge:
        history, head = History.load(arguments.judge)
        print(head)
        return 0 if judge(history, lambda: arguments.judge) else 1
    find_nats_server()
    seed = arguments.seed if arguments.seed is not None else random.randrange(2**31)
    print(f"seed {seed}; {program()}", flush=True)
    if arguments.course:
        plan = [(1, rounds.COURSES[arguments.course])]
    else:
        seconds = arguments.minutes * 60
        shares = {1: seconds * 2 / 3, 3: seconds / 3} if not arguments.servers else {
            n: seconds / len(arguments.servers) for n in arguments.servers}
        plan = [(n, lambda run, share=share: rounds.troubled_run(run, share)) for n, share in shares.items()]
    for n_servers, course in plan:
        begun = time.monotonic()
        print(f"\n{n_servers} nats-server{'s' if n_servers > 1 else ''}", flush=True)
        if not run_once(arguments.directory / f"run-{seed}-{n_servers}", seed, n_servers, course, arguments.patience):
            print(f"repeat it: ./dev chaos {arguments.minutes:g} --seed {seed} --servers {n_servers}")
            return 1
        print(f"{time.monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    enter_mount_namespace("/usr/bin/python3", sys.argv)
    sys.exit(main())
