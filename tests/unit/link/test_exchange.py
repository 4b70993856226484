from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.link.exchange import MAX_CANDIDATES, Exchange
from p2pal.wire.signal import Answer, Candidate, Offer


@pytest.mark.parametrize(("leader", "description"), [(True, Offer(2, 3, "sdp")), (False, Answer(2, "sdp"))])
def test_candidates_wait_for_their_description(leader: bool, description: Offer | Answer) -> None:
    exchange = Exchange(leader=leader)
    exchange.begin(1, 1)
    exchange.local_candidate("of another generation", "0", 0)
    exchange.begin(2, 3)
    exchange.local_candidate("early", "0", 0)
    assert list(exchange.messages()) == []
    exchange.describe("sdp")
    exchange.local_candidate("late", "0", 0)
    assert list(exchange.messages()) == [description, Candidate(2, "early"), Candidate(2, "late")]


def test_a_leader_takes_one_answer_and_candidates_only_behind_it() -> None:
    exchange = Exchange(leader=True)
    exchange.begin(1, 1)
    with pytest.raises(ProtocolError, match="before its answer"):
        exchange.take_candidate()
    exchange.take_answer()
    exchange.take_candidate()
    with pytest.raises(ProtocolError, match="twice"):
        exchange.take_answer()
    exchange.begin(2, 2)
    exchange.take_answer()


def test_candidates_are_counted_for_each_generation() -> None:
    exchange = Exchange(leader=False)
    for generation in (1, 2):
        exchange.begin(generation, generation)
        for _ in range(MAX_CANDIDATES):
            exchange.take_candidate()
        with pytest.raises(ProtocolError, match="too many"):
            exchange.take_candidate()
