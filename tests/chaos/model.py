# SPDX-License-Identifier: BSD-3-Clause
"""A model of two nodes and NATS, one environment, at random: what flagsse promises, without flagsse.

The checker has to find nothing in its histories, and something where it breaks a rule (FAULTS).
"""
import heapq
import itertools
import random

from history import (PUBLISHED, QUEUED, STALE, UNKNOWN, Fault, History, Life, Loss, Probe, Publication, Quiet,
                     Subscription)

START_US = 1_000_000_000  # the wall clock at second 0
KEY = "key"
SECONDS = 6  # of trouble

FAULTS = {
    "drops_late": "what is older than NATS's latest is answered and dropped",
    "drops_late_rows": "so is what waited in an outbox",
    "rows_as_they_are": "what waited is written as it is, though another one has been stored meanwhile",
    "rows_overtaken": "what waited is dropped if a higher one was stored after it was accepted, though that one's node "
                      "had told its streams long before",
    "rows_alike": "two nodes have told the same time for two updates that waited, and one of them is dropped",
    "no_write_back": "what NATS has lost is not written back",
    "deaf": "now and then a node misses a message, and never asks for it",
    "goes_back": "a node tells whatever NATS tells",
    "suppresses": "an id suppresses what it names at once",
    "invents": "now and then the time is raised twice",
}


class Node:
    def __init__(self, number):
        self.number = number
        self.life = None
        self.latest = 0
        self.row = None  # of the outbox: (us as published, as told to the streams, when it was accepted)
        self.streams = []


class Model:
    def __init__(self, seed, fault=""):
        assert not fault or fault in FAULTS
        self.random = random.Random(seed)
        self.fault = fault
        self.history = History()
        self.now = 0.0
        self.agenda = []
        self.numbers = itertools.count()
        self.nodes = [Node(i) for i in range(2)]
        self.on_nats, self.stored = 0, 0.0
        self.outage = None
        self.sent = []

    def run(self):
        for node in self.nodes:
            self._start(node)
        for action, pause in ((self._publish, 0.15), (self._open, 0.3), (self._leave, 0.5), (self._cut_off, 2),
                              (self._kill, 3), (self._purge, 4)):
            self._repeat(action, pause)
        self._work()
        self._mend()
        self._work()
        self.history.add(Quiet(self.now, "faults", {KEY: self.on_nats},
                               [i for i, s in enumerate(self.history.subscriptions) if not s.ended],
                               [Probe(node.number, KEY, node.latest) for node in self.nodes]))
        return self.history

    # Time

    def _after(self, longest, action, *arguments):
        heapq.heappush(self.agenda, (self.now + self.random.uniform(0.0001, longest), next(self.numbers), action,
                                     arguments))

    def _repeat(self, action, pause):
        def turn():
            if self.now < SECONDS:
                action()
                self._after(2 * pause, turn)
        self._after(2 * pause, turn)

    def _work(self):
        while self.agenda:
            self.now, _, action, arguments = heapq.heappop(self.agenda)
            action(*arguments)

    def _mend(self):
        self.now += 1
        self._connect()
        for node in self.nodes:
            if node.life.ended:
                self._start(node)

    def _wall(self):
        return START_US + int(self.now * 10**6)

    # Publishing

    def _publish(self):
        us, dice = self._wall(), self.random.random()
        if dice < 0.4:
            us -= self.random.randrange(3 * 10**6)
        elif dice < 0.6 and self.sent:
            us = self.random.choice((self.sent[-1], max(self.sent)))
        elif dice < 0.62:
            us += 10**9
        node = self.random.choice(self.nodes)
        if node.life.ended:
            return
        self.sent.append(us)
        self._after(0.1, self._take, node, node.life,
                    self.history.add(Publication(KEY, us, node.number, self.now, self._wall())))

    def _take(self, node, life, publication):
        outcome = UNKNOWN
        if not life.ended:
            outcome = self._keep(node, publication.us) if self.outage else self._write(publication.us)
        self._after(0.1, self._answer, life, publication, outcome)

    def _answer(self, life, publication, outcome):
        publication.outcome = UNKNOWN if life.ended else outcome
        publication.answered, publication.wall_answered = self.now, self._wall()

    def _keep(self, node, us):
        """In the outbox.  This node's streams have it at once."""
        if us != node.latest:
            told = max(us, node.latest + 1)
            node.row = (0 if node.row else us, told, self.now)  # stands for both: never NATS's latest itself
            self._learn(node, told)
        return QUEUED

    def _write(self, us):
        if us == self.on_nats:
            return STALE
        if self.fault == "drops_late" and us < self.on_nats:
            return PUBLISHED
        twice = self.fault == "invents" and self.random.random() < 0.3
        self._store(max(us, self.on_nats + 1) + 50 * twice)
        return PUBLISHED

    def _store(self, us):
        self.on_nats, self.stored = us, self.now
        for node in self.nodes:
            if not (self.fault == "deaf" and self.random.random() < 0.05):
                self._after(0.1, self._hear, node, node.life, us)

    def _flush(self, node, life):
        """Publishes what waited."""
        if self.outage or life.ended or not node.row:
            return
        (us, told, accepted), node.row = node.row, None
        if told > self.on_nats:
            self._store(told + (self.stored > accepted and self.fault != "rows_as_they_are"))
        elif us != self.on_nats and not self._drops(told, accepted):
            self._store(self.on_nats + 1)  # who has that time may have it for another one

    def _drops(self, told, accepted):
        return (self.fault == "drops_late_rows" or
                (self.fault == "rows_overtaken" and told < self.on_nats and self.stored > accepted) or
                (self.fault == "rows_alike" and told == self.on_nats))

    # Nodes

    def _hear(self, node, life, us):
        if life.ended or self.outage:
            return
        if us < node.latest and self.fault != "goes_back":
            self._after(0.2, self._write_back, node, life)
        self._learn(node, us)

    def _learn(self, node, us):
        if us > node.latest or (us < node.latest and self.fault == "goes_back"):
            node.latest = us
            for stream in node.streams:
                self._after(0.02, self._tell, node, stream)

    def _tell(self, node, stream):
        last = stream.receipts[-1][1] if stream.receipts else 0
        if not stream.ended and node.latest and node.latest != last:
            stream.receipts.append((self.now, node.latest))

    def _write_back(self, node, life):
        """What NATS has lost; above another one that was stored meanwhile."""
        if life.ended or self.outage or node.row or node.latest <= self.on_nats or self.fault == "no_write_back":
            return
        self._store(node.latest + (self.on_nats > 0))

    def _start(self, node):
        number = node.life.number + 1 if node.life else 1
        node.life = self.history.add(Life(node.number, number, self.now))
        node.latest, node.streams = node.row[1] if node.row else 0, []
        self._read(node, node.life)

    def _read(self, node, life):
        if not self.outage:
            if self.fault != "deaf":
                self._hear(node, life, self.on_nats)
            self._flush(node, life)

    def _kill(self):
        node = self.random.choice(self.nodes)
        if node.life.ended:
            return
        node.life.ended, node.life.how = self.now, "killed"
        for stream in node.streams:
            if not stream.ended:
                stream.ended, stream.how = self.now, "cut"
        self._after(1, self._start, node)

    # NATS

    def _cut_off(self):
        if not self.outage:
            self.outage = self.history.add(Fault("NATS is away", self.now))
            self._after(1, self._connect)

    def _connect(self):
        if self.outage:
            self.outage.ended = self.now
            self.outage = None
        for node in self.nodes:
            self._after(0.3, self._read, node, node.life)

    def _purge(self):
        if self.outage:
            return
        self.on_nats = 0
        self.history.add(Loss("purged", self.now, begun=self.now))
        self.history.add(Fault("purged", self.now, ended=self.now))
        for node in self.nodes:
            self._after(0.3, self._write_back, node, node.life)

    # Streams

    def _open(self):
        node = self.random.choice(self.nodes)
        if not node.life.ended:
            last_id = node.latest if self.random.random() < 0.5 else 0
            self._after(0.01, self._begin, node, node.life, last_id, self.now)

    def _begin(self, node, life, last_id, asked):
        if life.ended:
            return
        stream = self.history.add(Subscription(KEY, node.number, life.number, self.now, last_id, asked=asked))
        node.streams.append(stream)
        if not (self.fault == "suppresses" and last_id == node.latest):
            self._tell(node, stream)

    def _leave(self):
        streams = [s for node in self.nodes for s in node.streams if not s.ended]
        if streams:
            stream = self.random.choice(streams)
            stream.ended, stream.how = self.now, "left"
