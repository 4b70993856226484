"""Notices that this machine came into another network, or one more, while a connection stands. Nothing is sent.

No system tells of that in a way that all have in common, so the addresses are looked at again and again. That one goes
away is not told: the engine and the session see that themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from p2pal.lanes import interfaces
from p2pal.lanes.own_addresses import Interfaces

INTERVAL: Final = 2.0
"""Seconds from one look to the next."""

_SHARE: Final = 0.01
"""Of the event loop's time that looking may take, on a machine with very many addresses."""


class NetworkWatch:
    """Compares this machine's addresses with those of a moment ago.

    Args:
        on_new: Called on the event loop's thread when an address, or a way out for one of the families, is there that
            was not before. Loopback and link-local addresses do not count.
        look: Returns the addresses.
        interval: Seconds from one look to the next.
    """

    __slots__ = ("_interval", "_known", "_look", "_on_new")

    def __init__(
        self, on_new: Callable[[], None], look: Callable[[], Interfaces] = interfaces.look, interval: float = INTERVAL
    ) -> None:
        self._on_new = on_new
        self._look = look
        self._interval = interval
        self._known: frozenset[str] | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            began = monotonic()
            self.check()
            await asyncio.sleep(max(self._interval, (monotonic() - began) / _SHARE))

    def check(self) -> None:
        """Look once. The first time, and where nothing can be seen, there is nothing to tell."""
        try:
            found = _marks(self._look())
        except OSError:
            return
        known, self._known = self._known, found
        if known is not None and found - known:
            self._on_new()


def _marks(found: Interfaces) -> frozenset[str]:
    ways = [name for name, there in (("4", found.ipv4_route), ("6", found.ipv6_route)) if there]
    return frozenset(found.addresses) | frozenset(ways)
