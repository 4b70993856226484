from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pal.link.path_upgrade import (
    CALM,
    DISTANCE,
    FIRST_LOOK,
    KEPT,
    KEPT_MOST,
    LOOKS,
    RAREST_LOOK,
    SETTLED,
    STEADY,
    Improvement,
)


def test_there_is_no_reason_at_first_nor_on_a_direct_path() -> None:
    improvement = Improvement(enabled=True)
    assert improvement.at is None
    improvement.on_path(False, 5.0)
    assert improvement.at is None


def test_a_relayed_path_is_looked_beyond_ever_less_often() -> None:
    improvement, now, pauses = Improvement(enabled=True), 0.0, []
    improvement.on_path(True, now)
    for _ in range(10):
        improvement.on_path(True, now + 1.0)  # said again
        assert improvement.at is not None
        pauses.append(improvement.at - now)
        now = improvement.at
        improvement.on_begun(now)
    assert pauses == [FIRST_LOOK, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, RAREST_LOOK, RAREST_LOOK]
    improvement.on_path(False, now)
    assert improvement.at is None
    improvement.on_path(True, now + STEADY)
    assert improvement.at == now + STEADY + FIRST_LOOK


def test_a_direct_path_that_does_not_last_is_looked_for_ever_less_often() -> None:
    improvement, now, pauses = Improvement(enabled=True), 0.0, []
    for _ in range(6):
        improvement.on_path(True, now)
        assert improvement.at is not None
        pauses.append(improvement.at - now)
        now = improvement.at
        improvement.on_begun(now)
        improvement.on_link()
        improvement.on_path(False, now + 1.0)
        improvement.on_path(False, now + 3.0)
        now += STEADY / 2
        improvement.on_link()
    assert pauses == [FIRST_LOOK, 40.0, 160.0, 640.0, RAREST_LOOK, RAREST_LOOK]


def test_networks_that_changed_get_a_moment_and_looks_keep_their_distance() -> None:
    improvement = Improvement(enabled=True)
    improvement.on_networks(10.0)
    improvement.on_networks(10.5)
    assert improvement.at == 10.0 + SETTLED
    improvement.on_begun(11.0)
    assert improvement.at is None
    for moment in (11.5, 12.0, 13.0):
        improvement.on_networks(moment)
    assert improvement.at == 11.0 + DISTANCE


def test_networks_that_changed_are_not_forgotten_when_another_lane_opens() -> None:
    improvement = Improvement(enabled=True)
    improvement.on_path(True, 0.0)
    improvement.on_networks(5.0)
    improvement.on_link()
    assert improvement.at == 5.0 + SETTLED
    improvement.on_begun(6.0)
    assert improvement.at is None


def test_it_can_be_forbidden() -> None:
    improvement = Improvement(enabled=False)
    improvement.on_path(True, 0.0)
    improvement.on_networks(0.0)
    assert improvement.at is None


def look(improvement: Improvement) -> float:
    """Look when it is time, and return that."""
    now = improvement.at
    assert now is not None
    improvement.on_begun(now)
    return now


def test_a_direct_path_in_the_place_of_another_is_kept_ever_longer() -> None:
    improvement, now, kept = Improvement(enabled=True), 0.0, []
    improvement.on_path(False, now)
    for _ in range(10):
        improvement.on_networks(now)
        found = look(improvement)
        kept.append(found - now)
        now = found
        improvement.on_better(now)
        improvement.on_link()
        improvement.on_path(False, now)
    assert kept == [SETTLED, KEPT, *(KEPT * 2**times for times in range(1, 6)), KEPT_MOST, KEPT_MOST, KEPT_MOST]
    now += CALM * KEPT_MOST
    improvement.on_networks(now - SETTLED)
    improvement.on_better(look(improvement))
    improvement.on_networks(now)
    assert improvement.at == now + KEPT, "that was calm enough"


def test_a_direct_path_in_the_place_of_a_relayed_one_is_no_reason_to_wait() -> None:
    improvement = Improvement(enabled=True)
    improvement.on_path(True, 0.0)
    now = look(improvement)
    improvement.on_better(now)
    improvement.on_link()
    improvement.on_path(False, now)
    improvement.on_networks(now + DISTANCE)
    assert improvement.at == now + DISTANCE + SETTLED


def test_nor_is_one_kept_that_is_relayed_by_now() -> None:
    improvement = Improvement(enabled=True)
    improvement.on_path(False, 0.0)
    improvement.on_better(1.0)
    improvement.on_path(True, 2.0)
    assert improvement.at == 2.0 + FIRST_LOOK


@pytest.mark.parametrize("hours", [1, 12])
def test_a_relayed_transfer_of_hours_leaves_most_of_the_mailbox(hours: int) -> None:
    improvement, looks = Improvement(enabled=True), 0
    improvement.on_path(True, 0.0)
    while look(improvement) < hours * 3600.0:
        looks += 1
    assert looks <= 8 + 2 * hours


wishes = st.lists(st.tuples(st.floats(0.1, 400), st.sampled_from(["networks", "relayed", "direct", "better"])))


@given(wishes, st.integers(1, 300))
def test_whatever_happens_there_are_so_many_looks_in_the_long_run(wishes: list[tuple[float, str]], times: int) -> None:
    improvement, now, looks = Improvement(enabled=True), 0.0, [float("-inf")]
    for step in range(times):
        pause, what = wishes[step % len(wishes)] if wishes else (1.0, "networks")
        now += pause
        if what == "networks":
            improvement.on_networks(now)
        elif what == "better":
            improvement.on_better(now)
            improvement.on_link()
        else:
            improvement.on_path(what == "relayed", now)
        if improvement.at is not None and improvement.at <= now:
            improvement.on_begun(now)
            assert now >= looks[-1] + DISTANCE
            looks.append(now)
    assert len(looks) - 1 <= LOOKS + now / RAREST_LOOK
