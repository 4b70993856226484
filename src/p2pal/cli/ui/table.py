"""A table that fits the terminal: what matters least goes first, then the long columns are shortened."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from p2pal.cli.ui.progress_bars import cells, fit

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        title: Its heading.
        values: One for each row, safe.
        right: Whether they stand at the right edge, as figures do.
        shrink: Columns of the terminal to which it may be shortened; None to keep it as it is.
        drop: When it may be left out: higher ones before lower ones, 0 never.
    """

    title: str
    values: Sequence[str]
    right: bool = False
    shrink: int | None = None
    drop: int = 0

    @property
    def width(self) -> int:
        """What it takes in full."""
        return max([cells(self.title), *map(cells, self.values)])

    @property
    def least(self) -> int:
        """What it takes at least."""
        return self.width if self.shrink is None else min(self.width, max(self.shrink, cells(self.title)))


def terminal_width() -> int | None:
    """Return the columns of the terminal that stdout is, or that ``COLUMNS`` says; None for a pipe or a file."""
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()):
        return None
    return max(shutil.get_terminal_size().columns, 20)


def lay_out(columns: Sequence[Column], width: int | None) -> list[str]:
    """Return the lines of the table, its headings first.

    Args:
        columns: All of them, in order, equally long.
        width: Columns of the terminal; None for no limit.
    """
    kept = list(columns)
    if width is not None:
        while _taken([column.least for column in kept]) > width and any(column.drop for column in kept):
            kept.remove(max(kept, key=lambda column: column.drop))
    widths = [column.width for column in kept] if width is None else _widths(kept, width)
    rows = zip(*([column.title, *column.values] for column in kept), strict=True)
    lines = ((" " * GAP).join(map(_cell, kept, widths, row)).rstrip() for row in rows)
    return [line if width is None else fit(line, width) for line in lines]


def _taken(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """Share out what is left: the columns that shrink get equal parts of it, as far as they need them."""
    widths = [column.least for column in columns]
    left = width - _taken(widths)
    wanting = sorted(range(len(columns)), key=lambda index: columns[index].width - widths[index])
    for position, index in enumerate(wanting):
        given = max(0, min(columns[index].width - widths[index], left // (len(wanting) - position)))
        widths[index] += given
        left -= given
    return widths


def _cell(column: Column, width: int, text: str) -> str:
    shown = fit(text, width)
    pad = " " * (width - cells(shown))
    return pad + shown if column.right else shown + pad
