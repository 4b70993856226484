from __future__ import annotations

from p2pal.link.improvement import DISTANCE, FIRST_LOOK, RAREST_LOOK, SETTLED, STEADY, Improvement


def test_there_is_no_reason_at_first_nor_on_a_direct_path() -> None:
    improvement = Improvement(enabled=True)
    assert improvement.at is None
    improvement.on_path(False, 5.0)
    assert improvement.at is None


def test_a_relayed_path_is_looked_beyond_ever_less_often() -> None:
    improvement, now, pauses = Improvement(enabled=True), 0.0, []
    improvement.on_path(True, now)
    for _ in range(7):
        improvement.on_path(True, now + 1.0)  # said again
        assert improvement.at is not None
        pauses.append(improvement.at - now)
        now = improvement.at
        improvement.on_begun(now)
    assert pauses == [FIRST_LOOK, 20.0, 40.0, 80.0, RAREST_LOOK, RAREST_LOOK, RAREST_LOOK]
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
    assert pauses == [FIRST_LOOK, 40.0, RAREST_LOOK, RAREST_LOOK, RAREST_LOOK, RAREST_LOOK]


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
