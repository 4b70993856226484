"""The store in this process's memory: the default."""

from __future__ import annotations

import heapq
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from p2pal.rate_limit import Rate, spend
from p2pal.server import meetings, rules, tokens
from p2pal.server.config import Limits
from p2pal.server.state import (
    SENDER,
    AppendMessage,
    Denied,
    Drop,
    Effect,
    Join,
    JoinMeeting,
    Keep,
    Rendezvous,
    RendezvousCommand,
    Replay,
    Tell,
)
from p2pal.server.stores.base import StoreListener
from p2pal.server.stores.deadlines import Deadlines
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import State

_ADDRESSES: Final = 100_000
"""Addresses whose allowances are remembered; the one that was used longest ago is forgotten first."""

_SHARE: Final = 8
"""One owner's logs may take this part of the room for all."""

_POOL: Final = 16
"""Slots of which one is drawn."""

_MESSAGE: Final = 64
"""Bytes that a message takes beside its body."""

_LogKey = tuple[int, bool]


def kept(body: bytes) -> int:
    """Return the bytes that a message in a log takes."""
    return len(body) + _MESSAGE


class Slots:
    """Hands out one of the 16 smallest free numbers at random, so that they stay short but have no order."""

    __slots__ = ("_free", "_next", "_pool")

    def __init__(self) -> None:
        self._next = 1
        self._free: list[int] = []
        self._pool: list[int] = []

    def take(self) -> int:
        """Return a free number."""
        while len(self._pool) < _POOL:
            if self._free:
                self._pool.append(heapq.heappop(self._free))
            else:
                self._pool.append(self._next)
                self._next += 1
        return self._pool.pop(secrets.randbelow(len(self._pool)))

    def free(self, slot: int) -> None:
        """Take a number back; the caller has let it rest for long enough."""
        largest = max(self._pool, default=0)
        if slot < largest:
            self._pool.remove(largest)
            self._pool.append(slot)
            slot = largest
        heapq.heappush(self._free, slot)


class _Record:
    """A transfer and its logs."""

    __slots__ = ("logs", "transfer")

    def __init__(self, transfer: Rendezvous) -> None:
        self.transfer = transfer
        self.logs: dict[_LogKey, list[bytes]] = {}


class MemoryStore:
    """Keeps everything in this process; one heap holds all deadlines.

    Args:
        limits: The bounds per transfer.
        max_transfers: Transfers at once, those that rest included.
        max_bytes: Bytes of all logs together.
        max_open: Transfers of one owner that are not over; 0 for any number.
        max_kept: Bytes of all logs of one owner; an eighth of ``max_bytes`` at most.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        max_transfers: int = 100_000,
        max_bytes: int = 256 << 20,
        max_open: int = 0,
        max_kept: int = 8 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.instance = secrets.token_hex(6)
        self._limits = limits or Limits()
        self._max_transfers = max_transfers
        self._room = max_bytes
        self._max_open = max_open
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._by_slot: dict[int, str] = {}
        self._open: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()  # bytes of each owner's logs
        self._share = min(max_kept, max_bytes // _SHARE)
        self._slots = Slots()
        self._deadlines = Deadlines()
        self._allowances: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._listener: StoreListener = lambda _id, _effect: None

    def now(self) -> float:
        """The store's clock, in seconds."""
        return self._clock()

    def listen(self, listener: StoreListener) -> None:
        """Name the one listener for effects that concern sockets."""
        self._listener = listener

    async def create(self, ttl: float, owner: str = "") -> tuple[Rendezvous, str]:
        """Open a transfer; see :class:`~p2pal.server.stores.base.Store`."""
        self._check_room(owner)
        rendezvous_id, slot, secret = tokens.new_id(), self._slots.take(), tokens.new_secret()
        transfer = rules.create(rendezvous_id, slot, tokens.digest(secret), ttl, self._clock(), owner)
        self._by_slot[slot] = rendezvous_id
        self._begin(transfer)
        return transfer, tokens.assemble(rendezvous_id, SENDER, secret)

    async def join(self, slot: int) -> tuple[Rendezvous, int, str]:
        """Open an attempt; see :class:`~p2pal.server.stores.base.Store`."""
        rendezvous_id = self._by_slot.get(slot)
        if rendezvous_id is None:
            raise Denied("unknown")
        secret = tokens.new_secret()
        transfer = await self.execute(rendezvous_id, Join(tokens.digest(secret)))
        number = transfer.joined
        return transfer, number, tokens.assemble(rendezvous_id, number, secret)

    async def meet(
        self, rendezvous_id: str, ttl: float, *, sender: bool, owner: str = ""
    ) -> tuple[Rendezvous, int, str]:
        """Come to a meeting; see :class:`~p2pal.server.stores.base.Store`."""
        record = self._records.get(rendezvous_id)
        if record is not None:
            self._advance(record, self._clock())
            record = self._records.get(rendezvous_id)
        if record is None or (record.transfer.over and record.transfer.meeting):
            if record is not None:
                self._forget(record)
            self._check_room(owner)
            self._begin(meetings.create(rendezvous_id, ttl, self._clock(), owner))
        secret = tokens.new_secret()
        transfer = await self.execute(rendezvous_id, JoinMeeting(sender, tokens.digest(secret), ttl))
        who = SENDER if sender else transfer.joined
        return transfer, who, tokens.assemble(rendezvous_id, who, secret)

    async def authorise(self, token: str) -> tuple[Rendezvous, int]:
        """Check a token; see :class:`~p2pal.server.stores.base.Store`."""
        rendezvous_id, who, secret = tokens.parse(token)
        transfer = self._current(rendezvous_id).transfer
        tokens.verify(transfer, who, secret)
        return transfer, who

    async def load(self, rendezvous_id: str) -> Rendezvous:
        """Return a transfer; see :class:`~p2pal.server.stores.base.Store`."""
        return self._current(rendezvous_id).transfer

    async def execute(self, rendezvous_id: str, command: RendezvousCommand) -> Rendezvous:
        """Carry out a command; see :class:`~p2pal.server.stores.base.Store`."""
        record = self._current(rendezvous_id)
        if isinstance(command, AppendMessage):
            log = record.logs.get((command.attempt, command.who == SENDER), [])
            if 0 <= command.index < len(log):
                command = AppendMessage(command.who, command.attempt, command.index, command.body, log[command.index])
            elif not self._has_room(record.transfer.owner, kept(command.body)):
                raise Denied("log-full")
        self._commit(record, *rules.handle(record.transfer, command, self._clock(), self._limits))
        return record.transfer

    async def spend(self, purpose: str, address: str, rate: Rate) -> float:
        """Take one from an allowance; see :class:`~p2pal.server.stores.base.Store`."""
        key = (purpose, address)
        whole_at, wait = spend(self._allowances.get(key, 0.0), self._clock(), rate)
        self._allowances[key] = whole_at
        self._allowances.move_to_end(key)
        if len(self._allowances) > _ADDRESSES:
            self._allowances.popitem(last=False)
        return wait

    async def check(self) -> None:
        """Memory is always there."""

    async def available(self) -> None:
        """Memory is always there."""

    def census(self) -> Counter[State]:
        """Count transfers by state; see :class:`~p2pal.server.stores.base.Store`."""
        return Counter(record.transfer.state for record in self._records.values() if record.transfer.socket)

    async def run(self) -> None:
        """Carry out what time decides, until cancelled."""
        while True:
            self.sweep()
            await self._deadlines.wait(self._clock)

    def sweep(self) -> None:
        """Carry out what is due now."""
        now = self._clock()
        while (rendezvous_id := self._deadlines.pop(now)) is not None:
            record = self._records.get(rendezvous_id)
            if record is not None:
                self._advance(record, now)
                if rendezvous_id in self._records:
                    self._deadlines.note(rendezvous_id, rules.next_timeout(record.transfer))

    def _check_room(self, owner: str) -> None:
        if len(self._records) >= self._max_transfers:
            raise Denied("full")
        if owner and 0 < self._max_open <= self._open[owner]:
            raise Denied("too-many-open")

    def _has_room(self, owner: str, size: int) -> bool:
        return size <= self._room and not (owner and self._kept.get(owner, 0) + size > self._share)

    def _account(self, owner: str, size: int) -> None:
        self._room -= size
        if owner:
            self._kept[owner] += size
            if not self._kept[owner]:
                del self._kept[owner]

    def _begin(self, transfer: Rendezvous) -> None:
        self._records[transfer.id] = _Record(transfer)
        if transfer.owner:
            self._open[transfer.owner] += 1
        self._deadlines.note(transfer.id, rules.next_timeout(transfer))

    def _current(self, rendezvous_id: str) -> _Record:
        record = self._records.get(rendezvous_id)
        if record is not None:
            self._advance(record, self._clock())
            record = self._records.get(rendezvous_id)
        if record is None:
            raise Denied("unknown")
        return record

    def _advance(self, record: _Record, now: float) -> None:
        due = rules.next_timeout(record.transfer)
        if due is None or due > now:
            return
        if record.transfer.over:
            self._forget(record)
        else:
            self._commit(record, *rules.handle_timeout(record.transfer, now, self._limits))

    def _forget(self, record: _Record) -> None:
        transfer = record.transfer
        self._deadlines.forget(transfer.id)
        if self._records.pop(transfer.id, None) is not None and transfer.slot:
            del self._by_slot[transfer.slot]
            self._slots.free(transfer.slot)

    def _commit(self, record: _Record, transfer: Rendezvous, effects: list[Effect]) -> None:
        if transfer.over and not record.transfer.over and transfer.owner:
            self._open[transfer.owner] -= 1
            if not self._open[transfer.owner]:
                del self._open[transfer.owner]
        record.transfer = transfer
        for effect in effects:
            if isinstance(effect, Keep):
                record.logs.setdefault((effect.attempt, effect.by_sender), []).append(effect.body)
                self._account(transfer.owner, kept(effect.body))
            elif isinstance(effect, Replay):
                log = record.logs.get((effect.attempt, effect.by_sender), [])
                for index in range(effect.start, len(log)):
                    message = wire.LogMessage(effect.attempt, index, log[index])
                    self._listener(transfer.id, Tell(effect.socket, message))
            elif isinstance(effect, Drop):
                for by_sender in (True, False):
                    self._account(transfer.owner, -sum(map(kept, record.logs.pop((effect.attempt, by_sender), []))))
            else:
                self._listener(transfer.id, effect)
        self._deadlines.note(transfer.id, rules.next_timeout(transfer))
