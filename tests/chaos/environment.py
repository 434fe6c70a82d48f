# SPDX-License-Identifier: BSD-3-Clause
"""What can be known of the times of one environment: which may be received, and which must be reached.

An update is written with the time that it was published with, its own, or, if the latest is not below that, with the
latest's + 1 us.  So times only grow, and who has received one before an update was even sent has to receive a higher
one for it.
"""
import bisect
import math
from dataclasses import dataclass

from history import PUBLISHED, QUEUED, STALE, UNKNOWN, UNSENT

N_NODES = 2
AFTERMATH = 5  # seconds that a fault is felt after its end, at most


# What happened; of what happened at the same moment this comes first.
SENT, ANSWERED, RECEIVED, SEEN = range(4)


@dataclass(frozen=True)
class Demand:
    """What is demanded of an update, by what was known before it was sent."""
    is_news: bool  # it was accepted, and cannot be the latest itself, as another of the same time may be
    was_overtaken: bool  # NATS had a higher time, and it does not repeat what waits in the outbox
    least: int  # the time that has to be reached for it in the end
    written: int  # NATS's, at least, as soon as it has it; what was received may still be on its way there


class Environment:
    """What there was by `until`; a loss of NATS that came later excuses nothing yet."""

    def __init__(self, history, key, until=math.inf):
        self.key = key
        self.until = until
        self.sent = sorted((p for p in history.publications
                            if p.key == key and p.outcome != UNSENT and p.sent <= until), key=lambda p: p.sent)
        self.by_us = sorted(self.sent, key=lambda p: p.us)
        self.all_us = [p.us for p in self.by_us]
        self.subscriptions = [s for s in history.subscriptions if s.key == key]
        self.faults = [fault for fault in history.faults if fault.begun <= until]
        self.losses = sorted((loss for loss in history.losses if loss.begun <= until), key=lambda loss: loss.last)
        self.quiets = [quiet for quiet in history.quiets if quiet.complete and quiet.at <= until]
        self.most_steps = (2 * len(self.sent) + N_NODES) * (1 + len(self.faults))
        self.reached = {}  # us -> a moment at which it was possible
        self.births = {}  # us -> the moment before which it was not
        self.demands = None  # see demand()

    # What may be received

    def is_possible(self, us, at):
        """Whether this time can have been written by then: it was sent, or is so far above one that was sent that the
        others may have been put between."""
        if us in self.reached and self.reached[us] <= at:
            return True
        possible = any(p.sent <= at and us - p.us <= self._steps(p, us, at) for p in self._origins(us))
        if possible:
            self.reached[us] = at
        return possible

    def born(self, us):
        """It cannot have been there before."""
        if us not in self.births:
            self.births[us] = min((p.sent for p in self._origins(us)), default=math.inf)
        return self.births[us]

    def _origins(self, us, but=None):
        """Those that may have been written with this time."""
        for i in range(bisect.bisect_right(self.all_us, us) - 1, -1, -1):
            if us - self.all_us[i] > self.most_steps:
                break
            if self.by_us[i] is not but:
                yield self.by_us[i]

    def _steps(self, first, us, at):
        """How often 1 us can have been added to its time by then, up to `us`.

        Each update of which nobody knows that it had been written before may add one.  One that was not answered 200
        may have been on its way to NATS and in the outbox.  A fault may make all of them be sent again, as answers
        are lost; and nodes write back what NATS has lost.
        """
        count = 0
        for p in self.sent[:bisect.bisect_right(self.sent, at, key=lambda p: p.sent)]:
            is_done = p.outcome in (PUBLISHED, STALE)
            if p.us <= us and not (is_done and p.answered < first.sent):
                count += (1 if is_done else 2) - (p is first)
        faults = self._faults_between(first.sent, at)
        return (count + N_NODES) * (1 + faults) if faults else count

    def _faults_between(self, since, until):
        """How many may have been felt then."""
        return sum(fault.begun <= until and (not fault.ended or fault.ended + AFTERMATH >= since)
                   for fault in self.faults)

    def may_be_stale_by_itself(self, publication):
        """NATS stored it, and its answer was lost; when it was sent again it was there."""
        return self._faults_between(publication.sent, publication.answered) > 0 and any(
            us == publication.us and at >= publication.sent for s in self.subscriptions for at, us in s.receipts)

    def is_latest_of_cut_off_node(self, publication):
        """A node that is cut off from NATS knows its own latest only: a higher time may be there of which it has not
        heard.  One of its clients had, if one has received it."""
        return self._faults_between(publication.sent, publication.answered) > 0 and not any(
            us > publication.us and at < publication.sent
            for s in self.subscriptions if s.node == publication.node for at, us in s.receipts)

    # What has to be reached

    def demand(self, publication):
        if self.demands is None:
            self.demands = self._walk()
        return self.demands[id(publication)]

    def _walk(self):
        """Through all that happened.  Carries on the highest times so far: on NATS, and that anybody had received."""
        steps = [(p.sent, SENT, p) for p in self.sent]
        steps += [(p.answered, ANSWERED, p) for p in self.sent if p.outcome == PUBLISHED]
        steps += [(at, RECEIVED, us) for s in self.subscriptions for at, us in s.receipts if at <= self.until]
        steps += [(quiet.at, SEEN, quiet.on_nats.get(self.key, 0)) for quiet in self.quiets]
        on_nats, received = Highest(self.losses), Highest(self.losses)
        demands = {}
        for at, kind, what in sorted(steps, key=lambda step: step[:2]):
            if kind == SENT:
                demands[id(what)] = self._demand_after(what, on_nats.get(what), received.get(what))
            elif kind == ANSWERED:
                on_nats.add(demands[id(what)].written, what.sent)
            elif kind == RECEIVED:
                received.add(what, self.born(what))
            elif kind == SEEN:
                on_nats.add(what, at)
        return demands

    def _demand_after(self, publication, on_nats, received):
        overtaken = on_nats > publication.us and not self._repeats_what_waits(publication)
        news = publication.outcome in (PUBLISHED, QUEUED) and (overtaken or not self.has_twin(publication))
        written = max(publication.us, on_nats + 1 if news else 0)
        return Demand(news, overtaken, max(written, received + 1 if news else 0), written)

    def _repeats_what_waits(self, publication):
        """Whether it may be the row of this node's outbox, once more."""
        return any(p.us == publication.us and p.node == publication.node and p is not publication and
                   p.sent <= publication.answered and p.outcome in (QUEUED, UNKNOWN) for p in self.sent)

    def has_twin(self, publication):
        """Whether another one can have been written with just its time, while it was on its way."""
        at = publication.answered if publication.outcome in (PUBLISHED, STALE) else self.until
        return any(p.sent <= at and publication.us - p.us <= self._steps(p, publication.us, at)
                   for p in self._origins(publication.us, publication))


class Highest:
    """The highest time so far, as far as no loss of NATS may have taken it away."""

    def __init__(self, losses):
        self.losses = losses
        self.lasts = [loss.last for loss in losses]
        self.highest = [0] * (len(losses) + 1)  # by the number of losses that were over before it was born

    def add(self, us, born):
        i = bisect.bisect_left(self.lasts, born)
        self.highest[i] = max(self.highest[i], us)

    def get(self, publication):
        """As it was for this publication: those count that were born after each loss that may have come before it was
        written."""
        written = publication.answered if publication.outcome == PUBLISHED else math.inf
        i = max((i + 1 for i, loss in enumerate(self.losses) if loss.begun <= written), default=0)
        return max(self.highest[i:])
