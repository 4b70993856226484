from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pal.link.first_link import FIRST_SLACK, FIRST_TRY, PROMPT, Beginning, FirstTry


def test_only_the_time_together_counts() -> None:
    beginning = Beginning(16.0, absence=60.0)
    assert beginning.ends_at is None
    beginning.start(100.0)
    assert beginning.ends_at == 116.0
    beginning.on_presence(False, 110.0)
    beginning.on_presence(False, 115.0)
    assert beginning.ends_at == 170.0
    beginning.on_presence(True, 130.0)
    assert beginning.ends_at == 136.0
    beginning.on_presence(False, 131.0)
    assert beginning.ends_at == 171.0
    beginning.on_presence(True, 171.0)
    assert beginning.ends_at == 176.0


def test_who_is_offline_before_the_start_counts_from_then() -> None:
    beginning = Beginning(16.0, absence=60.0)
    beginning.on_presence(False, 1.0)
    beginning.start(5.0)
    assert beginning.ends_at == 65.0


def test_once_the_link_stands_it_matters_no_more() -> None:
    beginning = Beginning(16.0)
    beginning.start(0.0)
    beginning.stop()
    beginning.on_presence(False, 1.0)
    beginning.on_moved(1.0)
    assert beginning.ends_at is None


def test_there_may_be_no_end() -> None:
    beginning = Beginning(None)
    beginning.start(0.0)
    beginning.on_moved(0.5)
    beginning.on_presence(False, 1.0)
    assert beginning.ends_at is None


def test_what_moves_gives_it_its_time_anew_up_to_a_limit() -> None:
    beginning = Beginning(16.0, 30.0)
    beginning.start(100.0)
    for moved, ends in ((101.0, 117.0), (110.0, 126.0), (113.0, 129.0), (115.0, 130.0), (129.0, 130.0)):
        beginning.on_moved(moved)
        assert beginning.ends_at == ends


def test_the_limit_too_counts_the_time_together() -> None:
    beginning = Beginning(16.0, 30.0, 60.0)
    beginning.start(0.0)
    beginning.on_presence(False, 10.0)
    beginning.on_moved(15.0)
    assert beginning.ends_at == 70.0, "the absence is as long as before"
    beginning.on_presence(True, 20.0)
    assert beginning.ends_at == 36.0
    beginning.on_moved(35.0)
    assert beginning.ends_at == 40.0


seconds = st.floats(0, 40)


@given(st.lists(st.tuples(seconds, st.sampled_from(["moved", "away", "back"]))), seconds)
def test_it_ends_soon_after_the_last_move_and_never_before_its_time(
    script: list[tuple[float, str]], more: float
) -> None:
    beginning = Beginning(16.0, 30.0, 60.0)
    beginning.start(0.0)
    together, away, last, moved, earlier = True, 0.0, 0.0, 0.0, 16.0
    for now, what in sorted(script):
        if beginning.ends_at is not None and now >= beginning.ends_at:
            break
        away += 0.0 if together else now - last
        last = now
        if what == "moved":
            beginning.on_moved(now)
            moved = now
        else:
            together = what == "back"
            beginning.on_presence(together, now)
        ends = beginning.ends_at
        assert ends is not None
        if together:
            assert min(16.0, earlier) <= ends + 1e-6
            assert ends <= min(30.0, moved + 16.0) + away + 1e-6
            earlier = ends
        else:
            assert ends <= now + 60.0 - away + 1e-6


@given(st.floats(0, FIRST_SLACK / 2), st.floats(0, FIRST_SLACK / 2), st.lists(seconds), st.lists(seconds))
def test_the_follower_does_not_end_before_the_leader(
    skew: float, mail: float, ours: list[float], theirs: list[float]
) -> None:
    """Each hears of the other's candidates when the mail is there; each counts from when it began itself."""
    leader, follower = Beginning(16.0, 30.0), Beginning(16.0 + FIRST_SLACK, 30.0 + FIRST_SLACK)
    leader.start(skew)
    follower.start(0.0)
    for side, moves in (
        (leader, [*ours, *(at + mail for at in theirs)]),
        (follower, [*theirs, *(at + mail for at in ours)]),
    ):
        for now in sorted(moves):
            if side.ends_at is not None and skew <= now < side.ends_at:
                side.on_moved(now)
    assert leader.ends_at is not None
    assert follower.ends_at is not None
    assert follower.ends_at >= leader.ends_at - 1e-6


@given(seconds, seconds, st.booleans())
def test_a_first_try_is_cut_short_only_where_both_have_said_all_at_once(one: float, two: float, ours: bool) -> None:
    first, last = sorted((one, two))
    tried = FirstTry()
    tried.start(0.0)
    assert tried.on_last_candidate(ours=ours, now=first) is None
    assert tried.on_last_candidate(ours=ours, now=first) is None, "said twice"
    assert tried.on_last_candidate(ours=not ours, now=last) == (last + FIRST_TRY if last <= PROMPT else None)
    assert tried.on_last_candidate(ours=ours, now=last) is None
