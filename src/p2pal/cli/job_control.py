"""The shell's job control: Ctrl-Z, ``fg``, ``bg`` and ``&``, and SIGQUIT, with a terminal that is left in order.

A transfer goes on in the background. There it draws nothing, reads nothing, and writes its lines whatever the terminal
is set to (``stty tostop``): to be stopped for a line of status would cost the other side its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, Final, Protocol

SHOW_CURSOR: Final = b"\x1b[?25h\r\n"


class Screen(Protocol):
    """What is drawn on the terminal."""

    @property
    def hides_cursor(self) -> bool:
        """Whether the cursor is hidden now."""

    def suspend(self) -> None:
        """The process is about to stop: leave the terminal to the shell."""

    def resume(self) -> None:
        """The process goes on, in the foreground or in the background: show again what has to be seen."""


def in_foreground(stream: IO[str]) -> bool:
    """Whether this process may read from a terminal and draw on it; True for what no shell controls."""
    if sys.platform == "win32":
        return True
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # no terminal, or not that of this session
        return True


@contextmanager
def controlled(screen: Screen) -> Iterator[None]:
    """Do what the shell and the terminal's keys ask, on the running loop, for the length of the block."""
    if sys.platform == "win32":
        yield
        return
    loop = asyncio.get_running_loop()

    def suspend() -> None:
        screen.suspend()
        leave()
        # It goes to this thread, so nothing runs on before the process has stopped. Where no shell could wake it up
        # again the system ignores it.
        signal.raise_signal(signal.SIGTSTP)
        enter()
        screen.resume()

    def enter() -> None:
        loop.add_signal_handler(signal.SIGTSTP, suspend)
        loop.add_signal_handler(signal.SIGCONT, screen.resume)

    def leave() -> None:
        loop.remove_signal_handler(signal.SIGTSTP)
        loop.remove_signal_handler(signal.SIGCONT)

    if signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:  # who started us wants no job control
        yield
        return
    try:
        enter()
    except (ValueError, RuntimeError):  # not the main thread
        yield
        return
    try:
        with _quitting(screen):
            yield
    finally:
        leave()


@contextmanager
def _quitting(screen: Screen) -> Iterator[None]:
    """Show the cursor again before SIGQUIT ends the process, which must not wait for anything."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGQUIT) is not signal.SIG_DFL:
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if screen.hides_cursor:
            with contextlib.suppress(OSError, ValueError):
                terminal = sys.stderr.fileno()
                if select.select([], [terminal], [], 0)[1]:  # a terminal can be held
                    os.write(terminal, SHOW_CURSOR)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGQUIT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@contextmanager
def writing_in_background() -> Iterator[None]:
    """Let the terminal stop nobody who writes from the background."""
    if sys.platform == "win32":
        yield
        return
    try:
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTTOU, before)


@contextmanager
def shown_again(show: Callable[[], None]) -> Iterator[None]:
    """Call this when the process comes back to the foreground, while no loop runs."""
    if sys.platform == "win32":
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if in_foreground(sys.stdin):
            show()

    try:
        before = signal.signal(signal.SIGCONT, handle)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, before)
