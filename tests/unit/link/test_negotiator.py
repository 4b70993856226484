from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.link.actions import (
    CreateAnswer,
    CreateOffer,
    DropConnection,
    GaveUp,
    LinkUp,
    Retrying,
    TakeAnswer,
    TakeCandidate,
    WaitingFor,
)
from p2pal.link.backoff import MAX_BACKOFF, MIN_PATIENCE, PROVEN
from p2pal.link.first_link import FIRST_ABSENCE, FIRST_LINK, FIRST_LINK_MOST, FIRST_SLACK, FIRST_TRY, PROMPT
from p2pal.link.generations import ATTEMPT_TIMEOUT
from p2pal.link.negotiator import LinkState, Negotiator
from p2pal.link.offer_answer import MAX_CANDIDATES, MAX_OFFERS, OFFER_PAUSE
from p2pal.link.presence import FLAP
from p2pal.link.retry import CERTAIN
from p2pal.wire.signal import SILENT, Answer, Candidate, Offer, Retry

WAIT = 600.0


def make(*, leader: bool, max_retries: int | None = 3, backoff: float = 1.0) -> Negotiator:
    return Negotiator(leader=leader, max_retries=max_retries, backoff=backoff, jitter=lambda: 1.0, wait=WAIT)


def leading(*, max_retries: int | None = 3, backoff: float = 1.0) -> Negotiator:
    """A leader that has made its offer."""
    link = make(leader=True, max_retries=max_retries, backoff=backoff)
    link.start(0.0)
    link.handle_local_offer(1, "offer", 0.0)
    drain(link)
    return link


def following(*, max_retries: int | None = 3) -> Negotiator:
    """A follower that has answered the first offer."""
    link = make(leader=False, max_retries=max_retries)
    link.start(0.0)
    link.handle_message(Offer(1, 1, "offer"), 0.0)
    link.handle_local_answer(1, "answer", 0.0)
    drain(link)
    return link


def started(*, max_retries: int | None = 3) -> Negotiator:
    """A follower that has heard of nothing yet."""
    link = make(leader=False, max_retries=max_retries)
    link.start(0.0)
    return link


def up(link: Negotiator) -> Negotiator:
    if link._leader:
        link.handle_message(Answer(link.generation, "answer"), 1.0)
    link.handle_lane_open(link.generation, 1.0)
    drain(link)
    return link


def fire(link: Negotiator) -> float:
    """Let the time come that the link waits for; return it."""
    due = link.next_timeout()
    assert due is not None
    link.handle_timeout(due)
    return due


def drain(link: Negotiator) -> tuple[list[object], list[object], list[object]]:
    return list(link.messages()), list(link.actions()), list(link.events())


def test_the_leader_offers_and_takes_the_answer() -> None:
    link = make(leader=True)
    link.start(0.0)
    assert drain(link) == ([], [CreateOffer(1, 1)], [])
    assert link.next_timeout() == FIRST_LINK
    link.handle_local_offer(1, "offer", 0.1)
    assert drain(link) == ([Offer(1, 1, "offer")], [], [])
    link.handle_message(Answer(1, "answer"), 0.2)
    link.handle_message(Candidate(1, "theirs"), 0.2)
    assert drain(link) == ([], [TakeAnswer(1, "answer"), TakeCandidate(Candidate(1, "theirs"))], [])
    link.handle_lane_open(1, 0.3)
    assert drain(link) == ([], [], [LinkUp(1)])
    assert link.state is LinkState.UP
    assert link.next_timeout() is None


def test_the_follower_answers() -> None:
    link = make(leader=False)
    link.start(0.0)
    assert link.state is LinkState.WAITING
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
    link.handle_local_candidate(Candidate(1, "early"), 0.0)
    assert drain(link)[0] == []
    description: Offer | Answer
    if leader:
        link.handle_local_offer(1, "sdp", 0.0)
        description = Offer(1, 1, "sdp")
    else:
        link.handle_local_answer(1, "sdp", 0.0)
        description = Answer(1, "sdp")
    link.handle_local_candidate(Candidate(1, "late"), 0.0)
    assert drain(link)[0] == [description, Candidate(1, "early"), Candidate(1, "late")]


def test_it_is_started_once() -> None:
    with pytest.raises(RuntimeError):
        leading().start(0.0)


def test_an_attempt_that_takes_too_long_fails() -> None:
    link = up(leading(backoff=2.0))
    link.handle_lane_closed(1, 20.0)
    link.handle_timeout(20.0)
    drain(link)
    link.handle_timeout(20.0 + ATTEMPT_TIMEOUT - 0.1)
    assert link.state is LinkState.CONNECTING
    link.handle_timeout(20.0 + ATTEMPT_TIMEOUT)
    assert drain(link) == ([], [DropConnection(2)], [Retrying(2, 3, 2.0)])
    link.handle_timeout(22.0 + ATTEMPT_TIMEOUT)
    assert drain(link) == ([], [CreateOffer(3, 3)], [])


def test_delays_double_up_to_a_limit_and_carry_jitter() -> None:
    link = Negotiator(leader=True, max_retries=None, backoff=1.0, jitter=lambda: 0.5)
    link.start(0.0)
    delays, now = [], 0.0
    for _ in range(8):
        now = link.next_timeout() or 0.0
        link.handle_timeout(now)
        delays += [event.delay for event in link.events() if isinstance(event, Retrying)]
        link.handle_timeout(link.next_timeout() or 0.0)
    assert delays == [0.5, 1, 2, 4, 8, MAX_BACKOFF / 2, MAX_BACKOFF / 2, MAX_BACKOFF / 2]


# A link that never stood


@pytest.mark.parametrize("retries", [0, 3, 100])
def test_a_link_that_does_not_come_is_given_up_soon(retries: int) -> None:
    for link, seconds in (
        (leading(max_retries=retries), FIRST_LINK),
        (following(max_retries=retries), FIRST_LINK + FIRST_SLACK),
        (started(max_retries=retries), FIRST_LINK + FIRST_SLACK),
    ):
        assert fire(link) == seconds
        assert drain(link)[2] == [GaveUp(False)]
        assert link.state is LinkState.DEAD


def test_a_first_attempt_that_fails_early_is_followed_by_others() -> None:
    link = leading()
    link.handle_lane_closed(1, 3.0)
    assert drain(link)[2] == [Retrying(1, None, 1.0)], "time ends it, no number"
    assert fire(link) == 4.0
    assert drain(link)[1] == [CreateOffer(2, 2)]
    assert fire(link) == FIRST_LINK
    assert drain(link)[2] == [GaveUp(False)]


@pytest.mark.parametrize("leader", [True, False])
def test_the_first_link_gets_more_time_while_candidates_come(leader: bool) -> None:
    link, slack = (leading(), 0.0) if leader else (following(), FIRST_SLACK)
    if leader:
        link.handle_message(Answer(1, "answer"), 2.0)
    for now in (3.0, 8.0):
        link.handle_local_candidate(Candidate(1, "ours"), now)
        assert link.next_timeout() == now + FIRST_LINK + slack
        link.handle_message(Candidate(1, "theirs"), now + 2.0)
        assert link.next_timeout() == now + 2.0 + FIRST_LINK + slack
    link.handle_local_candidate(Candidate(1, ""), 12.0)
    link.handle_message(Candidate(1, ""), 12.0)
    assert link.next_timeout() == 10.0 + FIRST_LINK + slack, "the end of them is none"
    link.handle_local_candidate(Candidate(1, "ours"), 20.0)
    assert fire(link) == FIRST_LINK_MOST + slack
    assert drain(link)[2] == [GaveUp(False)]


def test_candidates_of_later_generations_and_late_ones_of_the_first_give_no_more() -> None:
    link = leading()
    link.handle_message(Answer(1, "answer"), 1.0)
    link.handle_lane_closed(1, 3.0)
    fire(link)
    link.handle_message(Candidate(1, "late"), 5.0)
    link.handle_local_candidate(Candidate(1, "late"), 5.0)
    link.handle_local_candidate(Candidate(2, "ours"), 5.0)
    link.handle_message(Answer(2, "answer"), 5.0)
    link.handle_message(Candidate(2, "theirs"), 5.0)
    assert link.next_timeout() == FIRST_LINK


@pytest.mark.parametrize("late", [False, True])
def test_a_first_attempt_that_hangs_leaves_time_for_another_on_a_fast_network(late: bool) -> None:
    link, now = leading(), PROMPT + late
    link.handle_message(Answer(1, "answer"), 1.0)
    link.handle_local_candidate(Candidate(1, "ours"), 1.0)
    link.handle_local_candidate(Candidate(1, ""), 1.0)
    link.handle_message(Candidate(1, "theirs"), 1.0)
    link.handle_message(Candidate(1, ""), now)
    drain(link)
    if late:
        assert fire(link) == 1.0 + FIRST_LINK
        assert drain(link)[2] == [GaveUp(False)]
        return
    assert fire(link) == now + FIRST_TRY
    assert drain(link) == ([], [DropConnection(1)], [Retrying(1, None, 1.0)])
    assert fire(link) == now + FIRST_TRY + 1.0
    assert drain(link)[1] == [CreateOffer(2, 2)]
    assert fire(link) == 1.0 + FIRST_LINK


def test_the_first_link_is_waited_for_longer_while_a_side_is_offline() -> None:
    link = leading()
    link.handle_online(True, False, 10.0)
    link.handle_online(True, True, 40.0)
    link.handle_lane_closed(1, 41.0)
    fire(link)
    assert fire(link) == FIRST_LINK + 30.0
    assert drain(link)[2][-1] == GaveUp(False)


def test_but_not_for_ever() -> None:
    link = leading(max_retries=100)
    link.handle_online(False, True, 10.0)
    ended = 0.0
    while link.state is not LinkState.DEAD:
        ended = fire(link)
    assert ended == 10.0 + FIRST_ABSENCE


@pytest.mark.parametrize("leader", [True, False])
def test_without_a_limit_the_first_link_is_tried_for_ever(leader: bool) -> None:
    link = leading(max_retries=None) if leader else started(max_retries=None)
    for _ in range(1000):
        fire(link)
    assert link.state is not LinkState.DEAD
    drain(link)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_link_that_never_stood_gives_up_after_so_many_retries(retries: int) -> None:
    link = leading(max_retries=retries)
    for _ in range(retries + 1):
        link.handle_lane_closed(link.generation, 2.0)
        if link.state is LinkState.WAITING:
            fire(link)
    assert link.state is LinkState.DEAD
    assert link.next_timeout() is None
    assert drain(link)[2][-1] == GaveUp(False)


@pytest.mark.parametrize("leader", [True, False])
def test_a_link_that_stood_gets_its_retries_and_some_time(leader: bool) -> None:
    link = up(leading() if leader else following())
    link.handle_lane_closed(1, 5.0)
    retries = [event for event in drain(link)[2] if isinstance(event, Retrying)]
    ended = 0.0
    while link.state is not LinkState.DEAD:
        ended = fire(link)
        retries += [event for event in drain(link)[2] if isinstance(event, Retrying)]
    assert ended >= 5.0 + MIN_PATIENCE
    assert [(each.attempt, each.attempts) for each in retries][:4] == [(1, 3), (2, 3), (3, 3), (4, None)][
        : len(retries)
    ]
    assert len(retries) >= 3


def test_without_a_limit_it_never_ends() -> None:
    link = up(leading(max_retries=None))
    link.handle_lane_closed(1, 5.0)
    for _ in range(3000):  # beyond what a float can double
        fire(link)
    assert link.state is not LinkState.DEAD
    link.handle_online(False, True, 1e6)
    while (due := link.next_timeout()) is not None:
        link.handle_timeout(due)
    events = drain(link)[2]
    assert WaitingFor("network", float("inf")) in events
    assert link.state is LinkState.WAITING


@pytest.mark.parametrize("leader", [True, False])
def test_without_retries_a_closed_lane_is_the_end(leader: bool) -> None:
    link = up(leading(max_retries=0) if leader else following(max_retries=0))
    link.handle_online(True, False, 4.0)
    link.handle_lane_closed(1, 5.0)
    assert drain(link)[2] == [GaveUp(True)]


@pytest.mark.parametrize("leader", [True, False])
def test_without_retries_silence_is_the_end_once_it_is_certain(leader: bool) -> None:
    link = up(leading(max_retries=0) if leader else following(max_retries=0))
    link.handle_silence(5.0)
    link.handle_alive(6.0)
    link.handle_silence(10.0)
    link.handle_moved(11.0)
    assert drain(link) == ([], [], [LinkUp(1)])
    assert fire(link) == 10.0 + CERTAIN
    assert drain(link)[2] == [GaveUp(True)]


def test_progress_resets_the_count() -> None:
    link, now = up(leading(max_retries=1)), 10.0
    for _ in range(5):
        now += 3 * MIN_PATIENCE
        link.handle_lane_closed(link.generation, now)
        assert drain(link)[2] == [Retrying(1, 1, 0.0)]
        fire(link)
        link.handle_local_offer(link.generation, "offer", now)
        up(link)
        link.handle_progress()


def test_a_lane_that_stood_for_a_while_has_proven_itself() -> None:
    link, now = up(leading(max_retries=1)), 1.0
    for _ in range(5):
        now += PROVEN
        link.handle_lane_closed(link.generation, now)
        assert drain(link)[2] == [Retrying(1, 1, 0.0)]
        fire(link)
        link.handle_lane_open(link.generation, now)
        drain(link)


def test_lanes_that_open_and_are_lost_at_once_come_to_an_end() -> None:
    link, now = up(leading()), 1.0
    for _ in range(40):
        link.handle_lane_closed(link.generation, now + 1.0)
        if link.state is LinkState.DEAD:
            break
        now = fire(link)
        link.handle_lane_open(link.generation, now)
    assert link.state is LinkState.DEAD
    assert MIN_PATIENCE < now < 2 * MIN_PATIENCE


def test_the_first_retry_comes_at_once_the_others_later() -> None:
    link = up(leading(backoff=2.0))
    link.handle_lane_closed(1, 30.0)
    delays, now = [], 30.0
    for _ in range(3):
        delays.append((link.next_timeout() or 0.0) - now)
        fire(link)
        now = fire(link)
    assert delays == [0.0, 2.0, 4.0]


def test_retries_in_quick_succession_keep_their_distance() -> None:
    link = up(leading(backoff=2.0))
    link.handle_progress()
    link.handle_lane_closed(1, 1.5)
    assert link.next_timeout() == 2.0


def test_the_follower_reports_a_lost_lane_and_waits() -> None:
    link = up(following())
    link.handle_lane_closed(1, 5.0)
    assert drain(link) == ([Retry(1)], [], [Retrying(1, 3, 0.0)])
    assert link.next_timeout() == 5.0 + MAX_BACKOFF + ATTEMPT_TIMEOUT
    link.handle_message(Offer(2, 2, "again"), 6.0)
    assert drain(link) == ([], [CreateAnswer(2, 2, "again")], [])


def test_the_follower_never_gives_an_attempt_up_before_the_leader() -> None:
    link = up(following())
    link.handle_lane_closed(1, 5.0)
    link.handle_message(Offer(2, 2, "again"), 6.0)
    drain(link)
    due = fire(link)
    assert due > 6.0 + ATTEMPT_TIMEOUT
    assert drain(link) == ([Retry(2)], [DropConnection(2)], [Retrying(2, 3, 0.0)])


def test_the_leader_starts_anew_when_the_follower_lost_the_lane() -> None:
    link = up(leading())
    link.handle_message(Retry(1), 5.0)
    assert drain(link) == ([], [DropConnection(1)], [Retrying(1, 3, 0.0)])
    link.handle_message(Retry(1), 5.0)  # said twice, or while it waits already
    assert drain(link) == ([], [], [])


# Silence


def test_the_leader_challenges_a_silent_lane_and_the_new_one_replaces_it() -> None:
    link = up(leading())
    link.handle_silence(20.0)
    assert drain(link) == ([], [], [Retrying(1, 3, 0.0)])
    assert fire(link) == 20.0
    link.handle_silence(25.0)  # said again
    assert drain(link) == ([], [CreateOffer(2, 2)], [])
    assert (link.state, link.in_use, link.generation) == (LinkState.UP, 1, 2)
    link.handle_local_offer(2, "offer", 20.1)
    link.handle_message(Answer(2, "answer"), 20.2)
    link.handle_message(Candidate(2, "c"), 20.2)
    link.handle_lane_open(2, 20.3)
    assert drain(link)[1:] == (
        [TakeAnswer(2, "answer"), TakeCandidate(Candidate(2, "c")), DropConnection(1)],
        [LinkUp(2)],
    )
    assert (link.in_use, link.next_timeout()) == (2, None)


def test_a_lane_that_is_heard_again_stays_and_its_challenger_goes() -> None:
    link = up(leading())
    link.handle_silence(20.0)
    fire(link)
    drain(link)
    link.handle_alive(21.0)
    assert drain(link) == ([], [DropConnection(2)], [LinkUp(1)])
    assert link.next_timeout() is None
    link.handle_lane_open(2, 21.1)  # too late
    assert (drain(link), link.in_use) == (([], [], []), 1)
    link.handle_silence(50.0)
    fire(link)
    assert drain(link)[1] == [CreateOffer(3, 3)]


def test_the_old_lane_may_close_while_its_challenger_is_tried() -> None:
    for link in (up(leading()), up(following())):
        link.handle_silence(20.0)
        if link._leader:
            fire(link)
        else:
            link.handle_message(Offer(2, 2, "offer"), 20.0)
        drain(link)
        link.handle_lane_closed(1, 22.0)
        assert (link.state, drain(link)) == (LinkState.CONNECTING, ([], [], []))
        link.handle_lane_open(2, 23.0)
        assert drain(link)[1:] == ([], [LinkUp(2)])


def test_a_challenger_that_fails_is_followed_by_another() -> None:
    link = up(leading())
    link.handle_silence(20.0)
    fire(link)
    drain(link)
    assert fire(link) == 20.0 + ATTEMPT_TIMEOUT
    assert drain(link) == ([], [DropConnection(2)], [Retrying(2, 3, 1.0)])
    fire(link)
    assert drain(link) == ([], [CreateOffer(3, 3)], [])


def test_the_follower_asks_for_a_challenger_once() -> None:
    link = up(following())
    link.handle_silence(20.0)
    link.handle_silence(25.0)
    assert drain(link) == ([Retry(1, SILENT)], [], [Retrying(1, 3, 0.0)])
    link.handle_message(Offer(2, 2, "challenger"), 26.0)
    assert drain(link) == ([], [CreateAnswer(2, 2, "challenger")], [])
    assert link.in_use == 1
    link.handle_lane_open(2, 27.0)
    assert drain(link) == ([], [DropConnection(1)], [LinkUp(2)])


def test_the_follower_asks_again_when_no_offer_comes() -> None:
    link = up(following())
    link.handle_silence(20.0)
    drain(link)
    fire(link)
    assert drain(link) == ([Retry(1, SILENT)], [], [Retrying(2, 3, 0.0)])


def test_the_follower_leaves_it_to_the_leader_to_drop_a_challenger() -> None:
    link = up(following())
    link.handle_silence(20.0)
    link.handle_message(Offer(2, 2, "challenger"), 20.0)
    drain(link)
    link.handle_alive(21.0)
    assert drain(link) == ([], [], [LinkUp(1)])
    fire(link)  # it never opens
    assert drain(link) == ([], [DropConnection(2)], [])
    assert (link.in_use, link.next_timeout()) == (1, None)


def test_the_leader_challenges_when_only_the_follower_hears_nothing() -> None:
    link = up(leading())
    for _ in range(2):
        link.handle_message(Retry(1, SILENT), 20.0)
    assert fire(link) == 20.0
    assert drain(link) == ([], [CreateOffer(2, 2)], [])
    link.handle_message(Retry(1, SILENT), 20.0)  # late
    link.handle_alive(20.0)  # it was never silent here
    assert drain(link) == ([], [], [])
    link.handle_lane_closed(2, 22.0)
    assert drain(link) == ([], [], [])  # nothing is missed on this side
    link.handle_message(Retry(2, SILENT), 30.0)
    fire(link)
    assert drain(link)[1] == [CreateOffer(3, 3)]


@pytest.mark.parametrize("leader", [True, False])
def test_who_missed_nothing_tells_of_a_challenger_once_it_has_won(leader: bool) -> None:
    link = up(leading() if leader else following())
    if leader:
        link.handle_message(Retry(1, SILENT), 20.0)
        fire(link)
    else:
        link.handle_message(Offer(2, 2, "challenger"), 20.0)
    assert drain(link)[2] == []
    link.handle_lane_open(2, 21.0)
    assert drain(link)[1:] == ([DropConnection(1)], [Retrying(1, 3, 0.0), LinkUp(2)])


@pytest.mark.parametrize("old_lane", ["stays", "closes first"])
def test_a_challenger_of_the_leaders_is_told_once(old_lane: str) -> None:
    link = up(following())
    link.handle_message(Offer(2, 2, "challenger"), 20.0)
    if old_lane == "closes first":
        link.handle_lane_closed(1, 20.5)
    link.handle_lane_open(2, 21.0)
    assert drain(link)[2] == [Retrying(1, 3, 0.0), LinkUp(2)]


def test_a_challenger_that_the_leader_drops_is_not_told_of() -> None:
    link = up(following())
    link.handle_message(Offer(2, 2, "challenger"), 20.0)
    link.handle_lane_closed(2, 20.5)
    assert drain(link)[2] == []
    assert (link.state, link.in_use) == (LinkState.UP, 1)


def test_a_newer_offer_replaces_what_is_tried_but_not_what_stands() -> None:
    link = following()
    link.handle_message(Offer(2, 2, "newer"), 5.0)
    assert drain(link) == ([], [DropConnection(1), CreateAnswer(2, 2, "newer")], [])
    up(link)
    link.handle_message(Offer(4, 3, "newest"), 5.0)
    assert drain(link) == ([], [CreateAnswer(4, 3, "newest")], [])
    assert link.generation == 4


# Who is online


@pytest.mark.parametrize(("here", "there", "what"), [(False, True, "network"), (True, False, "peer")])
def test_nothing_is_tried_while_a_side_is_gone_and_at_once_when_both_are_back(
    here: bool, there: bool, what: str
) -> None:
    link = up(leading())
    link.handle_online(here, there, 20.0)
    assert drain(link) == ([], [], [])  # the lane still stands
    link.handle_lane_closed(1, 30.0)
    assert drain(link)[2] == [WaitingFor(what, WAIT)]  # type: ignore[arg-type]
    assert link.next_timeout() == 30.0 + WAIT
    link.handle_online(True, True, 100.0)
    assert drain(link)[2] == [Retrying(1, 3, 0.0), WaitingFor("", float("inf"))]
    assert fire(link) == 100.0
    assert drain(link)[1] == [CreateOffer(2, 2)]


def test_what_is_missed_may_change_meanwhile() -> None:
    link = up(following())
    link.handle_online(False, True, 20.0)
    link.handle_silence(30.0)
    link.handle_online(True, False, 100.0)
    assert drain(link)[2] == [WaitingFor("network", WAIT), WaitingFor("peer", WAIT - 70.0)]
    link.handle_alive(120.0)
    assert drain(link)[2] == [LinkUp(1), WaitingFor("", float("inf"))]


def test_waiting_comes_to_an_end() -> None:
    link = up(leading())
    link.handle_silence(20.0)
    link.handle_online(False, True, 20.0)
    link.handle_timeout(20.0 + FLAP)
    link.handle_online(True, True, 400.0)
    link.handle_online(True, False, 410.0)
    link.handle_timeout(410.0 + FLAP)
    drain(link)
    ended = 0.0
    while link.state is not LinkState.DEAD:
        ended = fire(link)
    assert ended == 410.0 + FLAP + WAIT - (380.0 - FLAP)
    assert drain(link)[2][-1] == GaveUp(True)


def test_attempts_without_the_network_do_not_count() -> None:
    link, now = up(leading(max_retries=1)), 20.0
    link.handle_lane_closed(1, now)
    fire(link)
    for _ in range(20):
        drain(link)
        link.handle_online(False, True, now + 1.0)
        link.handle_online(True, True, now + 1.0 + FLAP)
        _, actions, events = drain(link)
        assert actions == [DropConnection(link.generation)]
        assert Retrying(1, 1, 0.0) in events
        now = fire(link)
    link.handle_online(False, True, now + 1.0)
    link.handle_timeout(now + ATTEMPT_TIMEOUT)
    assert link.state is LinkState.WAITING


def test_a_socket_that_is_replaced_changes_nothing() -> None:
    link = up(leading())
    link.handle_lane_closed(1, 20.0)
    fire(link)
    drain(link)
    link.handle_online(True, False, 21.0)
    link.handle_timeout(21.4)
    link.handle_online(True, True, 21.5)
    assert drain(link) == ([], [], [])
    fire(link)
    assert [event for event in drain(link)[2] if isinstance(event, Retrying)] == [Retrying(2, 3, 1.0)]


def test_a_retry_that_falls_into_an_absence_waits_for_its_end() -> None:
    link = up(leading())
    link.handle_lane_closed(1, 20.0)
    link.handle_online(False, False, 20.0)
    link.handle_timeout(20.0)
    assert drain(link)[1] == []
    link.handle_online(True, True, 20.5)
    assert fire(link) == 20.5
    assert drain(link)[1] == [CreateOffer(2, 2)]


def test_before_the_first_link_nobody_waits_for_anybody() -> None:
    link = leading(max_retries=1)
    link.handle_online(True, False, 1.0)
    for _ in range(3):
        fire(link)
    assert drain(link)[2] == [Retrying(1, None, 1.0), GaveUp(False)]


# Another meeting place


def test_after_a_move_the_leader_begins_anew_unless_the_lane_is_heard() -> None:
    link = up(leading())
    link.handle_moved(5.0)
    assert (drain(link), link.next_timeout()) == (([], [], []), None)
    link.handle_silence(20.0)
    fire(link)
    drain(link)
    link.handle_moved(21.0)
    assert fire(link) == 21.0
    assert drain(link)[1] == [DropConnection(2), CreateOffer(3, 3)]
    link.handle_message(Candidate(2, "of the lost one"), 21.0)
    assert drain(link) == ([], [], [])


def test_after_a_move_the_follower_asks_unless_the_lane_is_heard() -> None:
    link = up(following())
    link.handle_moved(5.0)
    assert drain(link) == ([], [], [])
    link.handle_lane_closed(1, 20.0)
    drain(link)
    link.handle_moved(21.0)
    assert drain(link)[0] == [Retry(1)]


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
    link.handle_local_candidate(Candidate(1, "late"), 3.0)
    link.handle_lane_open(1, 3.0)
    link.handle_lane_closed(1, 3.0)
    assert drain(link) == ([], [], [])
    assert link.state is LinkState.CONNECTING


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


@pytest.mark.parametrize("beside", [0, 1])
@pytest.mark.parametrize("missed", [False, True])
def test_a_flood_of_offers_makes_few_connections_and_no_mail(beside: int, missed: bool) -> None:
    link = up(following())
    if missed:
        link.handle_silence(10.0)
        drain(link)
    made, said = 0, 0
    for number in range(2, 1002):
        link.handle_message(Offer(number, number, "offer", beside), 10.0)
        link.handle_message(Candidate(number, "candidate"), 10.0)
        messages, actions, _ = drain(link)
        made += sum(isinstance(action, CreateAnswer) for action in actions)
        said += len(messages)
    assert made + said == MAX_OFFERS
    assert link.in_use == 1
    later = 10.0 + OFFER_PAUSE
    for number in (2001, 2002):
        link.handle_message(Offer(number, number, "offer"), later)
    assert drain(link)[1] == [CreateAnswer(2001, 2001, "offer"), DropConnection(2001)]


def test_who_passes_an_offer_over_does_not_wait_for_ever() -> None:
    link = up(following(max_retries=None))
    link.handle_lane_closed(1, 10.0)
    for number in range(2, 100):
        link.handle_message(Offer(number, number, "offer"), 10.0)
    drain(link)
    assert link.state is LinkState.WAITING
    assert fire(link) == 10.0 + MAX_BACKOFF + ATTEMPT_TIMEOUT
    assert drain(link)[0] == [Retry(99)]


@pytest.mark.parametrize("started", [False, True])
def test_after_the_stop_nothing_comes(started: bool) -> None:
    link = up(leading()) if started else make(leader=True)
    link.stop()
    assert drain(link)[1] == ([DropConnection(1)] if started else [])
    link.handle_message(Answer(1, "x"), 1.0)
    link.handle_lane_closed(1, 1.0)
    link.handle_lane_open(1, 1.0)
    link.handle_local_candidate(Candidate(1, "x"), 1.0)
    link.handle_silence(2.0)
    link.handle_online(False, True, 2.0)
    link.handle_moved(2.0)
    link.handle_timeout(1e9)
    assert drain(link) == ([], [], [])
    assert link.next_timeout() is None


# Beside a datagram lane


def carried(*, leader: bool, max_retries: int | None = 3) -> Negotiator:
    """A side whose session a datagram lane carries before the engine was needed."""
    link = make(leader=leader, max_retries=max_retries)
    link.start(0.0, after=0.3)
    link.handle_carried(True, 0.1)
    assert drain(link) == ([], [], [LinkUp(0)])
    return link


def test_a_head_start_delays_the_first_offer() -> None:
    link = make(leader=True)
    link.start(0.0, after=0.3)
    assert drain(link) == ([], [], [])
    assert fire(link) == 0.3
    assert drain(link) == ([], [CreateOffer(1, 1)], [])


def test_without_another_kind_of_lane_there_is_no_head_start() -> None:
    link = make(leader=True)
    link.start(0.0, after=0.3)
    link.hurry(0.05)
    assert fire(link) == 0.05
    link.hurry(0.06)
    assert drain(link) == ([], [CreateOffer(1, 1)], [])


@pytest.mark.parametrize("leader", [True, False])
def test_nothing_is_planned_while_a_datagram_lane_carries(leader: bool) -> None:
    link = carried(leader=leader)
    assert link.next_timeout() is None
    link.handle_networks(5.0)
    link.handle_online(False, True, 6.0)
    link.handle_online(True, True, 60.0)
    link.handle_timeout(1e6)
    assert drain(link) == ([], [], [])


def test_a_standby_is_in_use_when_the_datagram_lane_carries_no_more() -> None:
    link = carried(leader=True)
    link.handle_standby(5.0)
    link.handle_standby(5.0)
    assert drain(link) == ([], [CreateOffer(1, 1)], [])
    link.handle_local_offer(1, "offer", 5.0)
    link.handle_lane_open(1, 5.5)
    assert drain(link) == ([Offer(1, 1, "offer")], [], []), "nobody is told of a standby"
    link.handle_carried(False, 9.0)
    assert drain(link) == ([], [], [LinkUp(1)])
    assert link.next_timeout() is None
    link.handle_carried(True, 10.0)
    assert drain(link) == ([], [], [LinkUp(0)])


@pytest.mark.parametrize("how", ["silent", "closed", "fails"])
def test_a_standby_that_is_lost_is_not_missed(how: str) -> None:
    link = carried(leader=True)
    link.handle_standby(5.0)
    link.handle_local_offer(1, "offer", 5.0)
    if how != "fails":
        link.handle_lane_open(1, 5.5)
    drain(link)
    if how == "silent":
        link.handle_silence(9.0, 1)
        assert drain(link) == ([], [DropConnection(1)], [])
    else:
        link.handle_lane_closed(1, 9.0)
        assert drain(link)[2] == []
    assert (link.standing_by, link.next_timeout()) == (False, None)


@pytest.mark.parametrize("leader", [True, False])
def test_without_a_standby_the_link_is_lost(leader: bool) -> None:
    link = carried(leader=leader)
    link.handle_carried(False, 20.0)
    messages, actions, events = drain(link)
    assert (actions, events) == ([], [Retrying(1, 3, 0.0)])
    if leader:
        assert messages == []
        assert fire(link) == 20.0
        assert drain(link)[1] == [CreateOffer(1, 1)]
    else:
        assert messages == [Retry(0)], "the leader may still hear the lane"


def test_without_retries_the_end_of_the_datagram_lane_is_the_end() -> None:
    link = carried(leader=True, max_retries=0)
    link.handle_carried(False, 20.0)
    assert drain(link)[2] == [GaveUp(connected_before=True)]


@pytest.mark.parametrize("generation", [0, 1])
def test_a_follower_that_hears_nothing_gets_a_generation(generation: int) -> None:
    link = carried(leader=True)
    if generation:
        link.handle_standby(5.0)
        link.handle_local_offer(1, "offer", 5.0)
        link.handle_lane_open(1, 5.5)
        drain(link)
    link.handle_message(Retry(generation), 20.0)
    if generation:
        assert drain(link)[1] == [DropConnection(1)]
    fire(link)
    assert drain(link)[1] == [CreateOffer(generation + 1, generation + 1)]


def test_a_silent_lane_is_dropped_when_a_datagram_lane_carries() -> None:
    link = up(leading())
    link.handle_silence(10.0)
    drain(link)
    link.handle_carried(True, 11.0)
    assert drain(link)[1] == [DropConnection(1)]
    link.handle_alive(12.0, 1)
    assert drain(link) == ([], [], [])


@pytest.mark.parametrize("leader", [True, False])
def test_a_side_without_the_engine_starts_no_generation(leader: bool) -> None:
    link = make(leader=leader)
    link.start(0.0, after=0.3)
    link.disable_engine()
    link.handle_timeout(0.3)
    if not leader:
        link.handle_message(Offer(1, 1, "offer"), 0.4)
    assert drain(link) == ([], [], [])
    limit = FIRST_LINK + (0.0 if leader else FIRST_SLACK)
    link.handle_timeout(limit)
    assert drain(link)[2] == [GaveUp(connected_before=False)]


def test_a_side_without_the_engine_waits_for_datagrams_as_long_as_for_the_engine() -> None:
    link = carried(leader=True)
    link.disable_engine()
    link.handle_standby(5.0)
    link.handle_carried(False, 10.0)
    told: list[object] = []
    now = 10.0
    while link.state is not LinkState.DEAD:
        now = max(now, fire(link))
        messages, actions, events = drain(link)
        assert (messages, actions) == ([], [])
        told += events
    assert now >= 10.0 + MIN_PATIENCE
    assert told[-1] == GaveUp(connected_before=True)
    assert any(isinstance(event, Retrying) for event in told)
