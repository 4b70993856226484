"""Every figure that applies, in one table: ``make bench``.

Each figure is a script of its own in this directory, which can be run alone with other numbers. Everything runs on
loopback, but for ``wan``, which makes a network of its own (root) and takes two hours, or five minutes with
``--quick``: it is only measured when it is asked for. The exit code is 1 if a limit is missed or a figure could not be
taken.

    python bench/run.py [--quick] [--huge] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import chunk_size
import first_byte
import memory
import resume
import rivals
import server
import small_files
import startup
import throughput
import wan
import wan_cells
from data import GIB, KIB, MIB
from processes import BenchError, Workbench
from table import Row, failed, note, show

Figure = Callable[[Workbench], list[Row]]

ON_REQUEST: Final = {"wan"}


def figures(*, quick: bool, huge: bool) -> dict[str, Figure]:
    """Return what to measure: in full within some fifteen minutes on two cores, quick within four."""
    mib = 256 if quick else 1024
    sizes = [KIB, 64 * MIB, mib * MIB, *([memory.HUGE] if huge else [])]
    runs = 1 if quick else 3
    return {
        "startup": lambda _bench: startup.measure(runs=5 if quick else 15),
        "first_byte": lambda bench: first_byte.measure(bench, runs=1 if quick else 5),
        "throughput": lambda bench: throughput.measure(bench, mib=mib, pairs=runs, kib=[63, 255]),
        "rivals": lambda bench: rivals.measure(bench, mib=mib, pairs=runs),
        "small_files": lambda bench: small_files.measure(bench, files=small_files.FILES, pairs=runs),
        "memory": lambda bench: memory.measure(bench, sizes=sizes, entries=10_000 if quick else memory.ENTRIES),
        "resume": lambda bench: resume.measure(
            bench, size=GIB if quick else resume.SIZE, kill_size=mib * MIB, runs=1 if quick else 3
        ),
        "server": lambda bench: server.measure(bench, server.QUICK if quick else server.Plan()),
        "chunk_size": lambda bench: chunk_size.measure(bench, mib=mib, rounds=1 if quick else 2),
        "wan": lambda bench: wan.measure(bench, wan_cells.QUICK if quick else wan_cells.WHOLE),
    }


def main() -> int:
    """Measure everything, or what is asked for."""
    parser = argparse.ArgumentParser(description="Measure p2pal against its limits, on loopback.")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer: four minutes, and more noise")
    parser.add_argument("--huge", action="store_true", help="memory with 10 GiB as well, which takes that room on disk")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*figures(quick=True, huge=False)])
    parser.add_argument("--dir", type=Path, help="where to work: files are written to the disk that this is on")
    args = parser.parse_args()
    started = time.perf_counter()
    rows: list[Row] = []
    with Workbench(args.dir) as bench:
        for name, figure in figures(quick=args.quick, huge=args.huge).items():
            if name not in args.only if args.only else name in ON_REQUEST:
                continue
            try:
                rows += figure(bench)
            except (BenchError, OSError, subprocess.SubprocessError) as error:
                note(f"{name}: {error}")
                rows.append(failed(name, error))
    code = show(rows)
    note(f"{time.perf_counter() - started:.0f} s in all")
    return code


if __name__ == "__main__":
    sys.exit(main())
