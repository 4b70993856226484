"""What a try at a better path needs beside the link's own rules: the servers for it, and how two paths compare."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from p2pal.lanes.base import IceServer
from p2pal.wire.ice_urls import parse_turn_url

if TYPE_CHECKING:
    from p2pal.lanes.webrtc import WebRtcConnection

JUDGED: Final = 5.0
"""Seconds in which a new lane is heard and its path known; one that takes longer is not better."""

SETTLE: Final = 0.5
"""Seconds in which the engine finds the best pair of candidates, and hears whose they are."""

_MOST_SERVERS: Final = 4


def servers_without_relays(servers: Iterable[IceServer]) -> list[IceServer]:
    """Return the servers that tell a connection without relays its address from outside.

    A TURN server over UDP does so, too (RFC 8656, section 3), and may be the only one there is.
    """
    found: dict[str, IceServer] = {}
    for url in (url for server in servers for url in server.urls):
        if not url.startswith("turn"):
            found.setdefault(url, IceServer((url,)))
        elif (turn := parse_turn_url(url)) is not None and turn.transport == "udp" and not turn.tls:
            host = f"[{turn.host}]" if ":" in turn.host else turn.host
            found.setdefault(stun := f"stun:{host}:{turn.port}", IceServer((stun,)))
    return list(found.values())[:_MOST_SERVERS]


async def is_better(new: WebRtcConnection, used: WebRtcConnection, heard: asyncio.Event) -> bool:
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
