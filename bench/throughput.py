"""How fast p2pal is, and what CPU it takes, against a bare data-channel pump of the same engine.

Both run as processes on loopback in turn, pump and p2pal, pair after pair, with messages of the same size. p2pal's time
runs from consent until every file is verified and durable at the receiver; the pump's from the first message until the
last has arrived in memory. CPU is that of each whole process, its start included.

    python bench/throughput.py --mib 1024 --pairs 3 --kib 63 255
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from data import MIB, random_file
from processes import Workbench
from pump import Pumped, pump
from table import Row, against, median, note, show
from transfer import Transfer, signaling, transfer

MIN_RATIO: Final = 2.0
MAX_CPU_RATIO: Final = {"sender": 0.4, "receiver": 0.55}
LIMIT: Final = 150.0
"""Seconds for one transfer."""


def measure(bench: Workbench, *, mib: int, pairs: int, kib: Sequence[int]) -> list[Row]:
    """Return the rows for each message size.

    Raises:
        BenchError: If a process fails.
    """
    source = random_file(bench.path / "throughput.bin", mib * MIB)
    rows: list[Row] = []
    with signaling(bench, LIMIT * pairs * len(kib)) as url:
        for size in kib:
            pumped: list[Pumped] = []
            sent: list[Transfer] = []
            for pair in range(pairs):
                note(f"throughput: {size} KiB messages, pair {pair + 1} of {pairs}")
                pumped.append(pump(bench, kib=size, size=mib * MIB))
                sent.append(transfer(bench, url, source, LIMIT, chunk_kib=size))
            rows += compare(size, mib * MIB, sent, pumped)
    source.unlink()
    return rows


def compare(kib: int, size: int, sent: Sequence[Transfer], pumped: Sequence[Pumped]) -> list[Row]:
    """Return the rows of one message size."""
    ours = [size / t.seconds / 1e6 for t in sent]
    theirs = [size / p.seconds / 1e6 for p in pumped]
    what = f"throughput, {size // MIB} MiB in {kib} KiB messages, against the bare pump"
    rows = [against(what, ours, theirs, form=".0f", unit="MB/s", least=MIN_RATIO)]
    per_gb = 1e9 / size
    for side, mine, bare in (
        ("sender", [t.sender.cpu for t in sent], [p.sender.cpu for p in pumped]),
        ("receiver", [t.receiver.cpu for t in sent], [p.receiver.cpu for p in pumped]),
    ):
        ratio = median(mine) / median(bare)
        rows.append(
            Row(
                f"CPU of the {side}, {kib} KiB messages, against the bare pump",
                f"{median(mine) * per_gb:.2f} s/GB",
                f"{median(bare) * per_gb:.2f} s/GB",
                f"{ratio:.2f}",
                f"<= {MAX_CPU_RATIO[side]}",
                ok=ratio <= MAX_CPU_RATIO[side],
            )
        )
    return rows


def main() -> int:
    """Measure throughput alone."""
    parser = argparse.ArgumentParser(description="Compare p2pal with a bare data-channel pump.")
    parser.add_argument("--mib", type=int, default=1024, help="how much to send")
    parser.add_argument("--pairs", type=int, default=3, help="how often, in turn")
    parser.add_argument("--kib", type=int, nargs="+", default=[63, 255], help="chunk sizes")
    args = parser.parse_args()
    with Workbench() as bench:
        return show(measure(bench, mib=args.mib, pairs=args.pairs, kib=args.kib))


if __name__ == "__main__":
    sys.exit(main())
