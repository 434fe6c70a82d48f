# SPDX-License-Identifier: BSD-3-Clause
"""Judges a history: what flagsse promises, as rules that a run can break.

ORDER.  Updates of an environment are ordered by min(updated_at, when the bus stored it).  A publisher whose clock
is right sends updated_at <= now, so that its update's place is updated_at, exactly.  For a clock that is ahead the
place is only known to be between two moments: it was not stored before it was sent, and, if the answer was 200 and
NATS has lost nothing since, not after the answer.  So every update has an interval [low, high], and `a` is older
than `b` only where a.high < b.low: the checker never claims more than it knows.

ANSWERS.
 - A node that lives answers: 200 or 202.  503 is allowed while its disk is full, or once it was told to stop;
   silence, once it was killed or told to stop.
 - "stale" is allowed only if another update that is not older had been sent.

STREAMS.
 - The bytes are exactly those of the contract (sse.py).
 - Nothing is received that was not sent for that environment, nor before it was sent.
 - No stream goes back in the order, and none gets the same update twice.
 - A stream that the node ends, it ends with the last chunk; only a node that was killed may not.
 - A subscriber of a node that lives gets a stream, whatever else is broken.

WHEN IT IS QUIET (nothing is published, everything is mended, and there was time), for each environment:
 - all have the same: NATS, each stream that is open on each node, and each new client of each node;
 - and that is something that was sent, and not older than any update that was accepted (200 or 202) or called
   stale, and is not EXCUSED.
The same again after both nodes were restarted.  As all have the same, "the newest accepted update reached every
open stream" needs no rule of its own.

EXCUSED.  flagsse does not make NATS's storage safer than it is.  What was answered 200 is in NATS's storage and, a
moment later, in the registry of each node; what was answered 202 is on the disk of the node that answered, until it
is in NATS.  Where NATS loses its storage (restarted empty; the stream deleted or purged), any one node that has the
update and lives writes it back.  So an accepted update is excused by a loss only if
 - it could have been in what was lost: a 200 that had been sent before, a 202 that had been answered before; and
   a "stale" in any case, as it speaks of another update, which may be one of those;
 - and no node that is known to have had it, or a newer one, lived from then to the next time when all was found
   well.  "Known": a reader of that node has received it.  (A node that was killed or stopped has lost its registry.)
Nothing else excuses: neither kill -9 of a single nats-server (what it has acknowledged it has given to the kernel, and
the kernel lives; power loss is another matter, see nats-server's sync_interval), nor one server of a cluster that comes
back empty, nor a node that is killed at whatever point: its outbox is on the disk.  Nor does a server that falls
silent, a JetStream that refuses, or the clock of a node, if that node has heard of NATS's since its start.
"""
import bisect
import collections
from dataclasses import dataclass

from history import PUBLISHED, QUEUED, REFUSED, STALE, UNKNOWN, UNSENT, WRONG

ACCEPTED = (PUBLISHED, QUEUED, STALE)


@dataclass(frozen=True)
class Violation:
    rule: str
    text: str

    def __str__(self):
        return f"{self.rule}: {self.text}"


@dataclass(frozen=True)
class Place:
    """An update's place in the order: somewhere in there."""
    low: int
    high: int

    def is_older(self, other):
        return self.high < other.low


class Checker:
    def __init__(self, history):
        self.history = history
        self.sent = collections.defaultdict(dict)  # key -> us -> Publication
        for publication in history.publications:
            if publication.outcome != UNSENT:
                self.sent[publication.key][publication.us] = publication
        self.lives = {(life.node, life.number): life for life in history.lives}
        self.healthy = sorted(quiet.at for quiet in history.quiets if quiet.after == "faults" and quiet.complete)
        self.by_key = collections.defaultdict(list)
        for subscription in history.subscriptions:
            self.by_key[subscription.key].append(subscription)
        self.n_compared = self.n_excused = 0

    def place(self, publication):
        if publication.us <= publication.wall:
            return Place(publication.us, publication.us)
        settled = publication.outcome == PUBLISHED and not self._losses_of(publication)
        return Place(publication.wall, min(publication.us, publication.wall_answered) if settled else publication.us)

    def _ended(self, node, at):
        """Whether a life of the node had been ended, by a signal, at that time or before; and which was the last."""
        ends = [life for life in self.history.lives if life.node == node and 0 < life.ended <= at]
        return max(ends, key=lambda life: life.ended, default=None)

    # Answers

    def answers(self):
        for publication in self.history.publications:
            text = self._answer(publication)
            if text:
                yield Violation(f"answer {publication.outcome}", f"{text}: {publication}")

    def _answer(self, publication):
        if publication.outcome == WRONG:
            return "no answer that a publisher may get"
        if publication.outcome == STALE and not self._something_newer(publication):
            return "nothing had been sent that is not older"
        end = self._ended(publication.node, publication.answered)
        ending = end is not None and (end.ended >= publication.sent or self._is_down(publication))
        if publication.outcome == UNKNOWN and not ending:
            return "the node lived and did not answer"
        if publication.outcome == REFUSED and not ending and not self._disk_was_full(publication):
            return "the node lived, its disk had room, and it took nothing"
        return None

    def _is_down(self, publication):
        """Between two lives."""
        return not any(life.node == publication.node and life.begun <= publication.answered and
                       (not life.ended or life.ended >= publication.sent) for life in self.history.lives)

    def _something_newer(self, publication):
        place = self.place(publication)
        return any(other is not publication and other.sent <= publication.answered and
                   not self.place(other).is_older(place) for other in self.sent[publication.key].values())

    def _disk_was_full(self, publication):
        return any(full.node == publication.node and full.begun <= publication.answered and
                   (not full.ended or full.ended >= publication.sent) for full in self.history.fulls)

    # Streams

    def streams(self):
        for subscription in self.history.subscriptions:
            yield from self._receipts(subscription)
            yield from self._end(subscription)
        for refusal in self.history.refusals:
            life = self.lives[refusal.node, refusal.life]
            if not 0 < life.ended <= refusal.at:
                yield Violation("no stream", f"the node lives: {refusal}")

    def _receipts(self, subscription):
        before = None
        for at, us in subscription.receipts:
            publication = self.sent[subscription.key].get(us)
            if publication is None or publication.sent > at:
                yield Violation("never sent", f"{us} at {at}: {describe(subscription)}")
                continue
            if before is not None and us == before.us:
                yield Violation("twice", f"{publication} at {at}: {describe(subscription)}")
            elif before is not None and self.place(publication).is_older(self.place(before)):
                yield Violation("order", f"{publication} after {before} at {at}: {describe(subscription)}")
            before = publication

    def _end(self, subscription):
        life = self.lives[subscription.node, subscription.life]
        if subscription.how == "cut":
            if life.how != "killed" or life.ended > subscription.ended:
                yield Violation("unclean end", f"the node was not killed: {describe(subscription)}")
        elif subscription.how not in ("", "clean", "left"):
            yield Violation("malformed", describe(subscription))

    # When it is quiet

    def quiets(self):
        for quiet in self.history.quiets:
            if not quiet.complete:
                yield Violation("not the same", f"no end of differences, at {quiet.at} s after {quiet.after}")
            for key in sorted(self.sent):
                yield from self.agreement(quiet, key)

    def agreement(self, quiet, key):
        found = [("NATS", quiet.on_nats.get(key, 0))]
        found += [(f"the stream {describe(s)}", s_last) for s, s_last in self._open_at(quiet, key)]
        found += [(f"a new client of node {probe.node}", probe.us) for probe in quiet.probes if probe.key == key]
        where = f"{key} at {quiet.at} s after {quiet.after}"
        demanded = self._demanded(quiet, key)
        values = collections.Counter(us for _, us in found)
        usual = values.most_common(1)[0][0]
        for who, us in found:
            publication = self.sent[key].get(us)
            if us and publication is None:
                yield Violation("never sent", f"{who} has {us}: {where}")
            elif demanded and (not us or self.place(publication).is_older(self.place(demanded))):
                yield Violation("lost", f"{who} has {us or 'nothing'}, not {demanded}: {where}")
            elif us != usual:
                yield Violation("not the same", f"{who} has {us or 'nothing'}, others {usual}: {where}")

    def _open_at(self, quiet, key):
        for index in quiet.streams:
            subscription = self.history.subscriptions[index]
            if subscription.key != key:
                continue
            until = bisect.bisect_right(subscription.receipts, (quiet.at, float("inf")))
            if until:
                yield subscription, subscription.receipts[until - 1][1]
            elif subscription.last_id and not quiet.on_nats.get(key):
                yield subscription, 0  # its client has what has been lost everywhere else: there was nothing to send
            else:
                yield subscription, subscription.last_id

    def _demanded(self, quiet, key):
        """The newest accepted update that is not excused; None: there is none."""
        accepted = [publication for publication in self.sent[key].values()
                    if publication.outcome in ACCEPTED and publication.answered <= quiet.at]
        accepted.sort(key=lambda publication: self.place(publication).low, reverse=True)
        demanded = next((p for p in accepted if not self._is_excused(p, quiet.at)), None)
        self.n_compared += 1
        self.n_excused += bool(accepted) and demanded is not accepted[0]
        return demanded

    def _losses_of(self, publication):
        """The losses of NATS that may have concerned it."""
        since = {PUBLISHED: publication.sent, QUEUED: publication.answered}.get(publication.outcome)
        return [loss for loss in self.history.losses if since is None or since <= loss.last]

    def _is_excused(self, publication, until):
        for loss in self._losses_of(publication):
            if loss.last > until:
                continue
            well = next((at for at in self.healthy if at > loss.last), until)
            if publication.outcome == STALE and well < publication.sent:
                continue
            if not self._has_survivor(publication, well):
                return True
        return False

    def _has_survivor(self, publication, until):
        """Whether a node got it, or a newer one, and lived from then until that time."""
        place = self.place(publication)
        for subscription in self.by_key[publication.key]:
            life = self.lives[subscription.node, subscription.life]
            if life.ended and life.ended <= until:
                continue
            for at, us in subscription.receipts:
                other = self.sent[publication.key].get(us)
                if at <= until and other is not None and not self.place(other).is_older(place):
                    return True
        return False


def describe(subscription):
    return (f"{subscription.key} on node {subscription.node} in its life {subscription.life}, open from "
            f"{subscription.opened} to {subscription.ended or 'the end'} {subscription.how}")


def check(history):
    """All violations; how often an environment was compared when it was quiet; in how many of those comparisons its
    newest accepted update was excused, so that only an older one was demanded, or none."""
    checker = Checker(history)
    violations = [*checker.answers(), *checker.streams(), *checker.quiets()]
    return violations, checker.n_compared, checker.n_excused


def delivery_times(history):
    """How long each accepted update, or a newer one, took to each stream that was open when it was sent."""
    checker = Checker(history)
    times = []
    for subscription in history.subscriptions:
        receipts = [(at, checker.sent[subscription.key].get(us)) for at, us in subscription.receipts]
        ats = [at for at, _ in receipts]
        for publication in checker.sent[subscription.key].values():
            if publication.outcome not in (PUBLISHED, QUEUED) or publication.sent < subscription.opened:
                continue
            place = checker.place(publication)
            for at, other in receipts[bisect.bisect_left(ats, publication.sent):]:
                if other is not None and not checker.place(other).is_older(place):
                    times.append(at - publication.sent)
                    break
    return sorted(times)


def disagreement(history, quiet):
    """What is not yet as it has to be when it is quiet; None: nothing."""
    checker = Checker(history)
    return next((v for key in sorted(checker.sent) for v in checker.agreement(quiet, key)), None)
