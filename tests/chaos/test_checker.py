# SPDX-License-Identifier: BSD-3-Clause
"""The checker on made-up histories: it finds each violation, and finds none where there is none."""
import pytest

from checker import check, delivery_times
from history import (PUBLISHED, QUEUED, REFUSED, STALE, UNKNOWN, UNSENT, WRONG, Full, History, Life, Loss, Probe,
                     Publication, Quiet, Refusal, Subscription)

T = 1_000_000_000  # the wall clock, microseconds, at second 0 of a history
KEY = "key"


class Story:
    """A history, told in order.  Two nodes live from the beginning; an update's name is its second."""

    def __init__(self):
        self.history = History()
        self.lives = [self.history.add(Life(node, 1, 0.0)) for node in range(2)]
        self.streams = []

    def publish(self, at, outcome=PUBLISHED, *, node=0, us=None, takes=0.1):
        wall = T + int(at * 10**6)
        return self.history.add(Publication(KEY, wall if us is None else us, node, at, wall, at + takes,
                                            wall + int(takes * 10**6), outcome)).us

    def stream(self, *receipts, node=0, life=1, opened=0.0, ended=0.0, how="", last_id=0):
        """`receipts`: (at, us)."""
        self.streams.append(len(self.history.subscriptions))
        return self.history.add(Subscription(KEY, node, life, opened, last_id, list(receipts), ended, how))

    def end_life(self, node, at, how="killed", again=None):
        self.lives[node].ended, self.lives[node].how = at, how
        if again:
            self.lives[node] = self.history.add(Life(node, self.lives[node].number + 1, again))

    def lose(self, last):
        self.history.add(Loss("stream purged", last))

    def quiet(self, at, us, *, new=None, nats=None, complete=True, after="faults"):
        """All have `us`; new clients `new`, NATS `nats`, where these are given."""
        probes = [Probe(node, KEY, us if new is None else new) for node in range(2)]
        self.history.add(Quiet(at, after, {KEY: us if nats is None else nats}, list(self.streams), probes, complete))

    def rules(self):
        return {violation.rule for violation in check(self.history)[0]}


@pytest.fixture
def story():
    return Story()


def test_all_is_well(story):
    first, second = story.publish(1), story.publish(2, QUEUED, node=1)
    story.publish(2.5, STALE, us=T + 1_500_000)
    story.stream((1.01, first), (2.01, second))
    story.stream((1.02, first), (2.5, second), node=1)
    story.quiet(10, second)
    assert story.rules() == set()
    times = delivery_times(story.history)
    assert len(times) == 4 and times[-1] == pytest.approx(0.5)


def test_newer_ones_may_replace_older_ones(story):
    story.publish(1)
    second = story.publish(2)
    story.stream((2.01, second))
    story.quiet(10, second)
    assert story.rules() == set()


# Lost


@pytest.mark.parametrize("outcome", [PUBLISHED, QUEUED])
@pytest.mark.parametrize("who", ["stream", "new", "nats"])
def test_lost(story, outcome, who):
    first, second = story.publish(1), story.publish(2, outcome)
    story.stream((1.01, first), (2.01, second))
    story.stream((1.01, first), *(() if who == "stream" else ((2.01, second),)), node=1)
    story.quiet(10, second, **({who: first} if who != "stream" else {}))
    assert "lost" in story.rules()


def test_lost_everywhere(story):
    first = story.publish(1)
    story.publish(2)
    story.stream((1.01, first))
    story.quiet(10, first)
    assert story.rules() == {"lost"}


def test_nothing_at_all(story):
    story.publish(1)
    story.stream()
    story.quiet(10, 0)
    assert story.rules() == {"lost"}


def test_lost_after_a_restart(story):
    first = story.publish(1)
    story.stream((1.01, first))
    story.quiet(10, first)
    story.end_life(0, 11, again=12)
    story.history.subscriptions[0].ended, story.history.subscriptions[0].how = 11.1, "cut"
    story.streams.clear()
    story.quiet(20, 0, nats=first, new=0, after="restart")
    assert story.rules() == {"lost", "not the same"}


def test_stale_is_a_promise_too(story):
    """It said that something not older is there."""
    first = story.publish(1)
    story.publish(2.0, UNKNOWN)
    story.publish(2.5, STALE, us=T + 1_900_000)
    story.end_life(0, 2.05)
    story.stream((1.01, first), node=1)
    story.quiet(10, first)
    assert story.rules() == {"lost"}


@pytest.mark.parametrize("outcome", [REFUSED, UNKNOWN, UNSENT])
def test_not_accepted_is_no_promise(story, outcome):
    first = story.publish(1)
    story.publish(2, outcome)
    story.end_life(0, 2.05, again=3)
    story.stream((1.01, first), node=1)
    story.quiet(10, first)
    assert story.rules() == set()


def test_not_accepted_may_come_all_the_same(story):
    story.publish(1)
    second = story.publish(2, UNKNOWN)
    story.end_life(0, 2.05, again=3)
    story.stream((2.01, second), node=1)
    story.quiet(10, second)
    assert story.rules() == set()


# Losses of NATS


def test_loss_with_a_survivor_excuses_nothing(story):
    first = story.publish(1)
    story.stream((1.01, first), node=1, ended=3.0, how="left")
    story.streams.clear()
    story.end_life(0, 1.5, again=2)
    story.lose(2.0)
    story.quiet(10, 0)
    assert story.rules() == {"lost"}


def test_loss_without_survivor(story):
    first = story.publish(1)
    story.stream((1.01, first), ended=1.6, how="cut")
    story.streams.clear()
    story.end_life(0, 1.5, again=2)
    story.lose(2.0)
    story.quiet(10, 0)
    assert story.rules() == set()
    assert check(story.history)[1:] == (1, 1)


def test_survivor_has_to_live_until_all_is_well(story):
    first = story.publish(1)
    story.stream((1.01, first), ended=5.1, how="cut")
    story.streams.clear()
    story.lose(2.0)
    story.end_life(0, 5.0, again=6)
    story.quiet(10, 0)
    assert story.rules() == set()


def test_once_all_was_well_again_nothing_is_excused(story):
    first = story.publish(1)
    story.stream((1.01, first), ended=15.1, how="cut")
    story.lose(2.0)
    story.quiet(10, first)
    story.streams.clear()
    story.end_life(0, 15.0, again=16)
    story.quiet(20, 0)
    assert story.rules() == {"lost"}


def test_published_after_the_loss(story):
    story.lose(0.5)
    story.publish(1)
    story.quiet(10, 0)
    assert story.rules() == {"lost"}


def test_queued_during_the_outage(story):
    """It was in the outbox when NATS had lost everything already."""
    story.lose(0.5)
    story.publish(0.4, QUEUED, takes=1.0)
    story.end_life(0, 2.0, again=3)
    story.quiet(10, 0)
    assert story.rules() == {"lost"}


def test_queued_long_before_the_loss(story):
    story.publish(0.4, QUEUED)
    story.lose(5.0)
    story.end_life(0, 2.0, again=3)
    story.quiet(10, 0)
    assert story.rules() == set()


def test_a_survivor_with_a_newer_one(story):
    story.publish(1)
    second = story.publish(1.5, UNKNOWN)
    story.stream((1.6, second), node=1)
    story.end_life(0, 1.55, again=2)
    story.lose(2.0)
    story.quiet(10, second, new=0)
    assert "lost" in story.rules()


# Agreement


def test_not_the_same(story):
    """Neither is older than what was accepted, but not all have it."""
    first = story.publish(1)
    second = story.publish(2, UNKNOWN)
    story.end_life(0, 2.05, again=3)
    story.stream((1.01, first), node=1)
    story.quiet(10, second)
    assert story.rules() == {"not the same"}


def test_ran_out_of_time(story):
    first = story.publish(1)
    story.quiet(10, first, complete=False)
    assert story.rules() == {"not the same"}


# Streams


def test_never_sent(story):
    first = story.publish(1)
    story.stream((0.5, 12345), (1.01, first))
    assert story.rules() == {"never sent"}


def test_received_before_it_was_sent(story):
    first = story.publish(1)
    story.stream((0.9, first))
    assert story.rules() == {"never sent"}


def test_on_nats_though_never_sent(story):
    first = story.publish(1)
    story.quiet(10, first, nats=first + 1)
    assert story.rules() == {"never sent"}


def test_order_goes_back(story):
    first, second = story.publish(1), story.publish(2)
    story.stream((2.01, second), (2.02, first))
    assert story.rules() == {"order"}


def test_order_of_two_streams_is_their_own(story):
    first, second = story.publish(1), story.publish(2)
    story.stream((2.01, second), ended=2.2, how="left")
    story.stream((2.3, first), (2.4, second), node=1, opened=2.2, last_id=second)
    assert story.rules() == set()


def test_twice(story):
    first = story.publish(1)
    story.stream((1.01, first), (1.02, first))
    assert story.rules() == {"twice"}


def test_malformed(story):
    story.stream(ended=1.0, how="malformed: a CR")
    assert story.rules() == {"malformed"}


@pytest.mark.parametrize("how, rules", [("killed", set()), ("stopped", {"unclean end"}), ("", {"unclean end"})])
def test_cut(story, how, rules):
    story.stream(ended=2.1, how="cut")
    if how:
        story.end_life(0, 2.0, how)
    assert story.rules() == rules


def test_cut_before_the_kill(story):
    story.stream(ended=1.9, how="cut")
    story.end_life(0, 2.0)
    assert story.rules() == {"unclean end"}


def test_no_stream(story):
    story.history.add(Refusal(0, 1, 1.0, "503"))
    assert story.rules() == {"no stream"}
    story.end_life(0, 0.9)
    assert story.rules() == set()


# Answers


def test_wrong_answer(story):
    story.publish(1, WRONG)
    assert story.rules() == {"answer wrong"}


@pytest.mark.parametrize("outcome", [REFUSED, UNKNOWN])
def test_not_taken(story, outcome):
    story.publish(1, outcome)
    assert story.rules() == {f"answer {outcome}"}


@pytest.mark.parametrize("ended, again, expected", [(1.05, None, False), (0.9, None, False), (0.5, 0.95, True),
                                                    (2.0, None, True)])
def test_silence_of_a_node_that_dies(story, ended, again, expected):
    story.publish(1, UNKNOWN)
    story.end_life(0, ended, again=again)
    assert bool(story.rules()) == expected


def test_refused_with_a_full_disk(story):
    story.publish(1, REFUSED)
    story.history.add(Full(0, 0.5, 1.05))
    assert story.rules() == set()
    story.publish(2, REFUSED)
    assert story.rules() == {"answer refused"}


def test_refused_with_the_other_disk_full(story):
    story.publish(1, REFUSED)
    story.history.add(Full(1, 0.5))
    assert story.rules() == {"answer refused"}


def test_stale_without_a_reason(story):
    story.publish(1)
    story.publish(2, STALE)
    assert story.rules() == {"answer stale"}


# Clocks that are ahead


def test_ahead_is_ordered_by_when_it_was_stored(story):
    ahead = story.publish(1, us=T + 3600 * 10**6)
    second = story.publish(2)
    story.stream((1.01, ahead), (2.01, second))
    story.quiet(10, second)
    assert story.rules() == set()


def test_ahead_does_not_stay(story):
    ahead = story.publish(1, us=T + 3600 * 10**6)
    second = story.publish(2)
    story.stream((2.01, second), (2.02, ahead))
    story.quiet(10, ahead)
    assert story.rules() == {"order", "lost"}


def test_ahead_and_at_the_same_time(story):
    """Which of the two was stored first nobody knows."""
    ahead = story.publish(1.9, us=T + 3600 * 10**6, takes=0.5)
    second = story.publish(2)
    story.stream((2.01, second), (2.02, ahead))
    story.quiet(10, ahead)
    assert story.rules() == set()
