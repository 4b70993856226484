"""Ten thousand small files, against magic-wormhole sending the same directory in the same run.

Both sides of both programs run on loopback. magic-wormhole gets a mailbox server and a transit relay of its own, and
can reach nothing else (``loopback_only.py``). In both cases the sender waits, and the clock runs from Enter at the
receiver until both processes ended. magic-wormhole packs the directory into one ZIP stream and does not wait for the
disk; p2pal verifies and makes durable every file.

    python bench/small_files.py --files 10000 --pairs 3
"""

from __future__ import annotations

import argparse
import sys
from typing import Final

from data import tree
from magic_wormhole import wormhole, wormhole_servers
from processes import Workbench
from table import Row, against, note, show
from transfer import signaling, transfer

FILES: Final = 10_000
SIZE: Final = 1024
MAX_RATIO: Final = 1.0
LIMIT: Final = 150.0


def measure(bench: Workbench, *, files: int, pairs: int) -> list[Row]:
    """Return the row.

    Raises:
        BenchError: If a process fails.
    """
    source = tree(bench.path / "small", files, SIZE)
    ours: list[float] = []
    theirs: list[float] = []
    limit = LIMIT * pairs * 2
    with signaling(bench, limit) as url, wormhole_servers(bench, limit) as servers:
        for pair in range(pairs):
            note(f"small files: pair {pair + 1} of {pairs}")
            theirs.append(wormhole(bench, servers, source, f"{pair + 1}-bench-{pair}", LIMIT))
            ours.append(transfer(bench, url, source, LIMIT, quiet=True).wall)
    what = f"{files:,} files of {SIZE} bytes, against magic-wormhole"
    return [against(what, ours, theirs, form=".1f", unit="s", most=MAX_RATIO)]


def main() -> int:
    """Measure small files alone."""
    parser = argparse.ArgumentParser(description="Send many small files by p2pal and by magic-wormhole.")
    parser.add_argument("--files", type=int, default=FILES, help="how many")
    parser.add_argument("--pairs", type=int, default=3, help="how often, in turn")
    args = parser.parse_args()
    with Workbench() as bench:
        return show(measure(bench, files=args.files, pairs=args.pairs))


if __name__ == "__main__":
    sys.exit(main())
