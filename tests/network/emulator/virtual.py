"""The emulator's links on the clock of a test: the same program, without devices, privileges or time."""

from __future__ import annotations

import subprocess
from types import TracebackType
from typing import Final, Self

from tests.network.emulator.wire import EmulatorError, Link, compiled, nanoseconds, request

_TIMEOUT: Final = 10.0


class VirtualLink:
    """One direction of a wire, for the length of a ``with`` block.

    Args:
        link: What it is like from the time 0 on.
        seed: Of loss and jitter.
    """

    def __init__(self, link: Link, *, seed: int = 1) -> None:
        self._link, self._seed = link, seed
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        """Start the program.

        Raises:
            EmulatorError: If there is none.
        """
        command = [str(compiled()), str(self._seed)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.set(self._link, 0.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=_TIMEOUT)

    def set(self, link: Link, now: float) -> None:
        """Make it like that from now on. A queue of None is one without an end."""
        answer = self._ask(f"{nanoseconds(now)} {request(0, link)}")
        if answer != "ok":
            raise EmulatorError(f"the emulator's answer to {link}: {answer}")

    def send(self, size: int, now: float, early: float | None = None) -> float | str:
        """A packet comes to the link.

        Args:
            size: Its bytes.
            now: When it is read, in seconds.
            early: When it came at the earliest, if the emulator was kept from reading it.

        Returns:
            When it is due at the other end, or what becomes of it: ``policed``, ``overflowed``, ``lost``, ``severed``.
        """
        came = nanoseconds(now if early is None else early)
        answer = self._ask(f"packet 0 {size} {came} {nanoseconds(now)}")
        return int(answer) / 1e9 if answer.isdigit() else answer

    def _ask(self, words: str) -> str:
        if self._process.stdin is None or self._process.stdout is None:
            raise EmulatorError("the emulator has no pipes")
        print(words, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()
