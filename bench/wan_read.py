"""What ``wan.py --json`` wrote, as it was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from table import median
from wan_cells import Cell
from wan_runs import Result, Traffic


@dataclass(slots=True)
class Measured:
    """What one or more runs of the script measured.

    Attributes:
        heads: What each said of the program and the machine.
        results: Every flow of a cell, by the repetition. What was measured again replaces what was there.
        ours: The name of what is compared with TCP.
    """

    heads: list[dict[str, Any]] = field(default_factory=list)
    results: dict[Cell, dict[int, list[Result]]] = field(default_factory=dict)
    ours: str = "p2pal"

    def of(self, cell: Cell) -> list[Result]:
        """Every flow of a cell."""
        return [result for runs in self.results.get(cell, {}).values() for result in runs]

    def median(self, cell: Cell, flow: str, figure: Callable[[Result], float]) -> float | None:
        """Return the median of a figure over what a flow did in a cell; None if it was not measured."""
        values = [figure(result) for result in self.of(cell) if result.flow == flow]
        return median(values) if values else None


def load(path: Path) -> Measured:
    """Read a file.

    Raises:
        ValueError: If it was not written by ``wan.py``.
    """
    measured = Measured()
    fresh: set[tuple[Cell, int, str]] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            told = json.loads(line)
            if "bench" in told:
                measured.heads.append(told)
                measured.ours = told["ours"]
                fresh.clear()
                continue
            cell, repetition = Cell(**told.pop("cell")), told.pop("repetition")
            whole, later = Traffic(**told.pop("whole")), Traffic(**told.pop("later"))
            points = [(at, count) for at, count in told.pop("points")]
            result = Result(points=points, whole=whole, later=later, **told)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}, line {number} was not written by wan.py: {error}") from error
        _keep(measured, fresh, cell, repetition, result)
    return measured


def _keep(measured: Measured, fresh: set[tuple[Cell, int, str]], cell: Cell, repetition: int, result: Result) -> None:
    flows = measured.results.setdefault(cell, {}).setdefault(repetition, [])
    if (cell, repetition, result.flow) not in fresh:  # several of one name in one run are transfers at once
        fresh.add((cell, repetition, result.flow))
        flows[:] = [each for each in flows if each.flow != result.flow]
    flows.append(result)
