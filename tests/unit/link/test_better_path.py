"""A challenger that is tried because a better path may be there, while the lane in use is well."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.unit.link.test_negotiator import drain, fire, following, leading, make, up

from p2pal.link.actions import CreateAnswer, CreateOffer, DropConnection, Judge, LinkUp, Retrying
from p2pal.link.backoff import MAX_BACKOFF
from p2pal.link.generations import ATTEMPT_TIMEOUT, FOLLOWER_SLACK, IMPROVEMENT_TIMEOUT
from p2pal.link.negotiator import LinkState, Negotiator
from p2pal.link.path_upgrade import DISTANCE, FIRST_LOOK, KEPT, SETTLED
from p2pal.wire.signal import BETTER, SILENT, Answer, Candidate, Offer, Retry


def relayed(*, max_retries: int | None = 3) -> Negotiator:
    """A leader whose lane takes a relayed path."""
    link = up(leading(max_retries=max_retries))
    link.handle_path(True, 2.0)
    return link


def improving(*, max_retries: int | None = 3) -> Negotiator:
    """A leader that tries generation 2 beside generation 1, from second 12 on."""
    link = relayed(max_retries=max_retries)
    assert fire(link) == 2.0 + FIRST_LOOK
    link.handle_local_offer(2, "offer", 12.0)
    link.handle_message(Answer(2, "answer"), 12.0)
    drain(link)
    return link


def asked(*, max_retries: int | None = 3) -> Negotiator:
    """A follower that tries generation 2 beside generation 1, from second 12 on."""
    link = up(following(max_retries=max_retries))
    link.handle_message(Offer(2, 2, "offer", 1), 12.0)
    link.handle_local_answer(2, "answer", 12.0)
    drain(link)
    return link


def comparing(leader: bool) -> Negotiator:
    """Either side with both lanes open."""
    link = improving() if leader else asked()
    link.handle_lane_open(2, 13.0)
    drain(link)
    return link


def test_on_a_relayed_path_the_leader_tries_a_direct_one_beside_it() -> None:
    link = relayed()
    assert fire(link) == 2.0 + FIRST_LOOK
    assert drain(link) == ([], [CreateOffer(2, 2, direct=True)], [])
    link.handle_local_candidate(Candidate(2, "early"), 12.0)
    link.handle_local_offer(2, "offer", 12.0)
    assert drain(link)[0] == [Offer(2, 2, "offer", beside=1), Candidate(2, "early")]
    assert (link.state, link.in_use) == (LinkState.UP, 1)


def test_the_follower_answers_beside_the_lane_in_use() -> None:
    link = up(following())
    link.handle_message(Offer(2, 2, "offer", 1), 12.0)
    assert drain(link) == ([], [CreateAnswer(2, 2, "offer", direct=True)], [])
    link.handle_lane_open(2, 13.0)
    assert drain(link) == ([], [], [])
    assert (link.in_use, link.is_open(1), link.is_open(2)) == (1, True, True)
    assert link.next_timeout() is None


@pytest.mark.parametrize("better", [True, False])
def test_both_lanes_stay_until_the_leader_has_compared_them(better: bool) -> None:
    link = improving()
    link.handle_lane_open(2, 13.0)
    assert drain(link) == ([], [Judge(2, 1)], [])
    assert (link.in_use, link.is_open(2)) == (1, True)
    link.handle_message(Candidate(2, "late"), 13.0)
    drain(link)
    link.handle_judged(2, better, 14.0)
    expected = ([DropConnection(1)], [LinkUp(2)]) if better else ([DropConnection(2)], [])
    assert drain(link)[1:] == expected
    assert link.in_use == (2 if better else 1)
    link.handle_judged(2, not better, 15.0)  # too late
    assert drain(link) == ([], [], [])


def test_the_follower_takes_what_the_leader_leaves() -> None:
    for dropped, kept in ((1, 2), (2, 1)):
        link = comparing(leader=False)
        link.handle_lane_closed(dropped, 14.0)
        assert drain(link) == ([], [], [LinkUp(2)] if kept == 2 else [])
        assert link.in_use == kept
        link.handle_judged(kept, True, 14.0)  # not for it to say
        assert link.in_use == kept


@pytest.mark.parametrize("retries", [1, None])
def test_a_try_that_fails_costs_nothing_and_comes_again_later(retries: int | None) -> None:
    link = improving(max_retries=retries)
    assert fire(link) == 12.0 + IMPROVEMENT_TIMEOUT
    assert drain(link) == ([], [DropConnection(2)], [])
    assert fire(link) == 12.0 + 2 * FIRST_LOOK
    assert drain(link)[1] == [CreateOffer(3, 3, direct=True)]
    link.handle_lane_closed(3, 33.0)
    assert drain(link) == ([], [], [])
    assert link.next_timeout() == 32.0 + 4 * FIRST_LOOK
    other = asked(max_retries=retries)
    assert fire(other) == 12.0 + IMPROVEMENT_TIMEOUT + FOLLOWER_SLACK
    assert drain(other) == ([], [DropConnection(2)], [])
    assert other.next_timeout() is None


def test_a_comparison_that_does_not_come_drops_the_new_lane() -> None:
    link = comparing(leader=True)
    assert fire(link) == 13.0 + IMPROVEMENT_TIMEOUT
    assert drain(link)[1:] == ([DropConnection(2)], [])
    link.handle_judged(2, True, 30.0)
    assert link.in_use == 1


def test_a_direct_path_is_kept() -> None:
    link = relayed()
    link.handle_path(False, 5.0)
    assert link.next_timeout() is None
    follower = up(following())
    follower.handle_path(True, 5.0)
    assert follower.next_timeout() is None


def test_other_networks_are_tried_whatever_the_path() -> None:
    link = up(leading())
    link.handle_networks(20.0)
    assert fire(link) == 20.0 + SETTLED
    assert drain(link)[1] == [CreateOffer(2, 2, direct=True)]
    link.handle_networks(22.0)  # what is tried knows nothing of these
    assert fire(link) == 21.0 + DISTANCE
    assert drain(link)[1] == [DropConnection(2), CreateOffer(3, 3, direct=True)]


def test_the_follower_asks_when_its_networks_changed() -> None:
    link = up(following())
    for moment in (20.0, 20.5):
        link.handle_networks(moment)
    assert fire(link) == 20.0 + SETTLED
    assert drain(link) == ([Retry(1, BETTER)], [], [])
    link.handle_networks(22.0)
    assert fire(link) == 21.0 + DISTANCE
    leader = up(leading())
    for _ in range(100):
        leader.handle_message(Retry(1, BETTER), 30.0)
    assert drain(leader) == ([], [], [])
    assert fire(leader) == 30.0 + SETTLED
    assert drain(leader)[1] == [CreateOffer(2, 2, direct=True)]


def test_who_asks_again_and_again_gets_few_connections() -> None:
    link, made = up(leading()), 0
    for tenth in range(600):
        now = 10.0 + tenth / 10
        link.handle_message(Retry(link.generation, BETTER), now)
        link.handle_timeout(now)
        made += sum(isinstance(action, CreateOffer) for action in link.actions())
    assert made <= 60 / DISTANCE
    assert drain(link)[2] == []


def test_who_calls_each_new_path_cheaper_makes_the_other_side_move_ever_less_often() -> None:
    link, moves = up(leading()), []
    link.handle_path(False, 2.0)
    for second in range(10, 3600):
        now = float(second)
        link.handle_message(Retry(link.generation, BETTER), now)
        link.handle_timeout(now)
        for action in link.actions():  # those that follow from it come behind
            if isinstance(action, CreateOffer):
                link.handle_local_offer(action.generation, "offer", now)
                link.handle_message(Answer(action.generation, "answer"), now)
                link.handle_lane_open(action.generation, now)
            elif isinstance(action, Judge):
                link.handle_judged(action.generation, True, now)
                link.handle_path(False, now)
                moves.append(now)
    assert [after - before for before, after in pairwise(moves)] == [KEPT * 2**times for times in range(len(moves) - 1)]
    assert len(moves) == 6, "in an hour"


@pytest.mark.parametrize("leader", [True, False])
@pytest.mark.parametrize("retries", [0, 3])
def test_nothing_better_is_looked_for_where_that_is_forbidden(leader: bool, retries: int) -> None:
    link = up(leading(max_retries=retries) if leader else following(max_retries=retries))
    if retries:
        link.keep_path()
    link.handle_path(True, 2.0)
    link.handle_networks(2.0)
    if leader:
        link.handle_message(Retry(1, BETTER), 2.0)
    else:
        link.handle_message(Offer(2, 2, "offer", 1), 2.0)
        link.handle_message(Candidate(2, "c"), 2.0)
    assert link.next_timeout() is None
    assert drain(link) == ([], [], [])


def test_nor_before_the_first_link_nor_while_a_side_is_offline() -> None:
    early = leading()
    early.handle_networks(1.0)
    early.handle_path(True, 1.0)
    up(early)
    assert early.next_timeout() is None
    link = relayed()
    link.handle_online(True, False, 5.0)
    link.handle_timeout(40.0)
    assert drain(link) == ([], [], [])
    link.handle_online(True, True, 50.0)
    assert (link.next_timeout() or 99.0) <= 50.0
    link.handle_timeout(50.0)
    assert drain(link)[1] == [CreateOffer(2, 2, direct=True)]


# Repairs come first


def test_silence_replaces_it_by_a_challenger_at_once() -> None:
    link = improving()
    link.handle_silence(13.0)
    assert drain(link) == ([], [DropConnection(2)], [Retrying(1, 3, 0.0)])
    assert fire(link) == 13.0
    assert drain(link)[1] == [CreateOffer(3, 3)]
    other = asked()
    other.handle_silence(13.0)
    assert drain(other) == ([Retry(2, SILENT)], [DropConnection(2)], [Retrying(1, 3, 0.0)])


@pytest.mark.parametrize("phase", ["tried", "open"])
@pytest.mark.parametrize("newest", [1, 2])
def test_the_follower_that_hears_nothing_gets_a_challenger(phase: str, newest: int) -> None:
    link = improving() if phase == "tried" else comparing(leader=True)
    link.handle_message(Retry(newest, SILENT), 13.0)
    assert drain(link) == ([], [DropConnection(2)], [])
    assert fire(link) == 13.0
    assert drain(link)[1] == [CreateOffer(3, 3)]
    assert link.in_use == 1


@pytest.mark.parametrize("phase", ["tried", "open"])
@pytest.mark.parametrize("newest", [1, 2])
def test_the_follower_that_has_no_lane_gets_a_new_one(phase: str, newest: int) -> None:
    link = improving() if phase == "tried" else comparing(leader=True)
    link.handle_message(Retry(newest), 13.0)
    assert drain(link) == ([], [DropConnection(2), DropConnection(1)], [Retrying(1, 3, 0.0)])
    assert fire(link) == 13.0
    assert drain(link)[1] == [CreateOffer(3, 3)]


@pytest.mark.parametrize("leader", [True, False])
def test_a_lane_that_closes_is_mended_in_the_usual_way(leader: bool) -> None:
    link = improving() if leader else asked()
    link.handle_lane_closed(1, 13.0)
    assert drain(link) == ([] if leader else [Retry(2)], [DropConnection(2)], [Retrying(1, 3, 0.0)])
    assert link.next_timeout() == (13.0 if leader else 13.0 + MAX_BACKOFF + ATTEMPT_TIMEOUT)


@pytest.mark.parametrize("leader", [True, False])
@pytest.mark.parametrize("how", ["silent", "closed"])
def test_of_two_open_lanes_the_one_that_works_is_kept(leader: bool, how: str) -> None:
    for ending, kept in ((1, 2), (2, 1)):
        link = comparing(leader)
        if how == "silent":
            link.handle_silence(14.0, ending)
            assert drain(link)[1] == [DropConnection(ending)]
        else:
            link.handle_lane_closed(ending, 14.0)
        link.handle_alive(14.0, ending)
        assert drain(link)[2] in ([], [LinkUp(kept)])
        assert (link.in_use, link.is_open(ending), link.state) == (kept, False, LinkState.UP)


def test_a_follower_that_misses_its_lane_passes_the_offer_over_and_asks() -> None:
    for reason in (SILENT, ""):
        link = up(following())
        if reason:
            link.handle_silence(12.0)
        else:
            link.handle_lane_closed(1, 12.0)
        drain(link)
        link.handle_message(Offer(2, 2, "offer", 1), 12.0)
        assert drain(link) == ([Retry(2, reason)], [], [])
        link.handle_message(Offer(3, 3, "offer"), 13.0)
        assert drain(link)[1] == [CreateAnswer(3, 3, "offer")]


@pytest.mark.parametrize(("beside", "kept"), [(1, 1), (2, 2), (7, 1)])
def test_an_offer_tells_the_follower_which_lane_the_leader_kept(beside: int, kept: int) -> None:
    link = comparing(leader=False)
    link.handle_message(Offer(8, 8, "offer", beside), 20.0)
    assert drain(link)[1] == [DropConnection(3 - kept), CreateAnswer(8, 8, "offer", direct=True)]
    assert link.in_use == kept


def test_after_a_move_it_begins_anew_when_it_is_due() -> None:
    link = improving()
    link.handle_moved(13.0)
    assert drain(link) == ([], [DropConnection(2)], [])
    assert fire(link) == 12.0 + 2 * FIRST_LOOK
    assert drain(link)[1] == [CreateOffer(3, 3, direct=True)]


def test_the_stop_drops_both_lanes() -> None:
    link = comparing(leader=True)
    link.stop()
    assert drain(link)[1] == [DropConnection(1), DropConnection(2)]
    link.handle_judged(2, True, 20.0)
    link.handle_silence(20.0, 2)
    assert drain(link) == ([], [], [])


def test_a_first_offer_beside_nothing_leads_nowhere_and_ends() -> None:
    link = make(leader=False)
    link.start(0.0)
    link.handle_message(Offer(1, 1, "offer", 5), 1.0)
    assert drain(link) == ([], [], [])
    fire(link)
    assert link.state is LinkState.DEAD
