"""When a lane stalls and resumes."""

from __future__ import annotations

import pytest

from p2pal.lanes.udp.acks import NEVER
from p2pal.lanes.udp.stall import CALM, LONGEST_STALL, STALL, StallDetector


def stall(detector: StallDetector, now: float) -> float:
    """Miss acknowledgements from now on; return the seconds after which the lane stalls."""
    for count in (1, 2):
        detector.on_quiet(0.0, count, now)
    after = detector.due_at - now
    assert not detector.take_due(detector.due_at - 0.01)
    assert detector.take_due(detector.due_at)
    assert not detector.take_due(1e9), "it is said once"
    return after


def test_one_probe_timeout_is_no_stall() -> None:
    detector = StallDetector()
    detector.on_quiet(0.1, 1, 5.0)
    assert detector.due_at == NEVER
    assert not detector.on_acked(5.1)


def test_the_seconds_count_from_what_was_sent_last() -> None:
    detector = StallDetector()
    detector.on_quiet(0.1, 1, 5.0)
    detector.on_quiet(0.1, 2, 5.2)
    assert detector.due_at == pytest.approx(4.9 + STALL)


def test_on_a_long_path_the_second_timeout_decides() -> None:
    detector = StallDetector()
    detector.on_quiet(1.0, 1, 5.0)
    detector.on_quiet(1.0, 2, 7.0)
    assert detector.due_at == 7.0


def test_an_acknowledgement_in_time_prevents_it() -> None:
    detector = StallDetector()
    detector.on_quiet(0.0, 1, 5.0)
    detector.on_quiet(0.0, 2, 5.1)
    assert not detector.on_acked(5.2), "there is nothing to resume"
    assert detector.due_at == NEVER
    assert not detector.stalled


def test_each_stall_is_waited_for_longer_until_none_came_for_a_while() -> None:
    detector, now, waits = StallDetector(), 100.0, []
    for _ in range(5):
        waits.append(stall(detector, now))
        assert detector.stalled
        now += 10.0
        assert detector.on_acked(now)
    assert waits == [STALL, 2 * STALL, 4 * STALL, LONGEST_STALL, LONGEST_STALL]
    assert stall(detector, now + CALM) == STALL
