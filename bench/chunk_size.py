"""Which chunk size is the better default: the same file with each, in turn, in one run.

python bench/chunk_size.py --mib 1024 --rounds 2
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from data import MIB, random_file
from processes import Workbench
from table import Row, median, note, show, spread
from transfer import Transfer, signaling, transfer

SIZES: Final = (16, 63, 127, 255)
DEFAULT: Final = 63
LIMIT: Final = 150.0


def measure(bench: Workbench, *, mib: int, rounds: int, kib: Sequence[int] = SIZES) -> list[Row]:
    """Return a row for each chunk size; each is compared with the default.

    Raises:
        BenchError: If a process fails.
    """
    size = mib * MIB
    source = random_file(bench.path / "chunks.bin", size)
    sent: dict[int, list[Transfer]] = {chunk: [] for chunk in kib}
    with signaling(bench, LIMIT * rounds * len(kib)) as url:
        for number in range(rounds):
            for chunk in kib:
                note(f"chunk size: {chunk} KiB, round {number + 1} of {rounds}")
                sent[chunk].append(transfer(bench, url, source, LIMIT, chunk_kib=chunk))
    source.unlink()
    rates = {chunk: [size / t.seconds / 1e6 for t in runs] for chunk, runs in sent.items()}
    basis = rates.get(DEFAULT)
    return [
        Row(
            f"-chunk-size {chunk}",
            f"{spread(rates[chunk], '.0f')} MB/s; CPU {_cpu(runs, size)}",
            "" if basis is None or chunk == DEFAULT else f"{median(basis):.0f} MB/s at {DEFAULT}",
            "" if basis is None or chunk == DEFAULT else f"{median(rates[chunk]) / median(basis):.2f}",
        )
        for chunk, runs in sent.items()
    ]


def _cpu(runs: Sequence[Transfer], size: int) -> str:
    sender, receiver = median([t.sender.cpu for t in runs]), median([t.receiver.cpu for t in runs])
    return f"{sender / size * 1e9:.1f} and {receiver / size * 1e9:.1f} s/GB"


def main() -> int:
    """Measure chunk sizes alone."""
    parser = argparse.ArgumentParser(description="Compare chunk sizes with each other.")
    parser.add_argument("--mib", type=int, default=1024, help="how much to send")
    parser.add_argument("--rounds", type=int, default=2, help="how often each, in turn")
    parser.add_argument("--kib", type=int, nargs="+", default=list(SIZES), help="chunk sizes")
    args = parser.parse_args()
    with Workbench() as bench:
        return show(measure(bench, mib=args.mib, rounds=args.rounds, kib=args.kib))


if __name__ == "__main__":
    sys.exit(main())
