"""A plain TCP balancer, in a thread of its own: it knows nothing of HTTP and takes whoever answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.e2e.kit import PATIENCE

T = TypeVar("T")


class Balancer:
    """Brings each connection to the next of several ports; one that nobody listens on is passed over.

    Args:
        ports: Where the instances listen.
        first: The one that gets all connections as long as it answers; None to take turns.
    """

    def __init__(self, ports: Sequence[int], *, first: int | None = None) -> None:
        self._ports = list(ports)
        self._first = first
        self._out: set[int] = set()
        self._turn = 0
        self._going = asyncio.Event()
        self._going.set()
        self._pairs: dict[tuple[asyncio.StreamWriter, asyncio.StreamWriter], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.url = ""
        self.passed = 0
        """Bytes that went from clients to instances."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(self._start())
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def pin(self, first: int | None) -> None:
        """Bring new connections to that one as long as it answers; None to take turns."""
        self._first = first

    def replace(self, index: int, port: int) -> None:
        """An instance was started again, and listens elsewhere."""
        self._ports[index] = port

    def drop(self, index: int) -> None:
        """Take one out: its connections are cut, and it gets no new ones."""
        self._call(lambda: self._drop(index))

    def restore(self, index: int) -> None:
        """Take one in again."""
        self._call(lambda: self._out.discard(index))

    def cut(self) -> None:
        """Cut all connections."""
        self._call(lambda: self._abort(list(self._pairs)))

    def hold(self) -> None:
        """Let nothing through for now, either way; connections stay open and are taken."""
        self._call(self._going.clear)

    def let_go(self) -> None:
        """Let through what was held, and all that comes."""
        self._call(self._going.set)

    def connections(self) -> dict[int, int]:
        """Return how many connections each instance has."""
        counts = self._call(lambda: list(self._pairs.values()))
        return {index: counts.count(index) for index in range(len(self._ports))}

    def _drop(self, index: int) -> None:
        self._out.add(index)
        self._abort([pair for pair, other in self._pairs.items() if other == index])

    def _abort(self, pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]]) -> None:
        for pair in pairs:
            for writer in pair:
                writer.transport.abort()

    def _call(self, act: Callable[[], T]) -> T:
        async def on_loop() -> T:
            return act()

        return self._run(on_loop())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _stop(self) -> None:
        self._server.close()
        self._going.set()
        self._abort(list(self._pairs))
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        found = await self._connect()
        if found is None:
            writer.transport.abort()
            return
        index, far_reader, far_writer = found
        self._pairs[writer, far_writer] = index
        try:
            await asyncio.gather(self._pump(reader, far_writer, 1), self._pump(far_reader, writer, 0))
        finally:
            del self._pairs[writer, far_writer]

    async def _connect(self) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to the first that answers, from the one whose turn it is on."""
        count = len(self._ports)
        start, self._turn = (self._turn, self._turn + 1) if self._first is None else (self._first, self._turn)
        for index in ((start + step) % count for step in range(count)):
            if index not in self._out:
                with suppress(OSError):
                    return index, *await asyncio.open_connection("127.0.0.1", self._ports[index])
        return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: int) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._going.wait()
                writer.write(data)
                await writer.drain()
                self.passed += counts * len(data)
        if reader.exception() is not None:
            writer.transport.abort()
        writer.close()
