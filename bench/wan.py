"""Goodput over long, lossy, narrow and shared links, against TCP streams over the same links.

Sender and receiver are hosts of their own (network namespaces), and the link between them is emulated in user space
(``tests/network/emulator``), so this wants Linux, root and a C compiler. p2pal, one TCP CUBIC stream and one BBR stream
send the same way for the same time, one after the other: bytes that arrived in so many seconds from consent or from the
connection on, the start included. Which packets are lost is the same for all, by their number. What arrives is written
to memory where there is room.

    python bench/wan.py                                     # a small part of the matrix; says how long it takes
    python bench/wan.py --whole --json wan.jsonl            # all of it
    python bench/wan.py --list --whole                      # only name the cells
    python bench/wan.py --only clean lossy --rtt 50 100 --mbit 100 --loss 0.5 --seconds 20 --repetitions 3
    python bench/wan.py --only beside flows busy
    python bench/wan.py --lane udp                          # restrict p2pal to a kind of lane (repeatable)
    python bench/wan.py --bare                              # the datagram lane alone in p2pal's place
    python bench/wan.py --buffer 212992                     # with sockets as most systems have them

A run that the emulator itself disturbed, or another program, is told as such, and counts neither way. Limits hold for
runs of 30 s; shorter ones are told without a verdict.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from processes import BenchError, Workbench
from socket_buffers import limited, most
from table import Row, failed, note, show
from wan_cells import KINDS, QUICK, TCP, WHOLE, Cell, Order, Plan
from wan_limits import judge
from wan_report import Report
from wan_runs import Result, Runner


def measure(bench: Workbench, plan: Plan, runner: Runner | None = None, report: Report | None = None) -> list[Row]:
    """Return the rows of each cell, also for one that failed: the others took minutes."""
    note(f"wan: {len(plan.cells)} cells, some {plan.duration / 60:.0f} minutes")
    matrix = Matrix(runner or Runner(bench), plan, report or Report(None))
    rows: list[Row] = []
    for number, cell in enumerate(plan.cells, 1):
        note(f"wan: {cell} ({number} of {len(plan.cells)})")
        try:
            rows += matrix.rows(cell)
        except BenchError as error:
            note(f"wan: {error}")
            rows.append(failed(str(cell), error))
    return rows


class Matrix:
    """What was measured so far, for cells that are compared with others."""

    def __init__(self, runner: Runner, plan: Plan, report: Report) -> None:
        self._runner, self._plan, self._report = runner, plan, report
        self._quiet: dict[Cell, list[Result]] = {}

    def rows(self, cell: Cell) -> list[Row]:
        """Measure a cell; return its rows.

        Raises:
            BenchError: If a process fails, or this machine cannot emulate links.
        """
        plan, results = self._plan, []
        for repetition in range(plan.repetitions_of(cell)):
            for name in (self._runner.ours, *plan.streams_of(cell, repetition)):
                results += self._run(cell, name, repetition)
        if not cell.hogs:
            self._quiet[cell] = results
        quiet = self._compared(cell.quiet) if cell.hogs else []
        return judge(cell, plan, self._runner.ours, results, quiet)

    def _run(self, cell: Cell, name: str, repetition: int) -> list[Result]:
        results = self._runner.run(cell, name, self._plan.seconds_of(cell), self._plan.first, seed=repetition + 1)
        for result in results:
            self._report.write(cell, result, repetition)
        return results

    def _compared(self, cell: Cell) -> list[Result]:
        if cell not in self._quiet:
            self._quiet[cell] = self._run(cell, self._runner.ours, 0)
        return self._quiet[cell]


def parse(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, Plan]:
    """Return what is asked for."""
    parser = argparse.ArgumentParser(description="Compare p2pal with TCP streams over emulated links.")
    parser.add_argument("--whole", action="store_true", help="the whole matrix, with its times and repetitions")
    parser.add_argument("--list", action="store_true", help="name the cells and say how long they take, no more")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="PART", help=f"parts: {' '.join(KINDS)}")
    parser.add_argument("--rtt", type=float, nargs="+", metavar="MS", help="round-trip times, for every part")
    parser.add_argument("--mbit", type=float, nargs="+", help="rates, for every part")
    parser.add_argument("--loss", type=float, nargs="+", metavar="PERCENT", help="losses, for the lossy part")
    parser.add_argument("--rivals", nargs="+", metavar="NAME", help="TCP to share a link with, for the part beside")
    parser.add_argument("--orders", nargs="+", choices=get_args(Order), help="whether p2pal is on the link first")
    parser.add_argument("--flows", type=int, nargs="+", metavar="N", help="transfers at once, for the part flows")
    parser.add_argument("--against", nargs="*", metavar="NAME", help=f"TCP to compare with; default: {' '.join(TCP)}")
    parser.add_argument("--seconds", type=float, help="how long each run is measured; twice that beside a rival")
    parser.add_argument("--first", type=float, metavar="SECONDS", help="the beginning that is told as well; default: 8")
    parser.add_argument("--repetitions", type=int, metavar="N", help="how often a lossy cell is measured")
    parser.add_argument(
        "--again", type=int, default=0, metavar="N", help="measure a disturbed run again, up to N times"
    )
    parser.add_argument("--lane", action="append", default=[], help="restrict p2pal to this kind of lane (repeatable)")
    parser.add_argument("--bare", action="store_true", help="the datagram lane alone in the place of p2pal")
    parser.add_argument("--buffer", type=int, metavar="BYTES", help="let the whole machine give no larger sockets")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append a line of JSON for each flow to a file")
    parser.add_argument("--dir", type=Path, help="where to work, if /dev/shm has no room for what arrives")
    args = parser.parse_args(argv)
    plan = WHOLE if args.whole else QUICK
    same = ("loss", "rivals", "orders", "flows", "against", "seconds", "first", "repetitions")
    given = {name: getattr(args, name) for name in same} | {"kinds": args.only}
    given |= {name: dict.fromkeys(KINDS, axis) for name in ("rtt", "mbit") if (axis := getattr(args, name))}
    return args, replace(plan, **{name: value for name, value in given.items() if value is not None})


def main() -> int:
    """Measure the matrix, or a part of it."""
    args, plan = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # hosts and settings are taken back
    if args.list:
        print(*plan.cells, sep="\n")
        print(f"{len(plan.cells)} cells, some {plan.duration / 60:.0f} minutes")
        return 0
    with limited(args.buffer), Workbench(args.dir) as bench, Report(args.json) as report:
        runner = Runner(bench, lanes=args.lane, bare=args.bare, again=args.again)
        report.begin(runner.ours, args.lane)
        code = show(measure(bench, plan, runner, report))
        print(f"socket buffers of up to {most():,} bytes")
    return code


if __name__ == "__main__":
    sys.exit(main())
