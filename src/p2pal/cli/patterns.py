"""Patterns on the command line: of what is sent, where the shell did not expand them, and of what is left out."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from p2pal.cli.text import safe_path
from p2pal.disk.source.exclusion import is_pattern
from p2pal.errors import UsageError

MAX_PATTERNS: Final = 1 << 20
"""Bytes of patterns that are read from a file."""
MAX_NAMES: Final = 256 << 20
"""Bytes of names: a million long ones."""


def expand(files: Iterable[Path]) -> list[Path]:
    """Return what patterns stand for, in the order of their names; what exists by its name stays as it is.

    ``*``, ``?`` and ``[...]`` stand for parts of a name, ``**`` for any directories. Names that begin with a dot are
    only found by patterns that do, as in a shell.

    Raises:
        UsageError: If a pattern fits nothing.
    """
    found: list[Path] = []
    for file in files:
        text = os.fspath(file)
        if not glob.has_magic(text) or os.path.lexists(text):
            found.append(file)
            continue
        matches = sorted(glob.glob(text, recursive=True))
        if not matches:
            raise UsageError(f"nothing fits the pattern {safe_path(file)}", hint="check it, or leave it out")
        found += map(Path, matches)
    return found


def read_names(file: str) -> list[str]:
    """Return the names in a file, or of standard input for ``-``: ended by NULs if there are any, else by newlines.

    Raises:
        UsageError: If it cannot be read, or there are none.
    """
    data = _bytes(file, "names", MAX_NAMES)
    names = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    found = [os.fsdecode(name) for name in names if name]
    if not found:
        raise UsageError(f"there are no names in {_shown(file)}", hint="see --files-from")
    return found


def read_patterns(files: Iterable[str]) -> list[str]:
    """Return the lines of files with patterns; ``-`` is standard input.

    Raises:
        UsageError: If a file cannot be read, or one of its lines is not a valid pattern.
    """
    return [pattern for name in files for pattern in _read(name)]


def _read(name: str) -> list[str]:
    data = _bytes(name, "patterns", MAX_PATTERNS)
    lines = os.fsdecode(data).removeprefix("\ufeff").splitlines()
    for number, line in enumerate(lines, 1):
        if not is_pattern(line):
            raise UsageError(f"line {number} of {_shown(name)} is not a pattern", hint="see 'man gitignore'")
    return lines


def _bytes(name: str, what: str, most: int) -> bytes:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(most + 1)
    except OSError as error:
        message = f"cannot read {what} from {_shown(name)}: {error.strerror or 'input error'}"
        raise UsageError(message, hint="check the name") from error
    if len(data) > most:
        raise UsageError(f"{_shown(name)} has more than {most >> 20} MiB of {what}", hint="name another file")
    return data


def _shown(name: str) -> str:
    return "standard input" if name == "-" else safe_path(Path(name))
