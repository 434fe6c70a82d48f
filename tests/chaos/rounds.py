# SPDX-License-Identifier: BSD-3-Clause
"""The course of a run: rounds of trouble, each followed by quiet, in which all must agree, and by a restart."""
import collections
import itertools
import random
import threading
import time

import checker
from clients import SLOWEST_US, Client, LatePublisher, Publisher, Reader, Wanderer, publish
from daemon import fresh_time_us
from history import PUBLISHED, QUEUED, Probe, Quiet
from world import AHEAD_S

BUSY_KEYS = [f"busy-{i}" for i in range(6)]  # many updates a second
SLOW_KEYS = [f"slow-{i}" for i in range(6)]  # some in a round
STILL_KEYS = [f"still-{i}" for i in range(4)]  # some at once, at a round's begin: all trouble comes after them
LATE_KEYS = [f"late-{i}" for i in range(8)]  # one in a round, and then an older one
AHEAD_KEYS = [f"ahead-{i}" for i in range(2)]  # with publishers whose clocks are ahead
KEYS = BUSY_KEYS + SLOW_KEYS + STILL_KEYS + LATE_KEYS + AHEAD_KEYS
N_PUBLISHERS = 4
N_WANDERERS = 16

ROUND = 10  # seconds of trouble
AFTER_ROUND = 5  # what quiet and restart take, about
PATIENCE = 90  # seconds to agree; what does not agree by then never will

# What a round is about.  Trouble for NATS's storage and trouble for the nodes in turn, as together they excuse much
# (see checker.py), and in every third round all of it.
MODES = ("nodes", "storage", "all")
NATS_FAULTS = {
    "nodes": ("nats_killed", "nats_restarted", "nats_frozen", "nats_silent", "jetstream_refuses", "consumers_deleted"),
    "storage": ("nats_emptied", "stream_deleted", "stream_purged", "nats_killed", "nats_silent", "jetstream_refuses",
                "consumers_deleted"),
    "all": ("nats_killed", "nats_restarted", "nats_frozen", "nats_silent", "jetstream_refuses", "consumers_deleted",
            "nats_emptied", "stream_deleted", "stream_purged"),
}
# A server of a cluster is stopped and never killed, but to come back empty: killed, the replica of nats-server 2.9.10
# may lack for ever what the others have, and what it has itself in its Raft log (found in its files).  Whoever reads
# there has lost that.
CLUSTER_FAULTS = {
    "nodes": ("nats_restarted", "nats_frozen", "nats_silent", "majority_frozen", "majority_silent", "jetstream_refuses",
              "consumers_deleted"),
    "storage": ("nats_emptied", "stream_deleted", "stream_purged", "nats_restarted", "nats_silent",
                "jetstream_refuses"),
    "all": ("nats_restarted", "nats_frozen", "nats_silent", "nats_emptied", "majority_frozen", "majority_silent",
            "jetstream_refuses", "consumers_deleted", "stream_purged"),
}
NODE_FAULTS = {
    "nodes": ("node_killed", "node_killed", "node_restarted", "disk_filled", "clock_behind", "clock_ahead"),
    "storage": ("disk_filled", "clock_behind", "clock_ahead"),
    "all": ("node_killed", "node_restarted", "disk_filled", "clock_behind", "clock_ahead"),
}

# What a round begins with, so that each of these has its turn in the shortest run, too.  (Any run has all modes.)
FIRST_PAUSE = 3  # seconds that it lasts
FIRST_NATS_FAULT = {"nodes": "nats_silent", "storage": "jetstream_refuses"}
FIRST_CLUSTER_FAULT = {"nodes": "majority_silent", "storage": "jetstream_refuses"}
FIRST_NODE_FAULTS = {"nodes": ("clock_behind", "clock_ahead"), "storage": ("clock_ahead", "clock_behind")}


class Gremlin(Client):
    """Does one thing after the other to its target, and leaves it mended.

    The first may be given.  `turns` counts what each kind has had in all rounds.
    """

    def __init__(self, name, seed, world, faults, targets, longest, turns, first=None):
        super().__init__(name, seed)
        self.world = world
        self.faults = faults
        self.targets = targets
        self.longest = longest  # seconds
        self.turns = turns
        self.first = first

    def turn(self):
        if self.first:
            name, pause, self.first = self.first, FIRST_PAUSE, None
        else:
            name, pause = self._draw(), self.random.uniform(0.1, self.longest)
        self.turns[name] += 1
        getattr(self.world, name)(self.random.choice(self.targets), pause)
        self.stopping.wait(self.random.uniform(0.5, 3))

    def _draw(self):
        """One of those that have had fewest turns; who is there twice may have twice as many."""
        turns = {name: self.turns[name] / self.faults.count(name) for name in self.faults}
        return self.random.choice([name for name in self.faults if turns[name] == min(turns.values())])


class Run:
    def __init__(self, world, seed, say=print, patience=PATIENCE):
        self.world = world
        self.patience = patience
        self.history = world.history
        self.seed = seed
        self.say = say
        self.random = random.Random(f"{seed} run")
        self.steady = [Reader(f"reader-{key}-{node.number}", f"{seed} {key} {node.number}", world, node.number, key)
                       for key in KEYS for node in world.nodes]
        self.wanderers = [Wanderer(f"wanderer-{i}", f"{seed} wanderer {i}", world, 0, self.random.choice(KEYS))
                          for i in range(N_WANDERERS)]
        self.offset = self.random.randrange(len(MODES))
        self.turns = collections.defaultdict(collections.Counter)  # of each gremlin: kind of trouble -> count

    def start(self):
        self.world.calm.set()
        for reader in self.steady + self.wanderers:
            reader.start()

    def stop(self):
        for reader in self.steady + self.wanderers:
            reader.stopping.set()
        for reader in self.steady + self.wanderers:
            reader.stop()

    # Trouble

    def round(self, number):
        mode = MODES[(number + self.offset) % len(MODES)]
        self.say(f"round {number}: trouble for {mode}")
        seed = f"{self.seed} round {number}"
        for key in STILL_KEYS:
            self._publish_some(key)
        self.world.calm.clear()
        self._for_a_while(self._publishers(seed) + self._gremlins(seed, mode))
        self.world.calm.set()

    def _publish_some(self, key):
        """One, or several that are ever older."""
        us = fresh_time_us()
        for _ in range(self.random.choice((1, 2, 3))):
            publish(self.world, self.random.randrange(len(self.world.nodes)), key, us)
            us -= self.random.randrange(1, SLOWEST_US)

    def _publishers(self, seed):
        keys = BUSY_KEYS + AHEAD_KEYS
        busy = [Publisher(i, f"{seed} publisher {i}", self.world, keys, AHEAD_KEYS, 0.1)
                for i in range(N_PUBLISHERS)]
        return [*busy, Publisher("slow", f"{seed} slow", self.world, SLOW_KEYS, (), 1.5),
                LatePublisher(f"{seed} late", self.world, LATE_KEYS, 2 * ROUND / len(LATE_KEYS))]

    def _gremlins(self, seed, mode):
        nats = self.world.nats
        faults, first = (CLUSTER_FAULTS, FIRST_CLUSTER_FAULT) if nats.is_cluster else (NATS_FAULTS, FIRST_NATS_FAULT)
        gremlins = [Gremlin("gremlin-nats", f"{seed} nats", self.world, faults[mode], nats.servers, 5,
                            self.turns["nats"], first.get(mode))]
        for node, fault in itertools.zip_longest(self.world.nodes, FIRST_NODE_FAULTS.get(mode, ())):
            gremlins.append(Gremlin(f"gremlin-{node.number}", f"{seed} node {node.number}", self.world,
                                    NODE_FAULTS[mode], [node], 3, self.turns[node.number], fault))
        return gremlins

    def _for_a_while(self, clients):
        for client in clients:
            client.start()
        time.sleep(ROUND)
        for client in clients:
            client.stopping.set()
        for client in clients:
            client.stop()

    # Quiet

    def settle(self, after):
        """Waits until all agree, or it is clear that they never will.  The last look at them is kept."""
        deadline = time.monotonic() + self.patience
        while True:
            quiet, problem = self._look(after)
            if quiet is not None and not problem:
                break
            if time.monotonic() > deadline:
                quiet = quiet or Quiet(self.history.now(), after, {}, [], [])
                quiet.complete = False
                break
            time.sleep(0.5)
        self.history.add(quiet)
        return quiet.complete

    def _look(self, after):
        if any(reader.error for reader in self.steady + self.wanderers):
            raise RuntimeError("a reader has failed")
        if not all(self._is_reading(reader) for reader in self.steady):
            return None, "not all have their streams"
        on_nats = self.world.nats.latest(KEYS)
        if on_nats is None:
            return None, "NATS does not answer"
        quiet = Quiet(0, after, on_nats, [], [])
        quiet.streams = [i for i, s in enumerate(self.history.subscriptions) if not s.ended]
        quiet.at = self.history.now()
        problem = checker.disagreement(self.history, quiet)
        if not problem:
            quiet.probes = [Probe(node.number, key, node.daemon.snapshot(key) or 0)
                            for node in self.world.nodes for key in KEYS]
            problem = checker.disagreement(self.history, quiet)
        return quiet, problem

    @staticmethod
    def _is_reading(reader):
        subscription = reader.subscription
        life = reader.world.nodes[reader.number].life
        return subscription is not None and not subscription.ended and subscription.life == life.number

    def restart_nodes(self):
        """One after the other, or both at once and by force."""
        nodes = self.world.nodes
        if self.random.random() < 0.5:
            for node in nodes:
                self.world.node_restarted(node, 0)
                node.wait_ready()
            return
        threads = [threading.Thread(target=self.world.node_killed, args=(node, 0.5)) for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for node in nodes:
            node.wait_ready()


def troubled_run(run, seconds):
    """As many rounds as there is time for, but all kinds of them."""
    deadline = time.monotonic() + seconds
    number = 0
    while number < len(MODES) or time.monotonic() + ROUND + AFTER_ROUND < deadline:
        run.round(number)
        if not run.settle("faults"):
            return
        run.restart_nodes()
        if not run.settle("restart"):
            return
        number += 1


# For the self-test: short and always the same.

LATE_US = 10 * 10**6
DOUBT = 2  # seconds, after which a node has no doubt which of two moments was first

def publish_everywhere(run, node=None, late_us=0):
    """An update of each environment, to this node or to all in turn.  How they were answered."""
    n_nodes = len(run.world.nodes)
    return {publish(run.world, i % n_nodes if node is None else node, key, fresh_time_us() - late_us).outcome
            for i, key in enumerate(KEYS)}


def late_run(run):
    """What is older than the latest reaches everybody nevertheless, and outlives the nodes."""
    assert publish_everywhere(run) <= {PUBLISHED, QUEUED}
    if not run.settle("faults"):
        return
    run.say(f"answers to older ones: {publish_everywhere(run, late_us=LATE_US)}")
    if not run.settle("faults"):
        return
    run.restart_nodes()
    run.settle("restart")


def late_outbox_run(run):
    """What is accepted while NATS is away is news when NATS is back, though it is older than what NATS has, and the
    nodes have forgotten that."""
    assert publish_everywhere(run) <= {PUBLISHED, QUEUED}
    if not run.settle("faults"):
        return
    time.sleep(DOUBT)
    server = run.world.nats.servers[0]
    server.kill()
    for node in run.world.nodes:
        run.world.node_killed(node, 0)
    run.say(f"answers to older ones while NATS is away: {publish_everywhere(run, late_us=LATE_US)}")
    server.start()
    run.settle("faults")


def outbox_run(run):
    """What is accepted while NATS is away is delivered, though the nodes are killed meanwhile."""
    assert publish_everywhere(run) == {PUBLISHED}
    if not run.settle("faults"):
        return
    server = run.world.nats.servers[0]
    server.kill()
    run.say(f"answers while NATS is away: {publish_everywhere(run)}")
    for node in run.world.nodes:
        run.world.node_killed(node, 0)
    server.start()
    run.settle("faults")


def purge_run(run):
    """What a purge has taken from NATS is written back, and so outlives the nodes."""
    assert publish_everywhere(run) <= {PUBLISHED, QUEUED}
    if not run.settle("faults"):
        return
    run.world.stream_purged()
    if run.settle("faults"):
        run.restart_nodes()
        run.settle("restart")


def silent_run(run):
    """A server that says INFO and falls silent is turned away from."""
    assert publish_everywhere(run) <= {PUBLISHED, QUEUED}
    if not run.settle("faults"):
        return
    run.world.nats_silent(run.world.nats.servers[0], 3)
    assert run.world.silent[0].count > 0, "nobody has come to the silent server"
    run.say(f"answers after it: {publish_everywhere(run)}")
    run.settle("faults")


def refused_run(run):
    """What is accepted while JetStream refuses is delivered."""
    assert publish_everywhere(run) <= {PUBLISHED, QUEUED}
    if not run.settle("faults"):
        return
    run.world.nats.refuse()
    run.say(f"answers while JetStream refuses: {publish_everywhere(run)}")
    time.sleep(3)  # it is tried again
    run.world.nats.take()
    run.settle("faults")


def clocks_run(run):
    """A node whose clock jumps ahead by as long as an update lives goes by the clock of NATS, of which it has heard."""
    assert publish_everywhere(run) <= {PUBLISHED, QUEUED}
    if not run.settle("faults"):
        return
    ahead = run.world.nodes[-1]
    ahead.set_clock(AHEAD_S)
    if run.settle("faults"):
        run.say(f"answers of the node whose clock is ahead: {publish_everywhere(run, ahead.number)}")
        run.settle("faults")
    ahead.set_clock(0)


COURSES = {"late": late_run, "late-outbox": late_outbox_run, "outbox": outbox_run, "purge": purge_run,
           "silent": silent_run, "refused": refused_run, "clocks": clocks_run}
