"""A transfer as its user sees it: entered, iterated over, left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.server.kit import on_loop

from p2pal.app.base import Transfer
from p2pal.app.events import Event, Failure, Joining, PeerJoined, Summary
from p2pal.errors import Interrupted, PeerLost

SUMMARY = Summary(role="send", ok=True, files=1, failed=0, total=1, seconds=1.0, rate=1.0, path="")


class Work(Transfer):
    """A transfer that does what the test says."""

    def __init__(self, work: Callable[[Work], Awaitable[None]], *, orderly: bool = False) -> None:
        super().__init__()
        self._work = work
        self._orderly = orderly
        self.stops = 0
        self.asked = asyncio.Event()

    async def _main(self) -> None:
        await self._work(self)

    def _stop(self) -> bool:
        self.stops += 1
        self.asked.set()
        return self._orderly

    def emit(self, event: Joining | PeerJoined | Summary) -> None:
        self._emit(event)


async def fine(work: Work) -> None:
    work.emit(Joining())
    work.emit(SUMMARY)


async def lost(work: Work) -> None:
    work.emit(Joining())
    raise PeerLost("gone")


async def forever(work: Work) -> None:
    work.emit(Joining())
    await asyncio.Event().wait()


async def until_asked(work: Work) -> None:
    work.emit(Joining())
    await work.asked.wait()


async def rest(work: Work) -> list[Event]:
    return [event async for event in work]


async def collect(work: Work) -> list[Event]:
    async with work:
        return await rest(work)


@on_loop
async def test_events_come_in_order_and_end() -> None:
    work = Work(fine)
    assert await collect(work) == [Joining(), SUMMARY]
    assert work.summary == SUMMARY


@on_loop
async def test_an_error_is_an_event_and_then_raised_each_time() -> None:
    async with Work(lost) as work:
        events = [await anext(work), await anext(work)]
        for _ in range(2):
            with pytest.raises(PeerLost):
                await anext(work)
    assert events == [Joining(), Failure("peer-lost", "gone", PeerLost.default_hint, 5)]


@on_loop
async def test_an_end_stays_an_end() -> None:
    async with Work(fine) as work:
        assert len([event async for event in work]) == 2
        assert [event async for event in work] == []


@on_loop
async def test_a_mistake_of_ours_is_raised_too() -> None:
    async def mistake(work: Work) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await collect(Work(mistake))


@on_loop
async def test_out_of_a_task_group_comes_what_a_user_understands() -> None:
    async def grouped(work: Work) -> None:
        raise BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [KeyError(), PeerLost("gone")])])

    with pytest.raises(PeerLost):
        await collect(Work(grouped))


@on_loop
async def test_cancelling_ends_with_interrupted() -> None:
    async with Work(forever) as work:
        assert await anext(work) == Joining()
        work.cancel()
        work.cancel()
        with pytest.raises(Interrupted):
            await rest(work)
    assert work.stops == 1


@on_loop
async def test_a_transfer_with_a_peer_ends_in_order_when_cancelled() -> None:
    async with Work(until_asked, orderly=True) as work:
        assert await anext(work) == Joining()
        work.cancel()
        with pytest.raises(Interrupted):
            await rest(work)


@on_loop
async def test_leaving_early_cancels() -> None:
    async with Work(forever) as work:
        assert await anext(work) == Joining()
    assert work.stops == 1
    with pytest.raises(ZeroDivisionError):
        async with Work(forever) as work:
            raise ZeroDivisionError
    assert work.stops == 1


@on_loop
async def test_cancelling_what_is_over_changes_nothing() -> None:
    async with Work(fine) as work:
        assert len([event async for event in work]) == 2
        work.cancel()
    assert work.stops == 0


@on_loop
async def test_it_must_be_entered_first() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await anext(Work(fine))
    await Work(fine).__aexit__(None, None, None)
