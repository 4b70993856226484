"""A transfer as its user sees it: entered, iterated over, left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from p2pal.app.events import Event, Failure, Joining, PeerJoined, Saved, Summary
from p2pal.app.transfer import Transfer
from p2pal.errors import CheckpointError, DiskError, Interrupted, P2palError, PeerLost

SAVED = Saved(id="abc", command="p2pal send --resume abc", done=1, total=2)
SUMMARY = Summary(role="send", ok=True, files=1, failed=0, total=1, seconds=1.0, rate=1.0, path="")


class Work(Transfer):
    """A transfer that does what the test says.

    Args:
        work: What it does; what it returns is how it ended.
        orderly: Whether there is a peer to tell when it is stopped.
        saved: What is left when it is over, or why nothing can be.
    """

    def __init__(
        self,
        work: Callable[[Work], Awaitable[P2palError | None]],
        *,
        orderly: bool = False,
        saved: Saved | Exception | None = None,
    ) -> None:
        super().__init__()
        self._does = work
        self._orderly = orderly
        self._saved = saved
        self.stops = 0
        self.asked = asyncio.Event()

    async def _work(self) -> P2palError | None:
        return await self._does(self)

    async def _keep(self) -> Saved | None:
        if isinstance(self._saved, Exception):
            raise self._saved
        return self._saved

    def _stop(self) -> bool:
        self.stops += 1
        self.asked.set()
        return self._orderly

    def emit(self, event: Joining | PeerJoined | Summary) -> None:
        self._emit(event)


async def fine(work: Work) -> P2palError | None:
    work.emit(Joining())
    work.emit(SUMMARY)
    return None


async def lost(work: Work) -> P2palError | None:
    work.emit(Joining())
    raise PeerLost("gone")


async def concluded(work: Work) -> P2palError | None:
    work.emit(SUMMARY)
    return PeerLost("gone")


async def forever(work: Work) -> P2palError | None:
    work.emit(Joining())
    await asyncio.Event().wait()
    return None


async def until_asked(work: Work) -> P2palError | None:
    work.emit(Joining())
    await work.asked.wait()
    return None


async def rest(work: Work) -> list[Event]:
    return [event async for event in work]


async def collect(work: Work) -> list[Event]:
    async with work:
        return await rest(work)


async def test_events_come_in_order_and_end() -> None:
    work = Work(fine)
    assert await collect(work) == [Joining(), SUMMARY]
    assert work.summary == SUMMARY


async def test_an_error_is_an_event_and_then_raised_each_time() -> None:
    async with Work(lost) as work:
        events = [await anext(work), await anext(work)]
        for _ in range(2):
            with pytest.raises(PeerLost):
                await anext(work)
    assert events == [Joining(), Failure("peer-lost", "gone", PeerLost.default_hint, 5)]


async def test_an_end_stays_an_end() -> None:
    async with Work(fine) as work:
        assert len([event async for event in work]) == 2
        assert [event async for event in work] == []


async def test_a_mistake_of_ours_is_raised_too() -> None:
    async def mistake(work: Work) -> P2palError | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await collect(Work(mistake))


async def test_out_of_a_task_group_comes_what_a_user_understands() -> None:
    async def grouped(work: Work) -> P2palError | None:
        raise BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [KeyError(), PeerLost("gone")])])

    with pytest.raises(PeerLost):
        await collect(Work(grouped))


async def test_cancelling_ends_with_interrupted() -> None:
    async with Work(forever) as work:
        assert await anext(work) == Joining()
        work.cancel()
        work.cancel()
        with pytest.raises(Interrupted):
            await rest(work)
    assert work.stops == 1


async def test_a_transfer_with_a_peer_ends_in_order_when_cancelled() -> None:
    async with Work(until_asked, orderly=True) as work:
        assert await anext(work) == Joining()
        work.cancel()
        with pytest.raises(Interrupted):
            await rest(work)


async def test_leaving_early_cancels() -> None:
    async with Work(forever) as work:
        assert await anext(work) == Joining()
    assert work.stops == 1
    with pytest.raises(ZeroDivisionError):
        async with Work(forever) as work:
            raise ZeroDivisionError
    assert work.stops == 1


async def test_cancelling_what_is_over_changes_nothing() -> None:
    async with Work(fine) as work:
        assert len([event async for event in work]) == 2
        work.cancel()
    assert work.stops == 0


async def test_it_must_be_entered_first() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await anext(Work(fine))
    await Work(fine).__aexit__(None, None, None)


async def ends(work: Work) -> tuple[list[Event], BaseException | None]:
    """Every event, and the error."""
    seen: list[Event] = []
    async with work:
        try:
            async for event in work:
                seen.append(event)  # noqa: PERF401 - what came before an error counts
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return seen, error
    return seen, None


async def test_what_a_transfer_concludes_is_raised_like_what_it_raises() -> None:
    seen, error = await ends(Work(concluded))
    assert isinstance(error, PeerLost)
    assert seen == [SUMMARY, Failure("peer-lost", "gone", PeerLost.default_hint, 5)]


async def test_how_to_go_on_is_told_before_the_error_which_then_needs_no_hint() -> None:
    seen, error = await ends(Work(lost, saved=SAVED))
    assert seen == [Joining(), SAVED, Failure("peer-lost", "gone", "", 5)]
    assert isinstance(error, PeerLost)
    assert error.hint == ""


async def test_a_checkpoint_that_cannot_be_used_keeps_its_hint() -> None:
    async def refused(work: Work) -> P2palError | None:
        return CheckpointError("elsewhere", hint="leave -out away")

    seen, _ = await ends(Work(refused, saved=SAVED))
    assert [type(event) for event in seen] == [Saved, Failure]
    assert isinstance(seen[-1], Failure)
    assert seen[-1].hint == "leave -out away"


async def test_a_stopped_transfer_tells_how_to_go_on() -> None:
    work = Work(until_asked, orderly=True, saved=SAVED)
    async with work:
        assert await anext(work) == Joining()
        work.cancel()
        assert await anext(work) == SAVED
        assert await anext(work) == Failure("interrupted", "stopped", "", 130)
        with pytest.raises(Interrupted):
            await anext(work)


async def test_a_disk_that_cannot_be_left_in_order_is_an_error_unless_there_was_one() -> None:
    _, error = await ends(Work(fine, saved=DiskError("full")))
    assert isinstance(error, DiskError)
    _, error = await ends(Work(lost, saved=DiskError("full")))
    assert isinstance(error, PeerLost)
