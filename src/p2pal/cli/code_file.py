"""A join code in a file or in the environment: neither the list of processes nor a shell's history shows it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from p2pal.cli.text import safe_path
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.rename import identity_from
from p2pal.disk.fs.root import open_root
from p2pal.errors import DiskError, UsageError

MAX_TEXT: Final = 1024
"""Bytes of a file that are looked at: the longest code has some seventy."""


def take_variable() -> str | None:
    """Return the code that the environment holds, and take it out of there; None where it holds none."""
    text = os.environ.get("P2PAL_CODE", "")
    os.environ.pop("P2PAL_CODE", None)
    return text.strip() or None


def read_code_file(path: Path) -> str:
    """Return the first line of a file.

    Raises:
        UsageError: If it cannot be read, or has nothing in it.
    """
    try:
        with path.open("rb") as file:
            text = file.readline(MAX_TEXT).decode(errors="replace").strip()
    except OSError as error:
        message = f"cannot read the join code from {safe_path(path)}: {error.strerror or 'input error'}"
        raise UsageError(message, hint="name the file that 'p2pal send --code-file' wrote") from error
    if not text:
        raise UsageError(f"there is no join code in {safe_path(path)}", hint="wait until 'p2pal send' has written it")
    return text


class CodeFile:
    """The file that a sender writes its code to. It is complete as soon as it is there, and goes with the command.

    Use it as a context manager; only its owner may read the file.

    Args:
        path: Where to write.

    Raises:
        UsageError: If a file is there already: a script that waits for it would read an old code.
    """

    def __init__(self, path: Path) -> None:
        if os.path.lexists(path):
            raise _exists(path)
        self._path = path
        self._name = os.fsencode(path.name)
        self._written: os.stat_result | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def write(self, code: str) -> None:
        """Write the code and a newline, in the place of what was written before.

        Raises:
            DiskError: If it cannot be written.
            UsageError: If something is there meanwhile.
        """
        self.remove()
        try:
            directory = open_root(os.fspath(self._path.parent))
            try:
                self._write(directory, code)
            finally:
                directory.release()
        except FileExistsError as error:
            raise _exists(self._path) from error
        except OSError as error:
            message = f"cannot write the join code to {safe_path(self._path)}: {error.strerror or 'output error'}"
            raise DiskError(message, hint="name a file in a directory that you may write to") from error

    def _write(self, directory: Directory, code: str) -> None:
        part = f".p2pal-code-{secrets.token_hex(8)}".encode()
        descriptor = directory.create(part)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(code + "\n")
            written = directory.status(part)
            directory.rename_new(part, self._name)
        except BaseException:
            directory.remove(part)
            raise
        self._written = written

    def remove(self) -> None:
        """Remove what was written, unless something else is there now."""
        if self._written is not None:
            with contextlib.suppress(OSError):
                if _version(os.lstat(self._path)) == _version(self._written):
                    os.unlink(self._path)
            self._written = None


def _version(found: os.stat_result) -> tuple[object, ...]:
    """What tells a file from another one, also from one that got the number of a file that is gone."""
    return identity_from(found), found.st_mtime_ns, found.st_size


def _exists(path: Path) -> UsageError:
    return UsageError(f"{safe_path(path)} exists already", hint="remove it, or name another file with --code-file")
