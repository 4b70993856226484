"""Rows of measured figures, and the table they are printed in."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final

_HEADINGS: Final = ("what", "p2pal", "against", "ratio", "limit", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        what: What was measured.
        p2pal: What p2pal reached, with its unit.
        against: What the other thing in the same run reached; empty where there is none.
        ratio: One by the other; empty where there is none.
        limit: What the design asks for; empty for a figure that is told for information.
        ok: Whether the limit is kept, None where there is none.
    """

    what: str
    p2pal: str
    against: str = ""
    ratio: str = ""
    limit: str = ""
    ok: bool | None = None

    @property
    def verdict(self) -> str:
        return "" if self.ok is None else "ok" if self.ok else "MISSED"


def against(
    what: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    form: str,
    unit: str,
    least: float | None = None,
    most: float = inf,
) -> Row:
    """Return the row of what both reached in the same run, by their medians.

    Args:
        what: What was measured.
        ours: p2pal's figures.
        theirs: The other's.
        form: How a figure is written.
        unit: Its unit.
        least: What the ratio must reach; None if it has a most.
        most: What it must not pass.
    """
    ratio = median(ours) / median(theirs)
    limit, ok = (f">= {least}", ratio >= least) if least is not None else (f"<= {most}", ratio <= most)
    return Row(what, f"{spread(ours, form)} {unit}", f"{spread(theirs, form)} {unit}", f"{ratio:.2f}", limit, ok=ok)


def failed(what: str, error: Exception) -> Row:
    """Return the row of a figure that could not be taken."""
    return Row(what, f"failed: {' '.join(str(error).split())[:300]}", ok=False)


def format_table(rows: Iterable[Row]) -> str:
    """Return the rows as text, a Markdown table as well as one to read."""
    lines = [_HEADINGS, *((r.what, r.p2pal, r.against, r.ratio, r.limit, r.verdict) for r in rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(_HEADINGS))]
    text = [_line(line, widths) for line in lines]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def show(rows: Sequence[Row]) -> int:
    """Print the table and the machine; return the exit code: 1 if a limit is missed."""
    print(format_table(rows))
    print()
    print(machine())
    return int(any(row.ok is False for row in rows))


def note(text: str) -> None:
    """Say on stderr what happens: a benchmark takes minutes."""
    print(text, file=sys.stderr, flush=True)


def machine() -> str:
    """Name the machine: figures mean nothing without it."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}; "
        f"{platform.system()} {platform.release()}; load {load}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], form: str) -> str:
    """Return the median, and the least and the greatest where there are several."""
    middle = format(statistics.median(values), form)
    return middle if len(values) < 2 else f"{middle} ({format(min(values), form)} to {format(max(values), form)})"
