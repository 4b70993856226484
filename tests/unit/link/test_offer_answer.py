from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.link.offer_answer import MAX_CANDIDATES, MAX_OFFERS, OFFER_PAUSE, Exchange
from p2pal.wire.signal import SILENT, Answer, Candidate, Offer, Retry


@pytest.mark.parametrize(("leader", "description"), [(True, Offer(2, 3, "sdp")), (False, Answer(2, "sdp"))])
def test_candidates_wait_for_their_description(leader: bool, description: Offer | Answer) -> None:
    exchange = Exchange(leader=leader)
    exchange.begin(1, 1)
    exchange.local_candidate(Candidate(1, "of another generation"))
    exchange.begin(2, 3)
    exchange.local_candidate(Candidate(2, "early"))
    assert list(exchange.messages()) == []
    exchange.describe("sdp")
    exchange.local_candidate(Candidate(2, "late"))
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


def test_each_side_says_what_is_its_to_say() -> None:
    leader, follower = Exchange(leader=True), Exchange(leader=False)
    for exchange in (leader, follower):
        exchange.begin(2, 3)
        exchange.check(Candidate(2, "candidate"))
        with pytest.raises(ProtocolError, match="never made"):
            exchange.check(Candidate(3, "candidate"))
    with pytest.raises(ProtocolError, match="claim to lead"):
        leader.check(Offer(3, 4, "sdp"))
    for message in (Answer(2, "sdp"), Retry(1, SILENT)):
        leader.check(message)
        with pytest.raises(ProtocolError, match="claim to follow"):
            follower.check(message)
    for early in (Answer(3, "sdp"), Retry(3)):
        with pytest.raises(ProtocolError, match="never made"):
            leader.check(early)


def test_a_lane_number_is_used_once() -> None:
    exchange = Exchange(leader=False)
    exchange.begin(2, 3)
    exchange.check(Offer(5, 4, "sdp"))
    exchange.check(Offer(2, 3, "late, and passed over"))
    with pytest.raises(ProtocolError, match="lane number twice"):
        exchange.check(Offer(3, 3, "sdp"))


def test_offers_are_answered_so_often() -> None:
    exchange = Exchange(leader=False)
    assert [exchange.may_answer(5.0) for _ in range(MAX_OFFERS + 1)] == [True] * MAX_OFFERS + [False]
    assert [exchange.may_answer(5.0 + OFFER_PAUSE) for _ in range(2)] == [True, False]
