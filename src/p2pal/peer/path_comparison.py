"""How two paths compare, while both are open."""

from __future__ import annotations

import asyncio
from typing import Final

from p2pal.lanes.base import Connection

JUDGED: Final = 5.0
"""Seconds in which a new lane is heard and its path known; one that takes longer is not better."""

SETTLE: Final = 0.5
"""Seconds in which the engine finds the best pair of candidates, and hears whose they are."""


async def is_better(new: Connection, used: Connection, heard: asyncio.Event) -> bool:
    """Whether the new connection's path is worth to leave the one in use for it.

    Args:
        new: Its lane is open here.
        used: The connection in use.
        heard: Set once the other side was heard on the new lane: before that it may not have it.
    """
    try:
        async with asyncio.timeout(JUDGED):
            await heard.wait()
            await asyncio.sleep(SETTLE)
            path, before = await new.path(), await used.path()
    except TimeoutError:
        return False
    return path is not None and before is not None and path.better_than(before)
