"""Draw what ``wan.py --json`` measured, as SVG: nothing but the standard library.

    python bench/draw.py goodput wan.jsonl goodput.svg --mbit 100 --rtt 100 --loss 1
    python bench/draw.py matrix wan.jsonl matrix.svg --mbit 100

The first is the goodput of one link over time, of p2pal and of the TCP streams over the same link. The second is what
p2pal and TCP reach of what links can carry, by the round trip and the share of packets that are lost. A question mark
stands at figures that something disturbed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Final

from processes import BenchError
from svg import Picture, Theme
from table import median
from wan_cells import Cell
from wan_flows import Point, arrived
from wan_read import Measured, load
from wan_runs import Result

STEP: Final = 0.25
"""Seconds between two points of a line."""

SPAN: Final = 0.5
"""Seconds before each point over which it is a mean: what arrives is told five to ten times a second."""

ROLES: Final = ("first", "second", "third")
DASHES: Final = ("", "7 3", "2 3")
BANDS: Final = ("#c2410c", "#e8833a", "#f2b56b", "#cfd8dc", "#8fb8de", "#4a8cc9", "#1c5fa8")
"""Colours of a share from nothing to everything: orange below a half, blue above."""

BOUNDS: Final = (0.1, 0.25, 0.5, 0.7, 0.85, 0.95)
DARK_BANDS: Final = frozenset({"#c2410c", "#1c5fa8"})


def name(flow: str) -> str:
    """What a picture calls a flow."""
    return flow if flow in {"p2pal", "bare lane"} else f"TCP {flow.upper()}"


def curve(points: Sequence[Point], seconds: float) -> list[tuple[float, float]]:
    """Return the goodput in Mbit/s by the second, as means over the time before."""
    found = [(0.0, 0.0)]
    for number in range(1, floor(seconds / STEP) + 1):
        at = number * STEP
        start = max(at - SPAN, 0.0)
        found.append((at, (arrived(points, at) - arrived(points, start)) * 8e-6 / (at - start)))
    return found


def middle(results: Sequence[Result]) -> Result:
    """The run whose goodput is the median, or the one below it."""
    return sorted(results, key=lambda result: result.mbit)[(len(results) - 1) // 2]


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Return heights that are at least so far from each other, near the given ones and in their order."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    moved = list(heights)
    for before, index in pairwise(order):
        moved[index] = max(moved[index], moved[before] + least)
    if order and (excess := moved[order[-1]] - heights[order[-1]]) > 0:
        moved = [height - excess / 2 for height in moved]
    return moved


def goodput(measured: Measured, cell: Cell, *, theme: Theme = "auto") -> str:
    """Draw the goodput over one link by the time.

    Raises:
        BenchError: If it was not measured.
    """
    results = measured.of(cell)
    flows = sorted({result.flow for result in results}, key=lambda flow: (flow != measured.ours, flow != "bbr", flow))
    if not flows:
        raise BenchError(f"{cell} was not measured")
    runs = [middle([result for result in results if result.flow == flow]) for flow in flows[: len(ROLES)]]
    seconds = min(result.seconds for result in runs)
    curves = [curve(result.points, seconds) for result in runs]
    width, height, left, right, top, bottom = 760, 380, 64, 128, 76, 52
    words = f"Goodput over time: {cell}"
    picture = Picture(width, height, words, theme=theme)
    picture.text(24, 32, "Goodput over time", size=16, bold=True)
    picture.text(24, 52, f"{cell}; Mbit/s, with the mean of each at the right", role="quiet")
    peak = max([cell.rate, *(mbit for line in curves for _, mbit in line)])
    unit, most = step(peak), peak * 1.05

    def x(at: float) -> float:
        return left + at / seconds * (width - left - right)

    def y(mbit: float) -> float:
        return height - bottom - mbit / most * (height - top - bottom)

    for number in range(floor(most / unit) + 1):
        picture.line([(left, y(number * unit)), (width - right, y(number * unit))], "grid", width=1)
        picture.text(left - 8, y(number * unit) + 4, f"{number * unit:g}", role="quiet", size=12, anchor="end")
    every = step(seconds)
    for number in range(floor(seconds / every) + 1):
        picture.text(
            x(number * every), height - bottom + 20, f"{number * every:g}", role="quiet", anchor="middle", size=12
        )
    picture.text(
        (left + width - right) / 2, height - 12, "seconds from the start", role="quiet", anchor="middle", size=12
    )
    picture.line([(left, y(cell.rate)), (width - right, y(cell.rate))], "quiet", width=1, dashes="4 4")
    labels = [(cell.rate, "the link", "quiet")]
    drawn = zip(runs, curves, ROLES, DASHES, strict=False)
    for result, line, role, dashes in reversed(list(drawn)):
        picture.line([(x(at), y(mbit)) for at, mbit in line], role, width=3 if role == "first" else 2, dashes=dashes)
        late = median(mbit for at, mbit in line if at >= seconds * 0.8)
        mean = f"{result.mbit:.{0 if result.mbit >= 10 else 1}f}{'?' if result.doubt else ''}"
        labels.append((late, f"{name(result.flow)} {mean}", role))
    for place, (_, text, role) in zip(apart([y(mbit) for mbit, _, _ in labels], 17), labels, strict=True):
        picture.text(width - right + 8, place + 4, text, role=role, bold=role == "first")
    return str(picture)


def step(most: float) -> float:
    """Return a round distance for some four to eight lines up to a value."""
    for factor in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
        if most / factor <= 7:
            return factor
    return most / 5


def band(share: float) -> str:
    """Return the colour of a share."""
    return BANDS[sum(share >= bound for bound in BOUNDS)]


def matrix(measured: Measured, mbit: float, *, theme: Theme = "auto") -> str:
    """Draw what each flow reaches of what links of a rate can carry, by round trip and loss.

    Raises:
        BenchError: If nothing was measured at that rate.
    """
    cells = [cell for cell in measured.results if cell.kind in {"clean", "lossy"} and cell.mbit == mbit]
    rtts, losses = sorted({cell.rtt for cell in cells}), sorted({cell.loss for cell in cells})
    flows = {result.flow for cell in cells for result in measured.of(cell)}
    order = [flow for flow in (measured.ours, "bbr", "cubic") if flow in flows]
    if not order:
        raise BenchError(f"no link of {mbit:g} Mbit/s was measured")
    side, tall, left, gap, top = 52, 38, 64, 24, 104
    panel = side * len(rtts)
    width = max(left + len(order) * panel + (len(order) - 1) * gap + 24, 480)
    height = top + tall * len(losses) + 96
    words = f"Share of a link of {mbit:g} Mbit/s that is used, by round trip and loss"
    picture = Picture(width, height, words, theme=theme)
    picture.text(24, 32, f"What is used of a link of {mbit:g} Mbit/s", size=16, bold=True)
    picture.text(24, 52, "goodput in percent of the rate less the random loss", role="quiet")
    by_place = {(cell.rtt, cell.loss): cell for cell in cells}
    for row, loss in enumerate(losses):
        y = top + row * tall
        picture.text(left - 8, y + tall / 2 + 4, f"{loss:g} %", role="quiet", size=12, anchor="end")
        for number, flow in enumerate(order):
            for column, rtt in enumerate(rtts):
                x = left + number * (panel + gap) + column * side
                share = _share(measured, by_place.get((rtt, loss)), flow)
                if share is None:
                    picture.text(x + side / 2, y + tall / 2 + 4, "–", role="quiet", anchor="middle")
                    continue
                colour = band(share)
                picture.rect(x + 1, y + 1, side - 2, tall - 2, colour, radius=3)
                ink = "#ffffff" if colour in DARK_BANDS else "#101418"
                text = f"{share * 100:.0f}" if share >= 0.1 else f"{share * 100:.1f}"
                if disturbed(measured, by_place[rtt, loss], flow):
                    text += "?"
                picture.text(x + side / 2, y + tall / 2 + 5, text, fill=ink, anchor="middle", bold=True)
    end = top + tall * len(losses)
    for number, flow in enumerate(order):
        start = left + number * (panel + gap)
        picture.text(start + panel / 2, top - 10, name(flow), anchor="middle", bold=True)
        for column, rtt in enumerate(rtts):
            picture.text(start + column * side + side / 2, end + 18, f"{rtt:g}", role="quiet", size=12, anchor="middle")
        picture.text(start + panel / 2, end + 36, "round trip, ms", role="quiet", size=12, anchor="middle")
    picture.text(24, top - 10, "loss", role="quiet", size=12)
    _legend(picture, left, end + 58)
    return str(picture)


def disturbed(measured: Measured, cell: Cell, flow: str) -> bool:
    """Whether a figure is not to be trusted."""
    return any(result.doubt for result in measured.of(cell) if result.flow == flow)


def _share(measured: Measured, cell: Cell | None, flow: str) -> float | None:
    got = None if cell is None else measured.median(cell, flow, lambda result: result.mbit)
    return None if cell is None or got is None else got / cell.rate


def _legend(picture: Picture, x: float, y: float) -> None:
    for number, colour in enumerate(BANDS):
        picture.rect(x + number * 44, y, 42, 10, colour, radius=2)
        if number:
            picture.text(
                x + number * 44 - 1, y + 25, f"{BOUNDS[number - 1] * 100:.0f}", role="quiet", size=11, anchor="middle"
            )
    picture.text(x + len(BANDS) * 44 + 8, y + 10, "%", role="quiet", size=11)


def main() -> int:
    """Draw one picture."""
    parser = argparse.ArgumentParser(description="Draw what bench/wan.py --json measured, as SVG.")
    parser.add_argument("what", choices=["goodput", "matrix"])
    parser.add_argument("source", type=Path, help="what bench/wan.py --json wrote")
    parser.add_argument("target", type=Path, help="where the picture is written")
    parser.add_argument("--mbit", type=float, default=100)
    parser.add_argument("--rtt", type=float, default=100, help="the link of goodput, milliseconds")
    parser.add_argument("--loss", type=float, default=0, help="the link of goodput, percent")
    parser.add_argument("--theme", choices=["auto", "light", "dark"], default="auto", help="to look at one alone")
    args = parser.parse_args()
    try:
        measured = load(args.source)
        if args.what == "matrix":
            drawn = matrix(measured, args.mbit, theme=args.theme)
        else:
            cell = Cell("lossy" if args.loss else "clean", args.mbit, args.rtt, args.loss)
            drawn = goodput(measured, cell, theme=args.theme)
    except (BenchError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    args.target.parent.mkdir(parents=True, exist_ok=True)
    args.target.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
