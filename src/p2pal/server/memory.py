"""The store in this process's memory: the default."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable

from p2pal.server import meetings, rules, tokens
from p2pal.server.config import Limits
from p2pal.server.slots import Slots
from p2pal.server.state import SENDER, Append, Command, Denied, Drop, Effect, Join, Keep, Meet, Transfer
from p2pal.server.store import Listener

_LogKey = tuple[int, bool]


class _Record:
    """A transfer, its logs, and the entry in the timer heap that counts (others are stale)."""

    __slots__ = ("due", "logs", "transfer")

    def __init__(self, transfer: Transfer) -> None:
        self.transfer = transfer
        self.logs: dict[_LogKey, list[bytes]] = {}
        self.due: float | None = None


class MemoryStore:
    """Keeps everything in this process; one heap holds all deadlines.

    Args:
        limits: The bounds per transfer.
        max_transfers: Transfers at once, those that rest included.
        max_bytes: Bytes of all logs together.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        max_transfers: int = 100_000,
        max_bytes: int = 256 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or Limits()
        self._max_transfers = max_transfers
        self._room = max_bytes
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._by_slot: dict[int, str] = {}
        self._slots = Slots()
        self._heap: list[tuple[float, str]] = []
        self._earlier = asyncio.Event()
        self._listener: Listener = lambda _id, _effect: None

    def now(self) -> float:
        """The store's clock, in seconds."""
        return self._clock()

    def listen(self, listener: Listener) -> None:
        """Name the one listener for effects that concern sockets."""
        self._listener = listener

    async def create(self, ttl: float) -> tuple[Transfer, str]:
        """Open a transfer; see :class:`~p2pal.server.store.Store`."""
        if len(self._records) >= self._max_transfers:
            raise Denied("full")
        now = self._clock()
        rendezvous_id, slot, secret = tokens.new_id(), self._slots.take(), tokens.new_secret()
        transfer = rules.create(rendezvous_id, slot, tokens.digest(secret), ttl, now)
        record = self._records[rendezvous_id] = _Record(transfer)
        self._by_slot[slot] = rendezvous_id
        self._schedule(record)
        return transfer, tokens.assemble(rendezvous_id, SENDER, secret)

    async def join(self, slot: int) -> tuple[Transfer, int, str]:
        """Open an attempt; see :class:`~p2pal.server.store.Store`."""
        rendezvous_id = self._by_slot.get(slot)
        if rendezvous_id is None:
            raise Denied("unknown")
        secret = tokens.new_secret()
        transfer = await self.execute(rendezvous_id, Join(tokens.digest(secret)))
        number = transfer.joined
        return transfer, number, tokens.assemble(rendezvous_id, number, secret)

    async def meet(self, rendezvous_id: str, ttl: float, *, sender: bool) -> tuple[Transfer, int, str]:
        """Come to a meeting; see :class:`~p2pal.server.store.Store`."""
        record = self._records.get(rendezvous_id)
        if record is not None:
            self._advance(record, self._clock())
            record = self._records.get(rendezvous_id)
        if record is None and len(self._records) >= self._max_transfers:
            raise Denied("full")
        if record is None or record.transfer.over:
            transfer = meetings.create(rendezvous_id, ttl, self._clock())
            self._records[rendezvous_id] = _Record(transfer)
        secret = tokens.new_secret()
        transfer = await self.execute(rendezvous_id, Meet(sender, tokens.digest(secret), ttl))
        who = SENDER if sender else transfer.joined
        return transfer, who, tokens.assemble(rendezvous_id, who, secret)

    async def authorise(self, token: str) -> tuple[Transfer, int]:
        """Check a token; see :class:`~p2pal.server.store.Store`."""
        rendezvous_id, who, secret = tokens.parse(token)
        transfer = self._current(rendezvous_id).transfer
        tokens.verify(transfer, who, secret)
        return transfer, who

    async def load(self, rendezvous_id: str) -> Transfer:
        """Return a transfer; see :class:`~p2pal.server.store.Store`."""
        return self._current(rendezvous_id).transfer

    async def execute(self, rendezvous_id: str, command: Command) -> Transfer:
        """Carry out a command; see :class:`~p2pal.server.store.Store`."""
        record = self._current(rendezvous_id)
        if isinstance(command, Append):
            log = record.logs.get((command.attempt, command.who == SENDER), [])
            if 0 <= command.index < len(log):
                command = Append(command.who, command.attempt, command.index, command.body, log[command.index])
            elif len(command.body) > self._room:
                raise Denied("log-full")
        self._commit(record, *rules.handle(record.transfer, command, self._clock(), self._limits))
        return record.transfer

    async def read(self, rendezvous_id: str, attempt: int, start: int, *, by_sender: bool) -> list[bytes]:
        """Read a log; see :class:`~p2pal.server.store.Store`."""
        return self._current(rendezvous_id).logs.get((attempt, by_sender), [])[start:]

    async def run(self) -> None:
        """Carry out what time decides, until cancelled."""
        while True:
            due = self.sweep()
            self._earlier.clear()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                    await self._earlier.wait()
            except TimeoutError:
                continue

    def sweep(self) -> float | None:
        """Carry out what is due now; return when the next deadline is."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, rendezvous_id = heapq.heappop(self._heap)
            record = self._records.get(rendezvous_id)
            if record is not None and record.due == due:
                record.due = None
                self._advance(record, now)
                self._schedule(record)
        return self._heap[0][0] if self._heap else None

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
        if self._records.pop(transfer.id, None) is not None and transfer.slot:
            del self._by_slot[transfer.slot]
            self._slots.free(transfer.slot)

    def _commit(self, record: _Record, transfer: Transfer, effects: list[Effect]) -> None:
        record.transfer = transfer
        for effect in effects:
            if isinstance(effect, Keep):
                record.logs.setdefault((effect.attempt, effect.by_sender), []).append(effect.body)
                self._room -= len(effect.body)
            elif isinstance(effect, Drop):
                for by_sender in (True, False):
                    self._room += sum(map(len, record.logs.pop((effect.attempt, by_sender), [])))
            else:
                self._listener(transfer.id, effect)
        self._schedule(record)

    def _schedule(self, record: _Record) -> None:
        due = rules.next_timeout(record.transfer)
        if due is None or record.transfer.id not in self._records:
            return
        if record.due is not None and record.due <= due:
            return  # the entry in the heap comes first, and schedules again
        record.due = due
        heapq.heappush(self._heap, (due, record.transfer.id))
        if self._heap[0][0] == due:
            self._earlier.set()
