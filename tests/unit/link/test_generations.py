from __future__ import annotations

import pytest

from p2pal.link.generations import Generations
from p2pal.link.steps import CreateAnswer, CreateOffer, DropConnection, Judge
from p2pal.wire.signal import Offer


def drain(live: Generations) -> list[object]:
    found: list[object] = list(live.actions)
    live.actions.clear()
    return found


def linked() -> Generations:
    """A leader's, with generation 1 in use."""
    live = Generations(leader=True)
    live.offer()
    live.open()
    drain(live)
    return live


def comparing() -> Generations:
    """The same with generation 2 beside it."""
    live = linked()
    live.offer(better=True)
    live.open()
    drain(live)
    return live


def test_the_next_one_takes_the_place_of_the_last() -> None:
    live = Generations(leader=True)
    assert not live.is_open(0)
    assert not live.takes(0)
    live.offer()
    assert drain(live) == [CreateOffer(1, 1)]
    live.offer()
    assert drain(live) == [DropConnection(1), CreateOffer(2, 2)]
    assert (live.takes(1), live.takes(2), live.is_open(2)) == (False, True, False)
    live.open()
    live.offer()
    assert drain(live) == [CreateOffer(3, 3)]
    live.open()
    assert drain(live) == [DropConnection(2)]
    assert (live.used, live.trying, live.rival) == (3, 0, 0)


def test_a_better_one_stands_beside_the_one_in_use() -> None:
    live = linked()
    live.offer(better=True)
    assert live.improving
    live.exchange.describe("sdp")
    assert list(live.exchange.messages()) == [Offer(2, 2, "sdp", 1)]
    live.open()
    assert drain(live) == [CreateOffer(2, 2, direct=True), Judge(2, 1)]
    assert (live.used, live.rival, live.trying, live.improving) == (1, 2, 0, False)
    assert live.is_open(1)
    assert live.is_open(2)
    assert live.takes(2)


def test_a_follower_judges_nothing() -> None:
    live = Generations(leader=False)
    live.answer(Offer(1, 1, "sdp"))
    live.open()
    live.answer(Offer(5, 4, "better", 1))
    live.open()
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
        live.offer(better=step == "tried")
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
    live.offer()
    live.closed(2)
    live.drop_trying()
    assert drain(live) == [CreateOffer(2, 2)]
