# SPDX-License-Identifier: BSD-3-Clause
"""Judges a history: what flagsse promises, as rules that a run can break.

NEWS.  Every accepted update is news: after each 200 or 202 every stream of its environment gets an event that was
sent after the acceptance, and a stream's times only grow.  So what is not above the latest goes out with the
latest's time + 1 us, and so does all that follows on an update whose publisher's clock was ahead.  One event may
stand for several updates that were accepted before it.  environment.py knows what follows from that for a time that
is received (was it sent, or is it that far above one that was?), and which time an update has to reach: its own, and
if it is no repetition of the latest, one above all that NATS had, and that anybody had received, before it was sent.
Where a loss of NATS may have come between, nothing of before counts.  The checker never claims more than it knows.

ANSWERS.
 - A node that lives answers: 200 or 202.  503 is allowed while its disk is full, or once it was told to stop;
   silence, once it was killed or told to stop.
 - "stale" is allowed only if another update can have been written with just this time (the same one, published
   again, is one), and NATS had not had a higher one before this one was sent, unless the same one may wait in
   the node's outbox, or the node was cut off and had not heard of the higher one; or if a fault may have taken the answer away, so that it met itself, and has been received.

STREAMS.
 - The bytes are exactly those of the contract (sse.py).
 - Nothing is received that cannot have been written for that environment by then.
 - A stream's times grow.  None begins with an older one than another stream of the same process had received before
   its client asked for it.
 - A stream that the node ends, it ends with the last chunk; only a node that was killed may not.
 - A subscriber of a node that lives gets a stream, whatever else is broken.

WHEN IT IS QUIET (nothing is published, everything is mended, and there was time), for each environment:
 - all have the same: NATS, each stream that is open on each node, and each new client of each node;
 - and that can have been written, and is not below what any update that was accepted (200 or 202) or called stale has
   to reach, and is not EXCUSED;
 - each stream that was open before an update was sent has received something since, unless the update was a
   repetition, or a loss of NATS may have concerned it.
 - Who named an id has been sent that update all the same, if it cannot have been older than a stream's life.
The same again after both nodes were restarted.

EXCUSED.  flagsse does not make NATS's storage safer than it is.  What was answered 200 is in NATS's storage and, a
moment later, in the registry of each node; what was answered 202 is on the disk of the node that answered, until it
is in NATS.  Where NATS loses its storage (restarted empty; the stream deleted or purged), any one node that has the
update and lives writes it back.  So an accepted update is excused by a loss only if
 - it could have been in what was lost: a 200 that had been sent before, a 202 that had been answered before; and
   a "stale" in any case, as it speaks of another update, which may be one of those;
 - and no node that is known to have had the time that it has to reach, or a higher one, lived from then to the next
   time when all was found well.  "Known": a reader of that node has received it.  (A node that was killed or stopped
   has lost its registry.)
Nothing else excuses: neither kill -9 of a single nats-server (what it has acknowledged it has given to the kernel, and
the kernel lives; power loss is another matter, see nats-server's sync_interval), nor one server of a cluster that comes
back empty, nor a node that is killed at whatever point: its outbox is on the disk.  Nor does a server that falls
silent, a JetStream that refuses, or the clock of a node, if that node has heard of NATS's since its start.

LIMITS.  A run of more than an hour would have to forget what was published in its first; no environment is left
alone for so long.  An update that is followed by another one needs no event of its own, so whether it was dropped
shows only in the last ones before it is quiet.
"""
import bisect
import collections
import itertools
import math
from dataclasses import dataclass

from environment import Environment
from history import MAX_AGE, PUBLISHED, QUEUED, REFUSED, RETRY_MAX, STALE, UNKNOWN, UNSENT, WRONG

ACCEPTED = (PUBLISHED, QUEUED, STALE)
STREAM_LIFE = MAX_AGE + RETRY_MAX  # seconds: an id of an update that is younger suppresses nothing
DOUBT = 1  # second, of that, as it goes by NATS's clock


@dataclass(frozen=True)
class Violation:
    rule: str
    text: str

    def __str__(self):
        return f"{self.rule}: {self.text}"


class Checker:
    def __init__(self, history):
        self.history = history
        self.keys = sorted({p.key for p in history.publications if p.outcome != UNSENT})
        self.lives = {(life.node, life.number): life for life in history.lives}
        self.healthy = sorted(quiet.at for quiet in history.quiets if quiet.after == "faults" and quiet.complete)
        self.environments = {}
        self.n_compared = self.n_excused = 0

    def environment(self, key, until=math.inf):
        if (key, until) not in self.environments:
            self.environments[key, until] = Environment(self.history, key, until)
        return self.environments[key, until]

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
        if publication.outcome == STALE:
            return self._stale(publication)
        end = self._ended(publication.node, publication.answered)
        ending = end is not None and (end.ended >= publication.sent or self._is_down(publication))
        if publication.outcome == UNKNOWN and not ending:
            return "the node lived and did not answer"
        if publication.outcome == REFUSED and not ending and not self._disk_was_full(publication):
            return "the node lived, its disk had room, and it took nothing"
        return None

    def _stale(self, publication):
        environment = self.environment(publication.key)
        if (environment.demand(publication).was_overtaken and
                not environment.is_latest_of_cut_off_node(publication)):
            return "NATS had a higher time before, so it is not the latest itself"
        if not environment.has_twin(publication) and not environment.may_be_stale_by_itself(publication):
            return "no other one can have had this time"
        return None

    def _is_down(self, publication):
        """Between two lives."""
        return not any(life.node == publication.node and life.begun <= publication.answered and
                       (not life.ended or life.ended >= publication.sent) for life in self.history.lives)

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
        environment = self.environment(subscription.key)
        before = 0
        for at, us in subscription.receipts:
            if not environment.is_possible(us, at):
                yield Violation("never sent", f"{us} at {at}: {describe(subscription)}")
            if us <= before:
                yield Violation("twice" if us == before else "order",
                                f"{us} after {before} at {at}: {describe(subscription)}")
            before = max(before, us)
        if subscription.receipts and subscription.receipts[0][1] < self._known_to_its_node(subscription):
            yield Violation("order", f"it begins with {subscription.receipts[0][1]}, and another one had "
                            f"{self._known_to_its_node(subscription)} before: {describe(subscription)}")

    def _known_to_its_node(self, subscription):
        """The highest time that other streams of this process had received before its client asked for it; 0: none."""
        return max((received_by(s, subscription.asked) for s in self.environment(subscription.key).subscriptions
                    if (s.node, s.life) == (subscription.node, subscription.life)), default=0)

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
            for key in self.keys:
                yield from self.agreement(quiet, key)
                yield from self.without_news(quiet, key)

    def agreement(self, quiet, key):
        found = [("NATS", quiet.on_nats.get(key, 0))]
        found += [(f"the stream {describe(s)}", s_last) for s, s_last in self._open_at(quiet, key)]
        found += [(f"a new client of node {probe.node}", probe.us) for probe in quiet.probes if probe.key == key]
        where = f"{key} at {quiet.at} s after {quiet.after}"
        demanded, least = self._demanded(quiet, key)
        usual = collections.Counter(us for _, us in found).most_common(1)[0][0]
        for who, us in found:
            if us and not self.environment(key, quiet.at).is_possible(us, quiet.at):
                yield Violation("never sent", f"{who} has {us}: {where}")
            elif us < least:
                yield Violation("lost", f"{who} has {us or 'nothing'}, not {least} or more, for {demanded}: {where}")
            elif us != usual:
                yield Violation("not the same", f"{who} has {us or 'nothing'}, others {usual}: {where}")

    def without_news(self, quiet, key):
        """Streams that were open before an update was sent, and have received nothing since."""
        environment = self.environment(key, quiet.at)
        news = [p for p in environment.sent if p.answered <= quiet.at and environment.demand(p).is_news and
                not any(loss.begun <= quiet.at for loss in self._losses_of(p))]
        last = max(news, key=lambda p: p.sent, default=None)
        for subscription, _ in self._open_at(quiet, key) if last else ():
            if subscription.opened <= last.sent and not any(at >= last.sent for at, _ in subscription.receipts):
                yield Violation("no news", f"nothing since {last}: {describe(subscription)}, {key} at {quiet.at}")

    def _open_at(self, quiet, key):
        """Streams, each with what its client has, as far as that was told."""
        for index in quiet.streams:
            subscription = self.history.subscriptions[index]
            if subscription.key != key:
                continue
            received = received_by(subscription, quiet.at)
            if received:
                yield subscription, received
            elif quiet.on_nats.get(key) and self._may_be_suppressed(subscription, quiet.at):
                yield subscription, subscription.last_id
            else:
                yield subscription, 0

    def _may_be_suppressed(self, subscription, until):
        born = self.environment(subscription.key, until).born(subscription.last_id)
        return subscription.opened - born > STREAM_LIFE - DOUBT

    def _demanded(self, quiet, key):
        """The accepted update that has to reach the highest time, of those that are not excused, and that time; or
        (None, 0)."""
        environment = self.environment(key, quiet.at)
        accepted = [(environment.demand(p).least, p) for p in environment.sent
                    if p.outcome in ACCEPTED and p.answered <= quiet.at]
        accepted.sort(key=lambda demand: demand[0], reverse=True)
        demand = next((d for d in accepted if not self._is_excused(d[1], d[0], quiet.at)), None)
        self.n_compared += 1
        self.n_excused += bool(accepted) and demand is not accepted[0]
        return (demand[1], demand[0]) if demand else (None, 0)

    def _losses_of(self, publication):
        """The losses of NATS that may have concerned it."""
        since = {PUBLISHED: publication.sent, QUEUED: publication.answered}.get(publication.outcome)
        return [loss for loss in self.history.losses if since is None or since <= loss.last]

    def _is_excused(self, publication, least, until):
        for loss in self._losses_of(publication):
            if loss.begun > until:
                continue
            well = next((at for at in self.healthy if at > loss.last), until)
            if publication.outcome == STALE and well < publication.sent:
                continue
            if not self._has_survivor(publication.key, least, min(well, until)):
                return True
        return False

    def _has_survivor(self, key, least, until):
        """Whether a node had this time, or a higher one, and lived from then until that moment."""
        for subscription in self.environment(key).subscriptions:
            life = self.lives[subscription.node, subscription.life]
            if (not life.ended or life.ended > until) and received_by(subscription, until) >= least:
                return True
        return False


def received_by(subscription, at):
    """The time that it had received last by then; 0: none."""
    count = bisect.bisect_right(subscription.receipts, (at, math.inf))
    return subscription.receipts[count - 1][1] if count else 0


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
    times = []
    by_key = collections.defaultdict(list)
    for publication in history.publications:
        if publication.outcome in (PUBLISHED, QUEUED):
            by_key[publication.key].append(publication)
    for subscription in history.subscriptions:
        ats = [at for at, _ in subscription.receipts]
        for publication in by_key[subscription.key]:
            if publication.sent < subscription.opened:
                continue
            for at, us in subscription.receipts[bisect.bisect_left(ats, publication.sent):]:
                if us >= publication.us:
                    times.append(at - publication.sent)
                    break
    return sorted(times)


def disagreement(history, quiet):
    """What is not yet as it has to be when it is quiet; None: nothing."""
    checker = Checker(history)
    return next((v for key in checker.keys
                 for v in itertools.chain(checker.agreement(quiet, key), checker.without_news(quiet, key))), None)
