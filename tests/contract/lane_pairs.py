"""The kinds of lanes that keep the contract of :mod:`p2pal.lanes.base`, each as a way to make a pair.

Add a kind by adding an entry to :data:`KINDS`: an async function that takes the listeners of both ends and returns both
lanes, open or about to open, on the running event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from p2pal.lanes.base import Lane, LaneListener
from p2pal.lanes.memory import MemoryLink, PathModel

MakePair = Callable[[LaneListener, LaneListener], Awaitable[tuple[Lane, Lane]]]


async def memory(left: LaneListener, right: LaneListener) -> tuple[Lane, Lane]:
    """A link in memory on the event loop's own clock, slow enough that buffers fill."""
    path = PathModel(delay=0.001, rate=100e6, queue=200_000)
    link = MemoryLink(asyncio.get_running_loop(), 1, left, right, path)
    return link.left, link.right


KINDS: dict[str, MakePair] = {"memory": memory}
