"""The most memory that either side ever holds: it must depend neither on the size of a file nor much on their count.

python bench/memory.py            # 1 KiB, 64 MiB, 1 GiB; 100,000 files
python bench/memory.py --huge     # 10 GiB as well: sparse at the sender, but written in full at the receiver
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from data import GIB, KIB, MIB, random_file, sparse_file, tree
from processes import BenchError, Workbench
from table import Row, note, show
from transfer import Transfer, signaling, transfer

MAX_PEAK: Final = 150e6
MAX_PEAK_ENTRIES: Final = 250e6
SIZES: Final = (KIB, 64 * MIB, GIB)
HUGE: Final = 10 * GIB
ENTRIES: Final = 100_000
LIMIT: Final = 300.0


def measure(bench: Workbench, *, sizes: Sequence[int], entries: int) -> list[Row]:
    """Return a row for each file size, and one for a tree of so many files (none if 0).

    Raises:
        BenchError: If a process fails, or the disk has no room.
    """
    rows = []
    with signaling(bench, LIMIT * (len(sizes) + 1)) as url:
        for size in sizes:
            note(f"memory: a file of {_bytes(size)}")
            source = bench.path / "memory.bin"
            # A hole is read like data; above 1 GiB real data would only take room.
            make = random_file if size <= GIB else sparse_file
            _need(bench.path, size * 2 if size <= GIB else size)
            sent = transfer(bench, url, make(source, size), LIMIT)
            source.unlink()
            rows.append(_row(f"peak memory, a file of {_bytes(size)}", sent, MAX_PEAK))
        if entries:
            note(f"memory: {entries:,} files")
            source = tree(bench.path / "entries", entries, 16, per_directory=1000)
            sent = transfer(bench, url, source, LIMIT, quiet=True)
            rows.append(_row(f"peak memory, {entries:,} files", sent, MAX_PEAK_ENTRIES))
    return rows


def _row(what: str, sent: Transfer, limit: float) -> Row:
    sender, receiver = sent.sender.peak, sent.receiver.peak
    return Row(
        what,
        f"sender {sender / 1e6:.0f} MB, receiver {receiver / 1e6:.0f} MB",
        limit=f"<= {limit / 1e6:.0f} MB",
        ok=max(sender, receiver) <= limit,
    )


def _need(path: Path, size: int) -> None:
    if shutil.disk_usage(path).free < size + GIB:
        raise BenchError(f"{path} has no room for {_bytes(size)}")


def _bytes(size: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def main() -> int:
    """Measure memory alone."""
    parser = argparse.ArgumentParser(description="Measure the peak memory of both sides.")
    parser.add_argument("--mib", type=int, nargs="+", help="file sizes instead of 1 KiB, 64 MiB and 1 GiB")
    parser.add_argument("--huge", action="store_true", help="10 GiB as well")
    parser.add_argument("--entries", type=int, default=ENTRIES, help="files in the tree; 0 for no tree")
    args = parser.parse_args()
    sizes = [mib * MIB for mib in args.mib] if args.mib else list(SIZES)
    with Workbench() as bench:
        return show(measure(bench, sizes=[*sizes, HUGE] if args.huge else sizes, entries=args.entries))


if __name__ == "__main__":
    sys.exit(main())
