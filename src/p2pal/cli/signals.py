"""Running a command's coroutine: the fastest event loop there is, and an orderly end on Ctrl-C and SIGTERM.

The first signal asks: a checkpoint is saved, the peer is told, the command ends with exit code 130 (the server with 0).
The second one does not wait; :mod:`p2pal.cli.interrupts` says which one is the second. A transfer that was asked ends
within :data:`GRACE` in any case, though a disk that hangs holds one of its threads: what was claimed is durable, and a
process that is gone leaves nothing wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

from p2pal.cli import interrupts
from p2pal.cli.interrupts import StopRequests, Wish
from p2pal.errors import Interrupted

P = ParamSpec("P")
T = TypeVar("T")

GRACE: Final = 1.7
"""Seconds from the first signal in which a transfer ends by itself; then the process ends it."""

LAST_WORD: Final = 0.1
"""Seconds that saying so may take: a terminal can be held too."""

LINGER: Final = 0.3
"""Seconds for which the threads of ``asyncio.to_thread`` are waited for at the end."""


class Stop:
    """Whether the user asked to stop, and who wants to hear of it. Create it inside the running loop.

    Args:
        patience: Tells which signal is the second one.
    """

    def __init__(self, patience: StopRequests | None = None) -> None:
        self._patience = patience or StopRequests()
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
        """Call this before a second signal ends the process; for the terminal's sake only, and not for long."""
        self._second.append(action)

    def request(self) -> None:
        """Ask; asked again a while later, end the process at once."""
        wish = self._patience.hear()
        if wish is Wish.INSIST:
            leave(self._second)
        if not self._asked.is_set():
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


def leave(last_words: Iterable[Callable[[], None]]) -> NoReturn:
    """End the process now, as interrupted. What is still to be said gets :data:`LAST_WORD`."""

    def speak() -> None:
        for say in last_words:
            with contextlib.suppress(Exception):
                say()

    speaking = threading.Thread(target=speak, name="p2pal-last-word", daemon=True)
    speaking.start()
    speaking.join(LAST_WORD)
    os._exit(Interrupted.exit_code)


def _wishes(stop: Stop) -> dict[signal.Signals, Callable[[], None]]:
    """Return what each signal that the system has wants of us."""
    hup = getattr(signal, "SIGHUP", None)
    return {number: stop.hang_up if number == hup else stop.request for number in interrupts.numbers()}


@contextmanager
def listening(stop: Stop) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into ``stop.request()`` on the running loop (Windows: Ctrl-C and Ctrl-Break)."""
    loop = asyncio.get_running_loop()
    wishes = _wishes(stop)
    before = [(number, signal.getsignal(number)) for number in wishes]
    try:
        for number, wish in wishes.items():
            loop.add_signal_handler(number, wish)
    except NotImplementedError:  # Windows' loop
        with _handling(loop, wishes):
            yield
        return
    try:
        yield
    finally:
        for number, handler in before:
            loop.remove_signal_handler(number)
            if handler is not None:
                signal.signal(number, handler)


@contextmanager
def _handling(loop: asyncio.AbstractEventLoop, wishes: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Hear of signals without the loop's help: the interpreter calls the handlers between two steps of ours."""

    def handle(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(wishes[signal.Signals(number)])

    before = [(number, signal.signal(number, handle)) for number in wishes]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class Deadline:
    """Ends the process when a stop that the user asked for takes too long. It has a thread of its own.

    Args:
        last_word: Says so on the screen.
        grace: Seconds.
    """

    def __init__(self, last_word: Callable[[], None], grace: float = GRACE) -> None:
        self._last_word = last_word
        self._grace = grace
        self._over = threading.Event()
        self._spoken = threading.Lock()

    def last_word(self) -> None:
        """Say that it ends before everything is in order; once."""
        if self._spoken.acquire(blocking=False):
            self._last_word()

    def start(self) -> None:
        """The time runs from now on."""
        threading.Thread(target=self._run, name="p2pal-deadline", daemon=True).start()

    def lift(self) -> None:
        """It ended by itself."""
        self._over.set()

    def _run(self) -> None:
        if not self._over.wait(self._grace):
            leave([self.last_word])


class _Threads(ThreadPoolExecutor):
    """What ``asyncio.to_thread`` runs in. Its end waits for :data:`LINGER` at most: a thread may hang in the disk."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="p2pal")
        self._unfinished: set[Future[Any]] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run it in a thread."""
        future = super().submit(fn, *args, **kwargs)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work, and wait a little for what is under way."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        if wait:
            wait_for(list(self._unfinished), timeout=LINGER)


SWITCH_INTERVAL: Final = 0.0005
"""Seconds after which a thread that computes lets another have the interpreter.

The disk's threads need it for microseconds after each of their system calls; with the default of 5 ms ten thousand
small files wait for the loop's thread about as long as for the disk.
"""


COLLECT_AFTER: Final = (20_000, 20, 20)
"""Objects that came to be, less those that went, after which the garbage collector looks at the youngest; and how often
it does that before it looks at older ones (:func:`gc.set_threshold`).

With its own numbers it goes through all modules while they load and while files flow, for nothing: what is large here
is freed by counting. That was 4 % of the processor time of a transfer of 512 MiB.
"""


def run(
    main: Callable[[Stop], Awaitable[T]],
    *,
    fast_sockets: bool = False,
    deadline: Deadline | None = None,
) -> T:
    """Run ``main(stop)`` to its end on an event loop of its own.

    Args:
        main: What to run.
        fast_sockets: Use uvloop where it exists, for a server of many sockets. The WebRTC engine does its own sockets,
            and hands its events over in batches on asyncio's loop but one by one on any other: there it is slower.
        deadline: Ends the process if it does not end by itself once the user asked.
    """

    async def guarded() -> T:
        asyncio.get_running_loop().set_default_executor(_Threads())
        run = interrupts.current.get()
        stop = Stop(None if run is None else run.patience)
        if deadline is not None:
            stop.on_request(deadline.start)
            stop.on_abandon(deadline.last_word)
        with listening(stop):
            return await main(stop)

    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(*COLLECT_AFTER)
    try:
        with asyncio.Runner(loop_factory=_uvloop() if fast_sockets else None) as runner:
            return runner.run(guarded())
    finally:
        if deadline is not None:
            deadline.lift()


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
