"""Which names of a tree are left out: patterns as gitignore(5) has them.

A directory that is left out is not entered, so nothing below it can be taken back in, as with git.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from p2pal.errors import UsageError

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
        UsageError: If one of them is not a valid pattern.
    """

    def __init__(self, patterns: Sequence[str] = (), *, git: bool = False) -> None:
        self.git = git
        self._given: Patterns = []
        for line in patterns:
            pattern = _compiled(line)
            if pattern is not None:
                self._given.append(pattern)
            elif not _is_comment(line):
                raise UsageError(f"{line!r} is not a pattern", hint="see 'man gitignore' for what patterns look like")
        self._found: dict[bytes, Patterns] = {}  # by directory, of those that the walk is in

    def __bool__(self) -> bool:
        """Whether anything can be left out."""
        return self.git or bool(self._given)

    def enter(self, directory: bytes, gitignore: bytes) -> None:
        """The walk is in a directory that has this ``.gitignore``; lines that are no patterns are passed over."""
        lines = os.fsdecode(gitignore[:MAX_GITIGNORE]).removeprefix("\ufeff").splitlines()
        self._found[directory] = [pattern for pattern in map(_compiled, lines) if pattern is not None]

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


def is_pattern(line: str) -> bool:
    """Say whether a line is a pattern, a comment or blank."""
    return _is_comment(line) or _compiled(line) is not None


def _is_comment(line: str) -> bool:
    return not line.strip() or line.startswith("#")


def _compiled(line: str) -> tuple[re.Pattern[str], bool] | None:
    """Return a line as a pattern that can be asked; None if it is a comment, blank, or not valid."""
    if _is_comment(line):
        return None
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        found = GitIgnoreSpecPattern(line)
    except ValueError:
        return None
    return None if found.regex is None else (found.regex, bool(found.include))


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
