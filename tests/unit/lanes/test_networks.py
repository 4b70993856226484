from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from p2pal.lanes.networks import NetworkWatch
from p2pal.lanes.own_addresses import Interfaces

PATIENCE = 30.0


def seen(*addresses: str, ipv4: bool = True, ipv6: bool = False) -> Interfaces:
    return Interfaces(addresses, ipv4_route=ipv4, ipv6_route=ipv6)


def looking(*each: Interfaces | OSError) -> Callable[[], Interfaces]:
    """See one after the other."""
    rest: Iterator[Interfaces | OSError] = iter(each)

    def look() -> Interfaces:
        found = next(rest)
        if isinstance(found, OSError):
            raise found
        return found

    return look


@pytest.mark.parametrize(
    ("each", "told"),
    [
        ([seen("10.0.0.1")], 0),
        ([seen("10.0.0.1"), seen("10.0.0.1")], 0),
        ([seen("10.0.0.1"), seen("10.0.0.1", "192.0.2.1")], 1),
        ([seen("10.0.0.1", "192.0.2.1"), seen("192.0.2.1", "10.0.0.1")], 0),
        ([seen("10.0.0.1", "192.0.2.1"), seen("10.0.0.1")], 0),
        ([seen("10.0.0.1"), seen(), seen("10.0.0.1")], 1),
        ([seen("10.0.0.1"), seen("192.0.2.1"), seen("198.51.100.1")], 2),
        ([seen("10.0.0.1", ipv4=False), seen("10.0.0.1")], 1),
        ([seen("10.0.0.1"), seen("10.0.0.1", ipv6=True)], 1),
        ([seen("10.0.0.1"), OSError(), seen("10.0.0.1")], 0),
        ([OSError(), seen("10.0.0.1"), seen("10.0.0.1")], 0),
    ],
)
def test_what_is_new_is_told_and_nothing_else(each: list[Interfaces | OSError], told: int) -> None:
    heard: list[bool] = []
    watch = NetworkWatch(lambda: heard.append(True), looking(*each))
    for _ in each:
        watch.check()
    assert len(heard) == told


async def test_it_looks_again_and_again() -> None:
    changed = asyncio.Event()
    each = looking(*[seen("10.0.0.1")] * 5, *[seen("10.0.0.1", "192.0.2.1")] * 10_000)
    running = asyncio.create_task(NetworkWatch(changed.set, each, 0.001).run())
    async with asyncio.timeout(PATIENCE):
        await changed.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_this_machine_stays_in_its_networks() -> None:
    heard: list[bool] = []
    watch = NetworkWatch(lambda: heard.append(True))
    for _ in range(3):
        watch.check()
    assert heard == []
