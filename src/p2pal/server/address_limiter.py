"""What each address holds of this server instance, and how much of its time it has taken. Pure.

An :class:`AddressLimiter` is shared by all connections of one address: their number, their buffers and their rates are
bounded together, so that what one address can cost does not grow with the number of its connections.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import Final

from p2pal.rate_limit import reserve, spend
from p2pal.server.config import AddressLimits

_REMEMBERED: Final = 16_384
"""Addresses whose allowances are remembered, beside those with connections; the one used longest ago goes first."""

_LOOKED_AT: Final = 8
"""Addresses that are looked at to find one that can go."""


class AddressLimiter:
    """One address.

    Args:
        bounds: What it may have.

    Attributes:
        connections: How many it has now, WebSockets included.
        sockets: How many of them are WebSockets.
        buffered: Bytes in all their buffers.
    """

    __slots__ = ("_bounds", "_frames_at", "_requests_at", "buffered", "connections", "sockets")

    def __init__(self, bounds: AddressLimits) -> None:
        self._bounds = bounds
        self._requests_at = self._frames_at = 0.0
        self.connections = self.sockets = self.buffered = 0

    @property
    def crowded(self) -> bool:
        """It may have no further connection."""
        return 0 < self._bounds.connections <= self.connections

    @property
    def socketed(self) -> bool:
        """It may have no further WebSocket."""
        return 0 < self._bounds.sockets <= self.sockets

    def request(self, now: float) -> float:
        """Take one connection or request.

        Returns:
            0 if it was taken, else the seconds after which it may be; nothing is taken then.
        """
        if self._bounds.requests is None:
            return 0.0
        self._requests_at, wait = spend(self._requests_at, now, self._bounds.requests)
        return wait

    def frames(self, now: float, count: int) -> float:
        """Take so many frames in any case, and return the seconds to wait before more are read."""
        if self._bounds.frames is None:
            return 0.0
        self._frames_at, wait = reserve(self._frames_at, now, self._bounds.frames, count)
        return wait

    def buffer(self, change: int) -> bool:
        """Count bytes that a buffer grew or shrank by; return whether all buffers together may be as large."""
        self.buffered += change
        return change <= 0 or not 0 < self._bounds.buffered < self.buffered


class AddressLimiters:
    """The limiters of all addresses, by the names that :func:`p2pal.server.addresses.group` gives them.

    Args:
        bounds: What each of them may have.
    """

    __slots__ = ("_bounds", "_limiters")

    def __init__(self, bounds: AddressLimits) -> None:
        self._bounds = bounds
        self._limiters: OrderedDict[str, AddressLimiter] = OrderedDict()

    def __len__(self) -> int:
        return len(self._limiters)

    def of(self, address: str) -> AddressLimiter:
        """Return the limiter of an address."""
        limiter = self._limiters.get(address)
        if limiter is None:
            limiter = self._limiters[address] = AddressLimiter(self._bounds)
            self._forget_one(address)
        self._limiters.move_to_end(address)
        return limiter

    def _forget_one(self, but: str) -> None:
        """Let go of an address that was used long ago and has no connection."""
        for address in list(islice(self._limiters, _LOOKED_AT)) if len(self._limiters) > _REMEMBERED else ():
            if not self._limiters[address].connections and address != but:
                del self._limiters[address]
                return
            self._limiters.move_to_end(address)
