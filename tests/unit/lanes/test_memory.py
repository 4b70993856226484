"""Lanes in memory on the virtual clock: when things arrive, and what each fault does."""

from __future__ import annotations

import random

import pytest

from p2pal.lanes.base import BUFFER_LIMIT, Lane
from p2pal.lanes.memory import MAX_MESSAGE, EmulatedPath, MemoryLink, VirtualClock


class Log:
    """A listener that writes down what it hears, and when."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.heard: list[tuple[float, object]] = []

    def _note(self, what: object) -> None:
        self.heard.append((round(self.clock.time(), 6), what))

    def lane_opened(self, lane: Lane) -> None:
        self._note("opened")

    def lane_message(self, lane: Lane, data: bytes) -> None:
        self._note(data)

    def lane_writable(self, lane: Lane) -> None:
        self._note("writable")

    def lane_closed(self, lane: Lane, reason: str) -> None:
        self._note(f"closed: {reason}")


def make(path: EmulatedPath | None = None, seed: int | None = None) -> tuple[VirtualClock, Log, Log, MemoryLink]:
    clock = VirtualClock()
    left, right = Log(clock), Log(clock)
    if seed is None:
        link = MemoryLink(clock, 1, left, right, path)
    else:
        link = MemoryLink(clock, 1, left, right, path, random.Random(seed).random)
    clock.advance(link.path.delay)
    return clock, left, right, link


def test_messages_arrive_in_order_after_the_delay() -> None:
    clock, left, right, link = make(EmulatedPath(delay=0.05))
    link.left.send(b"a")
    link.left.send(b"b")
    clock.advance(1)
    assert left.heard == [(0.05, "opened")]
    assert right.heard == [(0.05, "opened"), (0.1, b"a"), (0.1, b"b")]


def test_the_rate_spaces_messages_and_the_queue_holds_them() -> None:
    clock, _, right, link = make(EmulatedPath(delay=0.1, rate=1000, queue=500))
    for _ in range(10):
        link.left.send(bytes(100))
    assert link.left.backlog == pytest.approx(1000)
    clock.advance(0)
    assert link.left.budget() == BUFFER_LIMIT - 500
    clock.advance(0.2)
    assert link.left.budget() == BUFFER_LIMIT - 300
    clock.advance(2)
    assert [when for when, _ in right.heard[1:]] == [round(0.1 + 0.1 * n + 0.1, 6) for n in range(1, 11)]
    assert link.left.backlog == 0


def test_writable_comes_once_the_buffer_is_half_empty() -> None:
    clock, left, _, link = make(EmulatedPath(rate=1_000_000))
    for _ in range(5):
        link.left.send(bytes(MAX_MESSAGE))
    assert link.left.budget() < 0
    clock.advance(2)
    assert [what for _, what in left.heard] == ["opened", "writable"]
    assert left.heard[1][0] == pytest.approx(3 * MAX_MESSAGE / 1e6)
    assert link.left.budget() == BUFFER_LIMIT


def test_closing_lets_what_left_the_buffer_arrive_first() -> None:
    clock, left, right, link = make(EmulatedPath(delay=0.1))
    link.left.send(b"a")
    clock.advance(0)
    link.right.send(b"lost")
    link.left.close()
    link.left.close()
    assert not link.alive
    clock.advance(1)
    assert left.heard == [(0.1, "opened"), (0.1, "closed: closed here")]
    assert [what for _, what in right.heard] == ["opened", b"a", "closed: the other side closed the lane"]
    link.left.send(b"dropped")
    assert link.left.budget() == 0


def test_a_cut_loses_what_is_on_its_way_and_is_noticed_later() -> None:
    clock, left, right, link = make(EmulatedPath(delay=0.1, detect=2.0))
    link.left.send(b"a")
    link.cut()
    link.cut()
    link.right.send(b"b")
    clock.advance(5)
    assert left.heard == [(0.1, "opened"), (2.1, "closed: the path was cut")]
    assert right.heard == [(0.1, "opened"), (2.2, "closed: the path was cut")]


def test_loss_cuts_the_link_at_a_message_that_the_seed_decides() -> None:
    arrived = []
    for _ in range(2):
        clock, _, right, link = make(EmulatedPath(loss=0.05), seed=3)
        for number in range(200):
            link.left.send(bytes([number]))
            clock.advance(0.01)
        assert not link.alive
        arrived.append(right.heard)
    assert arrived[0] == arrived[1]
    assert 1 < len(arrived[0]) < 200


def test_a_stalled_link_holds_everything_and_lets_it_go_in_order() -> None:
    clock, _, right, link = make(EmulatedPath(delay=0.1))
    link.left.send(b"a")
    clock.advance(0)
    link.stall()
    clock.advance(10)
    link.left.send(b"b")
    link.left.close()
    clock.advance(10)
    assert [what for _, what in right.heard] == ["opened"]
    link.resume()
    clock.advance(1)
    assert [what for _, what in right.heard] == ["opened", b"a", "closed: the other side closed the lane"]


def test_a_link_cut_before_it_opened_only_closes() -> None:
    clock = VirtualClock()
    left, right = Log(clock), Log(clock)
    link = MemoryLink(clock, 1, left, right, EmulatedPath(delay=0.1))
    link.left.send(b"too early")
    link.cut()
    clock.advance(1)
    assert [what for _, what in left.heard + right.heard] == ["closed: the path was cut"] * 2


def test_a_message_has_a_largest_size() -> None:
    _, _, _, link = make()
    with pytest.raises(ValueError, match="larger"):
        link.left.send(bytes(MAX_MESSAGE + 1))


def test_the_clock_runs_timers_in_order_and_knows_its_limit() -> None:
    clock = VirtualClock()
    order: list[int] = []
    for number, when in enumerate([2.0, 1.0, 1.0, -5.0]):
        clock.call_at(when, lambda number=number: order.append(number))  # type: ignore[misc]
    assert clock.run(lambda: len(order) == 3, limit=10)
    assert order == [3, 1, 2]
    assert not clock.run(lambda: False, limit=0.5)
    assert clock.time() == 1.0
    assert clock.step()
    assert not clock.step()
