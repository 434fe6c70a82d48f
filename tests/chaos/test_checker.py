# SPDX-License-Identifier: BSD-3-Clause
"""The checker on made-up histories: it finds each violation, and finds none where there is none."""
import pytest

from checker import check, delivery_times
from history import (PUBLISHED, QUEUED, REFUSED, STALE, UNKNOWN, UNSENT, WRONG, Fault, Full, History, Life, Loss, Probe,
                     Publication, Quiet, Refusal, Subscription)

T = 1_000_000_000  # the wall clock, microseconds, at second 0 of a history
KEY = "key"


class Story:
    """A history, told in order.  Two nodes live from the beginning; the wall clock is at T + seconds."""

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
        return self.history.add(Subscription(KEY, node, life, opened, last_id, list(receipts), ended, how,
                                             asked=opened))

    def trouble(self, begun, ended=0.0):
        self.history.add(Fault("NATS killed", begun, ended))

    def end_life(self, node, at, how="killed", again=None):
        self.lives[node].ended, self.lives[node].how = at, how
        if again:
            self.lives[node] = self.history.add(Life(node, self.lives[node].number + 1, again))

    def lose(self, last):
        self.history.add(Loss("stream purged", last, begun=last))

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
    story.publish(2.6, STALE, us=second)
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
    assert story.rules() == {"lost", "no news"}


def test_nothing_at_all(story):
    story.publish(1)
    story.stream()
    story.quiet(10, 0)
    assert story.rules() == {"lost", "no news"}


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
    """It said that one of this time is there."""
    first, second = story.publish(1), story.publish(2.0, UNKNOWN)
    story.publish(2.5, STALE, us=second)
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


def test_begins_with_an_older_one_than_its_node_had(story):
    first, second = story.publish(1), story.publish(2)
    story.stream((2.01, second), ended=2.2, how="left")
    story.stream((2.3, first), (2.4, second), opened=2.25)
    assert story.rules() == {"order"}


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


@pytest.mark.parametrize("fault, received, rules", [(True, True, set()), (True, False, {"answer stale"}),
                                                    (False, True, {"answer stale"})])
def test_stale_by_itself(story, fault, received, rules):
    """NATS had it, and its answer was lost."""
    first = story.publish(1, STALE)
    if fault:
        story.trouble(1.05, 2)
    if received:
        story.stream((1.01, first))
    assert story.rules() == rules


def test_stale_though_there_was_a_higher_one(story):
    """So it is not the latest itself: it is news again."""
    first, _ = story.publish(1), story.publish(2)
    story.publish(3, STALE, us=first)
    assert story.rules() == {"answer stale"}


def test_stale_though_there_was_one_above_that_may_be_lost(story):
    first, _ = story.publish(1), story.publish(2)
    story.publish(3, STALE, us=first)
    story.lose(2.5)
    assert story.rules() == set()


@pytest.mark.parametrize("node, rules", [(0, set()), (1, {"answer stale"})])
def test_stale_for_what_waits_in_the_outbox(story, node, rules):
    first = story.publish(1, QUEUED)
    story.publish(2, node=1)
    story.publish(3, STALE, us=first, node=node)
    assert story.rules() == rules


@pytest.mark.parametrize("fault, heard, rules", [(True, None, set()), (True, 1, set()), (True, 0, {"answer stale"}),
                                                 (False, None, {"answer stale"})])
def test_stale_of_a_node_that_is_cut_off(story, fault, heard, rules):
    """It goes by what it has heard: not of the higher one, unless one of its clients has received that."""
    first = story.publish(1, node=1)
    higher = story.publish(2, node=1)
    story.publish(3, STALE, us=first)
    if fault:
        story.trouble(1.9)
    if heard is not None:
        story.stream((1.1, first), (2.1, higher), node=heard)
    assert story.rules() == rules


def test_stale_with_a_higher_one_under_way(story):
    first = story.publish(1)
    story.publish(2, takes=1)
    story.publish(2.5, STALE, us=first)
    assert story.rules() == set()


def test_stale_with_the_time_of_one_that_was_raised(story):
    first = story.publish(1)
    story.publish(2, us=T)
    story.publish(3, STALE, us=first + 1)
    assert story.rules() == set()
    story.publish(4, STALE, us=first + 100)
    assert story.rules() == {"answer stale"}


# Every accepted update is news


@pytest.fixture
def late(story):
    """The second update is older than the first one; tells what there was at last, and when."""
    def tell(last, at=2.01, outcome=PUBLISHED, **options):
        first = story.publish(1)
        story.publish(2, outcome, us=first - 500_000, **options)
        story.stream((1.01, first), *(() if last == 0 else ((at, first + last),)))
        story.stream((1.02, first), *(() if last == 0 else ((at, first + last),)), node=1)
        story.quiet(10, first + last)
    return tell


@pytest.mark.parametrize("outcome", [PUBLISHED, QUEUED])
def test_late_one_is_news(story, late, outcome):
    late(1, outcome=outcome)
    assert story.rules() == set()


@pytest.mark.parametrize("outcome", [PUBLISHED, QUEUED])
def test_late_one_is_dropped(story, late, outcome):
    late(0, outcome=outcome)
    assert story.rules() == {"lost", "no news"}


def test_late_one_is_called_stale(story, late):
    late(0, outcome=STALE)
    assert story.rules() == {"answer stale"}


def test_late_one_is_raised_too_far(story, late):
    late(2)
    assert story.rules() == {"never sent"}


def test_late_ones_of_an_outage_may_be_sent_again(story, late):
    """As answers were lost."""
    story.trouble(1.5, 2.5)
    late(3)
    assert story.rules() == set()


def test_trouble_that_is_long_over_explains_nothing(story, late):
    story.trouble(0.1, 0.2)
    for second in range(11):
        story.publish(20 + second)
    last = story.publish(40)
    story.stream((40.01, last + 1))
    assert story.rules() == {"never sent"}


def test_one_event_for_two_late_ones(story):
    first = story.publish(1)
    story.publish(2, us=first - 500_000)
    story.publish(2.01, us=first - 600_000)
    story.stream((1.01, first), (2.05, first + 1))
    story.quiet(10, first + 1)
    assert story.rules() == set()


def test_one_event_before_the_second_late_one(story):
    first = story.publish(1)
    story.publish(2, us=first - 500_000)
    story.publish(2.2, us=first - 600_000)
    story.stream((1.01, first), (2.05, first + 1))
    story.quiet(10, first + 1)
    assert story.rules() == {"lost", "no news"}


def test_late_one_reaches_one_stream_only(story):
    first = story.publish(1)
    story.publish(2, us=first - 500_000)
    story.stream((1.01, first), (2.05, first + 1))
    story.stream((1.01, first), node=1)
    story.quiet(10, first + 1)
    assert story.rules() == {"lost", "no news"}


def test_whoever_had_the_younger_one_lacks_the_late_one(story):
    """The younger one was in an outbox, so NATS had not had it; but somebody had fetched for it."""
    first = story.publish(1, QUEUED)
    story.publish(2, QUEUED, node=1, us=first - 500_000)
    story.stream((1.01, first), ended=1.5, how="left")
    story.streams.clear()
    story.quiet(10, first)
    assert story.rules() == {"lost"}


def test_the_same_again_is_no_news(story):
    first = story.publish(1)
    story.publish(2, QUEUED, us=first)
    story.publish(2.5, us=first)
    story.stream((1.01, first))
    story.quiet(10, first)
    assert story.rules() == set()


def test_the_same_again_after_another_one_is_news(story):
    first, second = story.publish(1), story.publish(2)
    story.publish(3, us=first)
    story.stream((1.01, first), (2.01, second))
    story.quiet(10, second)
    assert story.rules() == {"lost", "no news"}
    story.stream((1.01, first), (2.01, second), (3.01, second + 1))
    story.history.quiets.clear()
    story.streams.pop(0)
    story.quiet(10, second + 1)
    assert story.rules() == set()


def test_a_loss_between_leaves_only_the_time_itself(story):
    """Nobody knows what NATS had when the late one came; but there was an event."""
    first = story.publish(1)
    story.lose(1.5)
    late = story.publish(2, us=first - 500_000)
    story.end_life(0, 1.2, again=1.3)
    story.end_life(1, 1.2, again=1.3)
    story.stream((2.01, late), opened=1.4, life=2)
    story.quiet(10, late)
    assert story.rules() == set()


def test_a_loss_between_is_no_reason_for_silence(story):
    first = story.publish(1)
    story.lose(1.5)
    story.publish(2, us=first - 500_000)
    story.stream((1.01, first))
    story.quiet(10, first)
    assert story.rules() == {"no news"}


def test_a_late_one_that_was_lost(story):
    """NATS lost it, and no node had it yet."""
    first = story.publish(1)
    story.publish(2, us=first - 500_000)
    story.lose(2.5)
    story.stream((1.01, first))
    story.quiet(10, first)
    assert story.rules() == set()


def test_quiet_is_known_too(story):
    """What all had then was on NATS, whatever had been lost before."""
    first = story.publish(1)
    story.lose(1.5)
    story.stream((1.01, first))
    story.quiet(10, first)
    story.publish(11, us=first - 500_000)
    story.streams.clear()
    story.quiet(20, first)
    assert story.rules() == {"lost"}


# What ids suppress


@pytest.mark.parametrize("opened, rules", [(20.0, {"lost"}), (40.0, set())])
def test_id_suppresses(story, opened, rules):
    first = story.publish(1)
    story.stream((1.01, first), ended=1.5, how="left")
    story.streams.clear()
    story.stream(opened=opened, last_id=first)
    story.quiet(50, first)
    assert story.rules() == rules


def test_id_offered_again(story):
    first = story.publish(1)
    story.stream((5.01, first), opened=5, last_id=first)
    story.quiet(10, first)
    assert story.rules() == set()


# Clocks that are ahead


def test_all_goes_on_above_one_that_is_ahead(story):
    ahead = story.publish(1, us=T + 3600 * 10**6)
    story.publish(2)
    story.stream((1.01, ahead), (2.01, ahead + 1))
    story.quiet(10, ahead + 1)
    assert story.rules() == set()


def test_ahead_silences_nobody(story):
    ahead = story.publish(1, us=T + 3600 * 10**6)
    story.publish(2)
    story.stream((1.01, ahead))
    story.quiet(10, ahead)
    assert story.rules() == {"lost", "no news"}


def test_times_never_go_back(story):
    ahead = story.publish(1, us=T + 3600 * 10**6)
    second = story.publish(2)
    story.stream((1.01, ahead), (2.01, second))
    story.quiet(10, second)
    assert story.rules() == {"order", "lost"}


def test_ahead_and_at_the_same_time(story):
    """Which of the two was stored first nobody knows."""
    ahead = story.publish(1.9, us=T + 3600 * 10**6, takes=0.5)
    second = story.publish(2)
    story.stream((2.01, second), (2.02, ahead))
    story.quiet(10, ahead)
    assert story.rules() == set()
