"""What SIGINT, SIGTERM and SIGHUP mean: the first asks for an orderly end, a second one ends the process at once.

``timeout`` of GNU and of others signals its child and the process group, within a millisecond; that a terminal closes
is told by the kernel and by the shell. So what follows within :data:`SAME_WISH` is the same wish.

While an event loop runs, :mod:`p2pal.cli.signals` hears of them; before it, and after it, :class:`Interrupts` does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from types import FrameType
from typing import Final

from p2pal.errors import Interrupted

SAME_WISH: Final = 0.4
"""Seconds from the first signal in which another one says nothing new."""


class Wish(Enum):
    """What a signal says."""

    ASK = "the user wants an orderly end"
    SAME = "what was said before"
    INSIST = "the user does not want to wait any longer"


class StopRequests:
    """Tells the second signal from the first one that came twice.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None

    def hear(self) -> Wish:
        """Take note of a signal that came now; return what it says."""
        now = self._clock()
        if self._since is None:
            self._since = now
            return Wish.ASK
        return Wish.SAME if now - self._since < SAME_WISH else Wish.INSIST


def numbers() -> list[signal.Signals]:
    """Return the signals that ask for an end here; SIGHUP not where ``nohup`` wants us to go on."""
    if sys.platform == "win32":  # Ctrl-C; nothing but ourselves; Ctrl-Break, or the window is closed
        return [signal.SIGINT, signal.SIGTERM, signal.SIGBREAK]
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *(() if ignored else (signal.SIGHUP,))]


class Interrupts:
    """Hears of the signals of one run of the command line, while no event loop does.

    Attributes:
        patience: Of the whole run: a loop that ends hands on what it heard.
        ending: The command has come to its end and only reports it: nothing is left to be asked for.
    """

    def __init__(self) -> None:
        self.patience = StopRequests()
        self.ending = False

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Take a signal.

        Raises:
            KeyboardInterrupt: If a command is to be ended by it.
        """
        wish = self.patience.hear()
        if wish is Wish.INSIST:
            os._exit(Interrupted.exit_code)
        if wish is Wish.ASK and not self.ending:
            self.ending = True
            raise KeyboardInterrupt


current: Final[ContextVar[Interrupts | None]] = ContextVar("interrupts", default=None)
"""Those of the command line that runs; None where only a part of it does."""


@contextmanager
def heard(*, to_the_end: bool) -> Iterator[Interrupts]:
    """Handle the signals for the length of the block; where they cannot be (not the main thread), leave them alone.

    Args:
        to_the_end: The process ends after the block, and is not interrupted there.
    """
    interrupts = Interrupts()
    before = {}
    with contextlib.suppress(ValueError):
        for number in numbers():
            before[number] = signal.signal(number, interrupts.handle)
    token = current.set(interrupts)
    try:
        yield interrupts
    finally:
        current.reset(token)
        for number, handler in before.items():
            # The interpreter's end gives a handler of ours up, but leaves a signal ignored.
            signal.signal(number, signal.SIG_IGN if to_the_end else handler)
