"""Running a command's coroutine: the fastest event loop there is, and an orderly end on Ctrl-C and SIGTERM.

The first signal asks: the peer is told, part files are cleaned up, the command ends with exit code 130 (the server
with 0). The second one does not wait.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeVar

from p2pal.errors import Interrupted

T = TypeVar("T")


class Stop:
    """Whether the user asked to stop, and who wants to hear of it. Create it inside the running loop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._first: list[Callable[[], None]] = []
        self._second: list[Callable[[], None]] = []

    def on_request(self, action: Callable[[], None]) -> None:
        """Call this once the user asks to stop; at once if that has happened."""
        if self._asked.is_set():
            action()
        else:
            self._first.append(action)

    def on_abandon(self, action: Callable[[], None]) -> None:
        """Call this before a second signal ends the process; for the terminal's sake only."""
        self._second.append(action)

    def request(self) -> None:
        """Ask; asked twice, end the process at once."""
        if self._asked.is_set():
            for action in self._second:
                action()
            os._exit(Interrupted.exit_code)
        self._asked.set()
        for action in self._first:
            action()

    def hang_up(self) -> None:
        """The terminal is gone: ask, once. Shell and kernel both tell of it, which is no impatience."""
        if not self._asked.is_set():
            self.request()

    async def wait(self) -> None:
        """Return once the user asked."""
        await self._asked.wait()


@contextmanager
def listening(stop: Stop) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into ``stop.request()`` on the running loop (Windows: Ctrl-C and Ctrl-Break)."""
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGBREAK]

        def handle(_number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(stop.request)

        before = [(number, signal.signal(number, handle)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)
    else:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants us to go on
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, stop.hang_up if number == signal.SIGHUP else stop.request)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


SWITCH_INTERVAL: Final = 0.0005
"""Seconds after which a thread that computes lets another have the interpreter.

The disk's threads need it for microseconds after each of their system calls; with the default of 5 ms ten thousand
small files wait for the loop's thread about as long as for the disk.
"""


def run(main: Callable[[Stop], Awaitable[T]], *, fast_sockets: bool = False) -> T:
    """Run ``main(stop)`` to its end on an event loop of its own.

    Args:
        main: What to run.
        fast_sockets: Use uvloop where it exists, for a server of many sockets. The WebRTC engine does its own sockets,
            and hands its events over in batches on asyncio's loop but one by one on any other: there it is slower.
    """

    async def guarded() -> T:
        stop = Stop()
        with listening(stop):
            return await main(stop)

    sys.setswitchinterval(SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=_uvloop() if fast_sockets else None) as runner:
        return runner.run(guarded())


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
