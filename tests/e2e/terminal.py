"""A command in a pseudo-terminal, and the screen that a person would see."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import pexpect
import pyte
from tests.e2e.kit import PATIENCE, environment, until

T = TypeVar("T")

HEIGHT: Final = 40
CTRL_C: Final = "\x03"
CTRL_Z: Final = "\x1a"
CTRL_BACKSLASH: Final = "\x1c"
P2PAL: Final = (sys.executable, "-m", "p2pal")
SHELL: Final = ("bash", "--norc", "--noprofile", "--noediting", "-i")
"""With job control, and a prompt that ``PS1`` gives."""


class Terminal:
    """``p2pal ARGS`` in a terminal of its own.

    Args:
        args: What follows ``p2pal`` on the command line.
        cwd: Where it runs.
        width: The terminal's columns.
        term: What kind it is.
        program: What is run instead of p2pal.
        settings: Further variables of the environment.
    """

    def __init__(
        self,
        args: Sequence[str | Path],
        cwd: Path,
        *,
        width: int = 100,
        term: str = "xterm-256color",
        program: Sequence[str] = P2PAL,
        **settings: str,
    ) -> None:
        self._args = [*program, *map(str, args)]
        self._screen = pyte.Screen(width, HEIGHT)
        self._stream = pyte.ByteStream(self._screen)
        self._child: Any = pexpect.spawn(
            self._args[0],
            self._args[1:],
            cwd=str(cwd),
            env=environment(TERM=term, **settings),
            dimensions=(HEIGHT, width),
            timeout=PATIENCE,
            use_poll=True,  # select() takes no descriptor above 1,023
        )
        self._over = False
        self.raw = b""
        self.seen: list[list[str]] = []
        """Every screen that stood still for a moment: none is half drawn."""
        self._drawn = False

    @property
    def lines(self) -> list[str]:
        """The lines on the screen now, without trailing spaces."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip()

    @property
    def over(self) -> bool:
        """Whether it has ended and everything that it wrote was read."""
        return self._over

    @property
    def cursor_hidden(self) -> bool:
        return bool(self._screen.cursor.hidden)

    def type(self, keys: str) -> None:
        self._child.send(keys)

    def look(self) -> None:
        """Take what the command wrote since, and draw it."""
        if self._over:
            return
        try:
            data = self._child.read_nonblocking(65536, 0.02)
        except pexpect.TIMEOUT:
            if self._drawn:
                self._drawn = False
                self.seen.append(self.lines)
            return
        except pexpect.EOF:
            self._over = True
            return
        self.raw += data
        self._stream.feed(data)
        self._drawn = True

    def until(self, condition: Callable[[], T], what: str) -> T:
        """Look at the screen until it is as wanted."""

        def found() -> T:
            self.look()
            return condition()

        try:
            return until(found, what)
        except BaseException:
            print(f"$ {' '.join(self._args)}\n{self.text}")
            raise

    def shows(self, text: str) -> None:
        """Wait until a text is on the screen."""
        self.until(lambda: text in self.text or self._ended_without(text), f"{text!r} on the screen")

    def _ended_without(self, text: str) -> bool:
        assert not self._over or text in self.text, f"it ended without showing {text!r}:\n{self.text}"
        return False

    def wait(self) -> int:
        """Read to the end and return the exit code."""
        self.until(lambda: self._over, "the end")
        self._child.wait()
        return int(self._child.exitstatus if self._child.signalstatus is None else -self._child.signalstatus)

    def end(self) -> None:
        """Make sure that it is over."""
        self._child.close(force=True)
