"""One large file, against magic-wormhole, croc and a bare TCP copy, all in turn within one run on loopback.

magic-wormhole gets servers of its own (``magic_wormhole.py``). croc is measured where ``CROC`` names its program, as
root on Linux (``croc.py``). Against both the clock runs from Enter at the receiver until both processes ended. The bare
copy (``tcp_copy.py``) has nothing before its first byte, so against it p2pal's clock runs from consent until every file
is verified and durable.

    python bench/rivals.py --mib 1024 --pairs 3
    CROC=/path/to/croc python bench/rivals.py
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final

from croc import croc, network
from data import MIB, random_file
from magic_wormhole import wormhole, wormhole_servers
from processes import Workbench
from table import Row, against, note, show
from tcp_copy import copy
from transfer import Transfer, signaling, transfer

MIN_RATIO: Final = {"magic-wormhole": 2.0, "croc": 1.2, "a bare TCP copy": 0.7}
BARE: Final = "a bare TCP copy"
LIMIT: Final = 150.0
"""Seconds for one transfer."""


def measure(bench: Workbench, *, mib: int, pairs: int) -> list[Row]:
    """Return a row for each rival.

    Raises:
        BenchError: If a process fails.
    """
    source = random_file(bench.path / "rivals.bin", mib * MIB)
    ours: list[Transfer] = []
    theirs: dict[str, list[float]] = {}
    limit = LIMIT * pairs * 4
    with ExitStack() as stack:
        url = stack.enter_context(signaling(bench, limit))
        servers = stack.enter_context(wormhole_servers(bench, limit))
        rivals: dict[str, Callable[[int], float]] = {
            "magic-wormhole": lambda pair: wormhole(bench, servers, source, f"{pair + 1}-bench-{pair}", LIMIT),
            BARE: lambda _: copy(bench, source, LIMIT),
        }
        program = os.environ.get("CROC")
        if program:
            apart = stack.enter_context(network(bench, limit))
            rivals["croc"] = lambda pair: croc(bench, apart, program, source, f"bench-{pair:04}", LIMIT)
        for pair in range(pairs):
            note(f"rivals: pair {pair + 1} of {pairs}")
            ours.append(transfer(bench, url, source, LIMIT))
            for name, run in rivals.items():
                theirs.setdefault(name, []).append(run(pair))
    source.unlink()
    return [compare(name, mib * MIB, ours, seconds) for name, seconds in theirs.items()]


def compare(name: str, size: int, ours: Sequence[Transfer], seconds: Sequence[float]) -> Row:
    """Return the row of one rival."""
    mine = [size / (t.seconds if name == BARE else t.wall) / 1e6 for t in ours]
    their = [size / s / 1e6 for s in seconds]
    what = f"{size // MIB} MiB {'from consent' if name == BARE else 'from Enter'}, against {name}"
    return against(what, mine, their, form=".0f", unit="MB/s", least=MIN_RATIO[name])


def main() -> int:
    """Measure rivals alone."""
    parser = argparse.ArgumentParser(description="Send one large file by p2pal and by others.")
    parser.add_argument("--mib", type=int, default=1024, help="how much to send")
    parser.add_argument("--pairs", type=int, default=3, help="how often, in turn")
    args = parser.parse_args()
    with Workbench() as bench:
        return show(measure(bench, mib=args.mib, pairs=args.pairs))


if __name__ == "__main__":
    sys.exit(main())
