"""The stores that keep the contract of :mod:`p2pal.server.stores.base`, each on a bench where a test can move its time.

Add a store by adding an entry to :data:`STORES`: a function that opens a bench inside of the test's event loop.
"""

from __future__ import annotations

import asyncio
import shutil
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final

from tests.redis_kit import Kind, RedisServer, Servers

from p2pal.server.config import Limits
from p2pal.server.stores.base import News, Store
from p2pal.server.stores.memory import MemoryStore
from p2pal.server.stores.redis import RedisStore

LIMITS: Final = Limits(rest=20.0, messages=8)
MAX_OPEN: Final = 30
MAX_KEPT: Final = 2 << 20
PATIENCE: Final = 10.0


class Bench(ABC):
    """A store that is listened to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.heard: list[tuple[str, News]] = []
        self._news = asyncio.Event()
        store.listen(self._hear)

    def _hear(self, rendezvous_id: str, effect: News) -> None:
        self.heard.append((rendezvous_id, effect))
        self._news.set()

    def socket(self, name: str) -> str:
        """Return the id of a socket of this instance."""
        return f"{self.store.instance}.{name}"

    async def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait for something that follows from what the store says."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def hears(self, rendezvous_id: str, effect: News) -> None:
        """Wait until the store has said that."""
        await self.until(lambda: (rendezvous_id, effect) in self.heard)

    @abstractmethod
    async def pass_time(self, seconds: float) -> None:
        """Let the store believe that so much time has passed, and do what is due."""


class MemoryBench(Bench):
    def __init__(self) -> None:
        self._now = 100.0
        self.memory = MemoryStore(LIMITS, max_open=MAX_OPEN, max_kept=MAX_KEPT, clock=lambda: self._now)
        super().__init__(self.memory)

    async def pass_time(self, seconds: float) -> None:
        self._now += seconds
        self.memory.sweep()


class RedisBench(Bench):
    """Moves the store's clock forward and what Redis keeps towards its end, by the same time."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._shift = 0.0
        self.redis = RedisStore(server.url, LIMITS, max_open=MAX_OPEN, max_kept=MAX_KEPT, shift=lambda: self._shift)
        super().__init__(self.redis)

    async def pass_time(self, seconds: float) -> None:
        self._shift += seconds
        await asyncio.to_thread(self._server.pass_time, seconds)
        await self.redis.sweep()


@asynccontextmanager
async def memory_bench(_servers: Servers) -> AsyncIterator[Bench]:
    yield MemoryBench()


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[None]:
    """Let a store do its own work for the length of the block."""
    work = asyncio.create_task(store.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await store.available()
        yield
    finally:
        work.cancel()
        ended, _ = await asyncio.wait((work,), timeout=PATIENCE)
        assert ended, "it does not stop"
        if not work.cancelled():
            work.result()


@asynccontextmanager
async def redis_bench(servers: Servers, *, kind: Kind) -> AsyncIterator[Bench]:
    server = servers.get(kind)
    server.flush()
    bench = RedisBench(server)
    async with running(bench.store):
        yield bench


Open = Callable[[Servers], AbstractAsyncContextManager[Bench]]

STORES: Final[dict[str, Open]] = {
    "memory": memory_bench,
    "redis": partial(redis_bench, kind="redis"),
    "redis-cluster": partial(redis_bench, kind="redis-cluster"),
}
if shutil.which("valkey-server"):  # not in every distribution yet
    STORES["valkey"] = partial(redis_bench, kind="valkey")
