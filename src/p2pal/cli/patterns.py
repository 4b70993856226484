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


def read_patterns(files: Iterable[str]) -> list[str]:
    """Return the lines of files with patterns; ``-`` is standard input.

    Raises:
        UsageError: If a file cannot be read, or a line of it is no pattern.
    """
    return [pattern for name in files for pattern in _read(name)]


def _read(name: str) -> list[str]:
    shown = "standard input" if name == "-" else safe_path(Path(name))
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_PATTERNS + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(MAX_PATTERNS + 1)
    except OSError as error:
        message = f"cannot read patterns from {shown}: {error.strerror or 'input error'}"
        raise UsageError(message, hint="check the name") from error
    if len(data) > MAX_PATTERNS:
        raise UsageError(f"{shown} has more than 1 MiB of patterns", hint="name a file of patterns")
    lines = os.fsdecode(data).removeprefix("\ufeff").splitlines()
    for number, line in enumerate(lines, 1):
        if not is_pattern(line):
            raise UsageError(f"line {number} of {shown} is not a pattern", hint="see 'man gitignore'")
    return lines
