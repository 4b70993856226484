"""The table of a run of the matrix: who sent to whom, by which path, and how soon the first byte was there.

Below it stands how long transfers stood still whose network failed. Each test notes what is of it; that travels with
its report, also from the workers of xdist to the process that prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

Names = tuple[str, str]
Note = Callable[[Names, tuple[str, str], float], None]
"""``note((sender, receiver), (sender's words, receiver's words), seconds)``."""
Break = Callable[[str, float], None]
"""``note_break("what failed", seconds)``."""

ORDER: Final = ("open", "cone", "symmetric", "UDP blocked", "only 443", "IPv6 only", "several")
PROPERTY: Final = "cell of the matrix"
GAP: Final = "a break"


def cell(names: Names, paths: tuple[str, str], seconds: float) -> tuple[str, list[Any]]:
    """Return what a report keeps of a cell."""
    return PROPERTY, [*names, *paths, seconds]


def cells(properties: Iterable[tuple[str, Any]]) -> dict[Names, str]:
    """Return the texts of the cells that reports kept."""
    found = {}
    for name, value in properties:
        if name == PROPERTY:
            sender, receiver, of_sender, of_receiver, seconds = value
            path = of_sender if of_sender == of_receiver else f"{of_sender} / {of_receiver.rpartition(' ')[2]}"
            found[sender, receiver] = f"{path}: {seconds:.2f} s"
    return found


def gap(what: str, seconds: float) -> tuple[str, list[Any]]:
    """Return what a report keeps of a break."""
    return GAP, [what, seconds]


def breaks(properties: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the lines about the breaks that reports kept."""
    return sorted(f"{value[0]}: {value[1]:.1f} s" for name, value in properties if name == GAP)


def table(found: dict[Names, str]) -> list[str]:
    """Return the lines of the table, in Markdown, and below it what is not of it."""
    inside = [names for names in found if set(names) <= set(ORDER)]
    rows = [kind for kind in ORDER if any(sender == kind for sender, _ in inside)]
    columns = [kind for kind in ORDER if any(receiver == kind for _, receiver in inside)]
    lines = [("sender ╲ receiver", *columns), ("---",) * (len(columns) + 1)]
    lines += [(f"**{row}**", *(found.get((row, column), "") for column in columns)) for row in rows]
    others = [f"{' × '.join(names)}: {text}" for names, text in found.items() if names not in inside]
    return [f"| {' | '.join(line)} |" for line in lines if inside] + others
