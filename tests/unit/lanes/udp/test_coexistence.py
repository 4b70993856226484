"""The window beside others: how it grows, when it gives way, and when giving way is fruitless."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pal.lanes.udp.coexistence import Coexistence, SharedWindow
from p2pal.lanes.udp.parameters import (
    FIRM_GROWTH,
    FIRM_LOSS,
    FIRM_TIME,
    FRUITLESS_CUTS,
    FRUITLESS_ROUNDS,
    LARGE_WINDOW_BETA,
    MIN_PACKETS,
    QUIET_ROUNDS,
    RENO_GROWTH,
    SHARED_TIME,
    WINDOW_BETA,
    YIELD_BETA,
)
from p2pal.lanes.udp.path_model import PathModel

SEGMENT = 1200
RTT = 0.05


def started(packets: int = 100) -> SharedWindow:
    window = SharedWindow()
    window.begin(float(packets * SEGMENT), 0.0)
    return window


def cut(window: SharedWindow, now: float, *, loss: float = 0.01, firm: float = inf) -> None:
    window.overflow(now, loss, WINDOW_BETA, firm, 0.5, SEGMENT)


def grow(window: SharedWindow, now: float, rounds: int) -> float:
    for _ in range(rounds):
        now += RTT
        window.grow(now, SEGMENT)
    return now


def test_it_gives_way_once_for_one_overflow() -> None:
    window = started()
    cut(window, 0.0)
    assert window.window == WINDOW_BETA * 100 * SEGMENT
    for _ in range(QUIET_ROUNDS - 1):
        cut(window, 0.0)
    assert window.window == WINDOW_BETA * 100 * SEGMENT


def test_it_grows_back_to_what_it_was_as_cubic_does() -> None:
    window = started(1000)
    cut(window, 0.0)
    back = (1000 * (1 - WINDOW_BETA) / 0.4) ** (1 / 3)
    grow(window, 0.0, round(back / RTT))
    assert window.window == pytest.approx(1000 * SEGMENT, rel=0.02)


def test_nothing_is_taken_while_nothing_is_wanted() -> None:
    one, other = started(), started()
    cut(one, 0.0)
    cut(other, 0.0)
    now = 60.0
    other.hold(now)
    one.grow(now, SEGMENT)
    other.grow(now, SEGMENT)
    assert other.window < 80 * SEGMENT
    assert one.window > other.window


def fruitless(window: SharedWindow, firm: float = inf, loss: float = 0.01) -> float:
    now = grow(window, 0.0, FRUITLESS_ROUNDS + 1)
    for _ in range(FRUITLESS_CUTS + 1):
        now = grow(window, now, QUIET_ROUNDS)
        cut(window, now, loss=loss, firm=firm)
    return now


def test_where_giving_way_is_fruitless_it_stands_firm_for_a_while() -> None:
    window = started()
    now = fruitless(window)
    assert window.is_firm(now)
    assert window.window >= 100 * SEGMENT
    held = window.window
    for _ in range(20):
        cut(window, now, loss=FIRM_LOSS / 2)
    assert window.window == held
    assert not window.is_firm(now + FIRM_TIME[1])


def test_it_stands_firm_with_no_more_than_it_may() -> None:
    window = started()
    fruitless(window, firm=60.0 * SEGMENT)
    assert window.window == 60 * SEGMENT


def test_standing_firm_it_grows_a_little() -> None:
    window = started()
    now = fruitless(window)
    held = window.window
    window.grow(now, SEGMENT)
    assert window.window == held + RENO_GROWTH * SEGMENT
    for _ in range(1000):
        window.grow(now, SEGMENT)
    assert window.window == FIRM_GROWTH * held
    capped = started()
    now = fruitless(capped, firm=60.0 * SEGMENT)
    capped.grow(now, SEGMENT)
    assert capped.window == 60 * SEGMENT


def test_a_crowd_gives_way_all_the_same() -> None:
    window = started()
    now = fruitless(window, firm=0.0)
    assert not window.is_firm(now)
    assert window.window < 60 * SEGMENT
    lossy = started()
    now = fruitless(lossy, loss=0.9)
    assert not lossy.is_firm(now)


def test_firm_or_not_much_loss_makes_it_give_way() -> None:
    window = started()
    now = fruitless(window)
    held = window.window
    for _ in range(QUIET_ROUNDS * 4):
        cut(window, now, loss=2 * FIRM_LOSS)
    assert window.window < held


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5), st.floats(0, 1), st.sampled_from([0.0, 1e5, inf]))))
def test_whatever_happens_a_few_packets_may_leave(history: list[tuple[bool, float, float, float]]) -> None:
    window = started()
    now = 0.0
    for overflow, pause, loss, firm in history:
        now += pause
        if overflow:
            window.overflow(now, loss, WINDOW_BETA, firm, 0.5, SEGMENT)
        else:
            before = window.window
            window.grow(now, SEGMENT)
            assert before <= window.window <= max(1.5 * before, before + SEGMENT)
        assert window.window >= MIN_PACKETS * SEGMENT


def shared(alone: float = 0.0) -> tuple[Coexistence, PathModel]:
    model = PathModel(0.0, RTT)
    others = Coexistence(model)
    model.max_rate = alone
    if alone:
        others.alone(0.0)
    model.round_rtt = model.last_rtt = 2 * RTT
    model.round_rate = model.max_rate = 1e6
    others.found(100 * SEGMENT, 0.0, SEGMENT)
    return others, model


def round_over(others: Coexistence, now: float, *, limited: bool = False) -> None:
    others.on_round(competing=True, limited=limited, elapsed=RTT, now=now, fraction=0.5, segment=SEGMENT)


def test_others_are_expected_back_for_some_seconds() -> None:
    others, _ = shared()
    assert others.expected(SHARED_TIME - 0.1)
    assert not others.expected(SHARED_TIME + 0.1)


def test_what_others_leave_is_not_what_the_path_has_for_us_alone() -> None:
    others, model = shared()
    model.max_rate = 4e5
    others.alone(SHARED_TIME - 0.1)
    assert not others._alone_rate
    others.alone(SHARED_TIME + 0.1)
    assert others._alone_rate == 4e5


def test_a_large_share_gives_way_little_by_little_and_by_more_when_the_queue_overflows() -> None:
    others, model = shared(alone=1.2e6)
    before = others.window
    for now in range(1, 6):
        round_over(others, float(now))
    assert others.window == pytest.approx(before * YIELD_BETA**5)
    before = others.window
    model.acked, model.lost = 99 * SEGMENT, 5 * SEGMENT
    round_over(others, 6.0)
    assert others.window == LARGE_WINDOW_BETA * before


def test_a_small_share_grows() -> None:
    others, _ = shared(alone=4e6)
    before = others.window
    for now in range(1, 6):
        round_over(others, float(now))
    assert others.window > before


def test_an_application_that_has_no_more_to_send_gains_no_room() -> None:
    others, _ = shared()
    before = others.window
    for now in range(20):
        round_over(others, RTT * now, limited=True)
    assert others.window == before


def test_room_that_others_left_is_filled_at_once() -> None:
    others, model = shared()
    round_over(others, 0.1)
    model.round_rtt = RTT
    model.max_rate = 1e9
    before = others.window
    for now in range(2, 6):
        round_over(others, RTT * now)
    assert others.window > 2 * before


def test_a_cut_because_of_a_loss_that_was_none_is_taken_back() -> None:
    others, model = shared()
    before = others.window
    model.acked, model.lost = 99 * SEGMENT, 5 * SEGMENT
    round_over(others, 0.1)
    assert others.window < before
    others.restore(before)
    assert others.window == before
