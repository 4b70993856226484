"""Slots, how many transfers are open, and the room for their logs: keys beside a transfer's own, which end alone.

On a Redis Cluster they cannot change in one step with the transfer. So a place is taken before the transfer is written;
it is held for longer than the transfer can live before that is prolonged; and it is let go after the transfer is over.
Whatever crashes in between leaves at most a place that ends later than it could.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import Final

from p2pal.server.state import Denied, Rendezvous
from p2pal.server.stores.redis.connections import RedisLink
from p2pal.server.stores.redis.keys import Keys, log_unit
from p2pal.server.stores.redis.scripts import HOLD, OPEN

AFTERWARDS: Final = 5.0
"""Seconds that a slot is kept longer than its transfer is remembered."""

WIDTHS: Final = (99, 999, 9_999, 99_999, 999_999, 2**31 - 1)
"""Largest slots to try, shortest first: where all draws are taken, there is no room."""

FREE: Final = 72 * 1024
"""Bytes of a transfer's logs that nobody counts: as a rule two peers connect with less."""

UNIT: Final = 64 * 1024
"""Bytes for which a transfer takes one more place of its owner's, beyond those."""

MESSAGE: Final = 128
"""Bytes that Redis needs for a message beside its body."""

DRAWS: Final = 5
_ANY: Final = 2**53


class Reservations:
    """Slots, and counts of each owner's open transfers and of the room for their logs.

    Args:
        link: The way to Redis.
        keys: The names in Redis.
        milliseconds: Turns a time of the store into one of Redis.
        max_open: Transfers of one owner that are not over; 0 for any number.
        max_kept: Bytes of all logs of one owner. Half of them is given out in units; what nobody counts is the rest.
    """

    def __init__(
        self, link: RedisLink, keys: Keys, milliseconds: Callable[[float], int], *, max_open: int, max_kept: int
    ) -> None:
        self._link = link
        self._keys = keys
        self._ms = milliseconds
        self._max_open = max_open
        self._units = max(1, max_kept // 2 // UNIT)

    async def find(self, slot: int) -> str | None:
        """Return the id of the transfer that has a slot."""
        holder = await self._link.call("GET", self._keys.slot(slot))
        return None if holder is None else holder.decode()

    async def reserve(self, rendezvous_id: str, until: float) -> int:
        """Return a slot that nobody has, kept until a time.

        Raises:
            Denied: ``full``, if there is none.
        """
        end = self._ms(until)
        for width in WIDTHS:
            for _ in range(DRAWS):
                slot = 1 + secrets.randbelow(width)
                if await self._link.call("SET", self._keys.slot(slot), rendezvous_id, "NX", "PXAT", end):
                    return slot
        raise Denied("full")

    async def count(self, rendezvous_id: str, owner: str, until: float, now: float) -> None:
        """Count a transfer as open until a time.

        Raises:
            Denied: ``too-many-open``.
        """
        if owner and self._max_open:
            args = (rendezvous_id, self._ms(until), self._ms(now), self._max_open)
            if not await self._link.run_script(OPEN, self._keys.open(owner), *args):
                raise Denied("too-many-open")

    async def grow(self, transfer: Rendezvous, units: int, until: float, now: float) -> None:
        """Take room for a transfer's logs, up to so many units, until a time.

        Raises:
            Denied: ``log-full``.
        """
        for name in _log_units(transfer.id, transfer.granted, units):
            args = (name, self._ms(until), self._ms(now), self._units)
            if not await self._link.run_script(OPEN, self._keys.kept(transfer.owner), *args):
                raise Denied("log-full")

    async def hold(self, transfer: Rendezvous, until: float, rest: float, now: float) -> None:
        """Keep the slot of a transfer until a time, and its place among the open until ``rest`` seconds before."""
        if transfer.slot:
            await self._link.run_script(HOLD, self._keys.slot(transfer.slot), transfer.id, self._ms(until))
        if transfer.owner and self._max_open:
            args = (transfer.id, self._ms(until - rest), self._ms(now), _ANY)
            await self._link.run_script(OPEN, self._keys.open(transfer.owner), *args)
        for name in _log_units(transfer.id, 0, transfer.granted):
            args = (name, self._ms(until - rest), self._ms(now), _ANY)
            await self._link.run_script(OPEN, self._keys.kept(transfer.owner), *args)

    async def let_go(self, transfer: Rendezvous, until: float) -> None:
        """A transfer is over, and its slot rests until a time. Without Redis its places end by themselves."""
        with contextlib.suppress(Denied):
            if transfer.owner and self._max_open:
                await self._link.call("ZREM", self._keys.open(transfer.owner), transfer.id)
            if transfer.granted:
                names = _log_units(transfer.id, 0, transfer.granted)
                await self._link.call("ZREM", self._keys.kept(transfer.owner), *names)
            if transfer.slot:
                key = self._keys.slot(transfer.slot)
                await self._link.run_script(HOLD, key, transfer.id, self._ms(until + AFTERWARDS))


def units(transfer: Rendezvous) -> int:
    """Return how many units of room the logs of a transfer need, of its owner's share."""
    logs = [log for attempt in transfer.attempts for log in (attempt.to_receiver, attempt.to_sender)]
    size = sum(log.size + MESSAGE * log.count for log in logs)
    return max(0, -(-(size - FREE) // UNIT))


def _log_units(rendezvous_id: str, had: int, wanted: int) -> list[str]:
    return [log_unit(rendezvous_id, number) for number in range(had + 1, wanted + 1)]
