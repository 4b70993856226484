"""From Enter on ``recv -y`` to the first byte on disk, with the sender waiting, and whether the size matters.

The clock starts with the receiver's process and stops when a file below the target directory begins with something
else than zero, whatever its name: room that is only reserved does not count. The large sources are holes behind their
first MiB, and their transfers are interrupted once the figure is taken.

    python bench/first_byte.py --runs 5
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

from data import GIB, MIB, random_file, sparse_file, tree
from processes import BenchError, Process, Workbench
from table import Row, median, note, show, spread
from transfer import signaling, start_receiver, start_sender

sys.path.append(os.fspath(Path(__file__).parents[1]))

from tests.e2e.trees import has_data

MAX_SECONDS: Final = 0.3
MAX_DIFFERENCE: Final = 0.1
"""Seconds that the large file may take longer and still count as the same."""

SMALL: Final = MIB
LARGE: Final = 10 * GIB
FILES: Final = 100
POLL: Final = 0.001
LIMIT: Final = 30.0


def measure(bench: Workbench, *, runs: int) -> list[Row]:
    """Return the rows: 1 MiB and 10 GiB, each as a file and in a tree of small files.

    Raises:
        BenchError: If a process fails, or the disk has no room.
    """
    if shutil.disk_usage(bench.path).free < LARGE + GIB:
        raise BenchError(f"{bench.path} has no room for {LARGE // GIB} GiB: the receiver would refuse")
    sources = _sources(bench.path)
    seconds: dict[str, list[float]] = {what: [] for what in sources}
    with signaling(bench, LIMIT * runs * len(sources) * 2) as url:
        for number in range(runs):
            for what, source in sources.items():
                note(f"first byte: {what}, run {number + 1} of {runs}")
                seconds[what].append(first_byte(bench, url, source))
    rows = [
        Row(
            f"Enter to first byte on disk, {what}",
            f"{spread(taken, '.2f')} s",
            limit=f"<= {MAX_SECONDS} s",
            ok=median(taken) <= MAX_SECONDS,
        )
        for what, taken in seconds.items()
    ]
    middles = [median(taken) for taken in seconds.values()]
    difference = max(abs(middles[1] - middles[0]), abs(middles[3] - middles[2]))
    limit = f"<= {MAX_DIFFERENCE} s"
    what = "the same for 1 MiB and 10 GiB: difference"
    return [*rows, Row(what, f"{difference:.2f} s", limit=limit, ok=difference <= MAX_DIFFERENCE)]


def _sources(path: Path) -> dict[str, Path]:
    trees = [tree(path / f"tree-{name}", FILES, 1024) for name in ("small", "large")]
    random_file(trees[0] / "data.bin", SMALL)
    sparse_file(trees[1] / "data.bin", LARGE)
    return {
        "1 MiB": random_file(path / "small.bin", SMALL),
        "10 GiB": sparse_file(path / "large.bin", LARGE),
        f"{FILES} small files and 1 MiB": trees[0],
        f"{FILES} small files and 10 GiB": trees[1],
    }


def first_byte(bench: Workbench, url: str, source: Path) -> float:
    """Return the seconds of one run.

    Raises:
        BenchError: If a process fails, or nothing arrives.
    """
    target = bench.directory("first")
    sender, code = start_sender(bench, url, source, LIMIT)
    receiver = start_receiver(bench, url, code, target, LIMIT)
    seconds = _watch(target, receiver)
    for process in (receiver, sender):
        process.stop(signal.SIGINT)
    shutil.rmtree(target)
    return seconds


def _watch(target: Path, receiver: Process) -> float:
    while not has_data(target):
        if time.perf_counter() - receiver.started > LIMIT:
            raise BenchError(f"nothing arrived within {LIMIT:.0f} s: {receiver.stderr[-300:]}")
        time.sleep(POLL)
    return time.perf_counter() - receiver.started


def main() -> int:
    """Measure the first byte alone."""
    parser = argparse.ArgumentParser(description="Time from Enter to the first byte on disk.")
    parser.add_argument("--runs", type=int, default=5, help="how often each")
    args = parser.parse_args()
    with Workbench() as bench:
        return show(measure(bench, runs=args.runs))


if __name__ == "__main__":
    sys.exit(main())
