# SPDX-License-Identifier: BSD-3-Clause
"""What happened in a run: the facts that checker.py judges.  No conclusions here.

Times are seconds since the run began, of one monotonic clock for all threads; `us` is an updated_at in microseconds:
of a publication as it was published, of a receipt as it was received, where it is the event's id, too.
"""
import dataclasses
import json
import threading
import time
from dataclasses import dataclass, field

# What became of a publication, as its publisher saw it.
PUBLISHED, QUEUED, STALE = "published", "queued", "stale"
REFUSED = "refused"  # 503
UNKNOWN = "unknown"  # the connection ended without an answer
UNSENT = "unsent"  # there was no connection
WRONG = "wrong"  # any other answer

# How the nodes are set up, as far as the rules depend on it; seconds.
MAX_AGE, RETRY_MAX = 20, 5


@dataclass
class Publication:
    key: str
    us: int
    node: int
    sent: float
    wall: int  # when it was sent, on the wall clock, microseconds
    answered: float = 0
    wall_answered: int = 0
    outcome: str = UNKNOWN
    detail: str = ""


@dataclass
class Subscription:
    """One stream, from its greeting to its end."""
    key: str
    node: int
    life: int  # of the node
    opened: float
    last_id: int = 0  # given as Last-Event-ID
    receipts: list = field(default_factory=list)  # (at, us)
    ended: float = 0  # 0: open
    how: str = ""  # "clean", "cut" (no last chunk, or a reset), "left" (by the reader), or what was malformed
    asked: float = 0  # when its reader began to connect

    @property
    def last(self):
        """What its client knows."""
        return self.receipts[-1][1] if self.receipts else self.last_id


@dataclass
class Refusal:
    """A subscriber that was given no stream."""
    node: int
    life: int
    at: float
    what: str


@dataclass
class Life:
    """Of a node's process."""
    node: int
    number: int
    begun: float
    ended: float = 0  # just before the signal; 0: lives
    how: str = ""  # "killed", "stopped"


@dataclass
class Loss:
    """NATS has lost all that it held, not before `begun`.  `last`: the last moment at which what it took was lost."""
    what: str
    last: float
    begun: float = 0


@dataclass
class Full:
    """A node's disk was full."""
    node: int
    begun: float
    ended: float = 0


@dataclass
class Fault:
    what: str
    begun: float
    ended: float = 0


@dataclass
class Probe:
    """What a new client of a node was given; 0: nothing."""
    node: int
    key: str
    us: int


@dataclass
class Quiet:
    """Nothing is published, all faults are mended, and there was time enough: what everybody has."""
    at: float
    after: str  # "faults" or "restart"
    on_nats: dict  # key -> us, 0: nothing
    streams: list  # indexes into History.subscriptions: those that are open
    probes: list
    complete: bool = True  # False: the time ran out


class History:
    """Appended to by many threads; read when they rest."""

    LISTS = {"publications": Publication, "subscriptions": Subscription, "refusals": Refusal, "lives": Life,
             "losses": Loss, "fulls": Full, "faults": Fault, "quiets": Quiet}

    def __init__(self):
        self.lock = threading.Lock()
        self.begun = time.monotonic()
        for name in self.LISTS:
            setattr(self, name, [])

    def now(self):
        return round(time.monotonic() - self.begun, 6)

    def add(self, fact):
        """Keeps it; who adds it may go on filling it in."""
        for name, kind in self.LISTS.items():
            if isinstance(fact, kind):
                with self.lock:
                    getattr(self, name).append(fact)
                return fact
        raise TypeError(fact)

    def save(self, path, head):
        """A line of JSON a fact; the first one is `head`."""
        with open(path, "w", encoding="ascii") as file:
            file.write(json.dumps(head) + "\n")
            for name in self.LISTS:
                for fact in getattr(self, name):
                    file.write(json.dumps([name, dataclasses.asdict(fact)], separators=(",", ":")) + "\n")

    @classmethod
    def load(cls, path):
        history = cls()
        with open(path, encoding="ascii") as file:
            head = json.loads(next(file))
            for line in file:
                name, fact = json.loads(line)
                getattr(history, name).append(cls.LISTS[name](**fact))
        for subscription in history.subscriptions:
            subscription.receipts = [tuple(receipt) for receipt in subscription.receipts]
        for quiet in history.quiets:
            quiet.probes = [Probe(**probe) for probe in quiet.probes]
        return history, head
