"""Tables in Markdown of what ``wan.py --json`` measured, for ``docs/performance.md``.

    python bench/wan_tables.py wan.jsonl                           # print them
    python bench/wan_tables.py wan.jsonl --fill docs/performance.md

A page has a place for each table, between ``<!-- wan: NAME -->`` and ``<!-- /wan: NAME -->``. What was not measured
leaves its place empty: there are no figures but measured ones. A figure that something disturbed has a question mark.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from table import median
from wan_cells import WHOLE, Cell
from wan_limits import BUSY, CLEAN, DROPPED, FIRST, JAIN, LOSSY, LOSSY_TCP, NARROW, OVERRUN, SHARE, jain
from wan_read import Measured, load
from wan_runs import Result

PLACE: Final = re.compile(r"(<!-- wan: (\w+) -->\n).*?(<!-- /wan: \2 -->)", re.DOTALL)

CAPTIONS: Final = {
    "clean": "No loss, the whole time:",
    "first": "No loss, the first seconds, 8 unless the command says otherwise:",
    "overrun": "Packets lost by overrun on these links, after the first seconds:",
    "lossy": "Packets lost at random, in both directions:",
    "narrow": "Short queues and policers:",
    "beside": "Shares of a link with one TCP stream beside p2pal:",
    "flows": "Several transfers at once:",
    "busy": "Beside busy processes:",
}


class Figures:
    """Figures of what was measured, as text; what is missed is bold."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        self.ours = measured.ours

    def runs(self, cell: Cell, flow: str) -> list[Result]:
        """Every run of a flow in a cell."""
        return [result for result in self.measured.of(cell) if result.flow == flow]

    def cells(self, kind: str) -> list[Cell]:
        """What was measured of a part of the matrix."""
        return [cell for cell in self.measured.results if cell.kind == kind and self.runs(cell, self.ours)]

    def better(self, cell: Cell, figure: Callable[[Result], float]) -> float:
        """The better TCP stream's figure, 0 where none was measured."""
        found = (self.measured.median(cell, name, figure) for name in WHOLE.against)
        return max((value for value in found if value is not None), default=0.0)

    def compared(self, cell: Cell, figure: Callable[[Result], float], limits: Sequence[tuple[float, float]]) -> str:
        """Ours, the better TCP stream, and the ratio to it; bold if ours is less than a limit's share of something."""
        own = self.measured.median(cell, self.ours, figure)
        if own is None:
            return "–"
        best = self.better(cell, figure)
        text = f"{digits(own)} of {digits(best)}: {own / best:.2f}" if best else digits(own)
        missed = any(own < share * of for share, of in limits)
        return f"{f'**{text}**' if missed else text}{self.mark(cell)}"

    def mark(self, cell: Cell) -> str:
        """A question mark for what is not to be trusted."""
        return " ?" if any(result.doubt for result in self.measured.of(cell)) else ""


def digits(mbit: float) -> str:
    """Mbit/s with as many digits as mean something."""
    return f"{mbit:.0f}" if mbit >= 20 else f"{mbit:.1f}"


def whole(result: Result) -> float:
    return result.mbit


def first(result: Result) -> float:
    return result.first


def grid(rows: Sequence[str], columns: Sequence[str], corner: str, cell: Callable[[int, int], str]) -> list[str]:
    """Return a table of cells by the index of the row and the column."""
    lines = [f"| {corner} | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for row, heading in enumerate(rows):
        values = [cell(row, column) for column in range(len(columns))]
        lines.append(f"| {heading} | {' | '.join(values)} |")
    return lines


def clean(figures: Figures, figure: Callable[[Result], float], limit: float) -> list[str]:
    """Rates by round trips, nothing lost."""
    cells = figures.cells("clean")
    rates, rtts = sorted({cell.mbit for cell in cells}), sorted({cell.rtt for cell in cells})

    def text(row: int, column: int) -> str:
        cell = Cell("clean", rates[row], rtts[column])
        return figures.compared(cell, figure, [(limit, figures.better(cell, figure))])

    columns = [f"{rtt:g} ms" for rtt in rtts]
    return grid([f"{mbit:g} Mbit/s" for mbit in rates], columns, "rate", text) if cells else []


def lossy(figures: Figures) -> list[str]:
    """Losses by round trips."""
    cells = figures.cells("lossy")
    losses, rtts = sorted({cell.loss for cell in cells}), sorted({cell.rtt for cell in cells})

    def text(row: int, column: int) -> str:
        found = [cell for cell in cells if (cell.loss, cell.rtt) == (losses[row], rtts[column])]
        limits = [(LOSSY_TCP, figures.better(found[0], whole)), (LOSSY, found[0].rate)] if found else []
        return figures.compared(found[0], whole, limits) if found else "–"

    columns = [f"{rtt:g} ms" for rtt in rtts]
    return grid([f"{loss:g} % lost" for loss in losses], columns, "loss", text) if cells else []


def lines(rows: Iterator[list[str]], headings: Sequence[str]) -> list[str]:
    """Return a table with a row for each cell, or nothing."""
    found = list(rows)
    told = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return [*told, *(f"| {' | '.join(values)} |" for values in found)] if found else []


def narrow(figures: Figures) -> Iterator[list[str]]:
    """Short queues and policers: the rate that is reached, and what is dropped."""
    for cell in [*figures.cells("shallow"), *figures.cells("policer")]:
        dropped = median(result.whole.overrun for result in figures.runs(cell, figures.ours))
        share = f"{dropped:.1%}" if dropped < DROPPED else f"**{dropped:.1%}**"
        own = median(result.mbit for result in figures.runs(cell, figures.ours))
        text = f"{digits(own)} of {digits(cell.rate)}: {own / cell.rate:.2f}"
        best = figures.better(cell, whole)
        tcp = f"{digits(best)}: {best / cell.rate:.2f}" if best else "–"
        yield [f"{cell}{figures.mark(cell)}", text if own >= NARROW * cell.rate else f"**{text}**", tcp, share]


def overrun(figures: Figures) -> Iterator[list[str]]:
    """What is lost on clean links by too much being sent, after the first seconds."""
    for cell in figures.cells("clean"):
        share = median(result.later.overrun for result in figures.runs(cell, figures.ours))
        yield [str(cell), f"{share:.2%}" if share < OVERRUN else f"**{share:.2%}**"]


def beside(figures: Figures) -> Iterator[list[str]]:
    """Who gets what of a link that is shared with a TCP stream."""
    for cell in figures.cells("beside"):
        (mine,), (rival,) = figures.runs(cell, figures.ours), figures.runs(cell, cell.rival)
        shares = [each.mbit / cell.rate for each in (mine, rival)]
        told = [f"{share:.0%}" if share >= SHARE else f"**{share:.0%}**" for share in shares]
        yield [f"{cell}{figures.mark(cell)}", *told, f"{mine.whole.overrun:.1%}"]


def shared(figures: Figures) -> Iterator[list[str]]:
    """How several transfers share a link."""
    for cell in figures.cells("flows"):
        runs = figures.runs(cell, figures.ours)
        rates = [result.mbit for result in runs]
        index, dropped = jain(rates), runs[0].whole.overrun
        yield [
            f"{cell}{figures.mark(cell)}",
            f"{digits(min(rates))} to {digits(max(rates))} Mbit/s",
            f"{index:.2f}" if index >= JAIN else f"**{index:.2f}**",
            f"{dropped:.1%}" if dropped < DROPPED else f"**{dropped:.1%}**",
        ]


def busy(figures: Figures) -> Iterator[list[str]]:
    """What busy processes cost."""
    for cell in figures.cells("busy"):
        own = figures.measured.median(cell, figures.ours, whole)
        quiet = figures.measured.median(cell.quiet, figures.ours, whole)
        if own is None or not quiet:
            continue
        text = f"{digits(own)} of {digits(quiet)}: {own / quiet:.2f}"
        yield [f"{cell}{figures.mark(cell)}", text if own >= BUSY * quiet else f"**{text}**"]


def ran(heads: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines about the machine, and about every command that was run there."""
    if not heads:
        return []
    machine, date = str(heads[-1]["machine"]).partition("; load ")[0], heads[-1]["date"][:10]
    return [f"Measured {date} on {machine}, by", "", *dict.fromkeys(f"    {head['command']}" for head in heads)]


def tables(measured: Measured) -> dict[str, list[str]]:
    """Return the lines of every table; none for what was not measured."""
    figures = Figures(measured)
    said = ran(measured.heads)
    made = {
        "first": clean(figures, first, FIRST),
        "clean": clean(figures, whole, CLEAN),
        "overrun": lines(overrun(figures), ("link", "lost by overrun")),
        "lossy": lossy(figures),
        "narrow": lines(narrow(figures), ("link", figures.ours, "the better TCP", "dropped")),
        "beside": lines(beside(figures), ("link", figures.ours, "TCP", "dropped of both")),
        "flows": lines(shared(figures), ("link", "the least to the most", "Jain's index", "dropped")),
        "busy": lines(busy(figures), ("link", "Mbit/s of the quiet figure")),
    }
    return {"run": said} | {name: [CAPTIONS[name], "", *told] if told else [] for name, told in made.items()}


def fill(page: str, made: dict[str, list[str]]) -> str:
    """Return a page with these tables in its places."""
    return PLACE.sub(lambda place: "".join([place[1], *(f"{line}\n" for line in made[place[2]]), place[3]]), page)


def main() -> int:
    """Print the tables, or put them into a page."""
    parser = argparse.ArgumentParser(description="Make tables of what bench/wan.py --json measured.")
    parser.add_argument("source", type=Path, help="what bench/wan.py --json wrote")
    parser.add_argument("--fill", type=Path, metavar="PAGE", help="put them into this page instead of printing them")
    args = parser.parse_args()
    try:
        made = tables(load(args.source))
        if args.fill is None:
            print("\n\n".join("\n".join([f"{name}:", *told]) for name, told in made.items() if told))
        else:
            page = args.fill.read_text(encoding="utf-8")
            args.fill.write_text(fill(page, made), encoding="utf-8")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
