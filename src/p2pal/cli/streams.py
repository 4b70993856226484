"""The standard streams as the process got them: there may be none, the disk below may be full, a reader may go away."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable
from typing import Final, TextIO

from p2pal.errors import OutputError

# What is opened where a descriptor is closed. Standard output refuses what is written to it, as a full disk does: then
# a command whose result nobody can see says so.
_MISSING: Final = ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY))


def open_missing() -> None:
    """Open the standard streams that the process was started without, before a file or socket of ours gets their place.

    Nothing can be read from such a standard input, nothing can be written to such a standard output, and what goes to
    such a standard error is lost.
    """
    for descriptor, flags in _MISSING:
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != descriptor:
                os.dup2(opened, descriptor, inheritable=False)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character gets an escape, never an exception.
            stream.reconfigure(errors="backslashreplace")


_given: list[TextIO] = []
"""Standard error as the process got it, once others have it no more; closed, it would close the descriptor."""


def take_stderr() -> None:
    """Keep standard error for what this program writes: what a C library says goes nowhere.

    The engine writes to descriptor 2, without asking, and quotes what a peer sent: escape sequences and all, as often
    as the peer likes. Nothing happens where standard error is not descriptor 2, or was replaced.
    """
    stream = sys.__stderr__
    with contextlib.suppress(OSError, ValueError):
        if stream is None or sys.stderr is not stream or stream.fileno() != 2:
            return
        stream.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY | getattr(os, "O_BINARY", 0))
        own = os.dup(2)
        os.dup2(nowhere, 2, inheritable=True)
        os.close(nowhere)
        _given.append(stream)
        sys.stderr = os.fdopen(own, "w", 1, encoding=stream.encoding, errors=stream.errors)


def is_terminal(stream: TextIO) -> bool:
    """Whether it is a terminal that takes colours and can erase a line."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb" and sys.platform != "win32"


def takes_colours(stream: TextIO) -> bool:
    """Whether it is such a terminal, and the person has not asked for none (``NO_COLOR``)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def write_results(lines: Iterable[str]) -> None:
    """Write what a command is for to standard output. That a reader goes away (``| head``) is no error.

    Args:
        lines: Safe texts, without their newlines.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise unwritable(error) from error


def unwritable(error: OSError) -> OutputError:
    """Return what to tell when standard output takes nothing."""
    return OutputError(f"cannot write to standard output: {error.strerror or 'output error'}")


def settle() -> None:
    """Write what is still buffered; what cannot be written is dropped, and was told of before."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # What is still buffered would fail again, aloud, when the interpreter shuts down.
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


class Writer:
    """Lines to a stream. A reader that goes away does not end the transfer: the files matter more than the report."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._error: OSError | None = None

    def line(self, text: str) -> None:
        """Write one line at once; the text is safe already."""
        if self._error is not None:
            return
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except OSError as error:
            self._error = error

    def vital_line(self, text: str) -> None:
        """Write a line without which the rest is for nothing.

        Raises:
            OutputError: If it cannot be written.
        """
        self.line(text)
        if self._error is not None:
            raise unwritable(self._error) from self._error
