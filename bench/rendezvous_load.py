"""Load on a signaling server, and what the server used for it. Run by ``server.py``, as a process of its own.

    python bench/rendezvous_load.py rendezvous --dialect p2pal --url http://127.0.0.1:8080 --pid 123 --count 300

One line of JSON tells the result. Both dialects offer the same steps, so nothing here depends on who is measured. Linux
only: the CPU time and the resident memory of other processes come from its clocks and from ``/proc``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol, Self

import aiohttp
import uvloop

from p2pal_mailbox import P2pal
from wormhole_mailbox import Wormhole

PAKE: Final = (60, 110, 50)
"""Bytes of the messages of the key exchange: sender, receiver, sender."""

SEALED: Final = 5
"""Messages that each side sends after it: hello, description, candidates."""

SIZE: Final = 512
"""Bytes of each of them, and of those whose latency is measured."""

_STAMP: Final = 8
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class End(Protocol):
    """One side's WebSocket."""

    async def append(self, body: bytes) -> None: ...
    async def message(self) -> bytes: ...
    async def cut(self) -> None: ...


class Dialect(Protocol):
    """The steps of a rendezvous."""

    async def wait(self) -> Any: ...
    async def join(self, sender: Any) -> Any: ...
    async def accept(self, sender: Any, receiver: Any) -> None: ...
    async def finish(self, sender: Any, receiver: Any) -> None: ...


DIALECTS: Final[dict[str, Callable[[aiohttp.ClientSession, list[str]], Dialect]]] = {
    "p2pal": P2pal,
    "wormhole": Wormhole,
}


async def meet(dialect: Dialect) -> tuple[End, End]:
    """Bring two sides together, the key exchange included."""
    sender = await dialect.wait()
    receiver = await dialect.join(sender)
    first, second, third = map(bytes, PAKE)
    await _pass(sender, receiver, first)
    await _pass(receiver, sender, second)
    await dialect.accept(sender, receiver)
    await _pass(sender, receiver, third)
    return sender, receiver


async def rendezvous(dialect: Dialect) -> None:
    """Carry out one complete rendezvous."""
    sender, receiver = await meet(dialect)
    bodies = [bytes([number]) * SIZE for number in range(SEALED)]
    for body in bodies:
        await sender.append(body)
        await receiver.append(body)
    for body in bodies:
        _check(await receiver.message(), body)
        _check(await sender.message(), body)
    await dialect.finish(sender, receiver)


async def _pass(writer: End, reader: End, body: bytes) -> None:
    await writer.append(body)
    _check(await reader.message(), body)


def _check(got: bytes, expected: bytes) -> None:
    if got != expected:
        raise RuntimeError("a message arrived altered or out of order")


async def many(step: Callable[[], Awaitable[None]], count: int, workers: int) -> None:
    """Take a step so often, with so many under way at once."""
    numbers = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            await step()

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())


async def measure_rendezvous(dialect: Dialect, pids: list[int], count: int, workers: int) -> dict[str, Any]:
    """Return the seconds that ``count`` took, and the seconds of CPU of each process."""
    await many(lambda: rendezvous(dialect), max(workers, count // 10), workers)
    before, started = list(map(cpu, pids)), time.perf_counter()
    await many(lambda: rendezvous(dialect), count, workers)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "cpu": [cpu(pid) - used for pid, used in zip(pids, before, strict=True)]}


async def measure_waiting(
    dialect: Dialect, pids: list[int], counts: list[int], workers: int, settle: float
) -> dict[str, Any]:
    """Return what each process holds, in bytes, before the first transfer and when so many wait."""
    held = {"0": list(map(resident, pids))}
    async with _Readers() as readers:
        waiting = 0

        async def add() -> None:
            readers.add(await dialect.wait(), _ignore)

        for count in counts:
            await many(add, count - waiting, workers)
            waiting = count
            await asyncio.sleep(settle)
            readers.check(count)
            held[str(count)] = list(map(resident, pids))
    return {"held": held}


async def measure_latency(
    dialect: Dialect, count: int, workers: int, rate: float, windows: list[float]
) -> dict[str, Any]:
    """Return the seconds from an append to the message at the other side, for each window: median and 99th in 100."""
    latencies: list[float] = []
    pairs: list[tuple[End, End]] = []
    async with _Readers() as readers:

        def arrived(body: bytes) -> None:
            latencies.append((time.perf_counter_ns() - int.from_bytes(body[:_STAMP])) / 1e9)

        async def add() -> None:
            pair = await meet(dialect)
            pairs.append(pair)
            for end in pair:
                readers.add(end, arrived)

        await many(add, count, workers)
        results = []
        number = 0
        for window in windows:
            latencies.clear()
            messages = int(window * rate)
            begin = time.perf_counter()
            for step in range(messages):
                await asyncio.sleep(max(0.0, begin + step / rate - time.perf_counter()))
                turn, pair = divmod(number, count)
                number += 1
                stamp = time.perf_counter_ns().to_bytes(_STAMP)
                await pairs[pair][turn % 2].append(stamp + bytes(SIZE - _STAMP))
            while len(latencies) < messages:
                readers.check(2 * count)
                await asyncio.sleep(0.01)
            hundredths = statistics.quantiles(latencies, n=100)
            results.append([hundredths[49], hundredths[98]])
    return {"latency": results}


def _ignore(_body: bytes) -> None:
    pass


class _Readers:
    """A task for each socket, which reads what comes; only so a client answers pings."""

    def __init__(self) -> None:
        self._ends: list[End] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in self._ends:
            await end.cut()

    def add(self, end: End, then: Callable[[bytes], None]) -> None:
        async def read() -> None:
            while True:
                then(await end.message())

        self._ends.append(end)
        self._tasks.append(asyncio.create_task(read()))

    def check(self, count: int) -> None:
        """Raise what ended a socket, if one has ended."""
        if len(self._tasks) != count:
            raise RuntimeError(f"{len(self._tasks)} sockets instead of {count}")
        for task in self._tasks:
            if task.done():
                task.result()


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used, user and system (Linux: clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def resident(pid: int) -> int:
    """Return the bytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30.0)) as session:
        yield session


async def _run(args: argparse.Namespace) -> dict[str, Any]:
    async with asyncio.timeout(args.limit), _session() as session:
        dialect = DIALECTS[args.dialect](session, args.url)
        if args.figure == "rendezvous":
            return await measure_rendezvous(dialect, args.pid, args.count[-1], args.workers)
        if args.figure == "waiting":
            return await measure_waiting(dialect, args.pid, args.count, args.workers, args.settle)
        return await measure_latency(dialect, args.count[-1], args.workers, args.rate, args.window)


def main() -> int:
    """Put load on a server."""
    parser = argparse.ArgumentParser(description="Put load on a signaling server.")
    parser.add_argument("figure", choices=["rendezvous", "waiting", "latency"])
    parser.add_argument("--dialect", choices=[*DIALECTS], required=True)
    parser.add_argument("--url", nargs="+", required=True, help="senders use the first, receivers the last")
    parser.add_argument("--pid", type=int, nargs="*", default=[], help="processes to look at")
    parser.add_argument("--count", type=int, nargs="+", required=True, help="transfers; for waiting: in steps")
    parser.add_argument("--workers", type=int, default=16, help="under way at once")
    parser.add_argument("--settle", type=float, default=2.0, help="seconds before memory is looked at")
    parser.add_argument("--rate", type=float, default=200.0, help="messages per second over all pairs")
    parser.add_argument("--window", type=float, nargs="+", default=[3.0], help="seconds of each window of latencies")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds after which it fails")
    args = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            print(json.dumps(runner.run(_run(args))))
        except Exception as error:  # noqa: BLE001 - whatever it is, the figure could not be taken
            print(f"{args.figure}: {_first(error)!r}", file=sys.stderr)
            return 1
    return 0


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
