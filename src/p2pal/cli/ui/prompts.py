"""Questions to the person at the terminal: asked on the running loop, ended by Ctrl-C, safe against type-ahead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from threading import Lock, Thread
from typing import Final, TextIO

from p2pal.cli.job_control import in_foreground, shown_again
from p2pal.cli.signals import Stop
from p2pal.cli.ui.progress_lines import Board, Silent
from p2pal.errors import Interrupted, Refused

YES_OR_NO: Final = {"y": "y", "yes": "y", "n": "n", "no": "n"}

AWAY: Final = 0.2
"""Seconds between two looks whether the terminal is ours again. A shell that brings a running job to the front says
nothing of it."""

CTRL_C: Final = 0.1
"""Seconds by which Ctrl-C may be heard of later than the end of the input that it brings on Windows."""

_MOST_KEYS: Final = 4096


def screen() -> TextIO | None:
    """Return the stream on which a person sees a question: stderr, else stdout, else None (no terminal)."""
    for stream in (sys.stderr, sys.stdout):
        if stream.isatty():
            return stream
    return None


def interactive() -> bool:
    """Whether there is a person: keys to type and a screen to see them, and no shell that has both at the moment."""
    return sys.stdin is not None and sys.stdin.isatty() and screen() is not None and in_foreground(sys.stdin)


class Prompter:
    """Asks questions on the running loop.

    Args:
        stop: Ends a question when the user stops the program.
        board: What else is shown; it leaves a question alone.
    """

    def __init__(self, stop: Stop, board: Board | None = None) -> None:
        self._stop = stop
        self._board = board or Silent()

    def say(self, text: str) -> None:
        """Write a line where the questions stand; the text is safe already."""
        _write(text + "\n")

    async def confirm(self, question: str, *, default: bool = True) -> bool:
        """Ask a yes-or-no question; Enter alone means ``default``.

        Raises:
            Interrupted: If the user stops the program at the question.
        """
        choice = "[Y/n]" if default else "[y/N]"
        return await self.choose(f"{question} {choice} ", YES_OR_NO, default="y" if default else "n") == "y"

    async def choose(self, question: str, answers: Mapping[str, str], *, default: str) -> str:
        """Ask until one of ``answers`` is typed; return what it maps to.

        Raises:
            Interrupted: If the user stops the program at the question.
            Refused: If the input ends.
        """
        keyboard = Keyboard(lambda: _write(question))
        self._board.pause(keyboard.resume)
        try:
            _forget_type_ahead()
            while True:
                _write(question)
                line = await self._line(keyboard)
                if line is None:
                    _write("\n")
                    raise Refused("the question was not answered", hint="use -y to go on without questions")
                answer = line.strip().lower()
                if not answer:
                    return default
                if answer in answers:
                    return answers[answer]
        finally:
            self._board.go_on()

    async def _line(self, keyboard: Keyboard) -> str | None:
        reading = asyncio.ensure_future(keyboard.line())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                _write("\n")
                raise Interrupted("interrupted")
            return reading.result()
        except asyncio.CancelledError:
            _write("\n")  # the question was overtaken: what is told of that begins a line
            raise
        finally:
            reading.cancel()
            stopping.cancel()


def _write(text: str) -> None:
    stream = screen() or sys.stderr
    with contextlib.suppress(OSError):  # the terminal is gone, which ends the input as well
        stream.write(text)
        stream.flush()


def _forget_type_ahead() -> None:
    """Drop keys pressed before the question was there: an Enter too many must not agree to anything."""
    if sys.platform == "win32":
        import msvcrt

        drop_keys(msvcrt.kbhit, msvcrt.getwch)
        return
    import termios

    if not in_foreground(sys.stdin):  # what is typed is the shell's
        return
    with contextlib.suppress(termios.error, OSError, ValueError):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def drop_keys(waits: Callable[[], bool], take: Callable[[], str]) -> None:
    """Take from a console what was typed, and forget it; no more than a person can have typed."""
    for _ in range(_MOST_KEYS):
        if not waits():
            return
        take()


class Keyboard:
    """Where the answer to one question is typed. Never blocks the loop, and a cancelled read leaves nothing.

    While a shell has the terminal nothing is read: the keys are the shell's, and reading them would stop the process.

    Args:
        show: Shows the question again.
    """

    def __init__(self, show: Callable[[], None]) -> None:
        self._show = show
        self._watch: Callable[[], None] | None = None
        self._away: asyncio.TimerHandle | None = None

    async def line(self) -> str | None:
        """Return one line, or None at the end of the input."""
        try:
            return await self._read_on_loop()
        except (NotImplementedError, OSError):  # Windows' loop; macOS' kqueue, for some devices
            return await _reader.line()

    def resume(self) -> None:
        """The process goes on after it was stopped: show the question, now or once the terminal is ours again."""
        if in_foreground(sys.stdin):
            self._show()
        elif self._watch is not None:
            self._step_back()

    async def _read_on_loop(self) -> str | None:
        loop = asyncio.get_running_loop()
        descriptor = sys.stdin.fileno()
        done: asyncio.Future[str | None] = loop.create_future()
        typed = bytearray()

        def readable() -> None:
            if not in_foreground(sys.stdin):
                self._step_back()
                return
            try:
                data = os.read(descriptor, 1024)
            except OSError:
                data = b""
            typed.extend(data)
            if not done.done() and (not data or b"\n" in data):
                done.set_result(typed.partition(b"\n")[0].decode("utf-8", "replace") if data else None)

        def watch() -> None:
            loop.add_reader(descriptor, readable)

        watch()
        self._watch = watch
        try:
            return await done
        finally:
            loop.remove_reader(descriptor)
            self._watch = None
            if self._away is not None:
                self._away.cancel()

    def _step_back(self) -> None:
        """Leave the terminal to the shell, and look now and then whether it is ours again."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(sys.stdin.fileno())
        if self._away is None:
            self._away = loop.call_later(AWAY, self._look)

    def _look(self) -> None:
        self._away = None
        if self._watch is None:
            return
        if not in_foreground(sys.stdin):
            self._step_back()
            return
        self._show()
        self._watch()


class LineReader:
    """Reads lines in a thread, where the loop cannot watch the terminal. For one question at a time.

    Nothing ends a read that waits for Enter. So one whose question was overtaken is left to the next question; what it
    brings while there is none is dropped, like all that is typed ahead.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._reading = False
        self._asked: Callable[[str], object] | None = None

    async def line(self) -> str | None:
        """Return the next line, or None at the end of the input."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str] = loop.create_future()

        def answer(line: str) -> None:
            if not done.done():
                done.set_result(line)

        with self._lock:
            self._asked = lambda line: loop.call_soon_threadsafe(answer, line)
            begin, self._reading = not self._reading, True
        if begin:
            # A daemon: the process may end while the console still waits for Enter.
            Thread(target=self._read, daemon=True, name="p2pal-prompt").start()
        try:
            line = await done
        finally:
            with self._lock:
                self._asked = None
        if not line:
            await asyncio.sleep(CTRL_C)
        return line or None

    def _read(self) -> None:
        try:
            line = sys.stdin.readline()
        except (OSError, ValueError):
            line = ""
        with self._lock:
            self._reading = False
            if self._asked is not None:
                self._asked(line)


_reader: Final = LineReader()


def agree(question: str) -> bool:
    """Ask a yes-or-no question before any loop runs; only a yes means yes. The end of the input means no."""
    _forget_type_ahead()
    while True:
        try:
            answer = ask_line(f"{question} [y/N] ").lower()
        except EOFError:
            return False
        if not answer or answer in YES_OR_NO:
            return YES_OR_NO.get(answer, "n") == "y"


def ask_line(question: str) -> str:
    """Ask for a line before any loop runs.

    Raises:
        EOFError: If the input ends.
    """
    _write(question)
    with shown_again(lambda: _write(question)):
        line = sys.stdin.readline()
    if not line:
        _write("\n")
        raise EOFError
    return line.strip()
