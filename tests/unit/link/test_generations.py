from __future__ import annotations

import pytest

from p2pal.link.actions import CreateAnswer, CreateOffer, DropConnection, Judge, TakeAnswer, TakeCandidate
from p2pal.link.generations import ATTEMPT_TIMEOUT, FIRST_ATTEMPT, FOLLOWER_SLACK, IMPROVEMENT_TIMEOUT, Generations
from p2pal.wire.signal import SILENT, Answer, Candidate, Offer, Retry


def drain(live: Generations) -> list[object]:
    found: list[object] = list(live.actions)
    live.actions.clear()
    return found


def linked() -> Generations:
    """A leader's, with generation 1 in use."""
    live = Generations(leader=True)
    live.offer(0.0)
    live.open(1.0)
    drain(live)
    return live


def comparing() -> Generations:
    """The same with generation 2 beside it."""
    live = linked()
    live.offer(0.0, better=True)
    live.open(1.0)
    drain(live)
    return live


def test_the_next_one_takes_the_place_of_the_last() -> None:
    live = Generations(leader=True)
    assert not live.is_open(0)
    assert not live.takes(0)
    live.offer(0.0)
    assert drain(live) == [CreateOffer(1, 1)]
    live.offer(0.0)
    assert drain(live) == [DropConnection(1), CreateOffer(2, 2)]
    assert (live.takes(1), live.takes(2), live.is_open(2)) == (False, True, False)
    live.open(1.0)
    live.offer(0.0)
    assert drain(live) == [CreateOffer(3, 3)]
    live.open(1.0)
    assert drain(live) == [DropConnection(2)]
    assert (live.used, live.trying, live.rival) == (3, 0, 0)


def test_a_better_one_stands_beside_the_one_in_use() -> None:
    live = linked()
    live.offer(0.0, better=True)
    assert live.improving
    live.exchange.describe("sdp")
    assert list(live.exchange.messages()) == [Offer(2, 2, "sdp", 1)]
    live.open(1.0)
    assert drain(live) == [CreateOffer(2, 2, direct=True), Judge(2, 1)]
    assert (live.used, live.rival, live.trying, live.improving) == (1, 2, 0, False)
    assert live.is_open(1)
    assert live.is_open(2)
    assert live.takes(2)


def test_a_follower_judges_nothing() -> None:
    live = Generations(leader=False)
    live.answer(Offer(1, 1, "sdp"), 0.0)
    live.open(1.0)
    live.answer(Offer(5, 4, "better", 1), 0.0)
    live.open(1.0)
    assert drain(live) == [CreateAnswer(1, 1, "sdp"), CreateAnswer(5, 4, "better", direct=True)]
    live.drop_rival()
    live.pass_over(Offer(6, 6, "sdp"))
    assert drain(live) == [DropConnection(5)]
    assert (live.newest, live.used, live.trying) == (6, 1, 0)
    assert not live.takes(6)


def test_the_rival_is_taken_or_dropped() -> None:
    live = comparing()
    live.take_rival()
    assert drain(live) == [DropConnection(1)]
    assert (live.used, live.rival) == (2, 0)
    live = comparing()
    live.drop_rival()
    assert drain(live) == [DropConnection(2)]
    assert (live.used, live.rival) == (1, 0)
    live = comparing()
    live.closed(1)
    live.take_rival()
    assert drain(live) == [], "it is gone already"
    assert live.used == 2


@pytest.mark.parametrize("step", ["tried", "open", "neither"])
def test_a_repair_ends_what_is_for_a_better_path(step: str) -> None:
    live = comparing() if step == "open" else linked()
    if step != "open":
        live.offer(0.0, better=step == "tried")
        drain(live)
    live.drop_improvement()
    assert drain(live) == ([] if step == "neither" else [DropConnection(2)])
    assert live.used == 1
    assert live.trying == (2 if step == "neither" else 0)


def test_the_end() -> None:
    live = comparing()
    live.drop_all()
    assert drain(live) == [DropConnection(1), DropConnection(2)]
    live = comparing()
    live.forget()
    assert (live.used, live.rival, live.trying, drain(live)) == (0, 0, 0, [])
    live = linked()
    live.offer(0.0)
    live.closed(2)
    live.drop_trying()
    assert drain(live) == [CreateOffer(2, 2)]


def test_what_is_tried_has_its_time_and_the_followers_ends_later() -> None:
    for live, slack in ((Generations(leader=True), 0.0), (Generations(leader=False), FOLLOWER_SLACK)):
        for beside, seconds in ((0, FIRST_ATTEMPT), (0, ATTEMPT_TIMEOUT), (1, IMPROVEMENT_TIMEOUT)):
            if slack:
                live.answer(Offer(live.newest + 1, live.newest + 1, "sdp", beside), 5.0)
            else:
                live.offer(5.0, better=bool(beside))
            assert live.attempt_ends == 5.0 + seconds + slack
            live.open(6.0)
            assert live.attempt_ends is None
        assert live.judged_by == (None if slack else 6.0 + IMPROVEMENT_TIMEOUT)


def test_what_is_tried_may_get_less_time_but_not_more() -> None:
    live = Generations(leader=True)
    live.shorten(1.0)
    assert live.attempt_ends is None
    live.offer(0.0)
    for ends, left in ((12.0, 12.0), (15.0, 12.0)):
        live.shorten(ends)
        assert live.attempt_ends == left


@pytest.mark.parametrize("end", ["drop", "close", "forget", "repair"])
def test_what_is_over_has_no_deadline(end: str) -> None:
    tried, compared = linked(), comparing()
    tried.offer(0.0, better=True)
    for live in (tried, compared):
        match end:
            case "drop":
                live.drop_all()
            case "close":
                live.closed(2)
            case "forget":
                live.forget()
            case _:
                live.drop_improvement()
        assert (live.attempt_ends, live.judged_by) == (None, None)


def test_a_rival_that_is_taken_is_compared_no_more() -> None:
    live = comparing()
    live.take_rival()
    assert live.judged_by is None


def test_what_the_peer_says_goes_to_the_newest_connection() -> None:
    live = linked()
    live.take(Answer(1, "sdp"))
    live.take(Candidate(1, "candidate", "mid", 2))
    assert drain(live) == [TakeAnswer(1, "sdp"), TakeCandidate(Candidate(1, "candidate", "mid", 2))]


def test_only_what_lives_is_described() -> None:
    live = linked()
    live.offer(0.0)
    live.describe(1, "late")
    live.describe(2, "sdp")
    assert list(live.exchange.messages()) == [Offer(2, 2, "sdp")]


def test_the_next_one_is_asked_for_once() -> None:
    live = Generations(leader=False)
    live.ask()
    assert list(live.exchange.messages()) == [], "there is none to come after"
    live.answer(Offer(1, 1, "sdp"), 0.0)
    live.open(1.0)
    for _ in range(2):
        live.ask()
    assert list(live.exchange.messages()) == [Retry(1, SILENT)]
    live.closed(1)
    live.ask(again=True)
    assert list(live.exchange.messages()) == [Retry(1)]
    live.answer(Offer(3, 2, "sdp"), 2.0)
    live.ask()
    assert list(live.exchange.messages()) == [Retry(3)]


def test_a_lane_that_is_silent_is_missed_until_another_is_in_use() -> None:
    live = Generations(leader=True)
    assert live.missed
    for live in (linked(), comparing()):
        assert not live.missed
        live.silent = True
        assert live.missed
        if live.rival:
            live.take_rival()
        else:
            live.offer(0.0)
            live.open(1.0)
        assert not live.missed
