"""Which names of a tree are left out: patterns as gitignore(5) has them.

A directory that is left out is not entered, so nothing below it can be taken back in, as with git.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from p2pal.errors import UsageError

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

Patterns: TypeAlias = list[tuple[re.Pattern[str], bool]]
"""Expressions, and whether what fits is left out."""

GITIGNORE: Final = b".gitignore"
_BELOW: Final = "ps_d"
"""The group in the library's expressions that stands for the slash behind what a pattern names."""
MAX_GITIGNORE: Final = 1 << 20
"""Bytes of one ``.gitignore`` that are looked at; git's own are a few hundred."""


class Exclusion:
    """Says what is left out.

    Args:
        patterns: Lines of gitignore(5), which count from the top of each tree; the last one that fits decides.
        git: Whether the ``.gitignore`` files of the tree count as well.

    Attributes:
        git: The same.

    Raises:
        UsageError: If something is no pattern.
    """

    def __init__(self, patterns: Sequence[str] = (), *, git: bool = False) -> None:
        self.git = git
        self._given = compiled(patterns)
        self._found: dict[bytes, Patterns] = {}  # by directory, of those that the walk is in

    def __bool__(self) -> bool:
        """Whether anything can be left out."""
        return self.git or bool(self._given)

    def enter(self, directory: bytes, gitignore: bytes) -> None:
        """The walk is in a directory that has this ``.gitignore``; lines that are no patterns are passed over."""
        lines = os.fsdecode(gitignore[:MAX_GITIGNORE]).removeprefix("\ufeff").splitlines()
        self._found[directory] = compiled(filter(is_pattern, lines))

    def leave(self, directory: bytes) -> None:
        """The walk is through with a directory."""
        self._found.pop(directory, None)

    def excludes(self, path: bytes, *, directory: bool) -> bool:
        """Say whether a name is left out.

        Args:
            path: From the top of its tree, the name of the argument first.
            directory: Whether it is one: a pattern that ends with a slash fits nothing else.
        """
        end = b"/" if directory else b""
        below = path.partition(b"/")[2] or path
        if self._given and _decision(self._given, below + end):
            return True
        if not self._found:
            return False
        parent = path
        while b"/" in parent:  # the nearest file that says something decides
            parent = parent.rpartition(b"/")[0]
            found = _decision(self._found.get(parent, []), path[len(parent) + 1 :] + end)
            if found is not None:
                return found
        return False


def compiled(lines: Iterable[str]) -> Patterns:
    """Return patterns that can be asked, without comments and blank lines.

    Raises:
        UsageError: If a line is no pattern.
    """
    kept = [line for line in lines if not _is_comment(line)]
    for line in kept:
        if not is_pattern(line):
            raise UsageError(f"{line!r} is not a pattern", hint="see 'man gitignore' for what patterns look like")
    return [(found.regex, bool(found.include)) for found in map(_pattern, kept) if found.regex is not None]


def is_pattern(line: str) -> bool:
    """Say whether a line is a pattern, a comment or blank."""
    if _is_comment(line):
        return True
    try:
        return _pattern(line).include is not None
    except ValueError:
        return False


def _is_comment(line: str) -> bool:
    return not line.strip() or line.startswith("#")


def _pattern(line: str) -> GitIgnoreSpecPattern:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    return GitIgnoreSpecPattern(line)


def _decision(patterns: Patterns, path: bytes) -> bool | None:
    """Return whether a path is left out by the last pattern that fits it; None if none does.

    The library's patterns fit whatever is below what they name, too. Here the walk is below a directory only if that
    is not left out, so a pattern counts for what it names alone.
    """
    text = os.fsdecode(path)
    return next((include for regex, include in reversed(patterns) if _names(regex, text)), None)


def _names(regex: re.Pattern[str], text: str) -> bool:
    matches = list(regex.finditer(text))
    if not matches:
        return False
    match = matches[-1]  # '*/' becomes a bare slash, of which the last one counts
    end = match.end(_BELOW) if match.groupdict().get(_BELOW) else -1
    if end >= 0:
        return end == len(text)
    inside = regex.pattern.endswith("/")  # 'a/**' names what is in a directory, and not that itself
    return not inside or match.end() < len(text)
