"""What a walk finds that a person should know before anything is sent: counts, and the first names of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from p2pal.wire.transfer import name_text

MAX_NAMES: Final = 10
"""Names of each kind that are kept; the others are counted."""


class FindingKind(StrEnum):
    """What was found."""

    EXCLUDED = "excluded"  # one that a pattern leaves out
    RESERVED_NAME = "reserved-name"  # one that p2pal gives to unfinished files: left out
    FILE_SYSTEM = "file-system"  # a directory where another file system is mounted
    OUTWARD_LINK = "outward-link"  # a link that leads out of its tree: the receiver will not make it
    UNREADABLE = "unreadable"  # a file that may not be read
    DATE = "date"  # a modification time that an entry cannot carry


@dataclass(slots=True)
class SourceFinding:
    """What was found of one kind.

    Attributes:
        kind: The kind.
        left_out: Whether it is not in the offer, on purpose.
        count: How often it was found.
        names: The first of them, as text; bytes that are no UTF-8 are surrogates (PEP 383).
    """

    kind: FindingKind
    left_out: bool = False
    count: int = 0
    names: list[str] = field(default_factory=list)


class Findings:
    """All that one walk found, by kind."""

    def __init__(self) -> None:
        self._found: dict[FindingKind, SourceFinding] = {}

    def add(self, kind: FindingKind, path: bytes, *, left_out: bool = False) -> None:
        """Note one; of a kind either all are left out or none."""
        found = self._found.setdefault(kind, SourceFinding(kind, left_out))
        found.count += 1
        if len(found.names) < MAX_NAMES:
            found.names.append(name_text(path))

    def __iter__(self) -> Iterator[SourceFinding]:
        """Yield what was found, in the order of the kinds."""
        for kind in FindingKind:
            if kind in self._found:
                yield self._found[kind]

    @property
    def left_out(self) -> int:
        """How many names were left out on purpose."""
        return sum(found.count for found in self._found.values() if found.left_out)
