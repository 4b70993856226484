from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from p2pal.peer import timer as under_test
from p2pal.peer.timer import Alarm


class Bell:
    """Notes each ring."""

    def __init__(self) -> None:
        self.rings: list[bool] = []
        self.rang = asyncio.Event()

    def __call__(self, *, slept: bool) -> None:
        self.rings.append(slept)
        self.rang.set()

    async def wait(self) -> None:
        async with asyncio.timeout(30.0):
            await self.rang.wait()
        self.rang.clear()


async def test_it_rings_once_at_the_earliest_time() -> None:
    bell = Bell()
    alarm = Alarm(bell)
    now = monotonic()
    for due in (now + 60.0, None, now + 0.02, now + 90.0):
        alarm.set(due)
    await bell.wait()
    assert bell.rings == [False]
    alarm.set(now)  # that is past
    await bell.wait()
    assert bell.rings == [False, False]


async def test_it_does_not_ring_once_it_is_stopped() -> None:
    bell, other = Bell(), Bell()
    alarm = Alarm(bell)
    alarm.set(monotonic())
    alarm.stop()
    alarm.stop()
    Alarm(other).set(monotonic() + 0.02)
    await other.wait()
    assert bell.rings == []


async def test_a_machine_that_was_suspended_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    suspended = 10.0
    monkeypatch.setattr(under_test, "_slept", lambda: suspended)
    bell = Bell()
    alarm = Alarm(bell)
    for more in (0.0, 60.0, 0.0):
        suspended += more
        alarm.set(monotonic())
        await bell.wait()
    assert bell.rings == [False, True, False]


async def test_a_timer_that_comes_far_too_late_tells_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "SLEPT", -1.0)
    bell = Bell()
    Alarm(bell).set(monotonic())
    await bell.wait()
    assert bell.rings == [True]


def test_only_where_the_clock_stands_still_meanwhile_another_one_tells_of_sleep() -> None:
    assert under_test._slept("win32") == under_test._slept("freebsd14") == 0.0
    for platform in ("linux", "darwin"):
        assert under_test._slept(platform) >= -1.0
    before = under_test._slept()
    assert abs(under_test._slept() - before) < 1.0
