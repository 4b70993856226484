from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.link.negotiator import (
    ATTEMPT_TIMEOUT,
    MAX_BACKOFF,
    MAX_CANDIDATES,
    CreateAnswer,
    CreateOffer,
    DropConnection,
    GaveUp,
    LinkUp,
    Negotiator,
    Retrying,
    State,
    TakeAnswer,
    TakeCandidate,
)
from p2pal.wire.signal import Answer, Candidate, Offer, Retry


def make(*, leader: bool, max_retries: int = 3, backoff: float = 1.0) -> Negotiator:
    return Negotiator(leader=leader, max_retries=max_retries, backoff=backoff, jitter=lambda: 1.0)


def leading(**settings: float) -> Negotiator:
    """A leader that has made its offer."""
    link = make(leader=True, **settings)  # type: ignore[arg-type]
    link.start(0.0)
    link.handle_local_offer(1, "offer", 0.0)
    drain(link)
    return link


def following() -> Negotiator:
    """A follower that has answered the first offer."""
    link = make(leader=False)
    link.start(0.0)
    link.handle_message(Offer(1, 1, "offer"), 0.0)
    link.handle_local_answer(1, "answer", 0.0)
    drain(link)
    return link


def up(link: Negotiator) -> Negotiator:
    if link._leader:
        link.handle_message(Answer(link.generation, "answer"), 1.0)
    link.handle_lane_open(link.generation, 1.0)
    drain(link)
    return link


def drain(link: Negotiator) -> tuple[list[object], list[object], list[object]]:
    return list(link.messages()), list(link.actions()), list(link.events())


def test_the_leader_offers_and_takes_the_answer() -> None:
    link = make(leader=True)
    link.start(0.0)
    assert drain(link) == ([], [CreateOffer(1, 1)], [])
    assert link.next_timeout() == ATTEMPT_TIMEOUT
    link.handle_local_offer(1, "offer", 0.1)
    assert drain(link) == ([Offer(1, 1, "offer")], [], [])
    link.handle_message(Answer(1, "answer"), 0.2)
    link.handle_message(Candidate(1, "theirs"), 0.2)
    assert drain(link) == ([], [TakeAnswer(1, "answer"), TakeCandidate(1, "theirs", "0", 0)], [])
    link.handle_lane_open(1, 0.3)
    assert drain(link) == ([], [], [LinkUp(1)])
    assert link.state is State.UP
    assert link.next_timeout() is None


def test_the_follower_answers() -> None:
    link = make(leader=False)
    link.start(0.0)
    assert link.state is State.WAITING
    link.handle_message(Offer(1, 1, "offer"), 0.1)
    assert drain(link) == ([], [CreateAnswer(1, 1, "offer")], [])
    link.handle_local_answer(1, "answer", 0.2)
    link.handle_lane_open(1, 0.3)
    assert drain(link) == ([Answer(1, "answer")], [], [LinkUp(1)])


@pytest.mark.parametrize("leader", [True, False])
def test_candidates_wait_for_the_description_they_belong_to(leader: bool) -> None:
    link = make(leader=leader)
    link.start(0.0)
    if not leader:
        link.handle_message(Offer(1, 1, "offer"), 0.0)
    link.handle_local_candidate(1, "early", "0", 0, 0.0)
    assert drain(link)[0] == []
    description: Offer | Answer
    if leader:
        link.handle_local_offer(1, "sdp", 0.0)
        description = Offer(1, 1, "sdp")
    else:
        link.handle_local_answer(1, "sdp", 0.0)
        description = Answer(1, "sdp")
    link.handle_local_candidate(1, "late", "0", 0, 0.0)
    assert drain(link)[0] == [description, Candidate(1, "early"), Candidate(1, "late")]


def test_it_is_started_once() -> None:
    with pytest.raises(RuntimeError):
        leading().start(0.0)


def test_an_attempt_that_takes_too_long_fails() -> None:
    link = leading(backoff=2.0)
    link.handle_timeout(ATTEMPT_TIMEOUT - 0.1)
    assert link.state is State.CONNECTING
    link.handle_timeout(ATTEMPT_TIMEOUT)
    assert drain(link) == ([], [DropConnection(1)], [Retrying(1, 3, 2.0)])
    link.handle_timeout(ATTEMPT_TIMEOUT + 2.0)
    assert drain(link) == ([], [CreateOffer(2, 2)], [])


def test_delays_double_up_to_a_limit_and_carry_jitter() -> None:
    link = Negotiator(leader=True, max_retries=8, backoff=1.0, jitter=lambda: 0.5)
    link.start(0.0)
    delays, now = [], 0.0
    for _ in range(8):
        now = link.next_timeout() or 0.0
        link.handle_timeout(now)
        delays += [event.delay for event in link.events() if isinstance(event, Retrying)]
        link.handle_timeout(link.next_timeout() or 0.0)
    assert delays == [0.5, 1, 2, 4, 8, MAX_BACKOFF / 2, MAX_BACKOFF / 2, MAX_BACKOFF / 2]


@pytest.mark.parametrize(("connected", "retries"), [(False, 0), (False, 2), (True, 0), (True, 2)])
def test_it_gives_up_after_so_many_retries(connected: bool, retries: int) -> None:
    link = leading(max_retries=retries)
    if connected:
        up(link)
    for _ in range(retries + 1):
        link.handle_lane_closed(link.generation, 2.0)
        if link.state is State.WAITING:
            link.handle_timeout(link.next_timeout() or 0.0)
    assert link.state is State.DEAD
    assert link.next_timeout() is None
    assert drain(link)[2][-1] == GaveUp(connected)


def test_progress_resets_the_count() -> None:
    link = up(leading(max_retries=1))
    for _ in range(5):
        link.handle_lane_closed(link.generation, 2.0)
        assert drain(link)[2] == [Retrying(1, 1, 1.0)]
        link.handle_timeout(link.next_timeout() or 0.0)
        link.handle_local_offer(link.generation, "offer", 3.0)
        up(link)
        link.handle_progress()


def test_the_follower_reports_a_lost_lane_and_waits() -> None:
    link = up(following())
    link.handle_lane_closed(1, 5.0)
    assert drain(link) == ([Retry(1)], [], [Retrying(1, 3, 0.0)])
    assert link.next_timeout() == 5.0 + MAX_BACKOFF + ATTEMPT_TIMEOUT
    link.handle_message(Offer(2, 2, "again"), 6.0)
    assert drain(link) == ([], [CreateAnswer(2, 2, "again")], [])


def test_the_follower_gives_up_when_no_offer_comes() -> None:
    link = make(leader=False)
    link.start(0.0)
    link.handle_timeout(link.next_timeout() or 0.0)
    assert drain(link) == ([], [], [GaveUp(False)])


def test_the_follower_never_gives_an_attempt_up_before_the_leader() -> None:
    link = following()
    due = link.next_timeout()
    assert due is not None
    assert due > ATTEMPT_TIMEOUT
    link.handle_timeout(due)
    assert drain(link) == ([Retry(1)], [DropConnection(1)], [Retrying(1, 3, 0.0)])


def test_the_leader_starts_anew_when_the_follower_asks() -> None:
    link = up(leading())
    link.handle_message(Retry(1), 5.0)
    assert drain(link) == ([], [DropConnection(1)], [Retrying(1, 3, 1.0)])
    link.handle_message(Retry(1), 5.0)  # said twice, or while it waits already
    assert drain(link) == ([], [], [])


def test_a_newer_offer_replaces_what_stands() -> None:
    link = up(following())
    link.handle_message(Offer(3, 2, "newer"), 5.0)
    assert drain(link) == ([], [DropConnection(1), CreateAnswer(3, 2, "newer")], [])
    assert link.generation == 3


def test_late_mail_of_an_older_generation_is_dropped() -> None:
    link = leading()
    link.handle_lane_closed(1, 1.0)
    link.handle_timeout(link.next_timeout() or 0.0)
    drain(link)
    for message in (Answer(1, "late"), Candidate(1, "late"), Retry(1)):
        link.handle_message(message, 3.0)
    follower = following()
    follower.handle_message(Offer(1, 1, "twice"), 3.0)
    assert drain(link) == drain(follower) == ([], [], [])


def test_what_the_engine_says_of_an_older_generation_is_dropped() -> None:
    link = leading()
    link.handle_lane_closed(1, 1.0)
    link.handle_timeout(link.next_timeout() or 0.0)
    drain(link)
    link.handle_local_offer(1, "late", 3.0)
    link.handle_local_candidate(1, "late", "0", 0, 3.0)
    link.handle_lane_open(1, 3.0)
    link.handle_lane_closed(1, 3.0)
    assert drain(link) == ([], [], [])
    assert link.state is State.CONNECTING


def test_messages_of_the_wrong_role_are_protocol_errors() -> None:
    with pytest.raises(ProtocolError, match="both sides claim to lead"):
        leading().handle_message(Offer(9, 9, "x"), 1.0)
    for message in (Answer(1, "x"), Retry(1)):
        with pytest.raises(ProtocolError, match="both sides claim to follow"):
            following().handle_message(message, 1.0)


@pytest.mark.parametrize("message", [Answer(2, "x"), Candidate(2, "x"), Retry(2)])
def test_an_answer_to_what_was_never_offered_is_a_protocol_error(message: Answer | Candidate | Retry) -> None:
    with pytest.raises(ProtocolError, match="never made"):
        leading().handle_message(message, 1.0)


def test_more_protocol_errors() -> None:
    early = make(leader=True)
    with pytest.raises(ProtocolError, match="before the key exchange"):
        early.handle_message(Answer(1, "x"), 0.0)
    with pytest.raises(ProtocolError, match="before its answer"):
        leading().handle_message(Candidate(1, "x"), 1.0)
    twice = leading()
    twice.handle_message(Answer(1, "x"), 1.0)
    with pytest.raises(ProtocolError, match="twice"):
        twice.handle_message(Answer(1, "x"), 1.0)
    with pytest.raises(ProtocolError, match="lane number twice"):
        following().handle_message(Offer(2, 1, "x"), 1.0)


@pytest.mark.parametrize("leader", [True, False])
def test_a_flood_of_candidates_is_a_protocol_error(leader: bool) -> None:
    link = up(leading() if leader else following())
    for number in range(MAX_CANDIDATES):
        link.handle_message(Candidate(1, f"{number}"), 1.0)
    with pytest.raises(ProtocolError, match="too many"):
        link.handle_message(Candidate(1, "one more"), 1.0)


@pytest.mark.parametrize("started", [False, True])
def test_after_the_stop_nothing_comes(started: bool) -> None:
    link = up(leading()) if started else make(leader=True)
    link.stop()
    assert drain(link)[1] == ([DropConnection(1)] if started else [])
    link.handle_message(Answer(1, "x"), 1.0)
    link.handle_lane_closed(1, 1.0)
    link.handle_lane_open(1, 1.0)
    link.handle_local_candidate(1, "x", "0", 0, 1.0)
    link.handle_timeout(1e9)
    assert drain(link) == ([], [], [])
    assert link.next_timeout() is None
