"""What ``wan.py`` asks of p2pal on each kind of link, and whether it is reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from table import Row, median
from wan_cells import Cell, Plan
from wan_runs import Result

DOUBTFUL: Final = "doubtful"
"""What a limit is told with when something disturbed the run: there is no verdict. The run itself said what it was."""

FULL: Final = 30.0
"""Seconds of a run from which on there is a verdict."""

CLEAN: Final = 0.95
"""p2pal by the better TCP stream where nothing is lost."""

FIRST: Final = 0.85
"""The same in the first seconds."""

OVERRUN: Final = 0.01
"""The share of packets that it may lose by its own overrun there, after the first seconds."""

LOSSY: Final = 0.90
"""p2pal by the link's rate less the loss, where packets are lost at random."""

LOSSY_TCP: Final = 0.97
"""p2pal by the better TCP stream there."""

NARROW: Final = 0.85
"""p2pal by the rate of a link with a short queue, or of a policer."""

DROPPED: Final = 0.05
"""The share of packets that it may lose there, and that several transfers on one link may."""

SHARE: Final = 0.25
"""What neither p2pal nor a TCP stream beside it may fall below, by the link's rate."""

JAIN: Final = 0.8
"""The fairness index of several transfers on one link."""

BUSY: Final = 0.8
"""p2pal beside busy processes by p2pal without them."""


def jain(rates: Sequence[float]) -> float:
    """Return the fairness index of rates: 1 where all are the same.

    Jain, Chiu, Hawe: A Quantitative Measure of Fairness and Discrimination, 1984.
    """
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 1.0


def judge(cell: Cell, plan: Plan, ours: str, results: Sequence[Result], quiet: Sequence[Result]) -> list[Row]:
    """Return a cell's rows.

    Args:
        cell: The link.
        plan: What was to be measured.
        ours: The name of what is judged.
        results: Every flow of every run there.
        quiet: The same of the same link without busy processes, if there are some.
    """
    if cell.rival:
        return [beside(cell, results)]
    if cell.flows > 1:
        return shared(cell, results)
    mine = [result for result in results if result.flow == ours]
    doubt = doubts(mine)
    tcp = {name: [each for each in results if each.flow == name] for name in plan.against}
    tcp = {name: runs for name, runs in tcp.items() if runs}
    if cell.hogs:
        return [busy(cell, mine, [result for result in quiet if result.flow == ours])]
    rows = []
    if cell.kind == "clean":
        if plan.first < plan.seconds:
            rows.append(by_tcp(cell, f"first {plan.first:g} s", "first", mine, tcp, FIRST))
        rows.append(by_tcp(cell, span(mine), "mbit", mine, tcp, CLEAN))
        overrun = median(result.later.overrun for result in mine)
        rows.append(lost(f"{cell}, lost by overrun", overrun, OVERRUN, doubt, mine))
    elif cell.kind == "lossy":
        rows.append(by_rate(cell, mine, LOSSY, doubt))
        if tcp:
            rows.append(by_tcp(cell, f"{span(mine)} against TCP", "mbit", mine, tcp, LOSSY_TCP))
    else:
        rows.append(by_rate(cell, mine, NARROW, doubt, tcp))
        rows.append(lost(f"{cell}, lost", median(r.whole.overrun for r in mine), DROPPED, doubt, mine))
    return rows


def span(results: Sequence[Result]) -> str:
    """How long and how often something was measured, in words."""
    again = f", median of {len(results)}" if len(results) > 1 else ""
    return f"{results[0].seconds:g} s{again}"


def doubts(results: Iterable[Result]) -> str:
    """Why figures are not to be trusted, or nothing."""
    return next((result.doubt for result in results if result.doubt), "")


def row(what: str, ours: str, against: str, ratio: float, limit: float, doubt: str, seconds: float) -> Row:
    """Return a row whose ratio is to be no less than a limit."""
    text = f">= {limit:.2f}"
    if doubt:
        return Row(what, ours, against, f"{ratio:.2f}", f"{text}, {DOUBTFUL}")
    return Row(what, ours, against, f"{ratio:.2f}", text, ok=ratio >= limit if seconds >= FULL else None)


def lost(what: str, share: float, limit: float, doubt: str, results: Sequence[Result]) -> Row:
    """Return a row whose share of dropped packets is to be less than a limit."""
    text = f"< {limit:.0%}"
    if doubt:
        return Row(what, f"{share:.2%}", limit=f"{text}, {DOUBTFUL}")
    return Row(what, f"{share:.2%}", limit=text, ok=share < limit if results[0].seconds >= FULL else None)


def by_tcp(
    cell: Cell, what: str, figure: str, mine: Sequence[Result], tcp: dict[str, list[Result]], limit: float
) -> Row:
    """Compare with the better TCP stream."""
    own = median(getattr(result, figure) for result in mine)
    others = {name: median(getattr(result, figure) for result in runs) for name, runs in tcp.items()}
    told = ", ".join(f"{name.upper()} {mbit:.1f}" for name, mbit in others.items())
    best = max(others.values(), default=0.0)
    doubt = doubts([*mine, *(result for runs in tcp.values() for result in runs)])
    if not best:
        return Row(f"{cell}, {what}", f"{own:.1f} Mbit/s", told)
    return row(f"{cell}, {what}", f"{own:.1f} Mbit/s", told, own / best, limit, doubt, mine[0].seconds)


def by_rate(
    cell: Cell, mine: Sequence[Result], limit: float, doubt: str, tcp: dict[str, list[Result]] | None = None
) -> Row:
    """Compare with the rate that can get through."""
    own = median(result.mbit for result in mine)
    told = [f"{name.upper()} {median(each.mbit for each in runs):.1f}" for name, runs in (tcp or {}).items()]
    against = ", ".join([f"rate {cell.rate:.1f}", *told])
    return row(f"{cell}, {span(mine)}", f"{own:.1f} Mbit/s", against, own / cell.rate, limit, doubt, mine[0].seconds)


def beside(cell: Cell, results: Sequence[Result]) -> Row:
    """Say what each of two flows on one link gets."""
    rival = next(result for result in results if result.flow == cell.rival)
    mine = next(result for result in results if result is not rival)
    least = min(rival.mbit, mine.mbit) / cell.rate
    told = f"{cell.rival.upper()} {rival.mbit:.1f}; {mine.whole.overrun:.2%} lost by both"
    what = f"{cell}, {mine.seconds:g} s, the smaller share"
    return row(what, f"{mine.mbit:.1f} Mbit/s", told, least, SHARE, doubts(results), mine.seconds)


def shared(cell: Cell, results: Sequence[Result]) -> list[Row]:
    """Say how several transfers share one link."""
    rates = [result.mbit for result in results]
    told = f"{min(rates):.1f} to {max(rates):.1f} Mbit/s, {sum(rates):.1f} together"
    what, seconds, doubt = f"{cell}, {results[0].seconds:g} s", results[0].seconds, doubts(results)
    return [
        row(f"{what}, Jain's index", told, f"rate {cell.rate:.1f}", jain(rates), JAIN, doubt, seconds),
        lost(f"{what}, lost", results[0].whole.overrun, DROPPED, doubt, results),
    ]


def busy(cell: Cell, mine: Sequence[Result], quiet: Sequence[Result]) -> Row:
    """Compare with the same without busy processes."""
    own, before = median(result.mbit for result in mine), median(result.mbit for result in quiet)
    told, doubt = f"quiet {before:.1f}", doubts([*mine, *quiet])
    ratio = own / before if before else 0.0
    return row(f"{cell}, {span(mine)}", f"{own:.1f} Mbit/s", told, ratio, BUSY, doubt, mine[0].seconds)
