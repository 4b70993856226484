"""What every lane promises (:mod:`p2pal.lanes.base`), for each kind there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.contract.lane_pairs import KINDS, MakePair

from p2pal.lanes.base import BUFFER_LIMIT, Lane

PATIENCE = 20.0


class Ear:
    """A listener that keeps what it hears, and can be waited on."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.messages: list[bytes] = []
        self.on_message: Callable[[Lane, bytes], None] | None = None
        self.on_open: Callable[[Lane], None] | None = None
        self._changed = asyncio.Event()

    def lane_opened(self, lane: Lane) -> None:
        self._note("opened")
        if self.on_open is not None:
            self.on_open(lane)

    def lane_message(self, lane: Lane, data: bytes) -> None:
        self.messages.append(data)
        self._note("message")
        if self.on_message is not None:
            self.on_message(lane, data)

    def lane_writable(self, lane: Lane) -> None:
        self._note("writable")

    def lane_closed(self, lane: Lane, reason: str) -> None:
        assert reason
        self._note("closed")

    def _note(self, what: str) -> None:
        self.heard.append(what)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


Body = Callable[[Ear, Ear, Lane, Lane], Awaitable[None]]


def run(make: MakePair, body: Body) -> tuple[Ear, Ear]:
    """Open a pair, run the body, close both ends; return what they heard."""

    async def main() -> tuple[Ear, Ear]:
        left, right = Ear(), Ear()
        a, b = await make(left, right)
        await left.until(lambda: "opened" in left.heard)
        await right.until(lambda: "opened" in right.heard)
        await body(left, right, a, b)
        for ear, lane in ((left, a), (right, b)):
            lane.close()
            await ear.until(lambda ear=ear: "closed" in ear.heard)  # type: ignore[misc]
        return left, right

    left, right = asyncio.run(main())
    for ear in (left, right):
        assert ear.heard[0] == "opened"
        assert ear.heard[-1] == "closed"
        assert ear.heard.count("opened") == ear.heard.count("closed") == 1
    return left, right


@pytest.fixture(params=sorted(KINDS))
def make(request: pytest.FixtureRequest) -> MakePair:
    return KINDS[request.param]


def test_messages_of_any_size_arrive_whole_and_in_order(make: MakePair) -> None:
    messages = [bytes([size % 251]) * size for size in (1, 2, 1000, 16_384, 65_535, 65_536, 100_000)] * 2

    async def body(left: Ear, right: Ear, a: Lane, b: Lane) -> None:
        for message in messages:
            a.send(message)
            b.send(message[:100])
        await right.until(lambda: len(right.messages) == len(messages))
        await left.until(lambda: len(left.messages) == len(messages))
        assert right.messages == messages
        assert left.messages == [message[:100] for message in messages]

    run(make, body)


def test_the_largest_message_fits(make: MakePair) -> None:
    async def body(left: Ear, right: Ear, a: Lane, b: Lane) -> None:
        a.send(bytes(a.max_message))
        await right.until(lambda: bool(right.messages))
        assert len(right.messages[0]) == a.max_message

    run(make, body)


def test_both_ends_have_one_number(make: MakePair) -> None:
    async def body(left: Ear, right: Ear, a: Lane, b: Lane) -> None:
        assert a.id == b.id

    run(make, body)


def test_the_budget_falls_with_what_is_sent_and_writable_follows(make: MakePair) -> None:
    async def body(left: Ear, right: Ear, a: Lane, b: Lane) -> None:
        assert 0 < a.budget() <= BUFFER_LIMIT
        sent = 0
        while a.budget() > 0:
            a.send(bytes(60_000))
            sent += 1
            assert sent < 10_000, "the budget never ends"
        await left.until(lambda: "writable" in left.heard)
        assert a.budget() > 0
        await right.until(lambda: len(right.messages) == sent)

    run(make, body)


def test_a_message_may_be_sent_from_within_a_report(make: MakePair) -> None:
    async def body(left: Ear, right: Ear, a: Lane, b: Lane) -> None:
        right.on_message = lambda lane, data: lane.send(data + b"!")
        a.send(b"hello")
        await left.until(lambda: bool(left.messages))
        assert left.messages == [b"hello!"]

    run(make, body)


def test_closing_one_end_closes_the_other(make: MakePair) -> None:
    async def body(left: Ear, right: Ear, a: Lane, b: Lane) -> None:
        a.close()
        a.close()
        await left.until(lambda: "closed" in left.heard)
        await right.until(lambda: "closed" in right.heard)

    run(make, body)


def test_a_closed_lane_takes_and_reports_nothing(make: MakePair) -> None:
    async def body(left: Ear, right: Ear, a: Lane, b: Lane) -> None:
        a.close()
        a.send(b"dropped")
        assert a.budget() <= 0
        b.send(b"to nobody")
        await right.until(lambda: "closed" in right.heard)
        b.send(b"dropped too")

    left, right = run(make, body)
    assert left.messages == right.messages == []


def test_a_lane_may_be_closed_from_within_a_report(make: MakePair) -> None:
    async def body(left: Ear, right: Ear, a: Lane, b: Lane) -> None:
        right.on_message = lambda lane, data: lane.close()
        a.send(b"one")
        a.send(b"two")
        await left.until(lambda: "closed" in left.heard)
        assert right.messages == [b"one"]

    run(make, body)
