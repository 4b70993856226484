"""A server whose store loses touch: what it has to say gets lost for a while, and outcomes of commands are unknown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
from tests.unit.server.kit import Kit

from p2pal.server import state as s
from p2pal.server.config import ServerConfig
from p2pal.server.http.app import Server
from p2pal.server.state import Denied, Rendezvous, RendezvousCommand
from p2pal.server.stores.base import News, StoreListener
from p2pal.server.stores.memory import MemoryStore

_REPEATABLE = s.Attach | s.AppendMessage | s.AcceptAttempt | s.ReleaseAttempt | s.LeaveAttempt | s.CompleteTransfer


class DeafStore(MemoryStore):
    """The memory store, with the faults of a shared one.

    Attributes:
        deaf: What sockets should hear is lost.
        deaf_first: Each socket hears nothing of the first time that it is attached again.
        slow: Being attached again waits for it.
        doubtful: Every command is carried out, and then said to have failed, the first time.
        lost: How much was lost.
        waiting: Sockets that wait for ``slow``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deaf = False
        self.deaf_first = False
        self.slow: asyncio.Event | None = None
        self.doubtful = False
        self.lost = 0
        self.waiting = 0
        self._sockets: dict[str, str] = {}
        self._said: set[str] = set()
        self._again: set[str] = set()
        self._hub: StoreListener = lambda _id, _effect: None
        self._changed = asyncio.Event()

    def listen(self, listener: StoreListener) -> None:
        self._hub = listener
        super().listen(self._hear)

    def _hear(self, rendezvous_id: str, effect: News) -> None:
        if self.deaf and isinstance(effect, s.Tell | s.CloseSocket):
            self.lost += 1
            self._changed.set()
        else:
            self._hub(rendezvous_id, effect)

    def missed(self) -> None:
        """Say to every socket that it may have missed something."""
        for socket, rendezvous_id in list(self._sockets.items()):
            self._hub(rendezvous_id, s.Missed(socket))

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for something that was lost or waits."""
        async with asyncio.timeout(20):
            while not done():
                self._changed.clear()
                await self._changed.wait()

    async def execute(self, rendezvous_id: str, command: RendezvousCommand) -> Rendezvous:
        if isinstance(command, s.Attach):
            self._sockets[command.socket] = rendezvous_id
            if command.again:
                return await self._attach_again(rendezvous_id, command)
        if self.doubtful and isinstance(command, _REPEATABLE) and repr(command) not in self._said:
            self._said.add(repr(command))
            await super().execute(rendezvous_id, command)
            raise Denied("unavailable")
        return await super().execute(rendezvous_id, command)

    async def _attach_again(self, rendezvous_id: str, command: s.Attach) -> Rendezvous:
        if self.slow is not None:
            self.waiting += 1
            self._changed.set()
            await self.slow.wait()
        self.deaf, before = self.deaf or (self.deaf_first and command.socket not in self._again), self.deaf
        self._again.add(command.socket)
        try:
            return await super().execute(rendezvous_id, command)
        finally:
            self.deaf = before


@asynccontextmanager
async def deaf_kit() -> AsyncIterator[tuple[Kit, DeafStore]]:
    """Run such a server on a free loopback port."""
    store = DeafStore()
    server = Server(ServerConfig(port=0, drain=0.2), store)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Kit(server, session), store
    finally:
        await server.stop()
